//! Which tables are captured, and what becomes of them on the way.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which tables are captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.exclude) || !self.include.exists(pattern, pattern in self.exclude)"
).message("a pattern can't be both included and excluded"))]
pub struct Tables {
    /// The tables to capture: `schema.table` (in MySQL `database.table`), where `*` stands for any
    /// run of characters and `?` for one. A table that appears later and matches is captured, too.
    #[schemars(
        length(min = 1, max = 256),
        inner(length(min = 3, max = 200), regex(pattern = r"^[^.\s][^.]*\.(.*\S)$"))
    )]
    pub include: Vec<String>,
    /// Tables among them that are not captured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 3, max = 200), regex(pattern = r"^[^.\s][^.]*\.(.*\S)$"))
    )]
    pub exclude: Vec<String>,
}

/// Where a table goes, and in which shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.target) || !(self.source.contains('*') || self.source.contains('?'))"
).message("target needs a source without * and ?: several tables can't go into one"))]
pub struct TableRoute {
    /// The table in the source, `schema.table`. May hold `*` and `?` when there is no `target`;
    /// the first entry that matches a table counts.
    #[schemars(length(min = 3, max = 200), regex(pattern = r"^[^.\s][^.]*\.(.*\S)$"))]
    pub source: String,
    /// The table in the target, `schema.table`. Without it, the source's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 200),
        regex(pattern = r"^[^.\s*?][^.*?]*\.([^*?]*[^\s*?])$")
    )]
    pub target: Option<String>,
    /// Which columns arrive, under which names, and which are hidden. Without it, all of them as
    /// they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
    /// Only rows for which this SQL condition over the source's columns is true. Without it, all.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub row_filter: Option<String>,
}

/// Which columns of a table arrive, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.include) && has(self.exclude))")
        .message("only one of include and exclude can be given"),
    validation = Rule::new(
        "!has(self.mask) || !has(self.exclude) || !self.mask.exists(column, column in self.exclude)"
    ).message("mask names a column that exclude leaves out"),
    validation = Rule::new(
        "!has(self.mask) || !has(self.include) || self.mask.all(column, column in self.include)"
    ).message("mask names a column that include leaves out"),
    validation = Rule::new(
        "!has(self.rename) || !has(self.exclude) || !self.rename.exists(column, column in self.exclude)"
    ).message("rename names a column that exclude leaves out"),
    validation = Rule::new(
        "!has(self.rename) || !has(self.include) || self.rename.all(column, column in self.include)"
    ).message("rename names a column that include leaves out"),
)]
pub struct Columns {
    /// Only these columns. The key's columns must be among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), inner(length(min = 1, max = 64)))]
    pub include: Option<Vec<String>>,
    /// All columns but these. The key's columns can't be among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), inner(length(min = 1, max = 64)))]
    pub exclude: Option<Vec<String>>,
    /// New names of columns, by their names in the source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 128))]
    pub rename: BTreeMap<String, ColumnName>,
    /// Columns whose values are hidden, by their names in the source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 128))]
    pub mask: BTreeMap<String, Mask>,
}

/// A column's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ColumnName(#[schemars(length(min = 1, max = 64))] pub String);

/// How a value is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mask {
    /// The SHA-256 of the value's text, as 64 hexadecimal digits: equal values stay equal.
    Sha256,
    /// NULL. (A bare `Null` would be nothing at all in YAML.)
    SetNull,
    /// The text `***`.
    Redact,
}
