//! DIMSE over TCP or whatever secures it: PDUs, association negotiation, typed messages, and the two drivers.
//!
//! [`scp::Scp`] listens and hands instances to the node through [`services::Services`];
//! [`scu::Association`] calls other nodes. Nothing here knows the archive, the catalog or a file:
//! what is done with a data set is the business of whoever implements [`services::ObjectSink`].
//!
//! Layers, each a module: bytes to frames ([`pdu`]), frames to an agreed set of presentation
//! contexts ([`association`]), frames to messages ([`command`], [`message`]), messages to services.
//! The first three do no I/O; sockets and timers live in `connection`, [`scp`] and [`scu`].

pub mod association;
pub mod command;
mod connection;
pub mod exchange;
pub mod message;
pub mod pdu;
pub mod scp;
pub mod scu;
pub mod secure;
pub mod services;
pub mod status;
#[cfg(test)]
mod testdata;
#[cfg(test)]
mod testpeer;

pub use association::{AssociationInfo, AssociationRequest, Implementation, Rejection};
pub use exchange::{Exchange, OperationRequest, Reply};
pub use scp::{Scp, ScpConfig};
pub use scu::{Association, ProposedContext, ScuConfig, ScuError};
pub use services::{ObjectSink, Service, Services, StoreOutcome, StoreRequest};
pub use status::{Status, StatusClass};
