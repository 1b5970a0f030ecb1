//! Columns by example: a MySQL type, the PostgreSQL type that it must become, and values with the
//! text that PostgreSQL must show for each.
//!
//! A [`Family`] is one table whose columns are its kinds. Row `k` holds the `k`-th value of every
//! kind (NULL where a kind has no more), so that every value is seen next to others and in rows
//! with few and with many NULLs. The same rows come three times, by three ways: [`COPIED`] before
//! the pipeline starts, [`UPDATED`] before the start with other values and then updated, and
//! [`STREAMED`] after the start; [`DELETED`] rows are there at first and go.

use std::fmt::Write as _;

/// Rows that the snapshot copies.
pub(crate) const COPIED: usize = 0;
/// Rows that the snapshot copies with other values, and that the stream then changes.
pub(crate) const UPDATED: usize = 1_000;
/// Rows that the stream inserts.
pub(crate) const STREAMED: usize = 2_000;
/// Rows that the snapshot copies and the stream deletes.
pub(crate) const DELETED: usize = 3_000;

/// What is expected of a value that the target can't hold: NULL, and one more in the count.
pub(crate) const NULLED: &str = "(nulled)";

/// A column type.
pub(crate) struct Kind {
    /// The column's name.
    pub(crate) name: &'static str,
    /// Its type in MySQL.
    pub(crate) mysql: &'static str,
    /// The type that it gets in PostgreSQL, as `format_type` spells it.
    pub(crate) postgres: &'static str,
    /// SQL expressions, and the text in which PostgreSQL shows their values.
    pub(crate) values: &'static [(&'static str, &'static str)],
}

/// A table of kinds.
pub(crate) struct Family {
    /// The table's name.
    pub(crate) name: &'static str,
    /// Its columns after `id`.
    pub(crate) kinds: &'static [Kind],
}

impl Family {
    /// How many different rows there are; the last one is NULL in every column.
    pub(crate) fn row_count(&self) -> usize {
        let longest = self.kinds.iter().map(|kind| kind.values.len()).max();
        longest.unwrap_or(0) + 1
    }

    pub(crate) fn create(&self) -> String {
        let mut sql = format!("CREATE TABLE {} (id INT PRIMARY KEY", self.name);
        for kind in self.kinds {
            write!(sql, ", `{}` {} NULL", kind.name, kind.mysql).expect("a String takes it");
        }
        sql + ")"
    }

    /// Inserts every row at `base`, each with the values of the row `shift` further on.
    pub(crate) fn insert(&self, base: usize, shift: usize) -> String {
        let mut sql = format!("INSERT INTO {} VALUES ", self.name);
        for row in 0..self.row_count() {
            let comma = if row > 0 { ", " } else { "" };
            write!(sql, "{comma}({}", base + row).expect("a String takes it");
            for kind in self.kinds {
                write!(
                    sql,
                    ", {}",
                    expression(kind, (row + shift) % self.row_count())
                )
                .expect("a String takes it");
            }
            sql.push(')');
        }
        sql
    }

    /// One statement for each row at `base` that gives it its own values.
    pub(crate) fn updates(&self, base: usize) -> Vec<String> {
        let update = |row: usize| {
            let assignments: Vec<String> = self
                .kinds
                .iter()
                .map(|kind| format!("`{}` = {}", kind.name, expression(kind, row)))
                .collect();
            let id = base + row;
            format!(
                "UPDATE {} SET {} WHERE id = {id}",
                self.name,
                assignments.join(", ")
            )
        };
        (0..self.row_count()).map(update).collect()
    }

    /// A PostgreSQL query for every column as text, in the schema `schema`.
    pub(crate) fn select(&self, schema: &str) -> String {
        let columns: Vec<String> = self
            .kinds
            .iter()
            .map(|kind| match kind.postgres {
                "public.geometry" | "geometry" => format!("ST_AsEWKT(\"{}\")", kind.name),
                _ => format!("\"{}\"::text", kind.name),
            })
            .collect();
        let columns = columns.join(", ");
        format!(
            "SELECT id::text, {columns} FROM \"{schema}\".\"{}\" ORDER BY id",
            self.name
        )
    }

    /// Compares what [`select`](Self::select) gave; one line for each difference.
    pub(crate) fn differences(&self, rows: &[Vec<Option<String>>]) -> Vec<String> {
        let mut differences = Vec::new();
        for (base, way) in [
            (COPIED, "copied"),
            (UPDATED, "updated"),
            (STREAMED, "streamed"),
        ] {
            for row in 0..self.row_count() {
                let id = (base + row).to_string();
                let found = rows.iter().find(|found| found[0].as_deref() == Some(&id));
                let Some(found) = found else {
                    differences.push(format!("{}: row {row} was not {way}", self.name));
                    continue;
                };
                for (kind, text) in self.kinds.iter().zip(&found[1..]) {
                    let expected = expected(kind, row);
                    if text.as_deref() != expected {
                        differences.push(format!(
                            "{}.{} {way}: {} arrived as {text:?} instead of {expected:?}",
                            self.name,
                            kind.name,
                            expression(kind, row)
                        ));
                    }
                }
            }
        }
        let whole = 3 * self.row_count();
        if rows.len() != whole && differences.is_empty() {
            differences.push(format!(
                "{}: {} rows instead of {whole}",
                self.name,
                rows.len()
            ));
        }
        differences
    }

    /// How many values of each column the target can't hold, each counted once.
    pub(crate) fn nulled(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.kinds.iter().filter_map(|kind| {
            let nulled = kind
                .values
                .iter()
                .filter(|(_, text)| *text == NULLED)
                .count();
            (nulled > 0).then_some((kind.name, nulled as u64))
        })
    }
}

fn expression(kind: &Kind, row: usize) -> &'static str {
    kind.values
        .get(row)
        .map_or("NULL", |(expression, _)| expression)
}

fn expected(kind: &Kind, row: usize) -> Option<&'static str> {
    let (_, text) = kind.values.get(row)?;
    (*text != NULLED).then_some(*text)
}
