//! What becomes of one row change while its table is being copied.

use std::sync::Arc;

use sluice_core::{Row, RowChange, RowOperation, TableSchema};

use crate::snapshot::chunk::{Chunk, ChunkState, TableCopy, Zone};

/// What is left of a change of a table that is being copied.
pub(crate) enum Passed {
    Change(RowChange),
    Nothing,
    /// The change can't be followed: copy the table again.
    Restart(Arc<TableSchema>),
}

/// What a change of a table with ordered keys leaves for the target, by where its keys stand.
pub(crate) fn pass_ordered(copy: &mut TableCopy, change: RowChange) -> Passed {
    let key_of = |row: &Row| row.project(&change.table.key);
    let restart = Arc::clone(&change.table);
    match &change.operation {
        RowOperation::Insert { after } => {
            let key = key_of(after);
            match copy.zone(&key) {
                Zone::Target => Passed::Change(change),
                Zone::Chunk(index) => {
                    copy.chunks[index].lay(key, Some(after.clone()));
                    Passed::Nothing
                }
                Zone::Beyond => Passed::Nothing,
            }
        }
        RowOperation::Delete { before } => {
            let key = key_of(before);
            match copy.zone(&key) {
                Zone::Target => Passed::Change(change),
                Zone::Chunk(index) => {
                    copy.chunks[index].lay(key, None);
                    Passed::Nothing
                }
                Zone::Beyond => Passed::Nothing,
            }
        }
        RowOperation::Update { before, after } => {
            let (old_key, new_key) = (key_of(before), key_of(after));
            let (from, to) = (copy.zone(&old_key), copy.zone(&new_key));
            if from == Zone::Target && to == Zone::Target {
                return Passed::Change(change);
            }
            if let Zone::Chunk(index) = from
                && old_key != new_key
            {
                copy.chunks[index].lay(old_key.clone(), None);
            }
            if let Zone::Chunk(index) = to {
                if old_key != new_key && after.has_unchanged() {
                    // The rest of the row is where the chunk can't see it; a new read can.
                    copy.chunks[index].poison();
                } else {
                    copy.chunks[index].lay(new_key, Some(after.clone()));
                }
            }
            let operation = match (from, to) {
                (Zone::Target, _) => RowOperation::Delete {
                    before: before.clone(),
                },
                (_, Zone::Target) if after.has_unchanged() => return Passed::Restart(restart),
                (_, Zone::Target) => RowOperation::Insert {
                    after: after.clone(),
                },
                _ => return Passed::Nothing,
            };
            Passed::Change(RowChange {
                operation,
                ..change
            })
        }
    }
}

/// Whether a row gets a new key while the log does not hold all of it.
pub(crate) fn moves_incomplete_row(change: &RowChange) -> bool {
    let RowOperation::Update { before, after } = &change.operation else {
        return false;
    };
    let key = &change.table.key;
    after.has_unchanged()
        && key
            .iter()
            .any(|&column| before.cell(column) != after.cell(column))
}

/// Lays a change over the chunk that is being read, of a table whose keys have no order here.
pub(crate) fn lay_unordered(copy: &mut TableCopy, change: &RowChange) {
    let key_of = |row: &Row| row.project(&change.table.key);
    let started = |chunk: &&mut Chunk| !matches!(chunk.state, ChunkState::Planned);
    let Some(chunk) = copy.chunks.iter_mut().find(started) else {
        return;
    };
    match &change.operation {
        RowOperation::Insert { after } => chunk.lay(key_of(after), Some(after.clone())),
        RowOperation::Delete { before } => chunk.lay(key_of(before), None),
        RowOperation::Update { before, after } => {
            let (old_key, new_key) = (key_of(before), key_of(after));
            if old_key != new_key {
                chunk.lay(old_key, None);
            }
            chunk.lay(new_key, Some(after.clone()));
        }
    }
}
