//! Kafka as a sink (capture) and as a source (apply).
//!
//! Read in this order: `connect` and `error` (clients), `lookup` and `topics` (what there is),
//! `schemas`, `header`, `control`, `bounds`, `state` and `resume` (what Sluice says beside the rows),
//! `producer`, `table`, `session`, `write` and [`KafkaSink`] (rows to records), `topic`,
//! `probe`, `barrier`, `consume` and [`KafkaSource`] (records to rows), `raw` and [`LetterTopic`]
//! (records as they are), [`preflight`] (whether it can work at all). What a record
//! looks like is [`sluice_avro`]'s affair.
//!
//! **Exactly once.** Rows and the source's position are one Kafka transaction; readers see committed
//! ones only. **Order.** Rows of one key are in one partition. What is no row is in the control topic
//! and names, for every partition, the offset that it lies behind. **Failure.** Errors of the session end
//! everything since the last commit and are tried again by the caller.

mod barrier;
mod bounds;
mod connect;
mod consume;
mod control;
mod error;
mod format;
mod header;
mod letters;
mod lookup;
mod partition;
pub mod preflight;
mod probe;
mod producer;
mod raw;
mod resume;
mod room;
mod schemas;
mod session;
mod settings;
mod sink;
mod source;
mod state;
mod table;
mod topic;
mod topics;
mod write;

pub use letters::LetterTopic;
pub use sink::KafkaSink;
pub use source::KafkaSource;
