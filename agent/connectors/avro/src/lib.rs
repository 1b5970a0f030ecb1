//! What a Kafka record of a table looks like: rows to bytes and back.
//!
//! A [`Codec`] makes one [`RecordWriter`] for each shape of a table and one [`RecordReader`] for
//! each topic. Both compute a plan once per schema and then go straight between packed rows and
//! bytes. Read in this order: [`record`] → [`codec`] → `connect` (Kafka Connect's schema model) →
//! `types` (columns to Debezium's logical types) and `foreign` (the way back) → `encode` and
//! `decode` (values) → `avro/` and `json/` (the two formats) → `writer`, `reader/` → [`boundary`]
//! (records about transactions) → [`registry`].
//!
//! An error never holds a value. A record in another format than declared is an error that says
//! which converter it looks like and which field of the resource to change.

mod avro;
pub mod boundary;
pub mod codec;
mod connect;
mod decode;
mod encode;
mod fault;
mod foreign;
mod http;
mod json;
mod lost;
mod number;
mod reader;
pub mod record;
pub mod registry;
mod tls;
mod types;
mod writer;

pub use boundary::{Boundary, TransactionWriter};
pub use codec::{Codec, Format};
pub use reader::RecordReader;
pub use record::{Decoded, Envelope, Lost, Meta, Operation, Record};
pub use registry::{Registry, RegistryConfig};
pub use writer::RecordWriter;
