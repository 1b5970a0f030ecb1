//! Avro's binary form to rows.

use std::{fmt::Write, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use sluice_core::{Row, RowBuilder, Value, value::Geometry};

use crate::{
    avro::{
        binary::Input,
        parse::{Node, Wire},
    },
    connect::quote,
    decode::{Reading, Scratch, Token},
    number,
};

/// How a record's fields become a row, in the record's order.
#[derive(Debug)]
pub(crate) struct RowRead {
    pub(crate) fields: Vec<FieldRead>,
    /// Whether Debezium's stand-in for a value that was not at hand may occur.
    pub(crate) placeholders: bool,
}

#[derive(Debug)]
pub(crate) struct FieldRead {
    pub(crate) node: Arc<Node>,
    /// `None`: passed over.
    pub(crate) reading: Option<Reading>,
}

impl RowRead {
    /// Reads a record. The error is the place of the field that is damaged.
    pub(crate) fn row(
        &self,
        columns: usize,
        input: &mut Input<'_>,
        builder: &mut RowBuilder,
        scratch: &mut Scratch,
    ) -> Result<Row, usize> {
        builder.begin(columns, 8 * columns);
        for (index, field) in self.fields.iter().enumerate() {
            let done = match &field.reading {
                Some(reading) => self.field(&field.node, reading, input, builder, scratch),
                None => skip(&field.node, input),
            };
            done.ok_or(index)?;
        }
        Ok(builder.finish())
    }

    fn field(
        &self,
        node: &Node,
        reading: &Reading,
        input: &mut Input<'_>,
        builder: &mut RowBuilder,
        scratch: &mut Scratch,
    ) -> Option<()> {
        let node = branch(node, input)?;
        if reading.is_composite() {
            return composite(node, reading, input, builder, scratch);
        }
        let token = token(node, input)?;
        if self.placeholders && reading.is_placeholder(token) {
            builder.push(Value::Unchanged);
        } else {
            builder.push(reading.value(token, scratch)?);
        }
        Some(())
    }
}

/// The branch of a union that the bytes name; anything else is its own.
pub(crate) fn branch<'n>(node: &'n Node, input: &mut Input<'_>) -> Option<&'n Node> {
    match &node.wire {
        Wire::Union(branches) => {
            let index = usize::try_from(input.long()?).ok()?;
            branches.get(index).map(|node| &**node)
        }
        _ => Some(node),
    }
}

/// Reads a scalar.
pub(crate) fn token<'t, 'n: 't, 'i: 't>(
    node: &'n Node,
    input: &mut Input<'i>,
) -> Option<Token<'t>> {
    Some(match &node.wire {
        Wire::Null => Token::Null,
        Wire::Boolean => Token::Bool(input.boolean()?),
        Wire::Int | Wire::Long => Token::Int(input.long()?),
        Wire::Float => Token::Float(input.float()?),
        Wire::Double => Token::Double(input.double()?),
        Wire::Bytes => Token::Bytes(input.bytes()?),
        Wire::Text => Token::Text(input.text()?),
        Wire::Fixed(size) => Token::Bytes(input.take(*size)?),
        Wire::Enum(symbols) => {
            let index = usize::try_from(input.long()?).ok()?;
            Token::Text(symbols.get(index)?)
        }
        Wire::Array(_) | Wire::Map(_) | Wire::Record(_) | Wire::Union(_) => return None,
    })
}

fn composite(
    node: &Node,
    reading: &Reading,
    input: &mut Input<'_>,
    builder: &mut RowBuilder,
    scratch: &mut Scratch,
) -> Option<()> {
    if matches!(node.wire, Wire::Null) {
        builder.push(Value::Null);
        return Some(());
    }
    match (reading, &node.wire) {
        (Reading::Geometry, Wire::Record(fields)) => {
            let (mut wkb, mut srid) = (None, 0);
            for (name, field) in fields {
                match name.as_str() {
                    "wkb" => match token(branch(field, input)?, input)? {
                        Token::Bytes(bytes) => wkb = Some(bytes),
                        Token::Null => {}
                        _ => return None,
                    },
                    "srid" => {
                        if let Token::Int(number) = token(branch(field, input)?, input)? {
                            srid = number as i32 as u32;
                        }
                    }
                    _ => skip(field, input)?,
                }
            }
            builder.push(match wkb {
                Some(wkb) => Value::Geometry(Geometry { srid, wkb }),
                None => Value::Null,
            });
        }
        (Reading::VariableScaleDecimal, Wire::Record(fields)) => {
            let (mut scale, mut value) = (0, &[0][..]);
            for (name, field) in fields {
                match (name.as_str(), token(branch(field, input)?, input)?) {
                    ("scale", Token::Int(number)) => scale = i32::try_from(number).ok()?,
                    ("value", Token::Bytes(bytes)) => value = bytes,
                    _ => {}
                }
            }
            number::decimal_text(value, bounded(scale)?, &mut scratch.text);
            builder.push(Value::Decimal(&scratch.text));
        }
        (Reading::Vector, Wire::Array(items)) => {
            scratch.bytes.clear();
            let bytes = &mut scratch.bytes;
            each_item(items, input, |item, input| {
                let value = match token(branch(item, input)?, input)? {
                    Token::Float(value) => value,
                    Token::Double(value) => value as f32,
                    _ => return None,
                };
                bytes.extend_from_slice(&value.to_le_bytes());
                Some(())
            })?;
            builder.push(Value::Bytes(&scratch.bytes));
        }
        (Reading::Array(inner), Wire::Array(items)) => {
            let mut rows = Vec::new();
            let element = RowRead {
                fields: Vec::new(),
                placeholders: false,
            };
            each_item(items, input, |item, input| {
                let mut single = RowBuilder::new();
                single.begin(1, 16);
                element.field(item, inner, input, &mut single, scratch)?;
                rows.push(single.finish());
                Some(())
            })?;
            push_array(&rows, builder);
        }
        (Reading::AnyJson, _) => {
            scratch.text.clear();
            json(node, input, &mut scratch.text)?;
            builder.push(Value::Json(&scratch.text));
        }
        _ => return None,
    }
    Some(())
}

/// A decimal's scale within reason: each digit of it is written.
pub(crate) fn bounded(scale: i32) -> Option<i32> {
    (scale.abs() <= 20_000).then_some(scale)
}

/// Pushes an array whose elements are rows of one column each.
pub(crate) fn push_array(elements: &[Row], builder: &mut RowBuilder) {
    let mut array = RowBuilder::new();
    array.begin(elements.len(), 16 * elements.len());
    for element in elements {
        array.push_cell(element.cell(0));
    }
    builder.push(Value::Array(array.finish().view()));
}

/// Calls `read` for each item of an array.
fn each_item<'n, 'i>(
    items: &'n Node,
    input: &mut Input<'i>,
    mut read: impl FnMut(&'n Node, &mut Input<'i>) -> Option<()>,
) -> Option<()> {
    loop {
        let count = input.block()?;
        if count == 0 {
            return Some(());
        }
        for _ in 0..count {
            if input.is_at_end() {
                return None;
            }
            read(items, input)?;
        }
    }
}

/// Passes over a value.
pub(crate) fn skip(node: &Node, input: &mut Input<'_>) -> Option<()> {
    match &node.wire {
        Wire::Union(_) => skip(branch(node, input)?, input),
        Wire::Record(fields) => {
            for (_, field) in fields {
                skip(field, input)?;
            }
            Some(())
        }
        Wire::Array(items) => each_item(items, input, |item, input| skip(item, input)),
        Wire::Map(values) => each_item(values, input, |value, input| {
            input.bytes()?;
            skip(value, input)
        }),
        _ => token(node, input).map(|_| ()),
    }
}

/// Writes any value as JSON.
fn json(node: &Node, input: &mut Input<'_>, out: &mut String) -> Option<()> {
    let node = branch(node, input)?;
    let mut first = true;
    let mut separate = |out: &mut String| {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
    };
    match &node.wire {
        Wire::Record(fields) => {
            out.push('{');
            for (name, field) in fields {
                separate(out);
                quote(name, out);
                out.push(':');
                json(field, input, out)?;
            }
            out.push('}');
        }
        Wire::Array(items) => {
            out.push('[');
            each_item(items, input, |item, input| {
                separate(out);
                json(item, input, out)
            })?;
            out.push(']');
        }
        Wire::Map(values) => {
            out.push('{');
            each_item(values, input, |value, input| {
                separate(out);
                quote(input.text()?, out);
                out.push(':');
                json(value, input, out)
            })?;
            out.push('}');
        }
        _ => match token(node, input)? {
            Token::Null => out.push_str("null"),
            Token::Bool(value) => write!(out, "{value}").ok()?,
            Token::Int(value) => write!(out, "{value}").ok()?,
            Token::Float(value) if value.is_finite() => {
                out.push_str(ryu::Buffer::new().format_finite(value));
            }
            Token::Double(value) if value.is_finite() => {
                out.push_str(ryu::Buffer::new().format_finite(value));
            }
            Token::Float(value) => write!(out, "\"{value}\"").ok()?,
            Token::Double(value) => write!(out, "\"{value}\"").ok()?,
            Token::Text(text) | Token::Number(text) => quote(text, out),
            Token::Bytes(bytes) => quote(&STANDARD.encode(bytes), out),
        },
    }
    Some(())
}
