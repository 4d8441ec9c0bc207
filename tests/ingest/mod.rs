//! How instances get in and stay: the corpus, power cuts, large objects, hostile bytes, import,
//! failing storage.

mod coercions;
mod corpus;
mod faults;
mod hostile;
mod import;
mod kill;
mod large;
mod repair;
