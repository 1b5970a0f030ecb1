//! End-to-end tests on real servers. Run `eval "$(e2e/servers up)"` and
//! `cargo build --release -p sluice` first.

mod bad_input;
mod ddl;
mod size;
mod types;
