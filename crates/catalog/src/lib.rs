//! The SQL index: Postgres and SQLite behind one [`Catalog`].
//!
//! Owns every row and every statement; it is the only crate that names sqlx. It does not touch
//! blobs, does not parse DICOM and knows no protocol. Reads go straight to a pool; instances are
//! recorded by one task that commits whatever is waiting in one transaction (DESIGN section 4).

pub mod access;
mod audit;
mod backfill;
mod catalog;
mod config;
mod conflict;
mod db;
mod deletion;
mod destinations;
mod error;
mod feed;
pub mod grants;
mod index;
mod jobs;
mod keys;
mod migrate;
pub mod orders;
mod pack;
pub mod peers;
mod query;
pub mod reading;
mod record;
mod repair;
mod retrieve;
pub mod routing;
#[cfg(test)]
mod suite;
pub mod types;
mod workitem;

pub use audit::{
    AuditEntry, AuditFilter, AuditOrder, AuditRow, ChainReport, Exported, Fault, audit_is_off,
};
pub use catalog::Catalog;
pub use config::CatalogConfig;
pub use deletion::PURGE_JOB;
pub use destinations::DestinationRow;
pub use error::{CatalogError, Cause};
pub use record::Announced;
pub use repair::Copied;
pub use types::{
    Backfill, DeletedInstance, Deletion, DeletionState, Detail, DuplicatePolicy, Event, Found,
    InstanceRow, Job, Location, Metadata, NewDeletion, NewInstance, Recorded, SeriesRow, StudyRow,
    Target, Totals,
};
pub use workitem::{Kept, Retention, Subject, WorkitemEvent};
