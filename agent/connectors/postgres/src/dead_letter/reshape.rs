//! Rows of one shape of a table as rows of another, column by column, by name.

use sluice_core::{Column, Result, Row, TableSchema, Value, row::RowBuilder};

use crate::dead_letter::later::damaged;

/// Reads a shape as it is kept.
pub(super) fn parse_shape(text: &str) -> Result<TableSchema> {
    serde_json::from_str(text).map_err(|_| damaged("a shape"))
}

/// The shape in which a letter is applied to a table that has changed since, and where its columns
/// stand in the letter's row.
#[derive(Debug)]
pub(super) struct Reshape {
    pub(super) schema: TableSchema,
    places: Vec<Option<usize>>,
}

impl Reshape {
    /// The columns that the table still has, as the letter has them, and those that were added with
    /// something other than NULL in them: what they hold in the letter's row, the source alone knows.
    /// None when a column of the key is gone.
    pub(super) fn new(letter: &TableSchema, now: &TableSchema) -> Option<Self> {
        let mut columns = Vec::new();
        let mut places = Vec::new();
        for (at, column) in letter.columns.iter().enumerate() {
            if now.column_index(&column.name).is_some() {
                columns.push(column.clone());
                places.push(Some(at));
            }
        }
        let is_new = |column: &&Column| letter.column_index(&column.name).is_none();
        for column in now.columns.iter().filter(is_new) {
            if !column.nullable || column.default.is_some() || column.generated {
                columns.push(column.clone());
                places.push(None);
            }
        }
        let place = |at: &usize| places.iter().position(|place| *place == Some(*at));
        let key = letter.key.iter().map(place).collect::<Option<Vec<_>>>()?;
        Some(Self {
            schema: TableSchema {
                id: now.id.clone(),
                columns,
                key,
            },
            places,
        })
    }

    /// A row of the letter's shape.
    pub(super) fn row(&self, row: &Row) -> Row {
        let mut builder = RowBuilder::new();
        builder.begin(self.places.len(), row.size_bytes());
        for place in &self.places {
            match place {
                Some(at) => builder.push_cell(row.cell(*at)),
                None => builder.push(Value::Unchanged),
            }
        }
        builder.finish()
    }

    /// An older row in the shape of newer ones, to be laid under them: columns of another name or
    /// type are left out. None when the row is not of its own shape.
    pub(super) fn overlay(older: &TableSchema, newer: &TableSchema, row: &Row) -> Option<Row> {
        if row.len() != older.columns.len() {
            return None;
        }
        let mut builder = RowBuilder::new();
        builder.begin(newer.columns.len(), row.size_bytes());
        for column in &newer.columns {
            let found = older.column_index(&column.name);
            match found.filter(|&at| older.columns[at].ty == column.ty) {
                Some(at) => builder.push_cell(row.cell(at)),
                None => builder.push(Value::Unchanged),
            }
        }
        Some(builder.finish())
    }
}

#[cfg(test)]
mod tests {
    use sluice_core::{ColumnType, TableId};

    use super::*;

    fn table(columns: &[&str]) -> TableSchema {
        let column = |name: &&str| Column {
            name: (*name).into(),
            ty: ColumnType::Text,
            nullable: *name != "id",
            generated: false,
            boolean: false,
            default: name
                .starts_with('d')
                .then(|| sluice_core::schema::ColumnDefault::Literal("x".into())),
        };
        TableSchema {
            id: TableId::new("shop", "t"),
            columns: columns.iter().map(column).collect(),
            key: vec![0],
        }
    }

    #[test]
    fn columns_that_came_and_went_are_told_by_name() {
        let row = Row::pack([Value::Text("1"), Value::Text("a"), Value::Text("b")]);
        let now = table(&["n", "b", "id", "d"]);
        let reshape = Reshape::new(&table(&["id", "a", "b"]), &now).expect("the key is there");
        let names: Vec<_> = reshape.schema.columns.iter().map(|c| &*c.name).collect();
        assert_eq!(names, ["id", "b", "d"]);
        let values: Vec<_> = [Value::Text("1"), Value::Text("b"), Value::Unchanged].into();
        assert_eq!(reshape.row(&row).values().collect::<Vec<_>>(), values);
        assert!(Reshape::new(&table(&["id", "a"]), &table(&["k", "a"])).is_none());
    }

    #[test]
    fn an_older_row_gives_what_a_newer_shape_still_has() {
        let row = Row::pack([Value::Text("1"), Value::Text("a")]);
        let newer = table(&["id", "b", "a"]);
        let laid = Reshape::overlay(&table(&["id", "a"]), &newer, &row).expect("the same shape");
        let values: Vec<_> = [Value::Text("1"), Value::Unchanged, Value::Text("a")].into();
        assert_eq!(laid.values().collect::<Vec<_>>(), values);
    }
}
