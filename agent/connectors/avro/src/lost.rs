//! Puts back what a record could not say.

use serde_json::{Map, Value as Json};
use sluice_core::{Row, RowBuilder, TableSchema, Value};

/// The header `sluice.lost`, read.
pub(crate) struct Found(Map<String, Json>);

impl Found {
    /// Reads the header; `None` when it is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match serde_json::from_str(text).ok()? {
            Json::Object(entries) => Some(Self(entries)),
            _ => None,
        }
    }

    /// The row with what was lost. The error names the column that can't be mended.
    pub(crate) fn mend(&self, row: &Row, image: &str, table: &TableSchema) -> Result<Row, String> {
        let mut builder = RowBuilder::new();
        builder.begin(row.len(), row.size_bytes());
        for (index, column) in table.columns.iter().enumerate() {
            match self.0.get(&format!("{image}.{}", column.name)) {
                Some(entry) => builder.push(value(entry).ok_or_else(|| column.name.clone())?),
                None => builder.push_cell(row.cell(index)),
            }
        }
        Ok(builder.finish())
    }
}

fn value(entry: &Json) -> Option<Value<'_>> {
    let (kind, entry) = entry.as_object()?.iter().next()?;
    Some(match kind.as_str() {
        "unchanged" => Value::Unchanged,
        "impossible" => Value::Impossible(entry.as_str()?),
        "decimal" => Value::Decimal(entry.as_str()?),
        "micros" => Value::DateTime(entry.as_i64()?),
        _ => return None,
    })
}
