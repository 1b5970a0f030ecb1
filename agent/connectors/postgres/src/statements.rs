//! The statements of a plan.
//!
//! Rows come as parameter arrays, `unnest($1::…[], …) AS s(k0, c1, …)`, keys under `k` and values
//! under `c` with the column's place in the plan, or from a staging table with the same names.

use sluice_agent_api::config::Deletes;

use crate::{
    plan::{DELETED_AT, Plan},
    sql::list,
};

impl Plan {
    /// Copies every column.
    pub(crate) fn copy_sql(&self) -> String {
        let names = list(self.columns.iter().map(|column| column.name.clone()));
        format!(
            "COPY {} ({names}) FROM STDIN (FORMAT binary)",
            self.target.sql()
        )
    }

    /// Adds nothing, but fails where the copy would.
    pub(crate) fn copy_check_sql(&self) -> String {
        let names = list(self.columns.iter().map(|column| column.name.clone()));
        let table = self.target.sql();
        format!(
            "INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {table} LIMIT 0"
        )
    }

    /// Inserts rows from arrays.
    pub(crate) fn insert_sql(&self, on_conflict: &str) -> String {
        let all: Vec<_> = (0..self.columns.len()).collect();
        let names = list(self.columns.iter().map(|column| column.name.clone()));
        let values = list(all.iter().map(|&at| self.element(at, "c")));
        let source = self.unnest(&[], &all);
        format!(
            "INSERT INTO {} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {source}{on_conflict}",
            self.target.sql(),
        )
    }

    /// What an insert does about rows that are there; nothing for tables without a key.
    pub(crate) fn on_conflict(&self) -> String {
        if !self.has_key() {
            return String::new();
        }
        let keys = list(self.key.iter().map(|&at| self.columns[at].name.clone()));
        let others = (0..self.columns.len()).filter(|at| !self.key.contains(at));
        let mut sets: Vec<_> = others
            .map(|at| format!("{0} = EXCLUDED.{0}", self.columns[at].name))
            .collect();
        if self.deletes == Deletes::Soft {
            sets.push(format!("{DELETED_AT} = NULL"));
        }
        if sets.is_empty() {
            format!(" ON CONFLICT ({keys}) DO NOTHING")
        } else {
            format!(" ON CONFLICT ({keys}) DO UPDATE SET {}", list(sets))
        }
    }

    /// Updates some columns from arrays.
    pub(crate) fn update_sql(&self, set: &[usize]) -> String {
        let sets = list(
            set.iter()
                .map(|&at| format!("{} = {}", self.columns[at].name, self.element(at, "c"))),
        );
        let source = self.unnest(&self.key, set);
        format!(
            "UPDATE {} AS t SET {sets} FROM {source} WHERE {}",
            self.target.sql(),
            self.key_condition()
        )
    }

    /// The names under which a staging table holds keys and values, with the columns they are of.
    pub(crate) fn stage_columns(&self, keys: &[usize], values: &[usize]) -> String {
        let keys = keys.iter().map(|&at| (at, "k"));
        let both = keys.chain(values.iter().map(|&at| (at, "c")));
        list(both.map(|(at, prefix)| format!("{} AS {prefix}{at}", self.columns[at].name)))
    }

    /// Updates columns from a staging table.
    pub(crate) fn update_from_stage_sql(&self, stage: &str, set: &[usize]) -> String {
        let sets = set
            .iter()
            .map(|&at| format!("{} = s.c{at}", self.columns[at].name));
        let keys = self
            .key
            .iter()
            .map(|&at| format!("t.{} = s.k{at}", self.columns[at].name));
        format!(
            "UPDATE {} AS t SET {} FROM {stage} AS s WHERE {}",
            self.target.sql(),
            list(sets),
            keys.collect::<Vec<_>>().join(" AND ")
        )
    }

    /// Inserts or replaces rows from a staging table.
    pub(crate) fn upsert_from_stage_sql(&self, stage: &str) -> String {
        let names = list(self.columns.iter().map(|column| column.name.clone()));
        let values = list((0..self.columns.len()).map(|at| format!("s.c{at}")));
        format!(
            "INSERT INTO {} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {stage} AS s{}",
            self.target.sql(),
            self.on_conflict()
        )
    }

    /// Deletes by keys from arrays.
    pub(crate) fn delete_sql(&self) -> String {
        let source = self.unnest(&self.key, &[]);
        format!(
            "DELETE FROM {} AS t USING {source} WHERE {}",
            self.target.sql(),
            self.key_condition()
        )
    }

    /// Deletes rows that hold unique values under other keys than the arrays do.
    pub(crate) fn displace_sql(&self, columns: &[usize]) -> String {
        let source = self.unnest(&self.key, columns);
        let pairs = columns
            .iter()
            .map(|&at| format!("t.{} = {}", self.columns[at].name, self.element(at, "c")));
        format!(
            "DELETE FROM {} AS t USING {source} WHERE {} AND NOT ({})",
            self.target.sql(),
            pairs.collect::<Vec<_>>().join(" AND "),
            self.key_condition()
        )
    }

    /// Finds rows by key, for counting.
    pub(crate) fn select_sql(&self) -> String {
        let source = self.unnest(&self.key, &[]);
        format!(
            "SELECT FROM {} AS t, {source} WHERE {}",
            self.target.sql(),
            self.key_condition()
        )
    }

    /// Marks rows as deleted by keys from arrays.
    pub(crate) fn mark_sql(&self) -> String {
        let source = self.unnest(&self.key, &[]);
        format!(
            "UPDATE {} AS t SET {DELETED_AT} = now() FROM {source} WHERE {} AND t.{DELETED_AT} IS NULL",
            self.target.sql(),
            self.key_condition()
        )
    }

    fn key_condition(&self) -> String {
        let pairs = self
            .key
            .iter()
            .map(|&at| format!("t.{} = {}", self.columns[at].name, self.element(at, "k")));
        pairs.collect::<Vec<_>>().join(" AND ")
    }

    fn element(&self, at: usize, prefix: &str) -> String {
        format!("s.{prefix}{at}{}", self.columns[at].cast_sql())
    }

    /// `unnest($1::…[], …) AS s(k0, c1, …)`: keys first, then values.
    fn unnest(&self, keys: &[usize], values: &[usize]) -> String {
        let both = keys.iter().chain(values);
        let arrays = both.enumerate().map(|(index, &at)| {
            let element = &self.columns[at].element_sql;
            format!("${}::{element}[]", index + 1)
        });
        let names = keys.iter().map(|at| format!("k{at}"));
        let names = names.chain(values.iter().map(|at| format!("c{at}")));
        format!("unnest({}) AS s({})", list(arrays), list(names))
    }
}
