//! Many changes of a row become one: the last state wins inside a batch.
//!
//! [`net`] walks the changes of one table in source order and keeps, for each key, whether the row
//! was there before the first and what it is after the last. Deletes, updates and inserts that come
//! out touch each key once, so that they can be applied as sets, in this order. An update carries
//! only the columns that differ between the first image and the last.

use std::{borrow::Cow, hash::BuildHasher, hash::Hasher};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable, hash_table};
use sluice_core::{Row, RowChange, RowOperation};

/// Below this many rows of one combination of changed columns, complete rows share a statement.
const PATTERN_ROWS_MIN: usize = 64;

/// What a batch comes down to for one table.
#[derive(Debug, Default)]
pub(crate) struct Netted<'a> {
    /// Rows to remove, by their key.
    pub(crate) deletes: Vec<Removal<'a>>,
    /// Rows to change in place.
    pub(crate) updates: Vec<Update<'a>>,
    /// Rows to add.
    pub(crate) inserts: Vec<Addition<'a>>,
    /// The combinations of changed columns, by their places in the plan.
    pub(crate) patterns: Vec<Box<[usize]>>,
}

/// A row to remove.
#[derive(Debug, Clone)]
pub(crate) struct Removal<'a> {
    /// A row that holds the key.
    pub(crate) key: &'a Row,
    /// Whether the row only moved to another key, so that it must go whatever deletes do.
    pub(crate) moved: bool,
}

/// A row to change.
#[derive(Debug, Clone)]
pub(crate) struct Update<'a> {
    /// The row as it was, as far as it is known; holds the key.
    pub(crate) before: &'a Row,
    /// The row as it will be.
    pub(crate) after: Cow<'a, Row>,
    /// Which columns change: an index of [`Netted::patterns`].
    pub(crate) pattern: u32,
    /// Whether `after` holds every column.
    pub(crate) complete: bool,
    /// The last change.
    pub(crate) event: &'a RowChange,
}

/// A row to add.
#[derive(Debug, Clone)]
pub(crate) struct Addition<'a> {
    /// The row.
    pub(crate) row: Cow<'a, Row>,
    /// The last change; none for a row that a snapshot read.
    pub(crate) event: Option<&'a RowChange>,
}

/// Which of a row's columns matter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout<'a> {
    /// Ordinals of the key's columns.
    pub(crate) key: &'a [usize],
    /// Ordinals of the written columns.
    pub(crate) columns: &'a [usize],
    /// Whether a row may be moved to another key by removing and adding it.
    pub(crate) moves: bool,
}

/// The changes can't be netted (a row with unknown columns moves to another key): they are to be
/// applied one by one, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InOrder;

struct Entry<'a> {
    key: &'a Row,
    /// The image before the first change of a row that was there.
    before: Option<&'a Row>,
    state: Option<Cow<'a, Row>>,
    moved: bool,
    event: &'a RowChange,
}

/// Nets the changes of one table.
pub(crate) fn net<'a>(layout: Layout<'_>, events: &[&'a RowChange]) -> Result<Netted<'a>, InOrder> {
    let mut book = Book::new(layout.key, events.len());
    for &event in events {
        match &event.operation {
            RowOperation::Insert { after } => {
                let entry = book.entry(after, event, false);
                entry.state = Some(Cow::Borrowed(after));
            }
            RowOperation::Delete { before } => {
                let entry = book.entry(before, event, true);
                entry.state = None;
                entry.moved = false;
            }
            RowOperation::Update { before, after } if same_key(layout.key, before, after) => {
                let entry = book.entry(before, event, true);
                entry.state = Some(match &entry.state {
                    Some(older) if after.has_unchanged() => Cow::Owned(after.laid_over(older)),
                    _ => Cow::Borrowed(after),
                });
            }
            RowOperation::Update { before, after } => {
                if !layout.moves {
                    return Err(InOrder);
                }
                let entry = book.entry(before, event, true);
                let older = entry.state.take();
                entry.moved = true;
                let merged = if after.has_unchanged() {
                    let merged = after.laid_over(older.as_deref().unwrap_or(before));
                    if merged.has_unchanged() {
                        return Err(InOrder);
                    }
                    Cow::Owned(merged)
                } else {
                    Cow::Borrowed(after)
                };
                // An after image that leaves a part of the key out has no row of its own to point
                // to; such moves are rare enough to be applied in order.
                if layout.key.iter().any(|&at| after.get(at).is_unchanged()) {
                    return Err(InOrder);
                }
                book.entry(after, event, false).state = Some(merged);
            }
        }
    }
    Ok(book.close(layout))
}

/// Whether an update leaves the key alone.
pub(crate) fn same_key(key: &[usize], before: &Row, after: &Row) -> bool {
    key.iter()
        .all(|&at| before.cell(at) == after.cell(at) || after.get(at).is_unchanged())
}

/// Which of the written columns an update changes, by their places.
pub(crate) fn changed_columns(columns: &[usize], before: &Row, after: &Row) -> Box<[usize]> {
    let differs = |at: usize| {
        let cell = after.cell(at);
        before.cell(at) != cell && !after.get(at).is_unchanged()
    };
    let places = columns.iter().enumerate().filter(|(_, at)| differs(**at));
    places.map(|(place, _)| place).collect()
}

struct Book<'k, 'a> {
    key: &'k [usize],
    hasher: DefaultHashBuilder,
    index: HashTable<u32>,
    entries: Vec<Entry<'a>>,
}

impl<'k, 'a> Book<'k, 'a> {
    fn new(key: &'k [usize], capacity: usize) -> Self {
        Self {
            key,
            hasher: DefaultHashBuilder::default(),
            index: HashTable::with_capacity(capacity),
            entries: Vec::with_capacity(capacity),
        }
    }

    /// The entry of a row's key. A new one takes the row as being there already, or not.
    fn entry(&mut self, row: &'a Row, event: &'a RowChange, existed: bool) -> &mut Entry<'a> {
        let Self {
            key,
            hasher,
            index,
            entries,
        } = self;
        let hash_of = |row: &Row| {
            let mut state = hasher.build_hasher();
            for &at in *key {
                state.write(row.cell(at));
            }
            state.finish()
        };
        let same = |other: &Row| key.iter().all(|&k| other.cell(k) == row.cell(k));
        let slot = index.entry(
            hash_of(row),
            |&at| same(entries[at as usize].key),
            |&at| hash_of(entries[at as usize].key),
        );
        let at = match slot {
            hash_table::Entry::Occupied(slot) => *slot.get() as usize,
            hash_table::Entry::Vacant(slot) => {
                let at = entries.len();
                slot.insert(at as u32);
                entries.push(Entry {
                    key: row,
                    before: existed.then_some(row),
                    state: None,
                    moved: false,
                    event,
                });
                at
            }
        };
        let entry = &mut entries[at];
        entry.event = event;
        entry
    }

    fn close(self, layout: Layout<'_>) -> Netted<'a> {
        let mut netted = Netted::default();
        let mut patterns = Patterns::default();
        for entry in self.entries {
            let event = entry.event;
            match (entry.before, entry.state) {
                (None, None) => {}
                (None, Some(row)) => netted.inserts.push(Addition {
                    row,
                    event: Some(event),
                }),
                (Some(_), None) => netted.deletes.push(Removal {
                    key: entry.key,
                    moved: entry.moved,
                }),
                (Some(before), Some(after)) => {
                    let columns = changed_columns(layout.columns, before, &after);
                    if columns.is_empty() {
                        continue;
                    }
                    netted.updates.push(Update {
                        before,
                        complete: !after.has_unchanged(),
                        after,
                        pattern: patterns.number(columns),
                        event,
                    });
                }
            }
        }
        patterns.merge_rare(&mut netted.updates);
        netted.patterns = patterns.list;
        netted
    }
}

/// The combinations of changed columns.
#[derive(Default)]
struct Patterns {
    list: Vec<Box<[usize]>>,
    numbers: HashMap<Box<[usize]>, u32>,
    last: u32,
}

impl Patterns {
    fn number(&mut self, columns: Box<[usize]>) -> u32 {
        // Neighbours mostly change the same columns.
        if self.list.get(self.last as usize) == Some(&columns) {
            return self.last;
        }
        let next = self.list.len() as u32;
        let number = *self.numbers.entry_ref(&columns).or_insert(next);
        if number == next {
            self.list.push(columns);
        }
        self.last = number;
        number
    }

    /// Complete rows of rare combinations share one, the union of theirs.
    fn merge_rare(&mut self, updates: &mut [Update<'_>]) {
        let mut counts = vec![0_usize; self.list.len()];
        for update in updates.iter().filter(|update| update.complete) {
            counts[update.pattern as usize] += 1;
        }
        let rare: Vec<bool> = counts
            .iter()
            .map(|&count| count > 0 && count < PATTERN_ROWS_MIN)
            .collect();
        if rare.iter().filter(|rare| **rare).count() < 2 {
            return;
        }
        let mut union: Vec<usize> = Vec::new();
        for (columns, _) in self.list.iter().zip(&rare).filter(|(_, rare)| **rare) {
            union.extend(columns);
        }
        union.sort_unstable();
        union.dedup();
        let shared = self.number(union.into());
        for update in updates.iter_mut().filter(|update| update.complete) {
            if rare[update.pattern as usize] {
                update.pattern = shared;
            }
        }
    }
}

#[cfg(test)]
mod tests;
