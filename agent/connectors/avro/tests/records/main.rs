//! Records of every type, in every format and envelope, written and read.

mod every_type;
mod foreign;
mod golden;
mod other_implementation;
mod registry;
mod support;
