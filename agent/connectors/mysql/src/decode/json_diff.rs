//! Differences to a JSON document (`binlog_row_value_options=PARTIAL_JSON`), applied to the
//! document of the before image.
//!
//! Only the containers on the paths of the differences are taken apart; all else stays in its
//! binary form until it is printed.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::{
    json::{DEPTH_MAX, JsonRef, JsonText, put_string},
    json_path::{Leg, parse_path},
    reader::{Checked, Fault, Reader},
};

const REPLACE: u8 = 0;
const INSERT: u8 = 1;
const REMOVE: u8 = 2;

const NO_SUCH_PLACE: Fault =
    Fault::Malformed("is a JSON difference that does not fit the document before it");

enum Node<'a> {
    Stored(JsonRef<'a>),
    Array(Vec<Self>),
    Object(Vec<(Cow<'a, [u8]>, Self)>),
}

/// Writes the text of the document that `differences` make of the document `base`.
pub(crate) fn put_changed_document(
    base: &[u8],
    differences: &[u8],
    out: &mut BytesMut,
) -> Checked<()> {
    let mut document = Node::Stored(JsonRef::document(base));
    let mut reader = Reader::new(differences);
    while !reader.is_empty() {
        let operation = reader.u8()?;
        let legs = parse_path(reader.length_encoded_bytes()?)?;
        let value = match operation {
            REPLACE | INSERT => {
                let stored = JsonRef::document(reader.length_encoded_bytes()?);
                Some(Node::Stored(stored))
            }
            REMOVE => None,
            _ => return Err(Fault::Malformed("is a JSON difference of an unknown kind")),
        };
        apply(&mut document, &legs, operation == INSERT, value)?;
    }
    let mut text = JsonText::new(base.len() + differences.len());
    document.put(&mut text, out, 0)
}

fn apply<'a>(
    document: &mut Node<'a>,
    legs: &[Leg],
    insert: bool,
    value: Option<Node<'a>>,
) -> Checked<()> {
    let Some((last, parents)) = legs.split_last() else {
        *document = value.ok_or(NO_SUCH_PLACE)?;
        return Ok(());
    };
    let mut place = document;
    for leg in parents {
        place = place.child(leg)?;
    }
    match value {
        Some(value) if insert => place.insert(last, value),
        Some(value) => {
            *place.child(last)? = value;
            Ok(())
        }
        None => place.remove(last),
    }
}

impl Node<'_> {
    /// Takes a stored container apart into its members.
    fn open(&mut self) -> Checked<()> {
        let Self::Stored(stored) = self else {
            return Ok(());
        };
        let Some(container) = stored.container()? else {
            return Err(NO_SUCH_PLACE);
        };
        let values = (0..container.len()).map(|index| container.value(index).map(Self::Stored));
        *self = if container.is_object() {
            let members = values.enumerate().map(|(index, value)| {
                Ok::<_, Fault>((Cow::Borrowed(container.key(index)?), value?))
            });
            Self::Object(members.collect::<Checked<_>>()?)
        } else {
            Self::Array(values.collect::<Checked<_>>()?)
        };
        Ok(())
    }

    fn child(&mut self, leg: &Leg) -> Checked<&mut Self> {
        self.open()?;
        let child = match (self, leg) {
            (Self::Object(members), Leg::Member(name)) => members
                .iter_mut()
                .find(|(key, _)| key.as_ref() == name.as_bytes())
                .map(|(_, value)| value),
            (Self::Array(elements), Leg::Element(index)) => elements.get_mut(*index),
            _ => None,
        };
        child.ok_or(NO_SUCH_PLACE)
    }

    fn insert(&mut self, leg: &Leg, value: Self) -> Checked<()> {
        self.open()?;
        match (self, leg) {
            (Self::Object(members), Leg::Member(name)) => {
                // Members are in the server's order: shorter keys first, then by bytes.
                let name = name.as_bytes();
                let at = members
                    .binary_search_by(|(key, _)| (key.len(), key.as_ref()).cmp(&(name.len(), name)))
                    .err()
                    .ok_or(NO_SUCH_PLACE)?;
                members.insert(at, (Cow::Owned(name.to_vec()), value));
                Ok(())
            }
            (Self::Array(elements), Leg::Element(index)) => {
                elements.insert((*index).min(elements.len()), value);
                Ok(())
            }
            _ => Err(NO_SUCH_PLACE),
        }
    }

    fn remove(&mut self, leg: &Leg) -> Checked<()> {
        self.open()?;
        match (self, leg) {
            (Self::Object(members), Leg::Member(name)) => {
                let at = members
                    .iter()
                    .position(|(key, _)| key.as_ref() == name.as_bytes())
                    .ok_or(NO_SUCH_PLACE)?;
                members.remove(at);
                Ok(())
            }
            (Self::Array(elements), Leg::Element(index)) if *index < elements.len() => {
                elements.remove(*index);
                Ok(())
            }
            _ => Err(NO_SUCH_PLACE),
        }
    }

    fn put(&self, text: &mut JsonText, out: &mut BytesMut, depth: usize) -> Checked<()> {
        if depth > DEPTH_MAX {
            return Err(Fault::Malformed("is a JSON document nested too deeply"));
        }
        match self {
            Self::Stored(stored) => text.put(*stored, out, depth)?,
            Self::Array(elements) => {
                out.put_u8(b'[');
                for (index, element) in elements.iter().enumerate() {
                    out.put_slice(if index > 0 { b", " } else { b"" });
                    element.put(text, out, depth + 1)?;
                }
                out.put_u8(b']');
            }
            Self::Object(members) => {
                out.put_u8(b'{');
                for (index, (key, value)) in members.iter().enumerate() {
                    out.put_slice(if index > 0 { b", " } else { b"" });
                    put_string(key, out)?;
                    out.put_slice(b": ");
                    value.put(text, out, depth + 1)?;
                }
                out.put_u8(b'}');
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"a": 1, "bb": [true, false]}`.
    const BASE: &[u8] = &[
        0, 2, 0, 31, 0, 18, 0, 1, 0, 19, 0, 2, 0, 5, 1, 0, 2, 21, 0, b'a', b'b', b'b', 2, 0, 10, 0,
        4, 1, 0, 4, 2, 0,
    ];

    fn changed(differences: &[(u8, &str, &[u8])]) -> Checked<BytesMut> {
        let mut bytes = Vec::new();
        for (operation, path, value) in differences {
            bytes.extend([*operation, path.len() as u8]);
            bytes.extend(path.as_bytes());
            if *operation != REMOVE {
                bytes.push(value.len() as u8);
                bytes.extend(*value);
            }
        }
        let mut out = BytesMut::new();
        put_changed_document(BASE, &bytes, &mut out)?;
        Ok(out)
    }

    #[test]
    fn no_difference_leaves_the_document() {
        assert_eq!(changed(&[]).unwrap(), r#"{"a": 1, "bb": [true, false]}"#);
    }

    #[test]
    fn differences_are_applied_in_order() {
        let text = changed(&[
            (REPLACE, "$.a", &[5, 2, 0]),
            (INSERT, "$.c", &[4, 0]),
            (INSERT, "$.bb[1]", &[5, 7, 0]),
            (REMOVE, "$.bb[0]", &[]),
            (INSERT, "$.\"a b\"", &[2, 0, 0, 4, 0]),
            (INSERT, "$.\"a b\"[9]", &[4, 1]),
        ]);
        assert_eq!(
            text.unwrap(),
            r#"{"a": 2, "c": null, "bb": [7, false], "a b": [true]}"#
        );
        assert_eq!(changed(&[(REPLACE, "$", &[4, 1])]).unwrap(), "true");
    }

    #[test]
    fn differences_that_do_not_fit_are_faults() {
        assert!(changed(&[(REPLACE, "$.x", &[4, 1])]).is_err());
        assert!(changed(&[(REMOVE, "$.bb[2]", &[])]).is_err());
        assert!(changed(&[(INSERT, "$.a", &[4, 1])]).is_err());
        assert!(changed(&[(REMOVE, "$", &[])]).is_err());
        assert!(changed(&[(9, "$", &[])]).is_err());
    }
}
