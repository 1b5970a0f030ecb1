//! What the schema is and does, without a server.

#[path = "../examples/generate.rs"]
mod generate;
mod generated;
mod rules;
