//! DIMSE as peers see it: associations and storage.

mod association;
mod storage;
