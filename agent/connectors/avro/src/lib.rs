//! What a Kafka record of a table looks like: rows to bytes and back.
//!
//! A [`Codec`] makes one [`RecordWriter`] for each shape of a table and one [`RecordReader`] for
//! each topic. Both compute a plan once per schema and then go straight between packed rows and
//! bytes. Read in this order: [`record`] → [`codec`] → `connect` (Kafka Connect's schema model) →
//! `types` (column types to Debezium's logical types and back) → `encode` and `decode` → `avro/`
//! and `json/` (the two formats) → [`registry`].
//!
//! An error never holds a value. A record in another format than declared is an error that says
//! which converter it looks like and which field of the resource to change.

pub mod codec;
pub mod record;
pub mod registry;

pub use codec::{Codec, Format, RecordReader, RecordWriter};
pub use record::{Decoded, Envelope, Lost, Meta, Operation, Record};
pub use registry::{Registry, RegistryConfig};
