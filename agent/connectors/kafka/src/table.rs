//! A table as the sink writes it: its topic, and the plan of its present shape.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sluice_avro::RecordWriter;
use sluice_core::{TableId, TableSchema};

use crate::schemas::Fingerprint;

/// A table that is written.
pub(crate) struct Table {
    /// The shape that rows have.
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) topic: Arc<str>,
    pub(crate) partitions: i32,
    /// The largest record that the topic takes.
    pub(crate) message_bytes_max: usize,
    /// The number of the table's last control event.
    pub(crate) control: u64,
    pub(crate) writer: RecordWriter,
}

/// The tables, found fast while rows of one follow each other.
#[derive(Default)]
pub(crate) struct Tables {
    all: Vec<Table>,
    by_id: HashMap<TableId, usize>,
    last: usize,
    /// Numbers of partitions by topic.
    topics: Arc<BTreeMap<String, u32>>,
}

impl Tables {
    /// None that is ready; these topics are known to be theirs.
    pub(crate) fn of_topics(topics: BTreeMap<String, u32>) -> Self {
        Self {
            topics: Arc::new(topics),
            ..Self::default()
        }
    }

    /// The table that is ready to take rows of exactly this shape.
    pub(crate) fn ready(&mut self, schema: &Arc<TableSchema>) -> Option<&mut Table> {
        let is_last = |table: &Table| Arc::ptr_eq(&table.schema, schema);
        if !self.all.get(self.last).is_some_and(is_last) {
            let index = *self.by_id.get(&schema.id)?;
            let table = self.all.get_mut(index)?;
            if table.schema != *schema {
                return None;
            }
            table.schema = Arc::clone(schema);
            self.last = index;
        }
        self.all.get_mut(self.last)
    }

    /// A table by its name, in whatever shape.
    pub(crate) fn get_mut(&mut self, id: &TableId) -> Option<&mut Table> {
        let index = *self.by_id.get(id)?;
        self.all.get_mut(index)
    }

    /// Adds or replaces a table.
    pub(crate) fn insert(&mut self, table: Table) {
        let id = table.schema.id.clone();
        let partitions = table.partitions.cast_unsigned();
        if self.topics.get(&*table.topic) != Some(&partitions) {
            Arc::make_mut(&mut self.topics).insert(table.topic.to_string(), partitions);
        }
        if let Some(&index) = self.by_id.get(&id) {
            self.all[index] = table;
        } else {
            self.by_id.insert(id, self.all.len());
            self.all.push(table);
        }
    }

    /// The topics that are written, with their numbers of partitions.
    pub(crate) fn topics(&self) -> Arc<BTreeMap<String, u32>> {
        Arc::clone(&self.topics)
    }

    /// The other table, if any, that writes to a topic.
    pub(crate) fn other_of(&self, topic: &str, id: &TableId) -> Option<&TableId> {
        let other = |table: &&Table| &*table.topic == topic && table.schema.id != *id;
        self.all.iter().find(other).map(|table| &table.schema.id)
    }

    /// Forgets a table, which leaves its place unused.
    pub(crate) fn remove(&mut self, id: &TableId) {
        if let Some(index) = self.by_id.remove(id) {
            let last = self.all.len() - 1;
            let removed = self.all.swap_remove(index);
            Arc::make_mut(&mut self.topics).remove(&*removed.topic);
            if index != last {
                let moved = self.all[index].schema.id.clone();
                self.by_id.insert(moved, index);
            }
            self.last = 0;
        }
    }
}
