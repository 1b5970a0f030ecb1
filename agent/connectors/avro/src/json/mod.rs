//! JSON: values as Kafka Connect's `JsonConverter` writes them.

pub(crate) mod lex;
pub(crate) mod read;
pub(crate) mod write;
