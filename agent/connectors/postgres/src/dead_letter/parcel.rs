//! What a letter still has to bring about, and how a later change of the row takes it along.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use sluice_core::{Row, RowChange, RowOperation, TableSchema, Value, row::FORMAT};

use crate::netting::same_key;

/// A row beyond this is not kept whole.
const ROW_BYTES_MAX: usize = 16 << 20;

pub(crate) const INSERT: &str = "insert";
pub(crate) const UPDATE: &str = "update";
pub(crate) const DELETE: &str = "delete";
pub(crate) const READ: &str = "read";

/// Tells one key from every other.
pub(crate) type Digest = [u8; 16];

/// What the target lacks of a row.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    /// The shape of the rows.
    pub(crate) table: Arc<TableSchema>,
    /// What happened to the row.
    pub(crate) operation: &'static str,
    /// What still has to go: a key, in key order; of a table without a key the whole row.
    pub(crate) removes: Option<Row>,
    /// The row that still has to come, as far as it is known.
    pub(crate) writes: Option<Row>,
}

/// A part of a parcel as it is kept.
pub(crate) struct Packed {
    pub(crate) bytes: Vec<u8>,
    /// Of the key.
    pub(crate) digest: Digest,
}

impl Parcel {
    /// A change of which nothing is applied.
    pub(crate) fn of_change(event: &RowChange) -> Self {
        let table = &event.table;
        let (operation, removes, writes) = match &event.operation {
            RowOperation::Insert { after } => (INSERT, None, Some(after.clone())),
            RowOperation::Delete { before } => (DELETE, Some(key_of(table, before)), None),
            RowOperation::Update { before, after } => {
                let moves = !table.has_key() || !same_key(&table.key, before, after);
                let removes = moves.then(|| key_of(table, before));
                (UPDATE, removes, Some(with_key(table, after, before)))
            }
        };
        Self {
            table: Arc::clone(table),
            operation,
            removes,
            writes,
        }
    }

    /// The keys that the letter is found by.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Row> {
        let written = self.writes.as_ref().map(|row| key_of(&self.table, row));
        self.removes.clone().into_iter().chain(written)
    }

    /// The parts as they are kept, what goes and what comes; none when they are too large for that.
    pub(crate) fn pack(&self) -> Option<(Option<Packed>, Option<Packed>)> {
        let parts = [&self.removes, &self.writes];
        let fits = |part: &Option<Row>| {
            part.as_ref()
                .is_none_or(|row| row.size_bytes() <= ROW_BYTES_MAX)
        };
        parts.into_iter().all(fits).then(|| {
            let packed = |row: &Row, key: &Row| Packed {
                bytes: pack(row),
                digest: digest(key),
            };
            let writes = self.writes.as_ref();
            (
                self.removes.as_ref().map(|row| packed(row, row)),
                writes.map(|row| packed(row, &key_of(&self.table, row))),
            )
        })
    }

    /// The change of the row that comes after this one, with all that this one would have brought
    /// about; none when the two cancel each other out.
    pub(crate) fn carried_by(&self, later: &RowChange) -> Option<RowChange> {
        let operation = if later.table.has_key() {
            self.keyed(later)
        } else {
            self.keyless(later)?
        };
        Some(RowChange {
            operation,
            ..later.clone()
        })
    }

    /// What still has to go, as a change of its own ahead of a later one.
    pub(crate) fn removal(&self, later: &RowChange) -> Option<RowChange> {
        let key = self.removes.as_ref()?;
        let before = row_of(&later.table, key);
        Some(RowChange {
            operation: RowOperation::Delete { before },
            ..later.clone()
        })
    }

    fn keyed(&self, later: &RowChange) -> RowOperation {
        let table = &later.table;
        let gone = self.removes.as_ref().map(|key| spread(table, key));
        match (&later.operation, gone) {
            (RowOperation::Insert { after }, Some(before)) => RowOperation::Update {
                before,
                after: after.clone(),
            },
            (RowOperation::Insert { after }, None) => RowOperation::Insert {
                after: after.clone(),
            },
            (RowOperation::Delete { before }, gone) => RowOperation::Delete {
                before: gone.unwrap_or_else(|| spread(table, &key_of(table, before))),
            },
            (RowOperation::Update { before, after }, gone) => {
                let mut after = after.laid_over(before);
                if let Some(older) = &self.writes {
                    after = after.laid_over(older);
                }
                let stays = gone.is_none() && same_key(&table.key, before, &after);
                // Known not to be in the target: an insert also takes a mark of deletion away.
                if stays && self.operation == INSERT && !after.has_unchanged() {
                    return RowOperation::Insert { after };
                }
                // Of the row before only the key is given, so that every column counts as changed.
                let before = gone.unwrap_or_else(|| spread(table, &key_of(table, before)));
                RowOperation::Update { before, after }
            }
        }
    }

    fn keyless(&self, later: &RowChange) -> Option<RowOperation> {
        let gone = self.removes.clone();
        Some(match (&later.operation, gone) {
            (RowOperation::Insert { .. }, _) => later.operation.clone(),
            (RowOperation::Update { after, .. }, Some(before)) => RowOperation::Update {
                before,
                after: after.clone(),
            },
            (RowOperation::Update { after, .. }, None) => RowOperation::Insert {
                after: after.clone(),
            },
            (RowOperation::Delete { .. }, Some(before)) => RowOperation::Delete { before },
            (RowOperation::Delete { .. }, None) => return None,
        })
    }

    /// The change that brings all of it about, for a retry.
    pub(crate) fn as_change(&self, id: i64) -> Option<RowChange> {
        let operation = match (&self.removes, &self.writes) {
            (None, None) => return None,
            (Some(key), None) => RowOperation::Delete {
                before: row_of(&self.table, key),
            },
            (Some(key), Some(after)) => RowOperation::Update {
                before: row_of(&self.table, key),
                after: after.clone(),
            },
            (None, Some(after)) if after.has_unchanged() => RowOperation::Update {
                before: spread(&self.table, &key_of(&self.table, after)),
                after: after.clone(),
            },
            (None, Some(after)) => RowOperation::Insert {
                after: after.clone(),
            },
        };
        Some(RowChange {
            table: Arc::clone(&self.table),
            operation,
            transaction: Arc::new(sluice_core::Transaction {
                id: format!("letter {id}"),
                commit_time_micros: 0,
                start_offset: 0,
            }),
            ordinal: 0,
            origin: None,
        })
    }
}

/// The key of a row; of a table without one the row itself.
pub(crate) fn key_of(table: &TableSchema, row: &Row) -> Row {
    if table.has_key() {
        row.project(&table.key)
    } else {
        row.clone()
    }
}

/// The keys by which a later change finds letters: that of the row as it was, and, where a row comes
/// to be under a key, that one.
pub(crate) fn keys_touched(event: &RowChange) -> (Option<Row>, Option<Row>) {
    let table = &event.table;
    match &event.operation {
        // An equal row more does not concern those that are kept aside.
        RowOperation::Insert { .. } if !table.has_key() => (None, None),
        RowOperation::Insert { after } => (None, Some(key_of(table, after))),
        RowOperation::Delete { before } => (Some(key_of(table, before)), None),
        RowOperation::Update { before, .. } if !table.has_key() => (Some(before.clone()), None),
        RowOperation::Update { before, after } => {
            let moved = !same_key(&table.key, before, after);
            let new = moved.then(|| key_of(table, &with_key(table, after, before)));
            (Some(key_of(table, before)), new)
        }
    }
}

/// A row whose image leaves out a part of the key, with the key as it was.
fn with_key(table: &TableSchema, after: &Row, before: &Row) -> Row {
    let lacks = |&at: &usize| after.get(at).is_unchanged();
    if !table.key.iter().any(lacks) {
        return after.clone();
    }
    after.laid_over(&spread(table, &key_of(table, before)))
}

/// The row that a key stands for, as far as it tells.
fn row_of(table: &TableSchema, key: &Row) -> Row {
    if table.has_key() {
        spread(table, key)
    } else {
        key.clone()
    }
}

/// A row of which the key alone is known.
fn spread(table: &TableSchema, key: &Row) -> Row {
    Row::pack((0..table.columns.len()).map(|at| {
        let place = table.key.iter().position(|&ordinal| ordinal == at);
        place.map_or(Value::Unchanged, |place| key.get(place))
    }))
}

/// A key's digest.
pub(crate) fn digest(key: &Row) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&sha256(key.as_bytes())[..16]);
    digest
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A row with its layout's version in front.
pub(crate) fn pack(row: &Row) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + row.size_bytes());
    bytes.push(FORMAT);
    bytes.extend_from_slice(row.as_bytes());
    bytes
}

/// Reads what [`pack`] wrote; none when another version did.
pub(crate) fn unpack(bytes: &[u8]) -> Option<Row> {
    match bytes {
        [FORMAT, packed @ ..] => Row::from_packed(Bytes::copy_from_slice(packed)),
        _ => None,
    }
}
