//! Records in Avro with Confluent's wire format: a zero byte, the schema's id in four bytes, the
//! value (`SchemaIdDeserializer` and `AbstractKafkaSchemaSerDe` of confluentinc/schema-registry).

use std::{collections::HashMap, sync::Arc};

use sluice_core::{Reason, Result, RowBuilder, TableSchema};

use super::{Head, Raw, Read, Topic, names};
use crate::{
    avro::{
        binary::Input,
        parse::{Node, Wire},
        read::{FieldRead, RowRead, branch, skip, token},
    },
    connect::Schema,
    decode::{Reading, Scratch, Token},
    fault::{self, Looks},
    foreign,
    record::{Envelope, Operation},
    registry::Registry,
};

/// Plans beyond this number make the oldest go: a topic has few schemas in use.
const PLANS_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct AvroReader {
    registry: Arc<Registry>,
    schemas: HashMap<u32, Arc<Node>>,
    plans: Vec<Plan>,
    builder: RowBuilder,
    scratch: Scratch,
}

/// How records of one pair of schemas are read.
#[derive(Debug)]
struct Plan {
    key_id: Option<u32>,
    value_id: Option<u32>,
    known: Option<Arc<TableSchema>>,
    table: Arc<TableSchema>,
    key: Option<RowRead>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    /// There is none.
    None,
    Flat(RowRead),
    Debezium(Vec<(Arc<Node>, Part)>),
}

/// What a field of the envelope is.
#[derive(Debug)]
enum Part {
    Before(RowRead),
    After(RowRead),
    Op,
    Millis,
    Source(Vec<(Arc<Node>, SourcePart)>),
    Transaction(Vec<(Arc<Node>, bool)>),
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum SourcePart {
    Millis,
    Gtid,
    Other,
}

impl AvroReader {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            schemas: HashMap::new(),
            plans: Vec::new(),
            builder: RowBuilder::with_capacity(1 << 16),
            scratch: Scratch::default(),
        }
    }

    pub(super) async fn read(&mut self, topic: &Topic, raw: Raw<'_>) -> Result<Read> {
        let key = raw
            .key
            .map(|bytes| split(topic, "key", bytes))
            .transpose()?;
        let value = raw
            .value
            .map(|bytes| split(topic, "value", bytes))
            .transpose()?;
        let key_id = key.map(|(id, _)| id);
        let value_id = value.map(|(id, _)| id);
        let found = self.plans.iter().rposition(|plan| {
            plan.key_id == key_id
                && plan.value_id == value_id
                && match (&plan.known, raw.known) {
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
                    (None, None) => true,
                    _ => false,
                }
        });
        let index = if let Some(index) = found {
            index
        } else {
            let plan = self.plan(topic, raw, key_id, value).await?;
            if self.plans.len() == PLANS_MAX {
                self.plans.remove(0);
            }
            self.plans.push(plan);
            self.plans.len() - 1
        };
        self.by_plan(
            topic,
            index,
            key.map(|(_, rest)| rest),
            value.map(|(_, rest)| rest),
        )
    }

    async fn plan(
        &mut self,
        topic: &Topic,
        raw: Raw<'_>,
        key_id: Option<u32>,
        value: Option<(u32, &[u8])>,
    ) -> Result<Plan> {
        let key = match key_id {
            Some(id) => Some(self.schema(topic, "key", id).await?),
            None => None,
        };
        let node = match value {
            Some((id, _)) => Some(self.schema(topic, "value", id).await?),
            None => None,
        };
        let table = match (raw.known, &node) {
            (Some(known), _) => Arc::clone(known),
            (None, Some(node)) => self.foreign_table(topic, node, key.as_deref(), value)?,
            (None, None) => match &topic.last {
                Some(last) => Arc::clone(last),
                None => Arc::new(key_only(topic, key.as_deref())),
            },
        };
        let is_foreign = raw.known.is_none();
        Ok(Plan {
            key_id,
            value_id: value.map(|(id, _)| id),
            known: raw.known.cloned(),
            key: key.and_then(|key| key_read(&key, &table)),
            value: match node {
                Some(node) => value_read(topic, &node, &table, is_foreign)?,
                None => Value::None,
            },
            table,
        })
    }

    async fn schema(&mut self, topic: &Topic, part: &str, id: u32) -> Result<Arc<Node>> {
        if let Some(node) = self.schemas.get(&id) {
            return Ok(Arc::clone(node));
        }
        let node = match self.registry.schema(id).await {
            // The right registry knows others of the topic: then it is the record that is wrong.
            Err(error)
                if error.reason() == Reason::PrerequisiteMissing
                    && self
                        .registry
                        .knows_subject(&format!("{}-value", topic.name))
                        .await? =>
            {
                let what = format!("the schema registry has no schema {id}");
                return Err(fault::damaged(&topic.name, part, &what).with_source(error));
            }
            found => found?,
        };
        self.schemas.insert(id, Arc::clone(&node));
        Ok(node)
    }

    fn foreign_table(
        &self,
        topic: &Topic,
        node: &Node,
        key: Option<&Node>,
        value: Option<(u32, &[u8])>,
    ) -> Result<Arc<TableSchema>> {
        let (row, id) = match topic.envelope {
            Envelope::Flat => (&node.connect, topic.table_id(None, None)),
            Envelope::Debezium => {
                let row = node
                    .connect
                    .get("after")
                    .or_else(|| node.connect.get("before"));
                let row = row.ok_or_else(|| fault::other_envelope(&topic.name, true))?;
                let bytes = value.map_or(&[][..], |(_, bytes)| bytes);
                let (schema, table) = identify(node, &mut Input::new(bytes)).unwrap_or_default();
                (row, topic.table_id(schema.as_deref(), table.as_deref()))
            }
        };
        let table = foreign::table(id, row, key.map(|key| &key.connect));
        // The same shape stays the same `Arc`: a new id alone is no change.
        let same = |plan: &&Plan| *plan.table == table;
        Ok(match self.plans.iter().rev().find(same) {
            Some(plan) => Arc::clone(&plan.table),
            None => Arc::new(table),
        })
    }

    fn by_plan(
        &mut self,
        topic: &Topic,
        index: usize,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<Read> {
        let plan = &self.plans[index];
        let table = Arc::clone(&plan.table);
        let mut head = Head::default();
        let (mut before, mut after, mut key_values) = (None, None, None);
        let mut input = Input::new(value.unwrap_or_default());
        let columns = table.columns.len();
        let (builder, scratch) = (&mut self.builder, &mut self.scratch);
        match &plan.value {
            Value::None => {}
            Value::Flat(row) => {
                after = Some(
                    row.row(columns, &mut input, builder, scratch)
                        .map_err(|field| topic.bad_field("value", &names(&table), field))?,
                );
            }
            Value::Debezium(parts) => {
                for (node, part) in parts {
                    let (Part::Before(row) | Part::After(row)) = part else {
                        head_part(node, part, &mut input, &mut head).ok_or_else(|| {
                            fault::damaged(&topic.name, "value", "its envelope makes no sense")
                        })?;
                        continue;
                    };
                    let present =
                        branch(node, &mut input).ok_or_else(|| topic.bad_field("value", &[], 0))?;
                    if matches!(present.wire, Wire::Null) {
                        continue;
                    }
                    let image = row
                        .row(columns, &mut input, builder, scratch)
                        .map_err(|field| topic.bad_field("value", &names(&table), field))?;
                    match part {
                        Part::Before(_) => before = Some(image),
                        _ => after = Some(image),
                    }
                }
            }
        }
        if !input.is_at_end() {
            return Err(fault::damaged(
                &topic.name,
                "value",
                "more bytes follow than its schema has",
            ));
        }
        let needs_key = match &plan.value {
            Value::Debezium(_) => head.needs_key(before.is_some()),
            _ => true,
        };
        if let (Some(row), Some(bytes), true) = (&plan.key, key, needs_key) {
            let mut input = Input::new(bytes);
            key_values = Some(
                row.row(table.key.len(), &mut input, builder, scratch)
                    .map_err(|field| topic.bad_field("key", &[], field))?,
            );
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

fn split<'a>(topic: &Topic, part: &str, bytes: &'a [u8]) -> Result<(u32, &'a [u8])> {
    match bytes {
        [0, a, b, c, d, rest @ ..] => {
            let id = u32::from_be_bytes([*a, *b, *c, *d]);
            if id == 0 && rest.len() > 4 {
                return Err(fault::long_id(&topic.name, part));
            }
            Ok((id, rest))
        }
        _ => Err(fault::other_format(&topic.name, part, Looks::Avro, bytes)),
    }
}

fn key_only(topic: &Topic, key: Option<&Node>) -> TableSchema {
    let empty = Schema::new(crate::connect::Kind::Struct(Vec::new()));
    let key = key.map_or(&empty, |key| &key.connect);
    foreign::table(topic.table_id(None, None), key, Some(key))
}

/// How a key is read; `None` where it is not the table's key.
fn key_read(key: &Arc<Node>, table: &TableSchema) -> Option<RowRead> {
    let Wire::Record(fields) = &key.wire else {
        return None;
    };
    if fields.len() != table.key.len() || fields.is_empty() {
        return None;
    }
    let types = table.key_columns().map(|column| &column.ty);
    let reads = fields.iter().zip(types).map(|((_, node), ty)| {
        Some(FieldRead {
            reading: Some(Reading::of(ty, &node.connect)?),
            node: Arc::clone(node),
        })
    });
    Some(RowRead {
        fields: reads.collect::<Option<_>>()?,
        placeholders: false,
    })
}

fn row_read(
    topic: &Topic,
    node: &Node,
    table: &TableSchema,
    placeholders: bool,
) -> Result<RowRead> {
    let node = match &node.wire {
        Wire::Union(branches) => branches
            .iter()
            .find(|branch| !matches!(branch.wire, Wire::Null))
            .map_or(node, |branch| &**branch),
        _ => node,
    };
    let Wire::Record(fields) = &node.wire else {
        return Err(fault::damaged(&topic.name, "value", "its row is no record"));
    };
    if fields.len() != table.columns.len() {
        return Err(fault::damaged(
            &topic.name,
            "value",
            "its row has another number of fields than the table has columns",
        ));
    }
    let mut reads = Vec::new();
    for ((_, node), column) in fields.iter().zip(&table.columns) {
        let reading = Reading::of(&column.ty, &node.connect).ok_or_else(|| {
            let what = format!(
                "its field {} is no {:?}, as its column is",
                column.name, column.ty
            );
            fault::damaged(&topic.name, "value", &what)
        })?;
        reads.push(FieldRead {
            node: Arc::clone(node),
            reading: Some(reading),
        });
    }
    Ok(RowRead {
        fields: reads,
        placeholders,
    })
}

fn value_read(
    topic: &Topic,
    node: &Arc<Node>,
    table: &TableSchema,
    is_foreign: bool,
) -> Result<Value> {
    let has = |name: &str| node.connect.get(name).is_some();
    let is_enveloped = has("op") && has("after") && has("source");
    if topic.envelope == Envelope::Flat {
        if is_foreign && is_enveloped {
            return Err(fault::other_envelope(&topic.name, false));
        }
        return row_read(topic, node, table, is_foreign).map(Value::Flat);
    }
    let Wire::Record(fields) = &node.wire else {
        return Err(fault::other_envelope(&topic.name, true));
    };
    if !has("op") {
        return Err(fault::other_envelope(&topic.name, true));
    }
    let mut parts = Vec::new();
    for (name, node) in fields {
        let part = match name.as_str() {
            "before" => Part::Before(row_read(topic, node, table, is_foreign)?),
            "after" => Part::After(row_read(topic, node, table, is_foreign)?),
            "op" => Part::Op,
            "ts_ms" => Part::Millis,
            "source" => Part::Source(parts_of(node, |name| match name {
                "ts_ms" => SourcePart::Millis,
                "gtid" => SourcePart::Gtid,
                _ => SourcePart::Other,
            })),
            "transaction" => Part::Transaction(parts_of(node, |name| name == "id")),
            _ => Part::Other,
        };
        parts.push((Arc::clone(node), part));
    }
    Ok(Value::Debezium(parts))
}

/// The fields of a record, or of an optional one, each with what it is.
fn parts_of<T>(node: &Node, what: impl Fn(&str) -> T) -> Vec<(Arc<Node>, T)> {
    match &node.wire {
        Wire::Record(fields) => fields
            .iter()
            .map(|(name, node)| (Arc::clone(node), what(name)))
            .collect(),
        Wire::Union(branches) => branches
            .iter()
            .find(|branch| matches!(branch.wire, Wire::Record(_)))
            .map(|branch| parts_of(branch, what))
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn head_part(node: &Node, part: &Part, input: &mut Input<'_>, head: &mut Head) -> Option<()> {
    match part {
        Part::Op => {
            if let Token::Text(code) = token(branch(node, input)?, input)? {
                head.has_op = true;
                head.op = Operation::from_code(code);
            }
        }
        Part::Millis => {
            if let Token::Int(millis) = token(branch(node, input)?, input)? {
                head.millis = Some(millis);
            }
        }
        Part::Source(parts) => {
            if matches!(branch(node, input)?.wire, Wire::Null) {
                return Some(());
            }
            for (node, part) in parts {
                match part {
                    SourcePart::Other => skip(node, input)?,
                    SourcePart::Millis => {
                        if let Token::Int(millis) = token(branch(node, input)?, input)? {
                            head.source_millis = Some(millis).filter(|&millis| millis > 0);
                        }
                    }
                    SourcePart::Gtid => {
                        if let Token::Text(gtid) = token(branch(node, input)?, input)? {
                            head.gtid = Some(gtid.to_owned());
                        }
                    }
                }
            }
        }
        Part::Transaction(parts) => {
            if matches!(branch(node, input)?.wire, Wire::Null) {
                return Some(());
            }
            for (node, is_id) in parts {
                if !is_id {
                    skip(node, input)?;
                } else if let Token::Text(id) = token(branch(node, input)?, input)? {
                    head.transaction = Some(id.to_owned());
                }
            }
        }
        Part::Before(_) | Part::After(_) | Part::Other => skip(node, input)?,
    }
    Some(())
}

/// The schema and the table that a record's `source` names.
fn identify(node: &Node, input: &mut Input<'_>) -> Option<(Option<String>, Option<String>)> {
    let Wire::Record(fields) = &node.wire else {
        return None;
    };
    for (name, node) in fields {
        if name != "source" {
            skip(node, input)?;
            continue;
        }
        let Wire::Record(fields) = &branch(node, input)?.wire else {
            return None;
        };
        let (mut db, mut schema, mut table) = (None, None, None);
        for (name, node) in fields {
            let place = match name.as_str() {
                "db" => &mut db,
                "schema" => &mut schema,
                "table" => &mut table,
                _ => {
                    skip(node, input)?;
                    continue;
                }
            };
            if let Token::Text(text) = token(branch(node, input)?, input)? {
                *place = Some(text.to_owned());
            }
        }
        return Some((schema.or(db), table));
    }
    None
}
