//! The sink against a real server, named by `SLUICE_PG_URL`.

mod support;

mod changes;
mod chunks;
mod exactly_once;
mod refusals;
mod replicated;
mod schema_changes;
mod types;
