//! What a route does to the rows of one schema, worked out once per schema.

use std::{collections::HashSet, sync::Arc};

use sluice_core::{
    Column, ColumnType, Error, Reason, Result, Row, RowBuilder, TableId, TableSchema, Value,
};

use crate::route::{
    config::{Mask, Route},
    filter::Filter,
    mask::{REDACTED, put_digest},
};

/// What happens to events of one table while it has one shape.
#[derive(Debug)]
pub(super) struct Plan {
    /// The schema as the sink sees it.
    pub(super) schema: Arc<TableSchema>,
    /// Which rows pass; all of them without.
    pub(super) filter: Option<Filter>,
    shape: Shape,
    /// Whether events pass untouched.
    pub(super) is_identity: bool,
}

#[derive(Debug)]
enum Shape {
    /// Rows stay as they are.
    Same,
    /// Some columns, in this order.
    Columns(Vec<usize>),
    /// Some columns, at least one of them masked.
    Masked(Vec<Output>),
}

#[derive(Debug)]
struct Output {
    source: usize,
    mask: Option<Mask>,
    ty: ColumnType,
}

impl Plan {
    /// Applies a route to a schema.
    pub(super) fn new(route: &Route, source: &Arc<TableSchema>) -> Result<Self> {
        let plan = Self::build(route, source);
        plan.map_err(|error| error.with_table(source.id.clone()))
    }

    fn build(route: &Route, source: &Arc<TableSchema>) -> Result<Self> {
        let config = &route.config;
        if !route.is_pattern {
            check_names(route, source)?;
        }
        let kept: Vec<usize> = (0..source.columns.len())
            .filter(|&index| route.keeps(&source.columns[index].name))
            .collect();
        let columns: Vec<Column> = kept
            .iter()
            .map(|&index| routed_column(route, &source.columns[index]))
            .collect();
        check_columns(route, source, &columns)?;
        let schema = TableSchema {
            id: route.target(&source.id),
            columns,
            key: routed_key(route, source, &kept)?,
        };
        let filter = match &route.filter {
            Some(expression) => Some(Filter::new(expression, source).map_err(|fault| {
                incompatible(route, &format!("row filter: {fault}"))
                    .with_hint(format!("the columns are {}", names(source)))
            })?),
            None => None,
        };
        let is_same = schema == **source;
        let mask = |&index: &usize| {
            config
                .mask_columns
                .get(&source.columns[index].name)
                .copied()
        };
        let shape = if kept.iter().any(|index| mask(index).is_some()) {
            let output = |&index: &usize| Output {
                source: index,
                mask: mask(&index),
                ty: source.columns[index].ty.clone(),
            };
            Shape::Masked(kept.iter().map(output).collect())
        } else if kept.len() == source.columns.len() {
            Shape::Same
        } else {
            Shape::Columns(kept)
        };
        Ok(Self {
            is_identity: is_same && filter.is_none() && matches!(shape, Shape::Same),
            schema: if is_same {
                Arc::clone(source)
            } else {
                Arc::new(schema)
            },
            filter,
            shape,
        })
    }

    /// Whether rows change.
    pub(super) fn changes_rows(&self) -> bool {
        !matches!(self.shape, Shape::Same)
    }

    /// The row as the sink sees it.
    pub(super) fn row(&self, row: Row, builder: &mut RowBuilder) -> Row {
        match &self.shape {
            Shape::Same => return row,
            Shape::Columns(columns) => {
                builder.begin(columns.len(), payload(&row, columns.iter().copied()));
                for &column in columns {
                    builder.push_cell(row.cell(column));
                }
            }
            Shape::Masked(outputs) => {
                let sources = outputs.iter().map(|output| output.source);
                builder.begin(outputs.len(), payload(&row, sources));
                for output in outputs {
                    output.push(&row, builder);
                }
            }
        }
        builder.finish()
    }

    /// The name of the first column of the sink's row that the source's row leaves unchanged.
    pub(super) fn unchanged_column(&self, row: &Row, source: &TableSchema) -> Option<String> {
        let is_unchanged = |&column: &usize| row.get(column).is_unchanged();
        let column = match &self.shape {
            Shape::Same => (0..row.len()).find(is_unchanged),
            Shape::Columns(columns) => columns.iter().copied().find(is_unchanged),
            Shape::Masked(outputs) => {
                let mut columns = outputs.iter().map(|output| output.source);
                columns.find(is_unchanged)
            }
        };
        column.map(|column| source.columns[column].name.clone())
    }
}

impl Output {
    fn push(&self, row: &Row, builder: &mut RowBuilder) {
        let value = row.get(self.source);
        match self.mask {
            Some(Mask::Null) if !value.is_unchanged() => builder.push(Value::Null),
            Some(mask) if !value.is_unchanged() && !value.is_null() => {
                builder.push_text_with(|buffer| match mask {
                    Mask::Sha256 => put_digest(value, &self.ty, buffer),
                    Mask::Redact | Mask::Null => buffer.extend_from_slice(REDACTED.as_bytes()),
                });
            }
            _ => builder.push_cell(row.cell(self.source)),
        }
    }
}

fn payload(row: &Row, columns: impl Iterator<Item = usize>) -> usize {
    columns.map(|column| row.cell(column).len()).sum()
}

fn routed_column(route: &Route, column: &Column) -> Column {
    let name = route.config.rename_columns.get(&column.name);
    let renamed = Column {
        name: name.unwrap_or(&column.name).clone(),
        ..column.clone()
    };
    // A masked column's default would show what the mask hides, and the target computes nothing.
    let masked = |ty: ColumnType, nullable: bool| Column {
        name: renamed.name.clone(),
        ty,
        nullable,
        generated: false,
        boolean: false,
        default: None,
    };
    match route.config.mask_columns.get(&column.name) {
        None => renamed,
        Some(Mask::Sha256) => masked(ColumnType::Char { length: 64 }, column.nullable),
        Some(Mask::Redact) => masked(ColumnType::Text, column.nullable),
        Some(Mask::Null) => masked(column.ty.clone(), true),
    }
}

/// A key column must arrive as it is: rows, deletes and chunk ranges are found by it.
fn routed_key(route: &Route, source: &TableSchema, kept: &[usize]) -> Result<Vec<usize>> {
    let place = |&column: &usize| {
        let name = &source.columns[column].name;
        if route.config.mask_columns.contains_key(name) {
            let message = format!("column {name:?} is part of the key and is masked");
            return Err(incompatible(route, &message).with_hint(format!(
                "remove {name} from columns.mask, or leave the table out"
            )));
        }
        kept.iter().position(|&kept| kept == column).ok_or_else(|| {
            incompatible(
                route,
                &format!("column {name:?} is part of the key and is left out"),
            )
            .with_hint(format!(
                "add {name} to columns.include, or remove it from columns.exclude"
            ))
        })
    };
    source.key.iter().map(place).collect()
}

fn check_names(route: &Route, source: &TableSchema) -> Result<()> {
    for (list, name) in route.named_columns() {
        if source.column_index(name).is_none() {
            let message = format!("{list} names column {name:?}, which the source does not have");
            return Err(incompatible(route, &message)
                .with_hint(format!("the columns are {}", names(source))));
        }
    }
    Ok(())
}

fn check_columns(route: &Route, source: &TableSchema, columns: &[Column]) -> Result<()> {
    if columns.is_empty() {
        return Err(incompatible(route, "no column is left")
            .with_hint(format!("the columns are {}", names(source))));
    }
    let mut seen = HashSet::new();
    for column in columns {
        if !seen.insert(&column.name) {
            let message = format!("two columns would be named {:?}", column.name);
            return Err(
                incompatible(route, &message).with_hint("choose another name in columns.rename")
            );
        }
    }
    Ok(())
}

/// An error that stops the table alone.
pub(super) fn incompatible(route: &Route, message: &str) -> Error {
    Error::new(
        Reason::TargetIncompatible,
        format!("route {:?}: {message}", route.config.source),
    )
}

/// A table that can't be written because another one is written there.
pub(super) fn taken(source: &TableId, other: &TableId, target: &TableId) -> Error {
    let message = format!("{source} and {other} would both be written to {target}");
    Error::new(Reason::TargetIncompatible, message)
        .with_table(source.clone())
        .with_hint("give one of them another target, or leave it out")
}

fn names(schema: &TableSchema) -> String {
    let names: Vec<_> = schema
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    names.join(", ")
}
