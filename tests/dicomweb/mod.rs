//! DICOMweb as clients see it: query, retrieve, store, and what OHIF asks.

mod http;
mod pixels;
mod query;
mod rendered;
mod retrieve;
mod store;
mod transcode;
pub mod ups;
