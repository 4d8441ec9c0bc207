//! Black-box tests: the real binary as a process, other people's clients, the corpus. One test
//! binary, so that the support code is compiled once.
//!
//! What a part needs from outside is named by the environment: `QIANLI_CORPUS`,
//! `QIANLI_TEST_POSTGRES`, `QIANLI_TEST_S3`, `QIANLI_TEST_PYTHON`, `QIANLI_TEST_CHROMIUM`,
//! `QIANLI_TEST_NODE_MODULES`, `QIANLI_TEST_VIEWER`. A part whose need is not met says so and passes;
//! with `QIANLI_REQUIRE_ALL=1` it fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod commands;
mod conformance;
mod deidentify;
mod dicomweb;
mod dimse;
mod ingest;
mod oidc;
mod orders;
mod portal;
mod reading;
mod routing;
mod secure;
mod support;
mod tidy;
