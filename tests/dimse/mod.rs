//! DIMSE as peers see it: associations and storage.

mod association;
mod destinations;
mod getting;
mod granted;
mod moving;
mod peers;
mod query;
mod storage;
mod why;
