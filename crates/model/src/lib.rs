//! The words of the domain: UIDs, AE titles, headers, queries, refusals.
//!
//! Pure values and pure functions: no I/O beyond a [`dataset::Source`] handed in, no async, no clock.
//! Every other crate speaks these types; none of them is defined twice.

pub mod access;
pub mod address;
pub mod ae;
pub mod audit;
pub mod charset;
pub mod dataset;
pub mod deidentify;
pub mod destination;
pub mod file_meta;
pub mod frames;
pub mod grant;
pub mod header;
pub mod hl7;
pub mod identifier;
pub mod incident;
pub mod json;
pub mod name;
pub mod order;
pub mod peer;
pub mod provenance;
pub mod query;
pub mod reading;
pub mod refusal;
pub mod routing;
pub mod scope;
pub mod sounds;
pub mod syntax;
pub mod tag;
#[cfg(test)]
mod testdata;
pub mod uid;
pub mod workitem;
pub mod write;
pub mod xml;

pub use access::{Permission, Permissions, Role};
pub use address::PerAddress;
pub use ae::AeTitle;
pub use frames::FrameTable;
pub use header::InstanceHeader;
pub use provenance::{Provenance, Route};
pub use query::Query;
pub use refusal::Refusal;
pub use scope::{Scope, TenantId};
pub use syntax::TransferSyntax;
pub use tag::Tag;
pub use uid::{SeriesUid, SopClassUid, SopInstanceUid, StudyUid, TransactionUid};
