//! Records as Kafka Connect's `JsonConverter` writes them, with their schemas or without.

use std::sync::Arc;

use sluice_core::{Result, Row, RowBuilder, TableSchema};

use super::{Head, Raw, Read, Topic, names, schemaless::Inferred};
use crate::{
    connect::Schema,
    decode::Reading,
    fault::{self, Looks},
    foreign,
    json::{
        lex::{Lexer, Piece},
        read::{Room, RowRead},
    },
    record::{Envelope, Operation},
    types,
};

/// Plans beyond this number make the oldest go.
const PLANS_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct JsonReader {
    schemas: bool,
    plans: Vec<Plan>,
    inferred: Inferred,
    builder: RowBuilder,
    room: Room,
}

/// How records of one pair of schemas are read.
#[derive(Debug)]
struct Plan {
    /// What records with these schemas begin with, up to the payload; empty without schemas.
    key_begin: Vec<u8>,
    value_begin: Vec<u8>,
    known: Option<Arc<TableSchema>>,
    table: Arc<TableSchema>,
    key: Option<RowRead>,
    row: RowRead,
    /// Good for one record: its shape is a guess, or can't be recognised by its beginning.
    is_passing: bool,
}

/// A record's key or value, opened.
struct Opened<'a> {
    /// Up to the payload.
    begin: &'a [u8],
    payload: Lexer<'a>,
    /// The schema's text.
    schema: Option<&'a [u8]>,
}

impl JsonReader {
    pub(super) fn new(schemas: bool) -> Self {
        Self {
            schemas,
            plans: Vec::new(),
            inferred: Inferred::default(),
            builder: RowBuilder::with_capacity(1 << 16),
            room: Room::default(),
        }
    }

    pub(super) fn read(&mut self, topic: &Topic, raw: Raw<'_>) -> Result<Read> {
        let found = self.plans.iter().rposition(|plan| {
            let known = match (&plan.known, raw.known) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
                (None, None) => true,
                _ => false,
            };
            known
                && !plan.is_passing
                && begins_with(raw.key, &plan.key_begin)
                && begins_with(raw.value, &plan.value_begin)
        });
        if let Some(index) = found {
            let plan = &self.plans[index];
            let key = raw
                .key
                .map(|bytes| Lexer::new(&bytes[plan.key_begin.len()..]));
            let value = raw
                .value
                .map(|bytes| Lexer::new(&bytes[plan.value_begin.len()..]));
            return self.by_plan(topic, index, key, value);
        }
        let key = raw
            .key
            .map(|bytes| self.open(topic, "key", bytes))
            .transpose()?;
        let value = raw
            .value
            .map(|bytes| self.open(topic, "value", bytes))
            .transpose()?;
        let plan = self.plan(topic, raw, key.as_ref(), value.as_ref())?;
        if plan.is_passing {
            self.plans.retain(|plan| !plan.is_passing);
        }
        if self.plans.len() == PLANS_MAX {
            self.plans.remove(0);
        }
        self.plans.push(plan);
        let index = self.plans.len() - 1;
        self.by_plan(
            topic,
            index,
            key.map(|opened| opened.payload),
            value.map(|opened| opened.payload),
        )
    }

    /// Finds the payload.
    fn open<'a>(&self, topic: &Topic, part: &str, bytes: &'a [u8]) -> Result<Opened<'a>> {
        if !self.schemas {
            if Looks::of(bytes) == Looks::JsonWithSchemas && is_wrapped(bytes) {
                return Err(fault::other_format(&topic.name, part, Looks::Json, bytes));
            }
            if Looks::of(bytes) != Looks::Json && Looks::of(bytes) != Looks::JsonWithSchemas {
                return Err(fault::other_format(&topic.name, part, Looks::Json, bytes));
            }
            return Ok(Opened {
                begin: &[],
                payload: Lexer::new(bytes),
                schema: None,
            });
        }
        let wrong = || fault::other_format(&topic.name, part, Looks::JsonWithSchemas, bytes);
        let mut lexer = Lexer::new(bytes);
        if lexer.piece() != Some(Piece::Object) {
            return Err(wrong());
        }
        let mut first = true;
        let (mut schema, mut payload) = (None, None);
        while let Some(name) = lexer.member(&mut first).ok_or_else(wrong)? {
            let place = lexer.place();
            if name.is("payload") && schema.is_some() {
                return Ok(Opened {
                    begin: &bytes[..place],
                    payload: lexer,
                    schema,
                });
            }
            lexer.skip().ok_or_else(wrong)?;
            if name.is("schema") {
                schema = Some(lexer.slice(place));
            } else if name.is("payload") {
                payload = Some(Lexer::new(lexer.slice(place)));
            }
        }
        // The other way round nothing can be recognised by its beginning.
        match (schema, payload) {
            (Some(_), Some(payload)) => Ok(Opened {
                begin: &[],
                payload,
                schema,
            }),
            _ => Err(wrong()),
        }
    }

    fn plan(
        &mut self,
        topic: &Topic,
        raw: Raw<'_>,
        key: Option<&Opened<'_>>,
        value: Option<&Opened<'_>>,
    ) -> Result<Plan> {
        let key_schema = key
            .map(|key| schema_of(topic, "key", key))
            .transpose()?
            .flatten();
        let value_schema = value
            .map(|value| schema_of(topic, "value", value))
            .transpose()?
            .flatten();
        let row = match &value_schema {
            Some(schema) => Some(row_of(topic, schema, raw.known.is_none())?),
            None => None,
        };
        let table = match (raw.known, row) {
            (Some(known), _) => Arc::clone(known),
            (None, Some(row)) => {
                let id = match value {
                    Some(value) if topic.envelope == Envelope::Debezium => identify(topic, value)?,
                    _ => topic.table_id(None, None),
                };
                let table = foreign::table(id, row, key_schema.as_ref());
                self.shared(table)
            }
            (None, None) if value.is_some() => {
                let table = self.inferred.table(
                    topic,
                    key.map(|key| key.payload.clone()),
                    value.map(|value| value.payload.clone()),
                )?;
                self.shared(table)
            }
            (None, None) => match (&topic.last, &key_schema) {
                (Some(last), _) => Arc::clone(last),
                (None, Some(key)) => {
                    Arc::new(foreign::table(topic.table_id(None, None), key, Some(key)))
                }
                (None, None) => Arc::new(self.inferred.table(
                    topic,
                    key.map(|key| key.payload.clone()),
                    None,
                )?),
            },
        };
        let is_foreign = raw.known.is_none();
        let guessed = is_foreign && row.is_none();
        let own = types::row(&table, "", str::to_owned);
        Ok(Plan {
            key_begin: key.map_or_else(Vec::new, |key| key.begin.to_vec()),
            value_begin: value.map_or_else(Vec::new, |value| value.begin.to_vec()),
            known: raw.known.cloned(),
            key: key_schema_read(key.is_some(), key_schema.as_ref(), &own, &table),
            row: if guessed {
                super::schemaless::row_read(&table)
            } else {
                row_read(topic, row.unwrap_or(&own), &table, is_foreign)?
            },
            is_passing: guessed
                || [key, value]
                    .iter()
                    .flatten()
                    .any(|part| part.schema.is_some() && part.begin.is_empty()),
            table,
        })
    }

    /// The same shape stays the same `Arc`.
    fn shared(&self, table: TableSchema) -> Arc<TableSchema> {
        match self.plans.iter().rev().find(|plan| *plan.table == table) {
            Some(plan) => Arc::clone(&plan.table),
            None => Arc::new(table),
        }
    }

    fn by_plan(
        &mut self,
        topic: &Topic,
        index: usize,
        key: Option<Lexer<'_>>,
        value: Option<Lexer<'_>>,
    ) -> Result<Read> {
        let plan = &self.plans[index];
        let table = Arc::clone(&plan.table);
        let mut head = Head::default();
        let (mut before, mut after, mut key_values) = (None, None, None);
        if let Some(mut lexer) = value {
            let no_object = || topic.bad_field("value", &[], 0);
            if lexer.piece() != Some(Piece::Object) {
                return Err(no_object());
            }
            if topic.envelope == Envelope::Flat {
                after = Some(
                    plan.row
                        .row(&mut lexer, &mut self.builder, &mut self.room)
                        .map_err(|field| topic.bad_field("value", &names(&table), field))?,
                );
            } else {
                let mut first = true;
                while let Some(name) = lexer.member(&mut first).ok_or_else(no_object)? {
                    let image = if name.is("before") {
                        &mut before
                    } else if name.is("after") {
                        &mut after
                    } else {
                        head_member(&mut lexer, name.raw, &mut head).ok_or_else(no_object)?;
                        continue;
                    };
                    *image = match lexer.piece().ok_or_else(no_object)? {
                        Piece::Object => Some(image_of(
                            topic,
                            plan,
                            &mut lexer,
                            &mut self.builder,
                            &mut self.room,
                        )?),
                        _ => None,
                    };
                }
                if !head.has_op {
                    return Err(fault::other_envelope(&topic.name, true));
                }
            }
            if !lexer.is_closed() {
                return Err(no_object());
            }
        }
        let needs_key = topic.envelope == Envelope::Flat || head.needs_key(before.is_some());
        if let (Some(row), Some(mut lexer), true) = (&plan.key, key, needs_key) {
            // A key that is one bare value is not a struct of the key's columns.
            if lexer.piece() == Some(Piece::Object) {
                key_values = Some(
                    row.row(&mut lexer, &mut self.builder, &mut self.room)
                        .map_err(|field| topic.bad_field("key", &[], field))?,
                );
            }
        }
        Ok(Read {
            op: head.op,
            before,
            after,
            key: key_values,
            ts_ms: head.source_millis.or(head.millis).unwrap_or(0),
            transaction: head.transaction.or(head.gtid),
            table,
        })
    }
}

fn image_of(
    topic: &Topic,
    plan: &Plan,
    lexer: &mut Lexer<'_>,
    builder: &mut RowBuilder,
    room: &mut Room,
) -> Result<Row> {
    plan.row
        .row(lexer, builder, room)
        .map_err(|field| topic.bad_field("value", &names(&plan.table), field))
}

fn begins_with(bytes: Option<&[u8]>, begin: &[u8]) -> bool {
    bytes.is_none_or(|bytes| bytes.starts_with(begin))
}

/// Whether an object is no more than a schema and a payload.
fn is_wrapped(bytes: &[u8]) -> bool {
    let mut lexer = Lexer::new(bytes);
    let mut first = true;
    let mut count = 0;
    if lexer.piece() != Some(Piece::Object) {
        return false;
    }
    while let Some(Some(name)) = lexer.member(&mut first) {
        count += 1;
        if !(name.is("schema") || name.is("payload")) || lexer.skip().is_none() {
            return false;
        }
    }
    count == 2
}

/// The schema that comes with a payload; none for a payload of null.
fn schema_of(topic: &Topic, part: &str, opened: &Opened<'_>) -> Result<Option<Schema>> {
    let Some(text) = opened.schema else {
        return Ok(None);
    };
    let json: serde_json::Value = serde_json::from_slice(text)
        .map_err(|_| fault::damaged(&topic.name, part, "its schema is no JSON"))?;
    if json.is_null() {
        return Ok(None);
    }
    Schema::from_json(&json)
        .map(Some)
        .ok_or_else(|| fault::damaged(&topic.name, part, "its schema is none of Connect's"))
}

/// The row's schema inside of a value's.
fn row_of<'a>(topic: &Topic, schema: &'a Schema, is_foreign: bool) -> Result<&'a Schema> {
    let is_enveloped = ["op", "after", "source"]
        .iter()
        .all(|name| schema.get(name).is_some());
    match topic.envelope {
        Envelope::Flat if is_foreign && is_enveloped => {
            Err(fault::other_envelope(&topic.name, false))
        }
        Envelope::Flat => Ok(schema),
        Envelope::Debezium => schema
            .get("after")
            .or_else(|| schema.get("before"))
            .filter(|_| schema.get("op").is_some())
            .ok_or_else(|| fault::other_envelope(&topic.name, true)),
    }
}

fn row_read(
    topic: &Topic,
    row: &Schema,
    table: &TableSchema,
    placeholders: bool,
) -> Result<RowRead> {
    if row.fields().len() != table.columns.len() {
        return Err(fault::damaged(
            &topic.name,
            "value",
            &format!(
                "its row has another number of fields than {} has columns",
                table.id
            ),
        ));
    }
    let mut reads = Vec::new();
    for (field, column) in row.fields().iter().zip(&table.columns) {
        let reading = Reading::of(&column.ty, &field.schema).ok_or_else(|| {
            let what = format!(
                "its field {} is no {:?}, as its column is",
                field.name, column.ty
            );
            fault::damaged(&topic.name, "value", &what)
        })?;
        reads.push((field.name.clone(), reading));
    }
    Ok(RowRead {
        columns: reads,
        placeholders,
    })
}

/// How a key is read; `None` where it is not the table's key.
fn key_schema_read(
    has_key: bool,
    key: Option<&Schema>,
    own: &Schema,
    table: &TableSchema,
) -> Option<RowRead> {
    if !has_key || table.key.is_empty() {
        return None;
    }
    let mut columns = Vec::new();
    for (place, &column) in table.key.iter().enumerate() {
        let field = match key {
            Some(key) => key.fields().get(place)?,
            None => own.fields().get(column)?,
        };
        let reading = Reading::of(&table.columns[column].ty, &field.schema)?;
        columns.push((field.name.clone(), reading));
    }
    Some(RowRead {
        columns,
        placeholders: false,
    })
}

/// The table that a record's `source` names.
fn identify(topic: &Topic, value: &Opened<'_>) -> Result<sluice_core::TableId> {
    let wrong = || topic.bad_field("value", &[], 0);
    let mut lexer = value.payload.clone();
    let (mut db, mut schema, mut table) = (None, None, None);
    let mut first = true;
    if lexer.piece() != Some(Piece::Object) {
        return Err(wrong());
    }
    while let Some(name) = lexer.member(&mut first).ok_or_else(wrong)? {
        let piece = lexer.piece().ok_or_else(wrong)?;
        if !name.is("source") || piece != Piece::Object {
            lexer.skip_rest(piece, 0).ok_or_else(wrong)?;
            continue;
        }
        let mut first = true;
        while let Some(name) = lexer.member(&mut first).ok_or_else(wrong)? {
            let piece = lexer.piece().ok_or_else(wrong)?;
            lexer.skip_rest(piece, 0).ok_or_else(wrong)?;
            let place = match name.raw {
                "db" => &mut db,
                "schema" => &mut schema,
                "table" => &mut table,
                _ => continue,
            };
            if let Piece::Text(text) = piece {
                *place = text.text(&mut String::new()).map(str::to_owned);
            }
        }
    }
    Ok(topic.table_id(schema.or(db).as_deref(), table.as_deref()))
}

pub(super) fn head_member(lexer: &mut Lexer<'_>, name: &str, head: &mut Head) -> Option<()> {
    let piece = lexer.piece()?;
    match (name, piece) {
        ("op", Piece::Text(code)) => {
            head.has_op = true;
            head.op = Operation::from_code(code.raw);
        }
        ("ts_ms", Piece::Number(number)) => head.millis = number.parse().ok(),
        ("source", Piece::Object) => {
            let mut first = true;
            while let Some(name) = lexer.member(&mut first)? {
                let piece = lexer.piece()?;
                lexer.skip_rest(piece, 0)?;
                match (name.raw, piece) {
                    ("ts_ms", Piece::Number(number)) => {
                        head.source_millis = number.parse().ok().filter(|&millis: &i64| millis > 0);
                    }
                    ("gtid", Piece::Text(text)) => {
                        head.gtid = Some(text.text(&mut String::new())?.to_owned());
                    }
                    _ => {}
                }
            }
        }
        ("transaction", Piece::Object) => {
            let mut first = true;
            while let Some(name) = lexer.member(&mut first)? {
                let piece = lexer.piece()?;
                lexer.skip_rest(piece, 0)?;
                if let ("id", Piece::Text(text)) = (name.raw, piece) {
                    head.transaction = Some(text.text(&mut String::new())?.to_owned());
                }
            }
        }
        (_, piece) => lexer.skip_rest(piece, 0)?,
    }
    Some(())
}
