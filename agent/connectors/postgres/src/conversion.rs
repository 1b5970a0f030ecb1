//! What becomes of stored values when a column's type changes in the source.
//!
//! The source converts its rows without logging them, so the target has to come to the same values
//! by itself. [`conversion`] lists the changes for which it provably does. For the others (a
//! character set or a time zone decides, or the labels of an enum) the table has to be copied again.

use sluice_core::{Column, ColumnType};

use crate::sql::identifier;

/// What becomes of stored values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Conversion {
    /// They stay as they are, whatever the type is called.
    Same,
    /// They go through this expression, before a cast to the new type.
    Cast(String),
    /// Only the source knows.
    Unknown,
}

/// How stored values of a column change when its type does. `name` is the column's name.
pub(crate) fn conversion(name: &str, old: &Column, new: &Column) -> Conversion {
    use ColumnType as S;
    let name = identifier(name);
    let plain = || Conversion::Cast(name.clone());
    match (&old.ty, &new.ty) {
        (old, new) if old == new => Conversion::Same,
        (S::Int { .. } | S::Decimal { .. } | S::Year, S::Int { .. } | S::Decimal { .. })
        | (S::Int { .. } | S::Decimal { .. } | S::Float | S::Double, S::Double)
        | (S::Double, S::Float | S::Int { .. })
        | (S::Int { .. } | S::Decimal { .. }, S::Char { .. } | S::Varchar { .. } | S::Text)
        | (
            S::Char { .. } | S::Enum { .. } | S::Set { .. } | S::Varchar { .. } | S::Text,
            S::Varchar { .. } | S::Text,
        )
        | (S::Char { .. } | S::Enum { .. }, S::Char { .. })
        | (S::Enum { .. }, S::Enum { .. })
        | (S::Set { .. }, S::Set { .. })
        | (S::DateTime { .. }, S::DateTime { .. })
        | (S::Timestamp { .. }, S::Timestamp { .. })
        | (S::Date, S::DateTime { .. })
        | (S::Json, S::Varchar { .. } | S::Text)
        | (S::Char { .. } | S::Varchar { .. } | S::Text, S::Json) => plain(),
        (S::Varchar { .. } | S::Text, S::Char { .. }) => {
            // Trailing spaces are not part of a CHAR's value.
            Conversion::Cast(format!("rtrim({name}, ' ')"))
        }
        (S::Time { .. }, S::Time { precision }) => {
            Conversion::Cast(format!("{name}::interval({precision})"))
        }
        (S::Bit { .. }, S::Bit { length }) => {
            // A bit string is a number: it grows and shrinks at its left end.
            Conversion::Cast(format!(
                "right(lpad({name}::text, {length}, '0'), {length})"
            ))
        }
        // All of these are bytea; only a fixed length pads.
        (S::Binary { .. } | S::Varbinary { .. } | S::Blob, S::Varbinary { .. } | S::Blob) => {
            Conversion::Same
        }
        _ => Conversion::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(ty: ColumnType) -> Column {
        Column {
            name: "c".into(),
            ty,
            nullable: true,
            generated: false,
            boolean: false,
            default: None,
        }
    }

    #[test]
    fn only_provable_conversions_are_made() {
        let of = |old, new| conversion("c", &column(old), &column(new));
        let int = ColumnType::Int {
            bits: 32,
            unsigned: false,
        };
        let varchar = ColumnType::Varchar { length: 9 };
        assert_eq!(of(int.clone(), int.clone()), Conversion::Same);
        assert_eq!(
            of(int.clone(), varchar.clone()),
            Conversion::Cast("\"c\"".into())
        );
        // A time zone, a character set and an enum's ordinals are the source's own.
        let timestamp = ColumnType::Timestamp { precision: 0 };
        let datetime = ColumnType::DateTime { precision: 0 };
        assert_eq!(of(timestamp, datetime), Conversion::Unknown);
        assert_eq!(of(varchar, ColumnType::Blob), Conversion::Unknown);
        let labels = vec!["a".to_owned()];
        assert_eq!(of(int, ColumnType::Enum { labels }), Conversion::Unknown);
    }
}
