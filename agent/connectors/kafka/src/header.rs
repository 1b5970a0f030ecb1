//! What Sluice says about a record beside its value, for its own readers.
//!
//! One header `sluice` of fields between blanks: the operation (`c`, `u`, `d`, `r`, or `t` for a
//! tombstone), the fingerprint of the table's shape, the number of the table's last control event
//! before the record, and last the transaction with the change's ordinal (`id:ordinal`) or, for rows
//! of a snapshot, `append` or `upsert`; where transactions have bounds, last the transaction's number. A single header, since each one costs allocations per record.
//! What the format can't say is in `sluice.lost`.

use std::{fmt::Write as _, str};

use crate::schemas::Fingerprint;

/// The header's name.
pub(crate) const NAME: &str = "sluice";
/// The name of the header that holds what the format can't say.
pub(crate) const LOST: &str = "sluice.lost";

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A new row.
    Create,
    /// A row with new values.
    Update,
    /// A row that is gone.
    Delete,
    /// A row that a snapshot read, of a table that has none of them yet.
    Append,
    /// A row that a snapshot read, which may be there already.
    Upsert,
    /// The empty record behind a delete.
    Tombstone,
}

/// The header, as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub(crate) kind: Kind,
    pub(crate) shape: Fingerprint,
    pub(crate) control: u64,
    /// The transaction and the change's ordinal in it.
    pub(crate) transaction: Option<(&'a str, u64)>,
    /// The number of the transaction, or, of a snapshot's row, of the transaction that it lies before;
    /// zero where transactions have no bounds.
    pub(crate) number: u64,
}

impl<'a> Header<'a> {
    /// Writes the header over what `out` holds.
    pub(crate) fn write(&self, out: &mut String) {
        out.clear();
        let code = match self.kind {
            Kind::Create => 'c',
            Kind::Update => 'u',
            Kind::Delete => 'd',
            Kind::Append | Kind::Upsert => 'r',
            Kind::Tombstone => 't',
        };
        out.push(code);
        // Writing to a string can't fail.
        write!(out, " {} {}", self.shape, self.control).expect("a string takes everything");
        match (self.kind, self.transaction) {
            (Kind::Append, _) => out.push_str(" append"),
            (Kind::Upsert, _) => out.push_str(" upsert"),
            (_, Some((id, ordinal))) => {
                write!(out, " {id}:{ordinal}").expect("a string takes everything");
            }
            (_, None) => out.push_str(" -"),
        }
        if self.number > 0 {
            write!(out, " {}", self.number).expect("a string takes everything");
        }
    }

    /// Reads a header; `None` when it is none of ours.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let mut fields = text.splitn(5, ' ');
        let code = fields.next()?;
        let shape = Fingerprint::parse(fields.next()?)?;
        let control = fields.next()?.parse().ok()?;
        let rest = fields.next();
        let number = match fields.next() {
            Some(number) => number.parse().ok()?,
            None => 0,
        };
        let kind = match (code, rest) {
            ("c", _) => Kind::Create,
            ("u", _) => Kind::Update,
            ("d", _) => Kind::Delete,
            ("r", Some("append")) => Kind::Append,
            ("r", Some("upsert")) => Kind::Upsert,
            ("t", _) => Kind::Tombstone,
            _ => return None,
        };
        let transaction = match kind {
            Kind::Append | Kind::Upsert => None,
            _ => rest.and_then(|rest| {
                let (id, ordinal) = rest.rsplit_once(':')?;
                Some((id, ordinal.parse().ok()?))
            }),
        };
        Some(Self {
            kind,
            shape,
            control,
            transaction,
            number,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_round_trip() {
        let shape = Fingerprint::parse("00ff00ff12345678").unwrap();
        let gtid = Some(("3e11fa47-71ca-11e1-9e33-c80aa9429562:77", 4));
        for (kind, transaction) in [
            (Kind::Create, gtid),
            (Kind::Update, gtid),
            (Kind::Delete, None),
            (Kind::Append, None),
            (Kind::Upsert, None),
            (Kind::Tombstone, gtid),
        ] {
            for number in [0, 77] {
                let header = Header {
                    kind,
                    shape,
                    control: 3,
                    transaction,
                    number,
                };
                let mut text = String::new();
                header.write(&mut text);
                assert_eq!(Header::parse(text.as_bytes()), Some(header), "{text}");
            }
        }
        assert_eq!(Header::parse(b"c zz 0"), None);
        assert_eq!(Header::parse(b""), None);
    }
}
