//! DIMSE as peers see it: associations and storage.

mod association;
mod moving;
mod peers;
mod storage;
mod why;
