//! The audit trail: rows that are only added, chained by hash (decision 0013).
//!
//! Whoever changes something adds its row in the same transaction: [`Append`] at its end, or, where
//! instances are recorded, a part of the statement that finishes the batch. Reads are gathered by
//! [`sink`] and written once a second.

mod chain;
mod entry;
mod export;
mod off;
mod read;
mod sink;
mod verify;
mod write;

pub use entry::{AuditEntry, AuditRow};
pub use off::audit_is_off;
pub use read::{AuditFilter, AuditOrder};
pub use verify::{ChainReport, Exported, Fault};

pub(crate) use chain::{Head, OwnChain, seal};
pub(crate) use sink::Sink;
pub(crate) use write::{Append, Statement, advance, load};
