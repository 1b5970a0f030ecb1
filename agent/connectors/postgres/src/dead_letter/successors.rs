//! Which changes of a group are of the same row.

use std::collections::HashMap;

use sluice_core::{Row, RowChange, TableId, TableSchema};

use crate::dead_letter::parcel::{Digest, Parcel, digest, keys_touched};

/// The changes of each row, in source order.
pub(crate) struct Successors {
    by_row: HashMap<(TableId, Digest), Vec<Next>>,
}

/// A change of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next {
    /// Where it stands.
    pub(crate) place: usize,
    old: Option<Digest>,
    new: Option<Digest>,
}

impl Successors {
    pub(crate) fn new(events: &[Option<RowChange>]) -> Self {
        let mut by_row = HashMap::<_, Vec<Next>>::new();
        for (place, event) in events.iter().enumerate() {
            let Some(event) = event else { continue };
            let (old, new) = keys_touched(event);
            let [old, new] = [old, new].map(|key| key.as_ref().map(digest));
            for digest in [old, new].into_iter().flatten() {
                let changes = by_row.entry((event.table.id.clone(), digest)).or_default();
                changes.push(Next { place, old, new });
            }
        }
        Self { by_row }
    }

    /// Whether nothing behind a place has to do with the rows of a parcel.
    pub(crate) fn is_last(&self, place: usize, parcel: &Parcel) -> bool {
        let keys: Vec<Row> = parcel.keys().collect();
        self.after(place, &parcel.table, keys.iter()).is_empty()
    }

    /// The changes of these rows behind a place, in source order.
    pub(crate) fn after<'k>(
        &self,
        place: usize,
        table: &TableSchema,
        keys: impl Iterator<Item = &'k Row>,
    ) -> Vec<Next> {
        let mut found = Vec::new();
        for key in keys {
            let changes = self.by_row.get(&(table.id.clone(), digest(key)));
            let changes = changes.into_iter().flatten();
            found.extend(changes.filter(|next| next.place > place).copied());
        }
        found.sort_unstable_by_key(|next| next.place);
        found.dedup_by_key(|next| next.place);
        found
    }
}

impl Next {
    /// Whether it changes the row with this key.
    pub(crate) fn changes(&self, key: Option<&Row>) -> bool {
        key.is_some_and(|key| self.old == Some(digest(key)))
    }

    /// Whether a row comes to be under this key.
    pub(crate) fn comes_to(&self, key: Option<&Row>) -> bool {
        key.is_some_and(|key| self.new == Some(digest(key)))
    }

    /// Whether it has to do with this key.
    pub(crate) fn touches(&self, key: Option<&Row>) -> bool {
        self.changes(key) || self.comes_to(key)
    }
}
