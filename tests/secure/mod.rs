//! TLS and what proxies say: HTTPS, DIMSE over TLS with other people's clients, spoofed headers.

mod dimse;
mod http;
