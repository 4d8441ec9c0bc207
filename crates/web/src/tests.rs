//! The router against a real archive.
