//! Which changes of a table's definition change rows that the log does not show.
//!
//! `ALTER TABLE … ADD COLUMN … DEFAULT (uuid())` gives every old row a value that only the source
//! knows, and a type change may round or convert; neither logs a row. Such tables are copied again.

use sluice_core::{Column, ColumnType, TableSchema, schema::ColumnDefault};

/// Whether old rows of the new shape have values that a sink can't derive from the old shape.
///
/// `unsure` names columns that were added when the log did not yet say with which default.
pub(crate) fn needs_refill(old: &TableSchema, new: &TableSchema, unsure: &[String]) -> bool {
    old.key_columns()
        .map(|column| &column.name)
        .ne(new.key_columns().map(|column| &column.name))
        || new.columns.iter().any(|column| {
            match old.columns.iter().find(|c| c.name == column.name) {
                None => is_computed(column),
                Some(before) => {
                    let late = unsure.contains(&column.name)
                        && (is_computed(column) || column.default.is_some());
                    // MySQL may put the present time in the place of NULL.
                    let moment = matches!(column.ty, ColumnType::Timestamp { .. });
                    let filled = moment && before.nullable && !column.nullable;
                    late || filled || !keeps_values(&before.ty, &column.ty)
                }
            }
        })
}

/// The columns that are new and of which no default is known.
pub(crate) fn unsure_columns(old: &TableSchema, new: &TableSchema) -> Vec<String> {
    let is_unsure = |column: &&Column| {
        old.column_index(&column.name).is_none() && column.default.is_none() && !is_computed(column)
    };
    new.columns
        .iter()
        .filter(is_unsure)
        .map(|column| column.name.clone())
        .collect()
}

fn is_computed(column: &Column) -> bool {
    column.generated || matches!(column.default, Some(ColumnDefault::Expression(_)))
}

/// Whether every value of one type is the same value in the other.
fn keeps_values(from: &ColumnType, to: &ColumnType) -> bool {
    use ColumnType as T;
    match (from, to) {
        (a, b) if a == b => true,
        (
            T::Int {
                bits: a,
                unsigned: c,
            },
            T::Int {
                bits: b,
                unsigned: d,
            },
        ) => a <= b && c == d,
        (T::Char { length: a } | T::Varchar { length: a }, T::Varchar { length: b })
        | (T::Varbinary { length: a }, T::Varbinary { length: b }) => a <= b,
        (T::Char { .. } | T::Varchar { .. }, T::Text)
        | (T::Varbinary { .. }, T::Blob)
        | (T::Float, T::Double) => true,
        (
            T::Decimal {
                precision: p,
                scale: s,
            },
            T::Decimal {
                precision: q,
                scale: t,
            },
        ) => s == t && p <= q,
        (T::DateTime { precision: a }, T::DateTime { precision: b })
        | (T::Timestamp { precision: a }, T::Timestamp { precision: b })
        | (T::Time { precision: a }, T::Time { precision: b }) => a <= b,
        (T::Enum { labels: a }, T::Enum { labels: b })
        | (T::Set { labels: a }, T::Set { labels: b }) => b.starts_with(a),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use sluice_core::TableId;

    use super::*;

    fn column(name: &str, ty: ColumnType) -> Column {
        Column {
            name: name.into(),
            ty,
            nullable: true,
            generated: false,
            boolean: false,
            default: None,
        }
    }

    fn table(columns: Vec<Column>) -> TableSchema {
        TableSchema {
            id: TableId::new("shop", "t"),
            columns,
            key: vec![0],
        }
    }

    fn int(bits: u8) -> ColumnType {
        ColumnType::Int {
            bits,
            unsigned: false,
        }
    }

    #[test]
    fn widening_and_constant_defaults_need_no_copy() {
        let old = table(vec![column("id", int(32)), column("n", int(32))]);
        let wider = table(vec![column("id", int(64)), column("n", int(64))]);
        assert!(!needs_refill(&old, &wider, &[]));
        let mut added = old.clone();
        added.columns.push(column("c", ColumnType::Text));
        added.columns[2].default = Some(ColumnDefault::Literal("x".into()));
        assert!(!needs_refill(&old, &added, &[]));
        assert!(unsure_columns(&old, &added).is_empty());
    }

    #[test]
    fn narrowing_computed_defaults_and_new_keys_need_a_copy() {
        let old = table(vec![column("id", int(64)), column("n", int(64))]);
        assert!(needs_refill(
            &old,
            &table(vec![column("id", int(64)), column("n", int(32))]),
            &[]
        ));
        let mut computed = old.clone();
        computed.columns.push(column("u", ColumnType::Text));
        computed.columns[2].default = Some(ColumnDefault::Expression("uuid()".into()));
        assert!(needs_refill(&old, &computed, &[]));
        let mut other_key = old.clone();
        other_key.key = vec![1];
        assert!(needs_refill(&old, &other_key, &[]));
    }

    #[test]
    fn a_default_that_turns_up_late_needs_a_copy() {
        let old = table(vec![column("id", int(64)), column("c", ColumnType::Text)]);
        let mut known = old.clone();
        known.columns[1].default = Some(ColumnDefault::Literal("x".into()));
        assert!(needs_refill(&old, &known, &["c".into()]));
        assert!(!needs_refill(&old, &known, &[]));
        known.columns[1] = column("c", ColumnType::Json);
        assert!(needs_refill(&old, &known, &["c".into()]));
    }
}
