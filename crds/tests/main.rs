//! What the schema is and does, without a server.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../examples/generate.rs"]
mod generate;
mod generated;
mod rules;
