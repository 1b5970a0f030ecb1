//! The source against a real server: stream, schema changes, positions, snapshots, prerequisites.

mod connections;
mod definitions;
mod fixture;
mod instance;
mod positions;
mod prerequisites;
mod schema_changes;
mod snapshots;
mod transactions;
mod values;
