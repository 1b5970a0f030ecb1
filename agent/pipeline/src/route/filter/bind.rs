//! Binds a filter to a table: names become ordinals, constants take their column's type. What
//! can't be compared is refused here, so that evaluation never fails.

use sluice_core::{Column, ColumnType, TableSchema};

use crate::route::filter::{
    Fault,
    evaluate::{Outcomes, Pattern, Test},
    moment::{parse_moment, parse_time},
    order::{Comparison, Literal},
    parse::{Expression, Operand, OperandKind},
};

/// Binds the expression to the table's columns.
pub(super) fn bind(expression: &Expression, table: &TableSchema) -> Result<Test, Fault> {
    let all = |parts: &[Expression]| {
        let bound = parts.iter().map(|part| bind(part, table));
        bound.collect::<Result<Vec<_>, _>>()
    };
    Ok(match expression {
        Expression::Or(parts) => Test::Or(all(parts)?),
        Expression::And(parts) => Test::And(all(parts)?),
        Expression::Not(inner) => Test::Not(Box::new(bind(inner, table)?)),
        Expression::IsTrue(inner) => Test::IsTrue(Box::new(bind(inner, table)?)),
        Expression::Operand(operand) => bind_truth(operand, table)?,
        Expression::IsNull(operand) => Test::IsNull(column(operand, table)?.0),
        Expression::Compare(left, comparison, right) => {
            bind_comparison(left, *comparison, right, table)?
        }
        Expression::In(operand, list) => bind_list(operand, list, table)?,
        Expression::Like {
            operand,
            pattern,
            escape,
        } => {
            let (index, column) = column(operand, table)?;
            if family(&column.ty) != Family::Text {
                let message = format!("LIKE needs text, and column {:?} holds none", column.name);
                return Err(Fault::new(operand.at, message));
            }
            Test::Like(index, Pattern::new(pattern, *escape))
        }
    })
}

/// Which values compare with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Bool,
    Exact,
    Float,
    Text,
    Bytes,
    Uuid,
    Calendar,
    Instant,
    Time,
    /// Only `IS NULL`.
    Opaque,
}

fn family(ty: &ColumnType) -> Family {
    match ty {
        ColumnType::Bool => Family::Bool,
        ColumnType::Int { .. } | ColumnType::Decimal { .. } | ColumnType::Year => Family::Exact,
        ColumnType::Bit { length } if *length <= 64 => Family::Exact,
        ColumnType::Float | ColumnType::Double => Family::Float,
        ColumnType::Char { .. }
        | ColumnType::Varchar { .. }
        | ColumnType::Text
        | ColumnType::Enum { .. }
        | ColumnType::Set { .. } => Family::Text,
        ColumnType::Binary { .. } | ColumnType::Varbinary { .. } | ColumnType::Blob => {
            Family::Bytes
        }
        ColumnType::Uuid => Family::Uuid,
        ColumnType::Date | ColumnType::DateTime { .. } => Family::Calendar,
        ColumnType::Timestamp { .. } => Family::Instant,
        ColumnType::Time { .. } => Family::Time,
        ColumnType::Bit { .. }
        | ColumnType::Interval
        | ColumnType::Json
        | ColumnType::Geometry
        | ColumnType::Vector
        | ColumnType::Array(_) => Family::Opaque,
    }
}

fn column<'a>(operand: &Operand, table: &'a TableSchema) -> Result<(usize, &'a Column), Fault> {
    let OperandKind::Column(name) = &operand.kind else {
        let message = "a constant stands where a column is needed".to_owned();
        return Err(Fault::new(operand.at, message));
    };
    match table.column_index(name) {
        Some(index) => Ok((index, &table.columns[index])),
        None => Err(Fault::new(operand.at, format!("no column {name:?}"))),
    }
}

fn bind_truth(operand: &Operand, table: &TableSchema) -> Result<Test, Fault> {
    match &operand.kind {
        OperandKind::Bool(true) => Ok(Test::Constant(Outcomes::TRUE)),
        OperandKind::Bool(false) => Ok(Test::Constant(Outcomes::FALSE)),
        OperandKind::Null => Ok(Test::Constant(Outcomes::NULL)),
        OperandKind::Column(name) => {
            let (index, column) = column(operand, table)?;
            match column.ty {
                ColumnType::Bool | ColumnType::Int { .. } | ColumnType::Bit { length: ..=64 } => {
                    Ok(Test::Truth(index))
                }
                _ => Err(Fault::new(
                    operand.at,
                    format!("column {name:?} is no truth value: compare it with something"),
                )),
            }
        }
        _ => Err(Fault::new(
            operand.at,
            "a constant is no condition".to_owned(),
        )),
    }
}

fn bind_comparison(
    left: &Operand,
    comparison: Comparison,
    right: &Operand,
    table: &TableSchema,
) -> Result<Test, Fault> {
    let is_column = |operand: &Operand| matches!(operand.kind, OperandKind::Column(_));
    if !is_column(left) && is_column(right) {
        return bind_comparison(right, comparison.flipped(), left, table);
    }
    let (index, column_left) = column(left, table)?;
    if is_column(right) {
        let (other, column_right) = column(right, table)?;
        let families = (family(&column_left.ty), family(&column_right.ty));
        if families.0 != families.1 || families.0 == Family::Opaque {
            let message = format!(
                "columns {:?} and {:?} do not compare",
                column_left.name, column_right.name
            );
            return Err(Fault::new(left.at, message));
        }
        return Ok(Test::Columns(index, comparison, other));
    }
    Ok(match literal(right, column_left)? {
        Some(literal) => Test::Compare(index, comparison, literal),
        // Comparing with NULL gives NULL, whatever the column holds.
        None => Test::Constant(Outcomes::NULL),
    })
}

fn bind_list(operand: &Operand, list: &[Operand], table: &TableSchema) -> Result<Test, Fault> {
    let (index, column) = column(operand, table)?;
    let mut literals = Vec::with_capacity(list.len());
    let mut has_null = false;
    for item in list {
        match literal(item, column)? {
            Some(literal) => literals.push(literal),
            None => has_null = true,
        }
    }
    Ok(Test::In(index, literals, has_null))
}

/// The constant in its column's type; `None` for NULL.
fn literal(operand: &Operand, column: &Column) -> Result<Option<Literal>, Fault> {
    let bound = match (&operand.kind, family(&column.ty)) {
        (_, Family::Opaque) => {
            let message = format!(
                "column {:?} compares with nothing: only IS NULL and IS NOT NULL apply",
                column.name
            );
            return Err(Fault::new(operand.at, message));
        }
        (OperandKind::Null, _) => return Ok(None),
        (OperandKind::Text(text), Family::Text) => Some(Literal::Text(text.clone())),
        (OperandKind::Text(text), Family::Bytes) => Some(Literal::Bytes(text.clone().into())),
        (OperandKind::Bytes(bytes), Family::Bytes) => Some(Literal::Bytes(bytes.clone())),
        (OperandKind::Text(text), Family::Uuid) => uuid(text).map(Literal::Uuid),
        (OperandKind::Text(text), Family::Time) => parse_time(text).map(Literal::Time),
        (OperandKind::Text(text), Family::Instant) => {
            parse_moment(text).map(|(moment, _)| Literal::Moment(moment))
        }
        (OperandKind::Text(text), Family::Calendar) => match parse_moment(text) {
            Some((moment, false)) => Some(Literal::Moment(moment)),
            _ => None,
        },
        (OperandKind::Bool(value), Family::Bool) => Some(Literal::Bool(*value)),
        (OperandKind::Number(text) | OperandKind::Text(text), Family::Bool) => truth(text),
        (OperandKind::Bool(value), Family::Exact) => number(if *value { "1" } else { "0" }, column),
        (OperandKind::Number(text) | OperandKind::Text(text), Family::Exact | Family::Float) => {
            number(text, column)
        }
        _ => None,
    };
    match bound {
        Some(literal) => Ok(Some(literal)),
        None => Err(Fault::new(operand.at, mismatch(operand, column))),
    }
}

fn mismatch(operand: &Operand, column: &Column) -> String {
    let wanted = match family(&column.ty) {
        Family::Bool => "TRUE or FALSE",
        Family::Exact | Family::Float => "a number",
        Family::Text => "text in single quotes",
        Family::Bytes => "text in single quotes or X'hexadecimal digits'",
        Family::Uuid => "a UUID in single quotes",
        Family::Calendar => "'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS' without a zone",
        Family::Instant => "'YYYY-MM-DD HH:MM:SS', in UTC or with +HH:MM",
        Family::Time => "'HH:MM:SS'",
        Family::Opaque => "IS NULL",
    };
    let found = match &operand.kind {
        OperandKind::Column(_) => "a column stands where a constant is needed".to_owned(),
        OperandKind::Number(text) => format!("found {text}"),
        OperandKind::Text(text) => format!("found '{text}'"),
        OperandKind::Bytes(_) => "found X'…'".to_owned(),
        OperandKind::Bool(value) => format!("found {value}"),
        OperandKind::Null => "found NULL".to_owned(),
    };
    format!("column {:?} compares with {wanted}; {found}", column.name)
}

fn truth(text: &str) -> Option<Literal> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Some(Literal::Bool(true)),
        "false" | "f" | "0" => Some(Literal::Bool(false)),
        _ => None,
    }
}

fn number(text: &str, column: &Column) -> Option<Literal> {
    match column.ty {
        ColumnType::Float => text.parse().ok().map(Literal::Float),
        ColumnType::Double => text.parse().ok().map(Literal::Double),
        ColumnType::Decimal { .. } => match text {
            "NaN" | "Infinity" | "-Infinity" => Some(Literal::Decimal(text.to_owned())),
            _ => plain_decimal(text).map(Literal::Decimal),
        },
        _ => {
            let plain = plain_decimal(text)?;
            let whole = match plain.split_once('.') {
                Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
                Some(_) => "",
                None => &plain,
            };
            Some(match whole.parse() {
                Ok(integer) => Literal::Integer(integer),
                Err(_) => Literal::Decimal(plain),
            })
        }
    }
}

/// Writes a number out without its exponent: `-1.25e1` is `-12.5`.
fn plain_decimal(text: &str) -> Option<String> {
    const EXPONENT_MAX: i32 = 1000;
    let lower = text.trim().to_ascii_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{fraction}");
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number || exponent.abs() > EXPONENT_MAX {
        return None;
    }
    let point = whole.len() as i32 + exponent;
    Some(if point <= 0 {
        format!(
            "{sign}0.{}{digits}",
            "0".repeat(point.unsigned_abs() as usize)
        )
    } else if point as usize >= digits.len() {
        format!(
            "{sign}{digits}{}",
            "0".repeat(point as usize - digits.len())
        )
    } else {
        let (whole, fraction) = digits.split_at(point as usize);
        format!("{sign}{whole}.{fraction}")
    })
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|&character| character != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16)
        .ok()
        .map(u128::to_be_bytes)
}
