//! JSON objects to rows.

use sluice_core::{Row, RowBuilder, Value, value::Geometry};

use crate::{
    avro::read::{bounded, push_array},
    decode::{Reading, Scratch, Token},
    json::lex::{Lexer, Piece},
    number,
};

/// How an object's members become a row.
#[derive(Debug)]
pub(crate) struct RowRead {
    /// For each column the member's name and what it means.
    pub(crate) columns: Vec<(String, Reading)>,
    /// Whether Debezium's stand-in for a value that was not at hand may occur.
    pub(crate) placeholders: bool,
}

/// Room for reading.
#[derive(Debug, Default)]
pub(crate) struct Room {
    scratch: Scratch,
    unescaped: String,
    places: Vec<Option<usize>>,
}

impl RowRead {
    /// Reads an object whose `{` was passed. The error is the column that is damaged.
    pub(crate) fn row(
        &self,
        lexer: &mut Lexer<'_>,
        builder: &mut RowBuilder,
        room: &mut Room,
    ) -> Result<Row, usize> {
        let start = lexer.clone();
        builder.begin(self.columns.len(), 8 * self.columns.len());
        let mut first = true;
        for (index, (name, reading)) in self.columns.iter().enumerate() {
            match lexer.member(&mut first).ok_or(index)? {
                Some(member) if member.is(name) => {
                    self.value(reading, lexer, builder, room).ok_or(index)?;
                }
                // Not the columns in their order: by name, from the beginning.
                _ => {
                    *lexer = start;
                    return self.row_by_name(lexer, builder, room);
                }
            }
        }
        // Members beyond the columns.
        while lexer
            .member(&mut first)
            .ok_or(self.columns.len())?
            .is_some()
        {
            lexer.skip().ok_or(self.columns.len())?;
        }
        Ok(builder.finish())
    }

    fn row_by_name(
        &self,
        lexer: &mut Lexer<'_>,
        builder: &mut RowBuilder,
        room: &mut Room,
    ) -> Result<Row, usize> {
        let mut places = std::mem::take(&mut room.places);
        places.clear();
        places.resize(self.columns.len(), None);
        let mut values = lexer.clone();
        let mut first = true;
        while let Some(member) = lexer.member(&mut first).ok_or(self.columns.len())? {
            let name = member.text(&mut room.unescaped).ok_or(self.columns.len())?;
            let column = self.columns.iter().position(|(column, _)| column == name);
            if let Some(column) = column {
                places[column] = Some(lexer.place());
            }
            lexer.skip().ok_or(column.unwrap_or(self.columns.len()))?;
        }
        builder.begin(self.columns.len(), 8 * self.columns.len());
        for (index, (_, reading)) in self.columns.iter().enumerate() {
            match places[index] {
                Some(place) => {
                    values.jump(place);
                    self.value(reading, &mut values, builder, room)
                        .ok_or(index)?;
                }
                None => builder.push(Value::Null),
            }
        }
        room.places = places;
        Ok(builder.finish())
    }

    fn value(
        &self,
        reading: &Reading,
        lexer: &mut Lexer<'_>,
        builder: &mut RowBuilder,
        room: &mut Room,
    ) -> Option<()> {
        if reading.is_composite() {
            return composite(reading, lexer, builder, room);
        }
        let piece = lexer.piece()?;
        let token = token(piece, &mut room.unescaped)?;
        if self.placeholders && reading.is_placeholder(token) {
            builder.push(Value::Unchanged);
        } else {
            builder.push(reading.value(token, &mut room.scratch)?);
        }
        Some(())
    }
}

/// A scalar piece as a token.
pub(crate) fn token<'a>(piece: Piece<'a>, room: &'a mut String) -> Option<Token<'a>> {
    Some(match piece {
        Piece::Null => Token::Null,
        Piece::Bool(value) => Token::Bool(value),
        Piece::Number(text) => match text.parse() {
            Ok(value) => Token::Int(value),
            Err(_) => Token::Number(text),
        },
        Piece::Text(quoted) => Token::Text(quoted.text(room)?),
        Piece::Object | Piece::Array => return None,
    })
}

fn composite(
    reading: &Reading,
    lexer: &mut Lexer<'_>,
    builder: &mut RowBuilder,
    room: &mut Room,
) -> Option<()> {
    let place = lexer.place();
    let piece = lexer.piece()?;
    let mut first = true;
    match (reading, piece) {
        (_, Piece::Null) => builder.push(Value::Null),
        (Reading::AnyJson, piece) => {
            lexer.skip_rest(piece, 0)?;
            builder.push(Value::Json(std::str::from_utf8(lexer.slice(place)).ok()?));
        }
        (Reading::Geometry, Piece::Object) => {
            let (mut has_wkb, mut srid) = (false, 0);
            while let Some(name) = lexer.member(&mut first)? {
                if name.is("wkb") {
                    let token = token(lexer.piece()?, &mut room.unescaped)?;
                    has_wkb = !matches!(token, Token::Null);
                    Reading::Bytes.value(token, &mut room.scratch)?;
                } else if name.is("srid") {
                    if let Token::Int(number) = token(lexer.piece()?, &mut room.unescaped)? {
                        srid = number as i32 as u32;
                    }
                } else {
                    lexer.skip()?;
                }
            }
            let wkb = &room.scratch.bytes;
            builder.push(if has_wkb {
                Value::Geometry(Geometry { srid, wkb })
            } else {
                Value::Null
            });
        }
        (Reading::VariableScaleDecimal, Piece::Object) => {
            let mut scale = 0;
            while let Some(name) = lexer.member(&mut first)? {
                let token = token(lexer.piece()?, &mut room.unescaped)?;
                match token {
                    Token::Int(number) if name.is("scale") => scale = i32::try_from(number).ok()?,
                    Token::Text(_) if name.is("value") => {
                        Reading::Bytes.value(token, &mut room.scratch)?;
                    }
                    _ => {}
                }
            }
            let Scratch { text, bytes, .. } = &mut room.scratch;
            number::decimal_text(bytes, bounded(scale)?, text);
            builder.push(Value::Decimal(text));
        }
        (Reading::Vector, Piece::Array) => {
            let mut bytes = Vec::new();
            while lexer.element(&mut first)? {
                let token = token(lexer.piece()?, &mut room.unescaped)?;
                match Reading::Float.value(token, &mut room.scratch)? {
                    Value::Float(value) => bytes.extend_from_slice(&value.to_le_bytes()),
                    _ => return None,
                }
            }
            builder.push(Value::Bytes(&bytes));
        }
        (Reading::Array(inner), Piece::Array) => {
            let element = RowRead {
                columns: Vec::new(),
                placeholders: false,
            };
            let mut rows = Vec::new();
            while lexer.element(&mut first)? {
                let mut single = RowBuilder::new();
                single.begin(1, 16);
                element.value(inner, lexer, &mut single, room)?;
                rows.push(single.finish());
            }
            push_array(&rows, builder);
        }
        _ => return None,
    }
    Some(())
}
