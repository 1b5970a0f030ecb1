//! Rows that another agent's snapshot read, of a source that has them in its stream.

use std::{mem, sync::Arc};

use sluice_core::{ChangeEvent, SnapshotChunk, TableId, TableSchema, TableState};

use super::Coordinator;

impl Coordinator {
    /// What becomes of such rows: those of a stopped table go nowhere.
    pub(super) fn filter_chunk(&mut self, chunk: SnapshotChunk, out: &mut Vec<ChangeEvent>) {
        let table = &chunk.table.id;
        if self.is_stopped(table) {
            return;
        }
        if !self.tables.contains_key(table) && self.router.selects(table) {
            Arc::make_mut(&mut self.tables).insert(table.clone(), TableState::Streaming);
        }
        out.push(ChangeEvent::Chunk(chunk));
    }

    /// A table comes again from its first row, because somebody wants it so: where it had stopped it
    /// goes on. Answers whether it is wanted here.
    pub(super) fn renew(&mut self, schema: &Arc<TableSchema>) -> bool {
        let table = &schema.id;
        // What changed its shape meanwhile was dropped.
        self.announced.insert(table.clone(), Arc::clone(schema));
        if !self.router.selects(table) {
            return false;
        }
        if self.is_stopped(table) {
            self.revived.push(table.clone());
        }
        Arc::make_mut(&mut self.tables).insert(table.clone(), TableState::Streaming);
        true
    }

    /// Tables that go on since this was asked last.
    pub(crate) fn take_revived(&mut self) -> Vec<TableId> {
        mem::take(&mut self.revived)
    }
}

#[cfg(test)]
mod tests {
    use sluice_core::{
        Column, ColumnType, LogPosition, SchemaChange, SnapshotState, event::ChunkMode,
    };

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

        let anew = || ChunkMode::ReplaceRange {
            after: None,
            until: None,
        };
        assert!(passed(&mut coordinator, anew()).is_empty());

        let mut out = Vec::new();
        let renewed = ChangeEvent::Schema(SchemaChange::Renew(table()));
        coordinator.filter(renewed, &mut out);
        assert!(
            matches!(
                out.as_slice(),
                [ChangeEvent::Schema(SchemaChange::Renew(_))]
            ),
            "{out:?}"
        );
        assert_eq!(passed(&mut coordinator, anew()).len(), 1);
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
