//! Tests through Kafka, with real Debezium as the counterpart. Run
//! `eval "$(e2e/servers up mysql postgres kafka registry connect)"` and
//! `cargo build --release -p sluice` first.

mod agents;
mod crashes;
mod dead_letters;
mod debezium;
mod evolution;
mod fan_out;
mod flat;
mod interop;
mod items;
mod scale;
mod transactions;
