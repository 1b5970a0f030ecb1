//! A database of small tables with a log and its whole history.

use std::{collections::BTreeMap, sync::Arc};

use sluice_core::{
    ChangeEvent, Column, ColumnType, Row, RowChange, RowOperation, SchemaChange, TableId,
    TableSchema, Transaction, Value,
};

/// How many transactions a workload has.
const TRANSACTIONS: usize = 120;

pub(crate) type Rows = BTreeMap<Vec<u8>, Row>;
pub(crate) type Contents = BTreeMap<TableId, Rows>;

/// A transaction as the log holds it.
#[derive(Clone)]
pub(crate) struct Logged {
    pub(crate) events: Vec<ChangeEvent>,
}

pub(crate) struct Database {
    random: fastrand::Rng,
    schemas: BTreeMap<TableId, Arc<TableSchema>>,
    contents: Contents,
    log: Vec<Logged>,
    /// The contents after each number of transactions.
    history: Vec<Contents>,
    left: usize,
    /// Whether updates log only what they change.
    minimal: bool,
}

/// Packs a key so that byte order is key order, for the tables' own maps.
fn map_key(schema: &TableSchema, row: &Row) -> Vec<u8> {
    if schema.key.is_empty() {
        return row.as_bytes().to_vec();
    }
    let mut key = Vec::new();
    for &column in &schema.key {
        match row.get(column) {
            Value::Int(number) => key.extend((number as u64 ^ (1 << 63)).to_be_bytes()),
            Value::Text(text) => key.extend(text.as_bytes()),
            other => panic!("no key of this kind: {other:?}"),
        }
    }
    key
}

pub(crate) fn key_of(schema: &TableSchema, row: &Row) -> Vec<u8> {
    map_key(schema, row)
}

fn schema(name: &str, key_type: ColumnType, has_key: bool) -> Arc<TableSchema> {
    let column = |name: &str, ty| Column {
        name: name.into(),
        ty,
        nullable: false,
        generated: false,
        boolean: false,
        default: None,
    };
    let int = ColumnType::Int {
        bits: 64,
        unsigned: false,
    };
    Arc::new(TableSchema {
        id: TableId::new("shop", name),
        columns: vec![
            column("id", key_type),
            column("a", int),
            column("b", ColumnType::Text),
        ],
        key: if has_key { vec![0] } else { Vec::new() },
    })
}

impl Database {
    pub(crate) fn new(mut random: fastrand::Rng) -> Self {
        let int = ColumnType::Int {
            bits: 64,
            unsigned: false,
        };
        let mut database = Self {
            minimal: random.bool(),
            random,
            schemas: BTreeMap::new(),
            contents: Contents::new(),
            log: Vec::new(),
            history: vec![Contents::new()],
            left: TRANSACTIONS,
        };
        for table in [
            schema("ordered", int.clone(), true),
            schema("text", ColumnType::Varchar { length: 20 }, true),
            schema("keyless", int, false),
        ] {
            database.create(&table);
        }
        for _ in 0..60 {
            let events = database.changes();
            database.commit(events);
        }
        database
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<TableSchema>> {
        self.schemas.values()
    }

    pub(crate) fn schema(&self, table: &TableId) -> Option<&Arc<TableSchema>> {
        self.schemas.get(table)
    }

    pub(crate) fn rows(&self, table: &TableId) -> &Rows {
        &self.contents[table]
    }

    pub(crate) fn log(&self) -> &[Logged] {
        &self.log
    }

    pub(crate) fn history(&self, position: u64) -> &Contents {
        &self.history[position as usize]
    }

    pub(crate) fn transactions_left(&self) -> usize {
        self.left
    }

    /// Lets some transactions of the workload happen.
    pub(crate) fn work(&mut self) {
        for _ in 0..self.random.usize(0..4).min(self.left) {
            self.left -= 1;
            let events = match self.random.u32(0..40) {
                0 => self.truncate(),
                1 if self.schemas.len() < 5 => {
                    let int = ColumnType::Int {
                        bits: 64,
                        unsigned: false,
                    };
                    let table = schema(&format!("new{}", self.left), int, true);
                    self.create(&table);
                    continue;
                }
                _ => self.changes(),
            };
            self.commit(events);
        }
    }

    fn create(&mut self, table: &Arc<TableSchema>) {
        self.schemas.insert(table.id.clone(), Arc::clone(table));
        self.contents.insert(table.id.clone(), Rows::new());
        self.commit(vec![ChangeEvent::Schema(SchemaChange::Create(Arc::clone(
            table,
        )))]);
    }

    fn commit(&mut self, mut events: Vec<ChangeEvent>) {
        events.push(ChangeEvent::TransactionEnd(self.transaction()));
        self.log.push(Logged { events });
        self.history.push(self.contents.clone());
    }

    fn transaction(&self) -> Arc<Transaction> {
        Arc::new(Transaction {
            id: self.log.len().to_string(),
            commit_time_micros: 0,
            start_offset: self.log.len() as u128,
        })
    }

    fn any_table(&mut self) -> Arc<TableSchema> {
        let index = self.random.usize(0..self.schemas.len());
        self.schemas
            .values()
            .nth(index)
            .map(Arc::clone)
            .expect("the index is in range")
    }

    fn truncate(&mut self) -> Vec<ChangeEvent> {
        let table = self.any_table();
        self.contents.insert(table.id.clone(), Rows::new());
        vec![ChangeEvent::Schema(SchemaChange::Truncate(
            table.id.clone(),
        ))]
    }

    fn changes(&mut self) -> Vec<ChangeEvent> {
        let transaction = self.transaction();
        let count = self.random.u64(1..8);
        let mut events = Vec::new();
        for ordinal in 0..count {
            let table = self.any_table();
            let Some(operation) = self.change(&table) else {
                continue;
            };
            let transaction = Arc::clone(&transaction);
            events.push(ChangeEvent::Row(RowChange {
                table,
                operation,
                transaction,
                ordinal,
                origin: None,
            }));
        }
        events
    }

    fn new_row(&mut self, table: &TableSchema) -> Row {
        let id = self.random.i64(0..80);
        let name = format!("k{id}");
        let key = match table.columns[0].ty {
            ColumnType::Int { .. } => Value::Int(id),
            _ => Value::Text(&name),
        };
        let text = "x".repeat(self.random.usize(0..30));
        Row::pack([key, Value::Int(self.random.i64(..)), Value::Text(&text)])
    }

    fn change(&mut self, table: &TableSchema) -> Option<RowOperation> {
        let kind = self.random.u32(0..10);
        let new = self.new_row(table);
        let new_key = map_key(table, &new);
        let present: Vec<Row> = self.contents[&table.id].values().cloned().collect();
        let rows = self.contents.get_mut(&table.id)?;
        if kind < 4 || present.is_empty() {
            if rows.contains_key(&new_key) {
                return None;
            }
            rows.insert(new_key, new.clone());
            return Some(RowOperation::Insert { after: new });
        }
        let before = present[self.random.usize(0..present.len())].clone();
        let old_key = map_key(table, &before);
        rows.remove(&old_key);
        if kind < 6 {
            return Some(RowOperation::Delete { before });
        }
        // An update of some columns, now and then of the key.
        let (key, a, b) = match kind {
            6 if !rows.contains_key(&new_key) => (new.get(0), new.get(1), Value::Unchanged),
            7 => (before.get(0), new.get(1), new.get(2)),
            8 => (before.get(0), Value::Unchanged, new.get(2)),
            _ => (before.get(0), new.get(1), Value::Unchanged),
        };
        let logged = Row::pack([key, a, b]);
        let after = logged.laid_over(&before);
        let after_key = map_key(table, &after);
        if rows.contains_key(&after_key) {
            rows.insert(old_key, before);
            return None;
        }
        rows.insert(after_key, after.clone());
        if self.minimal && !table.key.is_empty() {
            let before = Row::pack([before.get(0), Value::Unchanged, Value::Unchanged]);
            return Some(RowOperation::Update {
                before,
                after: logged,
            });
        }
        Some(RowOperation::Update { before, after })
    }
}
