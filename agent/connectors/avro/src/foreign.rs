//! Tables out of the schemas of records that others wrote.
//!
//! A column's type is what `__debezium.source.column.*` says, where it is there and the values can be
//! of that type, else what the logical type and then the plain type say.

use std::sync::Arc;

use sluice_core::{Column, ColumnType, TableId, TableSchema};

use crate::{
    connect::{Field, Kind, Schema},
    decode::Reading,
    types::{DECIMAL, PRECISION, SOURCE_LENGTH, SOURCE_NAME, SOURCE_SCALE, SOURCE_TYPE},
};

/// The table whose rows have this schema.
pub(crate) fn table(id: TableId, row: &Schema, key: Option<&Schema>) -> TableSchema {
    let key_fields = key.map(Schema::fields).unwrap_or_default();
    let place = |field: &Field| {
        row.fields()
            .iter()
            .position(|other| other.name == field.name)
    };
    let key: Option<Vec<usize>> = key_fields.iter().map(place).collect();
    let key = key.unwrap_or_default();
    let mut columns: Vec<_> = row.fields().iter().map(column).collect();
    for &index in &key {
        columns[index].nullable = false;
    }
    TableSchema { id, columns, key }
}

fn column(field: &Field) -> Column {
    let schema = &field.schema;
    let is_tinyint1 = schema
        .parameter(SOURCE_TYPE)
        .is_some_and(|ty| ty.to_ascii_uppercase().starts_with("TINYINT"))
        && schema.parameter(SOURCE_LENGTH) == Some("1");
    Column {
        name: schema
            .parameter(SOURCE_NAME)
            .unwrap_or(&field.name)
            .to_owned(),
        ty: column_type(schema),
        nullable: schema.optional,
        generated: false,
        boolean: is_tinyint1,
        default: None,
    }
}

/// The type that holds every value of a schema.
pub(crate) fn column_type(schema: &Schema) -> ColumnType {
    source_type(schema)
        .filter(|ty| Reading::of(ty, schema).is_some())
        .unwrap_or_else(|| by_name(schema).unwrap_or_else(|| by_kind(schema)))
}

fn number<T: std::str::FromStr>(schema: &Schema, key: &str) -> Option<T> {
    schema.parameter(key)?.parse().ok()
}

/// The type that the column has at its source.
fn source_type(schema: &Schema) -> Option<ColumnType> {
    let declared = schema.parameter(SOURCE_TYPE)?.to_ascii_uppercase();
    let length = number::<u32>(schema, SOURCE_LENGTH);
    let scale = number::<u16>(schema, SOURCE_SCALE);
    let precision = length.filter(|&length| length <= 6).unwrap_or(0) as u8;
    let unsigned = declared.contains("UNSIGNED");
    let int = |bits| ColumnType::Int { bits, unsigned };
    let name = declared.split([' ', '(']).next().unwrap_or_default();
    Some(match name {
        "BOOL" | "BOOLEAN" => ColumnType::Bool,
        "TINYINT" => int(8),
        "SMALLINT" | "INT2" => int(16),
        "MEDIUMINT" => int(24),
        "INT" | "INTEGER" | "INT4" | "SERIAL" => int(32),
        "BIGINT" | "INT8" | "BIGSERIAL" => int(64),
        "FLOAT" | "FLOAT4" if schema.kind == Kind::Float32 => ColumnType::Float,
        "DOUBLE" | "FLOAT8" | "FLOAT" => ColumnType::Double,
        "DECIMAL" | "NUMERIC" => ColumnType::Decimal {
            precision: u16::try_from(length?).ok()?,
            scale: scale.unwrap_or(0),
        },
        "BIT" => ColumnType::Bit {
            length: length.unwrap_or(1),
        },
        "CHAR" | "BPCHAR" => ColumnType::Char { length: length? },
        "VARCHAR" => ColumnType::Varchar { length: length? },
        "BINARY" => ColumnType::Binary { length: length? },
        "VARBINARY" => ColumnType::Varbinary { length: length? },
        "DATE" => ColumnType::Date,
        "DATETIME" => ColumnType::DateTime { precision },
        "TIMESTAMP" if schema.kind == Kind::String => ColumnType::Timestamp { precision },
        "TIME" => ColumnType::Time { precision },
        "YEAR" => ColumnType::Year,
        _ => return None,
    })
}

fn by_name(schema: &Schema) -> Option<ColumnType> {
    let name = schema.name.as_deref()?;
    let is_text = schema.kind == Kind::String;
    Some(match name {
        DECIMAL => ColumnType::Decimal {
            precision: number(schema, PRECISION).unwrap_or(0),
            scale: number(schema, "scale")?,
        },
        "io.debezium.data.VariableScaleDecimal" => ColumnType::Decimal {
            precision: 0,
            scale: 0,
        },
        "io.debezium.time.Date"
        | "org.apache.kafka.connect.data.Date"
        | "io.debezium.time.IsoDate" => ColumnType::Date,
        "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => {
            ColumnType::DateTime { precision: 3 }
        }
        "io.debezium.time.MicroTimestamp"
        | "io.debezium.time.NanoTimestamp"
        | "io.debezium.time.IsoTimestamp" => ColumnType::DateTime { precision: 6 },
        "io.debezium.time.ZonedTimestamp" | "avro.timestamp-micros" => {
            ColumnType::Timestamp { precision: 6 }
        }
        "avro.timestamp-millis" => ColumnType::Timestamp { precision: 3 },
        "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => {
            ColumnType::Time { precision: 3 }
        }
        "io.debezium.time.MicroTime" | "io.debezium.time.NanoTime" | "io.debezium.time.IsoTime" => {
            ColumnType::Time { precision: 6 }
        }
        "io.debezium.time.Interval"
        | "io.debezium.time.MicroDuration"
        | "io.debezium.time.NanoDuration" => ColumnType::Interval,
        "io.debezium.time.Year" => ColumnType::Year,
        "io.debezium.data.Enum" => ColumnType::Enum {
            labels: labels(schema.parameter("allowed")?),
        },
        "io.debezium.data.EnumSet" => ColumnType::Set {
            labels: labels(schema.parameter("allowed")?),
        },
        "io.debezium.data.Json" => ColumnType::Json,
        "io.debezium.data.Uuid" if is_text => ColumnType::Uuid,
        "io.debezium.data.Bits" => ColumnType::Bit {
            length: number(schema, "length")?,
        },
        "io.debezium.data.geometry.Geometry"
        | "io.debezium.data.geometry.Geography"
        | "io.debezium.data.geometry.Point" => ColumnType::Geometry,
        "io.debezium.data.FloatVector" => ColumnType::Vector,
        _ => return None,
    })
    .filter(|ty| Reading::of(ty, schema).is_some())
}

fn by_kind(schema: &Schema) -> ColumnType {
    let int = |bits| ColumnType::Int {
        bits,
        unsigned: false,
    };
    match &schema.kind {
        Kind::Int8 => int(8),
        Kind::Int16 => int(16),
        Kind::Int32 => int(32),
        Kind::Int64 => int(64),
        Kind::Float32 => ColumnType::Float,
        Kind::Float64 => ColumnType::Double,
        Kind::Boolean => ColumnType::Bool,
        Kind::String => ColumnType::Text,
        Kind::Bytes => ColumnType::Blob,
        Kind::Array(items) => ColumnType::Array(Box::new(column_type(items))),
        Kind::Map(..) | Kind::Struct(_) => ColumnType::Json,
    }
}

/// Labels as Debezium's `EnumeratedValues` takes them apart.
fn labels(allowed: &str) -> Vec<String> {
    let mut labels = vec![String::new()];
    let mut characters = allowed.chars().peekable();
    while let Some(character) = characters.next() {
        let last = labels.last_mut().expect("there is one from the beginning");
        match character {
            ',' => labels.push(String::new()),
            '\\' if matches!(characters.peek(), Some(',' | '\\')) => last.extend(characters.next()),
            other => last.push(other),
        }
    }
    labels
}

/// The table that a topic of flat records holds: the last two parts of its name.
pub(crate) fn table_of_topic(topic: &str, source_name: &str) -> TableId {
    let mut parts = topic.rsplitn(3, '.');
    let name = parts.next().unwrap_or(topic);
    let schema = parts.next().unwrap_or(source_name);
    TableId::new(Arc::from(schema), Arc::from(name))
}
