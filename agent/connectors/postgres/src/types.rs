//! Which PostgreSQL type a source's column gets, and how its values reach a given type.
//!
//! [`wanted`] is what a created column is; [`encoder`] is what an existing column takes, which may
//! be another type with room for the same values. [`fill`] turns a source's default into the value
//! that rows get which were there before the column.

use sluice_agent_api::config::{EnumAs, PostgresConfig, SetAs, Tinyint1};
use sluice_core::{
    Column, ColumnType,
    schema::ColumnDefault,
    value::{Value, days_from_civil},
};

use crate::{
    encode::Encoder,
    numeric::Room,
    schema::TargetColumn,
    sql::{identifier, list, literal},
    text::hex,
};

/// The user's choices and the database's abilities.
#[derive(Debug, Clone)]
pub(crate) struct TypeOptions {
    pub(crate) tinyint1: Tinyint1,
    pub(crate) enums: EnumAs,
    pub(crate) sets: SetAs,
    /// The schema of the PostGIS extension.
    pub(crate) postgis: Option<String>,
}

impl TypeOptions {
    /// The choices of a sink, before the database was asked.
    pub(crate) fn new(config: &PostgresConfig) -> Self {
        Self {
            tinyint1: config.tinyint1,
            enums: config.enums,
            sets: config.sets,
            postgis: None,
        }
    }
}

/// The type that a created column gets, spelt as `format_type` spells it. A native enum, whose type
/// belongs to the table, is `None`.
pub(crate) fn wanted(column: &Column, options: &TypeOptions) -> Option<String> {
    let text = match &column.ty {
        ColumnType::Bool => "boolean".into(),
        ColumnType::Int { .. } if column.boolean && options.tinyint1 == Tinyint1::Boolean => {
            "boolean".into()
        }
        ColumnType::Int { bits, unsigned } => integer(*bits, *unsigned).into(),
        ColumnType::Year => "smallint".into(),
        ColumnType::Float => "real".into(),
        ColumnType::Double => "double precision".into(),
        ColumnType::Decimal { precision: 0, .. } => "numeric".into(),
        ColumnType::Decimal { precision, scale } => format!("numeric({precision},{scale})"),
        ColumnType::Bit { length } => format!("bit({length})"),
        ColumnType::Char { length } | ColumnType::Varchar { length } => {
            format!("character varying({})", (*length).max(1))
        }
        ColumnType::Text | ColumnType::Enum { .. } if is_text(column, options) => "text".into(),
        ColumnType::Enum { .. } => return None,
        ColumnType::Set { .. } if options.sets == SetAs::TextArray => "text[]".into(),
        ColumnType::Text | ColumnType::Set { .. } => "text".into(),
        ColumnType::Binary { .. } | ColumnType::Varbinary { .. } | ColumnType::Blob => {
            "bytea".into()
        }
        ColumnType::Date => "date".into(),
        ColumnType::DateTime { precision } => {
            format!("timestamp({precision}) without time zone")
        }
        ColumnType::Timestamp { precision } => format!("timestamp({precision}) with time zone"),
        ColumnType::Time { .. } | ColumnType::Interval => "interval".into(),
        // Arrays come from PostgreSQL only; JSON holds whatever they nest.
        ColumnType::Json | ColumnType::Array(_) => "jsonb".into(),
        ColumnType::Uuid => "uuid".into(),
        ColumnType::Geometry => match &options.postgis {
            Some(schema) => format!("{}.geometry", identifier(schema)),
            None => "bytea".into(),
        },
        ColumnType::Vector => "real[]".into(),
    };
    Some(text)
}

fn is_text(column: &Column, options: &TypeOptions) -> bool {
    column.ty == ColumnType::Text || options.enums == EnumAs::Text
}

fn integer(bits: u8, unsigned: bool) -> &'static str {
    match (bits, unsigned) {
        (..=8, _) | (16, false) => "smallint",
        (16 | 24, true) | (17..=32, false) => "integer",
        (_, false) | (17..=32, true) => "bigint",
        (_, true) => "numeric(20,0)",
    }
}

/// Whether a created column may be NULL: also where the source may hold dates that no calendar has.
pub(crate) fn is_nullable(column: &Column, in_key: bool) -> bool {
    !in_key && (column.nullable || column.ty.may_be_impossible())
}

/// How a source's column is written to a target's column; `None` when it can't be.
pub(crate) fn encoder(
    source: &Column,
    target: &TargetColumn,
    options: &TypeOptions,
) -> Option<Encoder> {
    use ColumnType as S;
    let lenient = source.boolean && options.tinyint1 == Tinyint1::Boolean;
    let unit = target.timestamp_unit();
    let encoder = match (&source.ty, target.type_name.as_str()) {
        (S::Int { .. } | S::Year | S::Bool, "bool") => Encoder::Bool { any: lenient },
        (S::Bit { length: 1 }, "bool") => Encoder::Bool { any: false },
        (S::Int { .. } | S::Year | S::Bool | S::Decimal { .. } | S::Bit { .. }, "int2") => {
            Encoder::Int2
        }
        (S::Int { .. } | S::Year | S::Bool | S::Decimal { .. } | S::Bit { .. }, "int4") => {
            Encoder::Int4
        }
        (S::Int { .. } | S::Year | S::Bool | S::Decimal { .. } | S::Bit { .. }, "int8") => {
            Encoder::Int8
        }
        (S::Int { .. } | S::Year | S::Decimal { .. }, "numeric") => {
            Encoder::Numeric(room(&source.ty, target))
        }
        (S::Float | S::Double, "float4") => Encoder::Float4,
        (S::Float | S::Double | S::Int { .. } | S::Year, "float8") => Encoder::Float8,
        (S::Bit { .. }, "bit") => Encoder::Bit(target.bit_length()?),
        (S::Bit { .. }, "varbit") => Encoder::Varbit,
        (S::Binary { .. } | S::Varbinary { .. } | S::Blob | S::Geometry | S::Uuid, "bytea") => {
            Encoder::Bytea
        }
        (
            S::Uuid
            | S::Char { length: 36 }
            | S::Binary { length: 16 }
            | S::Varchar { .. }
            | S::Text,
            "uuid",
        ) => Encoder::Uuid,
        (S::Date, "date") => Encoder::Date,
        (S::Date | S::DateTime { .. }, "timestamp") | (S::Timestamp { .. }, "timestamptz") => {
            Encoder::Timestamp { unit }
        }
        (S::Time { .. } | S::Interval, "interval") => Encoder::Interval,
        (S::Time { .. }, "time") => Encoder::Time,
        (S::Json | S::Array(_) | S::Text | S::Varchar { .. }, "json") => Encoder::Json,
        (S::Json | S::Array(_) | S::Text | S::Varchar { .. }, "jsonb") => Encoder::Jsonb,
        (S::Set { .. }, "_text") => Encoder::TextArray,
        (S::Vector, "_float4") => Encoder::FloatArray,
        (S::Geometry, "geometry") => Encoder::Geometry,
        (S::Enum { .. } | S::Char { .. } | S::Varchar { .. }, _) if target.is_enum() => {
            Encoder::Text
        }
        (ty, "text" | "varchar" | "bpchar" | "citext") if has_text_form(ty) => Encoder::Text,
        _ => return None,
    };
    Some(encoder)
}

fn has_text_form(ty: &ColumnType) -> bool {
    use ColumnType as S;
    !matches!(
        ty,
        S::Binary { .. }
            | S::Varbinary { .. }
            | S::Blob
            | S::Geometry
            | S::Vector
            | S::Array(_)
            | S::Float
            | S::Double
    )
}

/// The digits to count, where the target has fewer than the source's type allows.
fn room(source: &ColumnType, target: &TargetColumn) -> Option<Room> {
    let room = target.numeric_room()?;
    let (whole, fraction) = match source {
        ColumnType::Decimal { precision: 0, .. } => (u16::MAX, u16::MAX),
        ColumnType::Decimal { precision, scale } => (precision.saturating_sub(*scale), *scale),
        ColumnType::Int { bits, .. } => {
            let digits = [(8, 3), (16, 5), (24, 8), (32, 10)];
            let found = digits.iter().find(|(width, _)| bits <= width);
            (found.map_or(20, |(_, digits)| *digits), 0)
        }
        _ => (4, 0),
    };
    (whole > room.whole || fraction > room.fraction).then_some(room)
}

/// The expression that gives rows the value which the source gave them when it added the column:
/// the default, or what MySQL takes for a column that allows no NULL and has no default. `None` for
/// NULL, and where only the source can tell.
pub(crate) fn fill(column: &Column, type_sql: &str) -> Option<String> {
    let text = match &column.default {
        Some(ColumnDefault::Literal(text)) => literal_of(column, text)?,
        None if !column.nullable && !column.generated => literal_of(column, &implicit(column)?)?,
        Some(ColumnDefault::Expression(_)) | None => return None,
    };
    Some(match (&column.ty, type_sql) {
        (ColumnType::Set { .. }, "text[]") => {
            format!("string_to_array({text}, ',')")
        }
        (_, "boolean") => format!("({text}::int <> 0)"),
        _ => format!("{text}::{type_sql}"),
    })
}

/// What MySQL puts in the place of NULL when a column is made `NOT NULL` and nothing is strict;
/// `None` where the target has no such value.
pub(crate) fn instead_of_null(column: &Column, type_sql: &str) -> Option<String> {
    let ty = match &column.ty {
        // The error value, not the first label.
        ColumnType::Enum { .. } => ColumnType::Enum {
            labels: vec![String::new()],
        },
        ty => ty.clone(),
    };
    let column = Column {
        ty,
        nullable: false,
        default: None,
        ..column.clone()
    };
    fill(&column, type_sql)
}

fn implicit(column: &Column) -> Option<String> {
    use ColumnType as S;
    Some(match &column.ty {
        S::Int { .. } | S::Float | S::Double | S::Decimal { .. } | S::Year | S::Bit { .. } => {
            "0".to_owned()
        }
        S::Time { .. } => "00:00:00".to_owned(),
        S::Enum { labels } => labels.first()?.clone(),
        S::Json => "null".to_owned(),
        S::Char { .. } | S::Varchar { .. } | S::Text | S::Set { .. } => String::new(),
        S::Binary { .. } | S::Varbinary { .. } | S::Blob => "0x".to_owned(),
        _ => return None,
    })
}

fn literal_of(column: &Column, text: &str) -> Option<String> {
    use ColumnType as S;
    match &column.ty {
        S::Bit { length } => bits(text, *length),
        S::Binary { length } => Some(bytes(text, *length as usize)),
        S::Varbinary { .. } | S::Blob => Some(bytes(text, 0)),
        S::Date | S::DateTime { .. } | S::Timestamp { .. } => {
            let day = text.get(..10)?;
            let mut parts = day.split('-').map(str::parse);
            let mut next = || parts.next()?.ok();
            let (year, month, day): (u32, u32, u32) = (next()?, next()?, next()?);
            days_from_civil(year as i32, month, day)?;
            Some(literal(text))
        }
        _ if text.contains('\0') => None,
        _ => Some(literal(text)),
    }
}

/// `b'101'` or a number, padded to the column's length.
fn bits(text: &str, length: u32) -> Option<String> {
    let digits = text.strip_prefix("b'").and_then(|t| t.strip_suffix('\''));
    let number = match digits {
        Some(digits) => u64::from_str_radix(digits, 2).ok()?,
        None => text.parse().ok()?,
    };
    let width = length as usize;
    Some(format!("B'{number:0width$b}'"))
}

/// `0x616263` or plain text, padded with zero bytes to the column's length.
fn bytes(text: &str, length: usize) -> String {
    let digits = text.strip_prefix("0x").filter(|digits| {
        digits.len() % 2 == 0 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    let mut digits = digits.map_or_else(|| hex(text.as_bytes()), str::to_ascii_lowercase);
    while digits.len() < 2 * length {
        digits.push_str("00");
    }
    format!("'\\x{digits}'")
}

/// The statement that creates a native enum.
pub(crate) fn create_enum(name: &str, labels: &[String]) -> String {
    // MySQL's error value is the empty text.
    let labels = labels.iter().map(|label| literal(label));
    let all = std::iter::once(literal("")).chain(labels.filter(|label| label != "''"));
    format!("CREATE TYPE {name} AS ENUM ({})", list(all))
}

/// The longest value that is sent in one piece.
pub(crate) fn payload_bytes(value: &Value<'_>) -> usize {
    match value {
        Value::Text(text) | Value::Json(text) | Value::Set(text) | Value::Enum(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Geometry(geometry) => geometry.wkb.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> TypeOptions {
        TypeOptions {
            tinyint1: Tinyint1::Smallint,
            enums: EnumAs::Text,
            sets: SetAs::Text,
            postgis: None,
        }
    }

    fn column(ty: ColumnType, default: Option<&str>) -> Column {
        Column {
            name: "c".into(),
            ty,
            nullable: false,
            generated: false,
            boolean: false,
            default: default.map(|text| ColumnDefault::Literal(text.into())),
        }
    }

    #[test]
    fn integers_get_the_smallest_type_that_holds_them() {
        let name = |bits, unsigned| {
            wanted(
                &column(ColumnType::Int { bits, unsigned }, None),
                &options(),
            )
            .unwrap()
        };
        assert_eq!(name(8, false), "smallint");
        assert_eq!(name(8, true), "smallint");
        assert_eq!(name(16, false), "smallint");
        assert_eq!(name(16, true), "integer");
        assert_eq!(name(24, true), "integer");
        assert_eq!(name(32, false), "integer");
        assert_eq!(name(32, true), "bigint");
        assert_eq!(name(64, false), "bigint");
        assert_eq!(name(64, true), "numeric(20,0)");
    }

    #[test]
    fn defaults_become_expressions_of_the_target() {
        let date = ColumnType::DateTime { precision: 0 };
        let fill_of = |ty, default, name| fill(&column(ty, default), name);
        assert_eq!(
            fill_of(ColumnType::Text, Some("it's"), "text").unwrap(),
            "'it''s'::text"
        );
        assert_eq!(
            fill_of(ColumnType::Bit { length: 4 }, Some("b'101'"), "bit(4)").unwrap(),
            "B'0101'::bit(4)"
        );
        assert_eq!(
            fill_of(ColumnType::Binary { length: 3 }, Some("0x6162"), "bytea").unwrap(),
            "'\\x616200'::bytea"
        );
        assert_eq!(
            fill_of(date.clone(), Some("0000-00-00 00:00:00"), "timestamp"),
            None
        );
        assert_eq!(fill_of(date, None, "timestamp"), None);
        assert_eq!(
            fill_of(ColumnType::Varchar { length: 3 }, None, "text").unwrap(),
            "''::text"
        );
    }
}
