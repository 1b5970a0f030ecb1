//! What is wrong with a record: which converter its bytes look like, and which field to change.

use sluice_core::{Error, Reason};

/// What bytes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looks {
    Avro,
    JsonWithSchemas,
    Json,
    Unknown,
}

impl Looks {
    /// Guesses by the first bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let text = bytes.trim_ascii_start();
        match text.first() {
            Some(b'{') => {
                let rest = text[1..].trim_ascii_start();
                if rest.starts_with(b"\"schema\"") {
                    Self::JsonWithSchemas
                } else {
                    Self::Json
                }
            }
            Some(b'"' | b'[') => Self::Json,
            _ if bytes.len() >= 5 && bytes[0] == 0 => Self::Avro,
            _ => Self::Unknown,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Avro => {
                "Avro in Confluent's wire format (io.confluent.connect.avro.AvroConverter)"
            }
            Self::JsonWithSchemas => "JSON with schemas (JsonConverter with schemas.enable=true)",
            Self::Json => "JSON without schemas (JsonConverter with schemas.enable=false)",
            Self::Unknown => "neither JSON nor Avro in Confluent's wire format",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Avro => {
                "set format (of spec.kafka or spec.kafkaTopics) to avro with the schemaRegistry that \
                 the writer uses"
            }
            Self::JsonWithSchemas => {
                "set format.json.schemas (of spec.kafka or spec.kafkaTopics) to true"
            }
            Self::Json => "set format.json.schemas (of spec.kafka or spec.kafkaTopics) to false",
            Self::Unknown => {
                "let the writer use JsonConverter, or an Avro converter with Confluent's wire format"
            }
        }
    }
}

/// A record's key or value is in another format than declared.
pub(crate) fn other_format(topic: &str, part: &str, declared: Looks, bytes: &[u8]) -> Error {
    let looks = Looks::of(bytes);
    if looks == declared {
        return damaged(topic, part, "it ends too early or makes no sense");
    }
    // What is of no format at all is a damaged record. What is of another one is rather read wrongly.
    let reason = match looks {
        Looks::Unknown => Reason::DecodeFailed,
        _ => Reason::InvalidConfig,
    };
    Error::new(
        reason,
        format!(
            "topic {topic}: a record's {part} is not {}: it looks like {}",
            declared.words(),
            looks.words(),
        ),
    )
    .with_hint(looks.remedy())
}

/// A record has the other envelope.
pub(crate) fn other_envelope(topic: &str, declared_debezium: bool) -> Error {
    let (is_not, looks, remedy) = if declared_debezium {
        (
            "has no before, after and op, as Debezium's envelope has",
            "a flat row",
            "Flat",
        )
    } else {
        ("is no flat row", "Debezium's envelope", "Debezium")
    };
    Error::new(
        Reason::InvalidConfig,
        format!("topic {topic}: a record's value {is_not}: it looks like {looks}"),
    )
    .with_hint(format!(
        "set envelope (of spec.kafka or spec.kafkaTopics) to {remedy}"
    ))
}

/// A schema's id is in another form than Confluent's, in all of a writer's records.
pub(crate) fn long_id(topic: &str, part: &str) -> Error {
    Error::new(
        Reason::InvalidConfig,
        format!(
            "topic {topic}: the schema's id of a record's {part} has eight bytes, as Apicurio's converter \
             writes it without apicurio.registry.as-confluent=true"
        ),
    )
    .with_hint("set apicurio.registry.as-confluent=true in the writer's converters")
}

/// A record can't be read.
pub(crate) fn damaged(topic: &str, part: &str, what: &str) -> Error {
    Error::new(
        Reason::DecodeFailed,
        format!("topic {topic}: a record's {part} can't be decoded: {what}"),
    )
    .with_hint(
        "look at the record with a Kafka console consumer; whoever wrote it must write it anew",
    )
}
