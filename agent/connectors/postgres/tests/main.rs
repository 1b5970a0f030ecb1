//! The sink against a real server, named by `SLUICE_PG_URL`.
// Helpers of tests panic as tests do; clippy knows only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

mod changes;
mod chunks;
mod connections;
mod exactly_once;
mod histories;
mod layouts;
mod letters;
mod misfits;
mod policies;
mod refusals;
mod replicated;
mod schema_changes;
mod types;
