//! Tests through Kafka, with real Debezium as the counterpart. Run
//! `eval "$(e2e/servers up mysql postgres kafka registry connect)"` and
//! `cargo build --release -p sluice` first.

mod crashes;
mod debezium;
mod fan_out;
mod interop;
mod items;
mod scale;
