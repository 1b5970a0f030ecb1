//! Avro: schemas as Kafka Connect's `AvroData` writes them, and the binary form.

pub(crate) mod binary;
pub(crate) mod parse;
pub(crate) mod read;
pub(crate) mod schema;
