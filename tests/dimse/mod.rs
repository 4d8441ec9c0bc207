//! DIMSE as peers see it: associations and storage.

mod association;
mod peers;
mod storage;
