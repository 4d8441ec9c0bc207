//! The node: settings, wiring, command line and background work around the crates.

pub mod allocator;
pub mod app;
pub mod audit;
pub mod cli;
mod commitment;
pub mod config;
pub mod export;
pub mod hl7;
mod identity;
pub mod import;
pub mod jobs;
pub mod outbound;
pub mod peers;
mod reading;
pub mod routing;
pub mod services;
pub mod tls;
