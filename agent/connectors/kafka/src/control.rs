//! What happened to a table besides changes of its rows: what the topic `<source>.sluice.control` holds.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use sluice_core::{
    ChangeEvent, SchemaChange, SnapshotChunk, TableId, TableSchema, event::ChunkMode,
    position::Frontier,
};

use crate::schemas::{Fingerprint, Shapes};

/// An event of the control topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Control {
    /// The how manieth of its table, from one. Records that come after it carry the number.
    pub(crate) number: u64,
    /// The table, by its name before the event.
    pub(crate) table: TableId,
    /// The table's topic.
    pub(crate) topic: String,
    /// For each of the topic's partitions the offset before which everything earlier lies.
    pub(crate) offsets: BTreeMap<i32, i64>,
    /// The number of the transaction that the event lies before or in; zero where transactions have no
    /// bounds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) transaction: u64,
    /// What happened.
    pub(crate) event: What,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum What {
    /// The table was created or is seen for the first time; its shape.
    Create { shape: String },
    /// The table has another shape.
    Alter { shape: String },
    /// The table has another shape, and its rows are copied again behind.
    Refill { shape: String },
    /// The table is copied again because somebody wants it: targets where it had stopped go on.
    Renew { shape: String },
    /// Columns have new names.
    RenameColumns { columns: Vec<(String, String)> },
    /// The table has a new name; the number that records of the new topic carry.
    RenameTable {
        to: TableId,
        topic: String,
        number: u64,
        /// Where earlier records of the new name's topic end.
        offsets: BTreeMap<i32, i64>,
    },
    /// The table was emptied.
    Truncate,
    /// The table was dropped.
    Drop,
    /// The table is read from scratch: rows before are void.
    ReplaceAll { shape: String },
    /// A range of keys is read again: rows in it before are void.
    ReplaceRange {
        shape: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Frontier>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Frontier>,
    },
}

impl What {
    /// The shape that the event names.
    pub(crate) fn shape(&self) -> Option<Fingerprint> {
        match self {
            Self::Create { shape }
            | Self::Alter { shape }
            | Self::Refill { shape }
            | Self::Renew { shape }
            | Self::ReplaceAll { shape }
            | Self::ReplaceRange { shape, .. } => Fingerprint::parse(shape),
            _ => None,
        }
    }
}

impl Control {
    /// The event as the pipeline knows it; `None` when its shape is not known.
    pub(crate) fn to_event(&self, shapes: &Shapes) -> Option<ChangeEvent> {
        let shape = || {
            self.event
                .shape()
                .and_then(|shape| shapes.get(shape))
                .cloned()
        };
        let chunk = |table: Arc<TableSchema>, mode| {
            ChangeEvent::Chunk(SnapshotChunk {
                table,
                rows: Vec::new(),
                origins: Vec::new(),
                mode,
            })
        };
        let change = match &self.event {
            What::Create { .. } => SchemaChange::Create(shape()?),
            What::Alter { .. } => SchemaChange::Alter(shape()?),
            What::Refill { .. } => SchemaChange::Refill(shape()?),
            What::Renew { .. } => SchemaChange::Renew(shape()?),
            What::RenameColumns { columns } => SchemaChange::RenameColumns {
                table: self.table.clone(),
                columns: columns.clone(),
            },
            What::RenameTable { to, .. } => SchemaChange::RenameTable {
                from: self.table.clone(),
                to: to.clone(),
            },
            What::Truncate => SchemaChange::Truncate(self.table.clone()),
            What::Drop => SchemaChange::Drop(self.table.clone()),
            What::ReplaceAll { .. } => return Some(chunk(shape()?, ChunkMode::ReplaceAll)),
            What::ReplaceRange { after, until, .. } => {
                let row = |key: &Option<Frontier>| key.as_ref().map(|key| key.0.clone());
                let mode = ChunkMode::ReplaceRange {
                    after: row(after),
                    until: row(until),
                };
                return Some(chunk(shape()?, mode));
            }
        };
        Some(ChangeEvent::Schema(change))
    }
}

/// The shape of a table after an event; `None` when it is gone.
pub(crate) fn shape_after(
    before: Option<&Arc<TableSchema>>,
    control: &Control,
    shapes: &Shapes,
) -> Option<Arc<TableSchema>> {
    match &control.event {
        What::RenameColumns { columns } => {
            let mut table = TableSchema::clone(before?);
            for column in &mut table.columns {
                if let Some((_, to)) = columns.iter().find(|(from, _)| *from == column.name) {
                    column.name.clone_from(to);
                }
            }
            Some(Arc::new(table))
        }
        What::RenameTable { to, .. } => {
            let mut table = TableSchema::clone(before?);
            table.id = to.clone();
            Some(Arc::new(table))
        }
        What::Drop => None,
        What::Truncate => before.cloned(),
        event => event
            .shape()
            .and_then(|shape| shapes.get(shape))
            .or(before)
            .cloned(),
    }
}
