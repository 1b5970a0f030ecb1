//! Shapes of records that carry no schema and whose writer left no word about it: guessed from what
//! was seen so far.
//!
//! A column appears with its first value that is not null, and its type only ever widens: integer to
//! double, anything else that does not agree to JSON. What times and decimals are can't be seen.

use sluice_core::{Column, ColumnType, Result, TableSchema};

use super::Topic;
use crate::{
    decode::Reading,
    fault,
    json::{
        lex::{Lexer, Piece},
        read::RowRead,
    },
    record::Envelope,
};

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Inferred {
    columns: Vec<(String, ColumnType)>,
    key: Vec<String>,
}

const BIGINT: ColumnType = ColumnType::Int {
    bits: 64,
    unsigned: false,
};

impl Inferred {
    /// Looks at a record and says what its table looks like by now.
    pub(super) fn table(
        &mut self,
        topic: &Topic,
        key: Option<Lexer<'_>>,
        value: Option<Lexer<'_>>,
    ) -> Result<TableSchema> {
        let wrong = |part| fault::damaged(&topic.name, part, "it is no JSON object");
        let (mut schema, mut table) = (None, None);
        if let Some(mut lexer) = key
            && lexer.piece() == Some(Piece::Object)
        {
            let known = self.columns.len();
            let names = self.look(&mut lexer).ok_or_else(|| wrong("key"))?;
            // A key is only a key when it is part of the row.
            if value.is_some() {
                self.columns.truncate(known);
            }
            self.key = names;
        }
        if let Some(mut lexer) = value {
            if lexer.piece() != Some(Piece::Object) {
                return Err(wrong("value"));
            }
            match topic.envelope {
                Envelope::Flat => {
                    let names = self.look(&mut lexer).ok_or_else(|| wrong("value"))?;
                    if ["op", "source", "after"]
                        .iter()
                        .all(|name| names.iter().any(|n| n == name))
                    {
                        return Err(fault::other_envelope(&topic.name, false));
                    }
                }
                Envelope::Debezium => {
                    let found = self.look_into(&mut lexer).ok_or_else(|| wrong("value"))?;
                    if !found.has_op {
                        return Err(fault::other_envelope(&topic.name, true));
                    }
                    (schema, table) = (found.schema.or(found.db), found.table);
                }
            }
        }
        let place = |name: &String| self.columns.iter().position(|(column, _)| column == name);
        let key: Vec<usize> = self
            .key
            .iter()
            .map(place)
            .collect::<Option<_>>()
            .unwrap_or_default();
        let columns = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, (name, ty))| Column {
                name: name.clone(),
                ty: ty.clone(),
                nullable: !key.contains(&index),
                generated: false,
                boolean: false,
                default: None,
            });
        Ok(TableSchema {
            id: topic.table_id(schema.as_deref(), table.as_deref()),
            columns: columns.collect(),
            key,
        })
    }

    fn look_into(&mut self, lexer: &mut Lexer<'_>) -> Option<Found> {
        let mut found = Found::default();
        let mut first = true;
        while let Some(name) = lexer.member(&mut first)? {
            let piece = lexer.piece()?;
            match (name.raw, piece) {
                ("before" | "after", Piece::Object) => {
                    self.look(lexer)?;
                }
                ("source", Piece::Object) => {
                    let mut first = true;
                    while let Some(name) = lexer.member(&mut first)? {
                        let piece = lexer.piece()?;
                        lexer.skip_rest(piece, 0)?;
                        if let Piece::Text(text) = piece {
                            let text = text.text(&mut String::new())?.to_owned();
                            match name.raw {
                                "db" => found.db = Some(text),
                                "schema" => found.schema = Some(text),
                                "table" => found.table = Some(text),
                                _ => {}
                            }
                        }
                    }
                }
                ("op", piece) => {
                    found.has_op = true;
                    lexer.skip_rest(piece, 0)?;
                }
                (_, piece) => lexer.skip_rest(piece, 0)?,
            }
        }
        Some(found)
    }

    /// Takes an object's members in; returns their names.
    fn look(&mut self, lexer: &mut Lexer<'_>) -> Option<Vec<String>> {
        let mut names = Vec::new();
        let mut first = true;
        while let Some(member) = lexer.member(&mut first)? {
            let name = member.text(&mut String::new())?.to_owned();
            let piece = lexer.piece()?;
            lexer.skip_rest(piece, 0)?;
            if let Some(ty) = type_of(piece) {
                match self.columns.iter_mut().find(|(column, _)| *column == name) {
                    Some((_, known)) => widen(known, &ty),
                    None => self.columns.push((name.clone(), ty)),
                }
            }
            names.push(name);
        }
        Some(names)
    }
}

/// How rows of a guessed shape are read.
pub(super) fn row_read(table: &TableSchema) -> RowRead {
    let columns = table.columns.iter().map(|column| {
        let reading = match column.ty {
            ColumnType::Bool => Reading::Bool,
            ColumnType::Int { .. } => Reading::Int,
            ColumnType::Double => Reading::Double,
            ColumnType::Decimal { .. } => Reading::DecimalText { scale: None },
            ColumnType::Text => Reading::Text,
            _ => Reading::AnyJson,
        };
        (column.name.clone(), reading)
    });
    RowRead {
        columns: columns.collect(),
        placeholders: true,
    }
}

#[derive(Default)]
struct Found {
    has_op: bool,
    db: Option<String>,
    schema: Option<String>,
    table: Option<String>,
}

fn type_of(piece: Piece<'_>) -> Option<ColumnType> {
    Some(match piece {
        Piece::Null => return None,
        Piece::Bool(_) => ColumnType::Bool,
        Piece::Number(text) if text.parse::<i64>().is_ok() => BIGINT,
        Piece::Number(text)
            if text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-') =>
        {
            ColumnType::Decimal {
                precision: 0,
                scale: 0,
            }
        }
        Piece::Number(_) => ColumnType::Double,
        Piece::Text(_) => ColumnType::Text,
        Piece::Object | Piece::Array => ColumnType::Json,
    })
}

fn widen(known: &mut ColumnType, seen: &ColumnType) {
    if *known == *seen {
        return;
    }
    let is_whole = |ty: &ColumnType| *ty == BIGINT || matches!(ty, ColumnType::Decimal { .. });
    *known = match (&*known, seen) {
        (a, b) if is_whole(a) && is_whole(b) => ColumnType::Decimal {
            precision: 0,
            scale: 0,
        },
        (ColumnType::Double, other) | (other, ColumnType::Double) if is_whole(other) => {
            ColumnType::Double
        }
        _ => ColumnType::Json,
    };
}
