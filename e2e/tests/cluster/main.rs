//! What needs the cluster of `e2e/cluster`: `eval "$(e2e/cluster up)"` first, and
//! `eval "$(e2e/cluster databases kafka registry)"`. These tests fail when it isn't there.

mod faults;
mod harness;
mod install;
mod kafka;
mod lifecycle;
mod orders;
mod rights;
mod truth;
