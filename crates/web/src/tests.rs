//! The router against a real archive: a catalog in a temporary file, blobs in a temporary folder,
//! small data sets made here.

mod access;
mod audit;
mod bulk;
mod capabilities;
mod composite;
mod convert;
mod data;
mod delete;
mod destinations;
mod door;
mod factors;
mod grants;
mod headers;
mod links;
mod node;
mod pages;
mod peers;
mod reading;
mod rendered;
mod retrieve;
mod search;
mod serving;
mod store;
mod ups;
mod uri;
