//! Columns to Connect schemas: the logical types that Debezium's MySQL connector uses with its
//! default settings (`time.precision.mode=adaptive_time_microseconds`,
//! `decimal.handling.mode=precise`, `bigint.unsigned.handling.mode=precise`), and
//! `column.propagate.source.type` for every column.
//!
//! As in debezium/debezium@aad5519902: `BinlogValueConverters`, `JdbcValueConverters`,
//! `SchemaFactory`, `PropagateSourceMetadataToSchemaParameter`.

use sluice_core::{Column, ColumnType, TableSchema, schema::ColumnDefault, value::days_from_civil};

use crate::{
    connect::{Field, Kind, Literal, Schema},
    number,
};

pub(crate) const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
pub(crate) const PRECISION: &str = "connect.decimal.precision";
pub(crate) const SOURCE_TYPE: &str = "__debezium.source.column.type";
pub(crate) const SOURCE_LENGTH: &str = "__debezium.source.column.length";
pub(crate) const SOURCE_SCALE: &str = "__debezium.source.column.scale";
pub(crate) const SOURCE_NAME: &str = "__debezium.source.column.name";

/// The name of a column's field, by the column.
pub(crate) type FieldName = fn(&str) -> String;

/// The schema of a row.
pub(crate) fn row(table: &TableSchema, name: &str, field_name: FieldName) -> Schema {
    let fields = table.columns.iter().map(|column| field(column, field_name));
    Schema {
        name: Some(name.to_owned()),
        ..Schema::new(Kind::Struct(unique(fields.collect())))
    }
}

/// The schema of a row's key.
pub(crate) fn key(table: &TableSchema, name: &str, field_name: FieldName) -> Schema {
    // A name that had to give way in the row gives way in the key, too.
    let fields = unique(
        table
            .columns
            .iter()
            .map(|column| field(column, field_name))
            .collect(),
    );
    let fields = table.key.iter().map(|&column| fields[column].clone());
    Schema {
        name: Some(name.to_owned()),
        ..Schema::new(Kind::Struct(fields.collect()))
    }
}

/// The schema of Debezium's envelope around a row.
pub(crate) fn envelope(row: Schema, name: &str) -> Schema {
    let row = row.optional();
    let long = || Schema::new(Kind::Int64);
    Schema::named(Kind::Struct(Vec::new()), name)
        .version(2)
        .field("before", row.clone())
        .field("after", row)
        .field("source", source())
        .field("transaction", transaction())
        .field("op", Schema::new(Kind::String))
        .field("ts_ms", long().optional())
        .field("ts_us", long().optional())
        .field("ts_ns", long().optional())
}

fn source() -> Schema {
    let text = || Schema::new(Kind::String);
    let long = || Schema::new(Kind::Int64);
    let mut snapshot = Schema::named(Kind::String, "io.debezium.data.Enum")
        .with(
            "allowed",
            "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental",
        )
        .optional();
    snapshot.default = Some(Literal::Text("false".to_owned()));
    Schema::named(
        Kind::Struct(Vec::new()),
        "io.debezium.connector.mysql.Source",
    )
    .field("version", text())
    .field("connector", text())
    .field("name", text())
    .field("ts_ms", long())
    .field("snapshot", snapshot)
    .field("db", text())
    .field("sequence", text().optional())
    .field("ts_us", long().optional())
    .field("ts_ns", long().optional())
    .field("table", text().optional())
    .field("server_id", long())
    .field("gtid", text().optional())
    .field("file", text())
    .field("pos", long())
    .field("row", Schema::new(Kind::Int32))
    .field("thread", long().optional())
    .field("query", text().optional())
}

fn transaction() -> Schema {
    Schema::named(Kind::Struct(Vec::new()), "event.block")
        .field("id", Schema::new(Kind::String))
        .field("total_order", Schema::new(Kind::Int64))
        .field("data_collection_order", Schema::new(Kind::Int64))
        .optional()
}

/// Fields whose names would be the same once adjusted get numbers.
fn unique(mut fields: Vec<Field>) -> Vec<Field> {
    for index in 1..fields.len() {
        let base = fields[index].name.clone();
        let mut number = 2;
        while fields[..index]
            .iter()
            .any(|field| field.name == fields[index].name)
        {
            fields[index].name = format!("{base}_{number}");
            number += 1;
        }
    }
    fields
}

fn field(column: &Column, field_name: FieldName) -> Field {
    let mut schema = of_type(&column.ty);
    let (source_type, length, scale) = source_type(column);
    // A struct is defined once in Avro, so it can't say what is special about one column.
    if !matches!(schema.kind, Kind::Struct(_)) {
        schema = schema.with(SOURCE_TYPE, source_type);
        if let Some(length) = length {
            schema = schema.with(SOURCE_LENGTH, length.to_string());
        }
        if let Some(scale) = scale {
            schema = schema.with(SOURCE_SCALE, scale.to_string());
        }
        let name = field_name(&column.name);
        if name != column.name {
            schema = schema.with(SOURCE_NAME, column.name.as_str());
        }
    }
    if column.nullable {
        // Connect's converters write the default of an optional field in place of a null.
        schema.optional = true;
    } else {
        schema.default = default(column);
    }
    Field {
        name: field_name(&column.name),
        schema,
    }
}

fn of_type(ty: &ColumnType) -> Schema {
    let named = Schema::named;
    match ty {
        ColumnType::Bool | ColumnType::Bit { length: 1 } => Schema::new(Kind::Boolean),
        ColumnType::Int {
            bits: 64,
            unsigned: true,
        } => decimal(20, 0),
        ColumnType::Int { bits, unsigned } => Schema::new(match (bits, unsigned) {
            (..=8, _) | (9..=16, false) => Kind::Int16,
            (9..=16, true) | (17..=24, _) | (25..=32, false) => Kind::Int32,
            _ => Kind::Int64,
        }),
        ColumnType::Float => Schema::new(Kind::Float32),
        ColumnType::Double => Schema::new(Kind::Float64),
        ColumnType::Decimal {
            precision: 0,
            scale: _,
        } => variable_scale_decimal(),
        ColumnType::Decimal { precision, scale } => decimal(*precision, *scale),
        ColumnType::Bit { length } => {
            named(Kind::Bytes, "io.debezium.data.Bits").with("length", length.to_string())
        }
        ColumnType::Char { .. } | ColumnType::Varchar { .. } | ColumnType::Text => {
            Schema::new(Kind::String)
        }
        ColumnType::Binary { .. } | ColumnType::Varbinary { .. } | ColumnType::Blob => {
            Schema::new(Kind::Bytes)
        }
        ColumnType::Date => named(Kind::Int32, "io.debezium.time.Date"),
        ColumnType::DateTime { precision: ..=3 } => {
            named(Kind::Int64, "io.debezium.time.Timestamp")
        }
        ColumnType::DateTime { .. } => named(Kind::Int64, "io.debezium.time.MicroTimestamp"),
        ColumnType::Timestamp { .. } => named(Kind::String, "io.debezium.time.ZonedTimestamp"),
        ColumnType::Time { .. } => named(Kind::Int64, "io.debezium.time.MicroTime"),
        ColumnType::Interval => named(Kind::String, "io.debezium.time.Interval"),
        ColumnType::Year => named(Kind::Int32, "io.debezium.time.Year"),
        ColumnType::Enum { labels } => {
            named(Kind::String, "io.debezium.data.Enum").with("allowed", allowed(labels))
        }
        ColumnType::Set { labels } => {
            named(Kind::String, "io.debezium.data.EnumSet").with("allowed", allowed(labels))
        }
        ColumnType::Json => named(Kind::String, "io.debezium.data.Json"),
        ColumnType::Uuid => named(Kind::String, "io.debezium.data.Uuid"),
        ColumnType::Geometry => named(
            Kind::Struct(Vec::new()),
            "io.debezium.data.geometry.Geometry",
        )
        .doc("Geometry")
        .field("wkb", Schema::new(Kind::Bytes))
        .field("srid", Schema::new(Kind::Int32).optional()),
        ColumnType::Vector => named(
            Kind::Array(Box::new(Schema::new(Kind::Float32))),
            "io.debezium.data.FloatVector",
        ),
        ColumnType::Array(items) => Schema::new(Kind::Array(Box::new(of_type(items).optional()))),
    }
}

fn decimal(precision: u16, scale: u16) -> Schema {
    Schema::named(Kind::Bytes, DECIMAL)
        .with("scale", scale.to_string())
        .with(PRECISION, precision.to_string())
}

fn variable_scale_decimal() -> Schema {
    Schema::named(
        Kind::Struct(Vec::new()),
        "io.debezium.data.VariableScaleDecimal",
    )
    .doc("Variable scaled decimal")
    .field("scale", Schema::new(Kind::Int32))
    .field("value", Schema::new(Kind::Bytes))
}

/// Labels as Debezium's `EnumeratedValues` joins them.
fn allowed(labels: &[String]) -> String {
    let escaped = labels
        .iter()
        .map(|label| label.replace('\\', "\\\\").replace(',', "\\,"));
    escaped.collect::<Vec<_>>().join(",")
}

/// The type as MySQL calls it, its length and its scale.
fn source_type(column: &Column) -> (String, Option<u32>, Option<u16>) {
    let fraction = |name: &str, precision: u8| {
        let length = (precision > 0).then(|| u32::from(precision));
        (name.to_owned(), length, None)
    };
    let plain = |name: &str| (name.to_owned(), None, None);
    let long = |name: &str, length: u32| (name.to_owned(), Some(length), None);
    match &column.ty {
        ColumnType::Bool => plain("BOOLEAN"),
        ColumnType::Int { bits, unsigned } => {
            let name = match bits {
                ..=8 => "TINYINT",
                9..=16 => "SMALLINT",
                17..=24 => "MEDIUMINT",
                25..=32 => "INT",
                _ => "BIGINT",
            };
            let suffix = if *unsigned { " UNSIGNED" } else { "" };
            (format!("{name}{suffix}"), column.boolean.then_some(1), None)
        }
        ColumnType::Float => plain("FLOAT"),
        ColumnType::Double => plain("DOUBLE"),
        ColumnType::Decimal { precision, scale } => (
            "DECIMAL".to_owned(),
            Some(u32::from(*precision)),
            Some(*scale),
        ),
        ColumnType::Bit { length } => long("BIT", *length),
        ColumnType::Char { length } => long("CHAR", *length),
        ColumnType::Varchar { length } => long("VARCHAR", *length),
        ColumnType::Text => plain("LONGTEXT"),
        ColumnType::Binary { length } => long("BINARY", *length),
        ColumnType::Varbinary { length } => long("VARBINARY", *length),
        ColumnType::Blob => plain("LONGBLOB"),
        ColumnType::Date => plain("DATE"),
        ColumnType::DateTime { precision } => fraction("DATETIME", *precision),
        ColumnType::Timestamp { precision } => fraction("TIMESTAMP", *precision),
        ColumnType::Time { precision } => fraction("TIME", *precision),
        ColumnType::Interval => plain("INTERVAL"),
        ColumnType::Year => plain("YEAR"),
        ColumnType::Enum { .. } => plain("ENUM"),
        ColumnType::Set { .. } => plain("SET"),
        ColumnType::Json => plain("JSON"),
        ColumnType::Uuid => plain("UUID"),
        ColumnType::Geometry => plain("GEOMETRY"),
        ColumnType::Vector => plain("VECTOR"),
        ColumnType::Array(_) => plain("ARRAY"),
    }
}

/// A column's constant default as its schema's values are written; without one, a new column that
/// must have a value is a change that old records can't follow.
fn default(column: &Column) -> Option<Literal> {
    let Some(ColumnDefault::Literal(text)) = &column.default else {
        return None;
    };
    let int = || text.parse().ok().map(Literal::Int);
    match &column.ty {
        ColumnType::Int {
            bits: 64,
            unsigned: true,
        } => number::unscaled(text, 0).map(Literal::Bytes),
        ColumnType::Int { .. } | ColumnType::Year => int(),
        ColumnType::Float | ColumnType::Double => {
            let value: f64 = text.parse().ok()?;
            value.is_finite().then_some(Literal::Double(value))
        }
        ColumnType::Decimal {
            precision: 1..,
            scale,
        } => number::unscaled(text, *scale).map(Literal::Bytes),
        ColumnType::Char { .. }
        | ColumnType::Varchar { .. }
        | ColumnType::Text
        | ColumnType::Enum { .. }
        | ColumnType::Set { .. } => Some(Literal::Text(text.clone())),
        ColumnType::Date => {
            let mut parts = text.splitn(3, '-').map(str::parse::<u32>);
            let (year, month, day) = (
                parts.next()?.ok()?,
                parts.next()?.ok()?,
                parts.next()?.ok()?,
            );
            days_from_civil(year.try_into().ok()?, month, day).map(|days| Literal::Int(days.into()))
        }
        _ => None,
    }
}

/// A name as Avro allows it: other characters become `_`, as Debezium's `avro` adjustment does.
pub(crate) fn avro_name(name: &str) -> String {
    let mut adjusted = String::with_capacity(name.len());
    for character in name.chars() {
        let good = character.is_ascii_alphanumeric() || character == '_';
        if adjusted.is_empty() && character.is_ascii_digit() {
            adjusted.push('_');
        }
        adjusted.push(if good { character } else { '_' });
    }
    if adjusted.is_empty() {
        adjusted.push('_');
    }
    adjusted
}

/// A dotted name as Avro allows it.
pub(crate) fn avro_full_name(name: &str) -> String {
    let parts: Vec<_> = name.split('.').map(avro_name).collect();
    parts.join(".")
}
