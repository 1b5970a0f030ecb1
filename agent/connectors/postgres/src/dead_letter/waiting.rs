//! Which rows have letters, in memory, so that changes of other rows cost nothing but a look.
//!
//! May name rows that have none any more (somebody retried them, a transaction was given up), never
//! lacks one that has: there is one writer, and it begins by reading them.

use std::collections::{HashMap, HashSet};

use sluice_core::{Result, TableId};

use crate::{connect::Session, dead_letter::parcel::Digest};

/// Beyond this many rows the target is asked about every row of a table with letters.
const ROWS_MAX: usize = 100_000;

/// The rows that have letters.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    tables: HashMap<TableId, Rows>,
    count: usize,
}

#[derive(Debug)]
enum Rows {
    These(HashSet<Digest>),
    Any,
}

impl Waiting {
    /// Reads them.
    pub(crate) async fn load(session: &Session, sink: &str) -> Result<Self> {
        let mut waiting = Self::default();
        let tables = "SELECT DISTINCT source_table FROM sluice.dead_letters
                      WHERE sink = $1 AND shape IS NOT NULL";
        let found = session.client.query(tables, &[&sink]).await;
        let names = found.map_err(|error| session.error(error))?;
        let tables: Vec<TableId> = names
            .iter()
            .filter_map(|row| row.get::<_, String>(0).parse().ok())
            .collect();
        let limit = ROWS_MAX as i64 + 1;
        let digests = "SELECT source_table, writes_digest, removes_digest FROM sluice.dead_letters
                       WHERE sink = $1 AND shape IS NOT NULL LIMIT $2";
        if tables.is_empty() {
            return Ok(waiting);
        }
        let found = session.client.query(digests, &[&sink, &limit]).await;
        let rows = found.map_err(|error| session.error(error))?;
        if rows.len() > ROWS_MAX {
            waiting.tables = tables.into_iter().map(|table| (table, Rows::Any)).collect();
            return Ok(waiting);
        }
        for row in rows {
            let Ok(table) = row.get::<_, String>(0).parse() else {
                continue;
            };
            for digest in [row.get::<_, Option<Vec<u8>>>(1), row.get(2)]
                .into_iter()
                .flatten()
            {
                if let Ok(digest) = Digest::try_from(digest) {
                    waiting.insert(&table, digest);
                }
            }
        }
        Ok(waiting)
    }

    /// Whether any row of the table has a letter.
    pub(crate) fn has(&self, table: &TableId) -> bool {
        !self.tables.is_empty() && self.tables.contains_key(table)
    }

    /// Whether there is none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Whether this row of the table may have one.
    pub(crate) fn may_hold(&self, table: &TableId, digest: &Digest) -> bool {
        match self.tables.get(table) {
            Some(Rows::These(rows)) => rows.contains(digest),
            Some(Rows::Any) => true,
            None => false,
        }
    }

    /// Adds a row.
    pub(crate) fn insert(&mut self, table: &TableId, digest: Digest) {
        let fits = self.count < ROWS_MAX;
        let rows = self
            .tables
            .entry(table.clone())
            .or_insert_with(|| Rows::These(HashSet::new()));
        match rows {
            Rows::These(known) if fits => self.count += usize::from(known.insert(digest)),
            Rows::These(known) => {
                self.count -= known.len();
                *rows = Rows::Any;
            }
            Rows::Any => {}
        }
    }

    /// Forgets a table.
    pub(crate) fn remove(&mut self, table: &TableId) {
        if let Some(Rows::These(rows)) = self.tables.remove(table) {
            self.count -= rows.len();
        }
    }

    /// Knows a table by another name.
    pub(crate) fn rename(&mut self, from: &TableId, to: &TableId) {
        self.remove(to);
        if let Some(rows) = self.tables.remove(from) {
            self.tables.insert(to.clone(), rows);
        }
    }
}
