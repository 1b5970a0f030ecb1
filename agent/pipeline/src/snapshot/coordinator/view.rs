//! Tables without a key: one view of the whole table, read while the stream stands still.

use std::sync::Arc;

use sluice_core::{
    ChangeEvent, Row, TableId, TableSchema, TableState, Watermark, event::ChunkMode,
};

use crate::snapshot::chunk::TableCopy;

use super::Coordinator;

impl Coordinator {
    /// A table without a key that is to be copied next: the caller opens a view of it while the
    /// stream stands still.
    pub fn view(&self) -> Option<TableId> {
        let waits = |copy: &TableCopy| !copy.schema.has_key() && copy.view_at.is_none();
        let any_open = self.copies.values().any(|copy| copy.view_at.is_some());
        let mut waiting = self.copies.iter().filter(|(_, copy)| waits(copy));
        if any_open {
            None
        } else {
            waiting.next().map(|(table, _)| table.clone())
        }
    }

    /// A view of the table is open at this place.
    pub fn open_view(&mut self, table: &TableId, schema: Arc<TableSchema>, at: Watermark) {
        if let Some(copy) = self.copies.get_mut(table) {
            copy.schema = schema;
            copy.view_at = Some(at);
        }
    }

    /// The table whose view is open, and its place.
    pub fn opened_view(&self) -> Option<(&TableId, &Watermark)> {
        self.copies
            .iter()
            .find_map(|(table, copy)| Some((table, copy.view_at.as_ref()?)))
    }

    /// Wraps rows of the open view; the first piece says what becomes of older rows.
    pub fn view_rows(&mut self, table: &TableId, rows: Vec<Row>) -> Vec<ChangeEvent> {
        let Some(copy) = self.copies.get_mut(table) else {
            return Vec::new();
        };
        let first = copy.rows_copied == 0;
        copy.rows_copied += rows.len() as u64;
        let mode = if first && copy.replace {
            ChunkMode::ReplaceAll
        } else {
            ChunkMode::Append
        };
        let schema = Arc::clone(&copy.schema);
        self.chunk_events(schema, rows, mode)
    }

    /// The open view is read to its end.
    pub fn close_view(&mut self, table: &TableId) {
        self.copies.remove(table);
        Arc::make_mut(&mut self.tables).insert(table.clone(), TableState::Streaming);
    }
}
