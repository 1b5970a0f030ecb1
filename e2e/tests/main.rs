//! End-to-end tests on real servers. Run `eval "$(e2e/servers up)"` and
//! `cargo build -p sluice` first.

mod agent;
mod bad_input;
mod consistency;
mod crashes;
mod ddl;
mod dead_letters;
mod fencing;
mod harness;
mod layout;
mod network;
mod position;
mod restart;
mod size;
mod stalls;
mod types;
