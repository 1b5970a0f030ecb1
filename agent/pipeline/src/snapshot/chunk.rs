//! One table's copy: its chunks, and what the stream lays over them.

use std::{
    cmp::Ordering,
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use sluice_core::{ColumnType, Row, TableSchema, Value, Watermark, source::ChunkRows};

/// How many bytes of stream events a chunk collects before it is read again instead.
const OVERLAY_BYTES_MAX: usize = 16 << 20;

/// A table that is being copied.
#[derive(Debug)]
pub(crate) struct TableCopy {
    /// Tells this copy from an abandoned one of the same table.
    pub(crate) generation: u64,
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) replace: bool,
    pub(crate) rows_copied: u64,
    /// Everything up to here is handed on.
    pub(crate) frontier: Option<Row>,
    pub(crate) plan: Plan,
    /// Planned chunks in key order, beginning at the frontier.
    pub(crate) chunks: VecDeque<Chunk>,
    /// Rows per chunk, once estimated.
    pub(crate) chunk_rows: Option<u64>,
    /// For a table without a key: the place of its view, once open.
    pub(crate) view_at: Option<Watermark>,
}

/// How far the chunks' boundaries are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The next boundary is to be asked for.
    Open,
    /// It is being asked for.
    Asked,
    /// The last chunk is planned.
    Complete,
    /// The table's key is of another type by now than at the stream's place: wait for the stream
    /// to move on.
    Postponed,
}

/// A range of keys, `after < key <= until`.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) id: u64,
    pub(crate) after: Option<Row>,
    pub(crate) until: Option<Row>,
    pub(crate) state: ChunkState,
    /// The newest image per key that the stream delivered since registration; `None` is deleted.
    overlay: HashMap<Row, Option<Row>>,
    overlay_bytes: usize,
    /// What is collected can't be used: read the chunk again.
    stale: bool,
}

#[derive(Debug)]
pub(crate) enum ChunkState {
    Planned,
    Reading,
    Read(ChunkRows),
}

/// Where a key of a table that is being copied stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Its row, if there is one, is in the target.
    Target,
    /// Its row belongs to the registered chunk of this index.
    Chunk(usize),
    /// Its row will be read later.
    Beyond,
}

impl TableCopy {
    pub(crate) fn orders_everywhere(&self) -> bool {
        self.schema.key_orders_everywhere()
    }

    /// Chunks that are being read or wait to be handed on.
    pub(crate) fn in_flight(&self) -> usize {
        let started = |chunk: &&Chunk| !matches!(chunk.state, ChunkState::Planned);
        self.chunks.iter().filter(started).count()
    }

    /// The key after which the next boundary is sought.
    pub(crate) fn planned_until(&self) -> Option<&Row> {
        match self.chunks.back() {
            Some(chunk) => chunk.until.as_ref(),
            None => self.frontier.as_ref(),
        }
    }

    /// Where a key stands; only for keys that order everywhere.
    pub(crate) fn zone(&self, key: &Row) -> Zone {
        if self
            .frontier
            .as_ref()
            .is_some_and(|frontier| !is_after(key, frontier))
        {
            return Zone::Target;
        }
        let holds = |chunk: &Chunk| {
            chunk
                .until
                .as_ref()
                .is_none_or(|until| !is_after(key, until))
        };
        match self.chunks.iter().position(holds) {
            Some(index) if !matches!(self.chunks[index].state, ChunkState::Planned) => {
                Zone::Chunk(index)
            }
            _ => Zone::Beyond,
        }
    }

    /// Forgets what is planned and read beyond the frontier, since it was seen with another key.
    /// Answers to jobs of the time before are of another generation.
    pub(crate) fn postpone(&mut self, generation: u64) {
        self.generation = generation;
        self.chunks.clear();
        self.plan = Plan::Postponed;
    }

    /// Makes every chunk that was read or is being read be read again.
    pub(crate) fn poison(&mut self) {
        for chunk in &mut self.chunks {
            chunk.poison();
        }
    }

    /// Takes the result of a read.
    ///
    /// A read that ended early leaves the rest of its range to a new chunk behind it.
    pub(crate) fn finish_read(&mut self, index: usize, rows: ChunkRows, next_id: u64) {
        let orders = self.orders_everywhere();
        let chunk = &mut self.chunks[index];
        if chunk.stale {
            chunk.replan();
            return;
        }
        if !rows.table.key_is_like(&self.schema) {
            self.postpone(next_id);
            return;
        }
        if let Some(cut) = rows.truncated_at.clone() {
            let rest = Chunk::planned(next_id, Some(cut.clone()), chunk.until.take());
            if orders {
                chunk.overlay.retain(|key, _| !is_after(key, &cut));
            }
            chunk.until = Some(cut);
            chunk.state = ChunkState::Read(rows);
            self.chunks.insert(index + 1, rest);
        } else {
            chunk.state = ChunkState::Read(rows);
        }
    }
}

impl Chunk {
    pub(crate) fn planned(id: u64, after: Option<Row>, until: Option<Row>) -> Self {
        Self {
            id,
            after,
            until,
            state: ChunkState::Planned,
            overlay: HashMap::new(),
            overlay_bytes: 0,
            stale: false,
        }
    }

    /// From now on stream events are laid over the chunk.
    pub(crate) fn register(&mut self) {
        self.replan();
        self.state = ChunkState::Reading;
    }

    /// Lays the newest image of a key over the chunk; `None` when the row is gone.
    pub(crate) fn lay(&mut self, key: Row, image: Option<Row>) {
        if self.stale {
            return;
        }
        let image = match (image, self.overlay.get(&key)) {
            (Some(new), Some(Some(older))) => Some(new.laid_over(older)),
            (image, _) => image,
        };
        self.overlay_bytes += key.size_bytes() + image.as_ref().map_or(0, Row::size_bytes);
        self.overlay.insert(key, image);
        if self.overlay_bytes > OVERLAY_BYTES_MAX {
            self.poison();
        }
    }

    /// Makes the chunk be read again, once a read under way is back.
    pub(crate) fn poison(&mut self) {
        match self.state {
            ChunkState::Planned => {}
            ChunkState::Reading => {
                self.stale = true;
                self.overlay = HashMap::new();
            }
            ChunkState::Read(_) => self.replan(),
        }
    }

    fn replan(&mut self) {
        self.state = ChunkState::Planned;
        self.overlay = HashMap::new();
        self.overlay_bytes = 0;
        self.stale = false;
    }

    /// The chunk's rows with the stream's laid over them; rows that only the stream had are added
    /// when `with_new`. `None` when an image can't be completed: the chunk is to be read again.
    pub(crate) fn merge(&mut self, schema: &TableSchema, with_new: bool) -> Option<Vec<Row>> {
        let ChunkState::Read(read) = &mut self.state else {
            return None;
        };
        let rows = std::mem::take(&mut read.rows);
        if self.overlay.is_empty() {
            return Some(rows);
        }
        let mut merged = Vec::with_capacity(rows.len());
        for row in rows {
            match self.overlay.remove(&row.project(&schema.key)) {
                None => merged.push(row),
                Some(Some(newer)) => merged.push(newer.laid_over(&row)),
                Some(None) => {}
            }
        }
        if with_new {
            for row in std::mem::take(&mut self.overlay).into_values().flatten() {
                if row.has_unchanged() {
                    return None;
                }
                merged.push(row);
            }
        }
        Some(merged)
    }
}

/// Whether a key may be one of a table's: a position may be older than the type of the key.
pub(crate) fn fits_key(key: &Row, table: &TableSchema) -> bool {
    let fits = |value: &Value<'_>, ty: &ColumnType| match ty {
        ColumnType::Bool => matches!(value, Value::Bool(_)),
        ColumnType::Int { unsigned: true, .. } => matches!(value, Value::UInt(_)),
        ColumnType::Int { .. } | ColumnType::Year => matches!(value, Value::Int(_)),
        ColumnType::Binary { .. } | ColumnType::Varbinary { .. } => {
            matches!(value, Value::Bytes(_))
        }
        ColumnType::Time { .. } => matches!(value, Value::Time(_)),
        ColumnType::Uuid => matches!(value, Value::Uuid(_)),
        // Without an order of our own, the source alone compares.
        _ => !matches!(value, Value::Int(_) | Value::UInt(_) | Value::Bool(_)),
    };
    key.len() == table.key.len()
        && key
            .values()
            .zip(table.key_columns())
            .all(|(value, column)| fits(&value, &column.ty))
}

/// Whether a key comes after another, for keys that order everywhere.
fn is_after(key: &Row, other: &Row) -> bool {
    for (value, bound) in key.values().zip(other.values()) {
        match value.compare(&bound) {
            Some(Ordering::Greater) => return true,
            Some(Ordering::Less) => return false,
            Some(Ordering::Equal) => {}
            None => unreachable!("keys of types that order everywhere always compare"),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use sluice_core::{Column, RowBuilder, TableId};

    use super::*;

    const INT: ColumnType = ColumnType::Int {
        bits: 32,
        unsigned: false,
    };
    const TEXT: ColumnType = ColumnType::Varchar { length: 20 };

    fn keyed_by(ty: ColumnType) -> TableSchema {
        TableSchema {
            id: TableId::new("d", "t"),
            columns: vec![Column {
                name: "id".to_owned(),
                ty,
                nullable: false,
                default: None,
                generated: false,
                boolean: false,
            }],
            key: vec![0],
        }
    }

    fn key(value: Value<'_>) -> Row {
        let mut builder = RowBuilder::new();
        builder.begin(1, 8);
        builder.push(value);
        builder.finish()
    }

    #[test]
    fn a_frontier_of_another_type_does_not_fit_the_key() {
        assert!(fits_key(&key(Value::Int(7)), &keyed_by(INT)));
        assert!(!fits_key(&key(Value::Text("7")), &keyed_by(INT)));
        assert!(!fits_key(&key(Value::Int(7)), &keyed_by(TEXT)));
        assert!(fits_key(&key(Value::Text("7")), &keyed_by(TEXT)));
    }

    #[test]
    fn keys_of_the_same_kind_are_alike_whatever_their_width() {
        let wide = ColumnType::Int {
            bits: 64,
            unsigned: false,
        };
        let unsigned = ColumnType::Int {
            bits: 32,
            unsigned: true,
        };
        assert!(keyed_by(INT).key_is_like(&keyed_by(wide)));
        assert!(!keyed_by(INT).key_is_like(&keyed_by(unsigned)));
        assert!(!keyed_by(INT).key_is_like(&keyed_by(TEXT)));
    }
}
