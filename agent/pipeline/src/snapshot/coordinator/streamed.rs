//! Rows that another agent's snapshot read, of a source that has them in its stream.

use std::{mem, sync::Arc};

use sluice_core::{ChangeEvent, SnapshotChunk, TableId, TableState, event::ChunkMode};

use super::Coordinator;

impl Coordinator {
    /// What becomes of such rows. A table that stopped goes on where the stream has it again from its
    /// first row.
    pub(super) fn filter_chunk(&mut self, chunk: SnapshotChunk, out: &mut Vec<ChangeEvent>) {
        let table = &chunk.table.id;
        if self.is_stopped(table) {
            if !begins_anew(&chunk.mode) {
                return;
            }
            // What changed its shape meanwhile was dropped.
            self.announced.remove(table);
            self.revived.push(table.clone());
            Arc::make_mut(&mut self.tables).insert(table.clone(), TableState::Streaming);
            out.extend(self.announce(&chunk.table));
        } else if !self.tables.contains_key(table) && self.router.selects(table) {
            Arc::make_mut(&mut self.tables).insert(table.clone(), TableState::Streaming);
        }
        out.push(ChangeEvent::Chunk(chunk));
    }

    /// Tables that go on since this was asked last.
    pub(crate) fn take_revived(&mut self) -> Vec<TableId> {
        mem::take(&mut self.revived)
    }
}

/// Whether a chunk is the first of a whole table, whatever the target holds.
fn begins_anew(mode: &ChunkMode) -> bool {
    matches!(
        mode,
        ChunkMode::ReplaceAll | ChunkMode::ReplaceRange { after: None, .. }
    )
}

#[cfg(test)]
mod tests {
    use sluice_core::{Column, ColumnType, LogPosition, SchemaChange, SnapshotState, TableSchema};

    use super::*;
    use crate::{route::Router, snapshot::CopyLimits};

    fn table() -> Arc<TableSchema> {
        Arc::new(TableSchema {
            id: TableId::new("shop", "orders"),
            columns: vec![Column {
                name: "id".into(),
                ty: ColumnType::Text,
                nullable: false,
                generated: false,
                boolean: false,
                default: None,
            }],
            key: vec![0],
        })
    }

    fn coordinator(state: Option<TableState>) -> Coordinator {
        let limits = CopyLimits {
            chunk_rows: 1,
            chunk_bytes_max: 1,
            parallelism: 1,
            copy_new_tables: false,
        };
        let states: SnapshotState = state
            .map(|state| (table().id.clone(), state))
            .into_iter()
            .collect();
        let router = Router::new(Vec::new()).unwrap();
        let position = LogPosition::Lsn(0);
        Coordinator::new(limits, router, position, Arc::new(states), &[], Vec::new())
    }

    fn passed(coordinator: &mut Coordinator, mode: ChunkMode) -> Vec<ChangeEvent> {
        let chunk = SnapshotChunk {
            table: table(),
            rows: Vec::new(),
            origins: Vec::new(),
            mode,
        };
        let mut out = Vec::new();
        coordinator.filter(ChangeEvent::Chunk(chunk), &mut out);
        out
    }

    #[test]
    fn a_stopped_table_takes_no_rows_until_it_is_copied_again() {
        let mut coordinator = coordinator(Some(TableState::Stopped {
            reason: "RowRefused".into(),
            message: "x".into(),
            hint: None,
        }));
        assert!(passed(&mut coordinator, ChunkMode::Append).is_empty());
        assert!(passed(&mut coordinator, ChunkMode::Upsert).is_empty());
        assert_eq!(coordinator.take_revived(), []);

        let anew = ChunkMode::ReplaceRange {
            after: None,
            until: None,
        };
        let out = passed(&mut coordinator, anew);
        assert!(
            matches!(
                out.as_slice(),
                [
                    ChangeEvent::Schema(SchemaChange::Alter(_)),
                    ChangeEvent::Chunk(_)
                ]
            ),
            "{out:?}"
        );
        assert_eq!(coordinator.take_revived(), [table().id.clone()]);
        assert_eq!(passed(&mut coordinator, ChunkMode::Upsert).len(), 1);
    }

    #[test]
    fn a_table_is_known_by_its_rows() {
        let mut coordinator = coordinator(None);
        assert_eq!(passed(&mut coordinator, ChunkMode::Append).len(), 1);
        assert_eq!(
            coordinator.tables().get(&table().id),
            Some(&TableState::Streaming)
        );
    }
}
