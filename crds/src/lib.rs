//! The user's API: the custom resources [`ReplicationSource`] and [`ReplicaSink`].
//!
//! Nothing but types is here: no client, no runtime. The doc comments are the reference that users
//! read: they end up in the schema (`kubectl explain`), in `yaml/` and in `REFERENCE.md`, which
//! `cargo run -p sluice-crds --example generate` writes and a test compares.
//! Whatever one object alone can get wrong is refused by the schema itself, by types, limits and
//! CEL rules; [`definitions`] is the schema in its final form.

#![allow(
    clippy::duplicated_attributes,
    reason = "the arguments of several printer columns look like that to clippy"
)]
#![allow(
    unreachable_pub,
    reason = "the derive of KubeSchema makes a public copy of each struct inside a function"
)]

pub mod agent;
pub mod connection;
pub mod kafka;
pub mod reference;
pub mod sink;
pub mod source;
pub mod status;
pub mod tables;
pub mod target;

mod definition;

pub use definition::definitions;
pub use sink::{ReplicaSink, ReplicaSinkSpec};
pub use source::{ReplicationSource, ReplicationSourceSpec};
pub use status::{ReplicaSinkStatus, ReplicationSourceStatus};
