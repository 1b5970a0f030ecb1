//! Sink and source against a real broker and registry, named by `SLUICE_KAFKA_BOOTSTRAP` and
//! `SLUICE_REGISTRY_URL`.
// Helpers of tests panic as tests do; clippy knows only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

mod controls;
mod crashes;
mod large;
mod letters;
mod preflight;
mod round_trip;
mod secure;
mod shared;
mod transactions;
