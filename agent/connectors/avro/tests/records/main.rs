//! Records of every type, in every format and envelope, written and read.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "helpers outside of test functions are tests, too; tables of cases are long"
)]

mod every_type;
mod foreign;
mod golden;
mod other_implementation;
mod registry;
mod support;
