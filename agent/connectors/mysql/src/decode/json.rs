//! MySQL's binary JSON as text, formatted exactly as the server prints it.
//!
//! A document is a type byte and a value. Containers hold a count, their size, and entries with
//! offsets from the container's start; small ones use 2-byte offsets and sizes, large ones 4-byte.
//! Layout: the comment at the top of `json_binary.h` in the server's source.

use bytes::{BufMut, BytesMut};

use super::{
    json_number::{put_double, put_int, put_uint},
    json_opaque::put_opaque,
    reader::{Checked, Fault, Reader},
};

const SMALL_OBJECT: u8 = 0x00;
const LARGE_OBJECT: u8 = 0x01;
const SMALL_ARRAY: u8 = 0x02;
const LARGE_ARRAY: u8 = 0x03;
const LITERAL: u8 = 0x04;
const INT16: u8 = 0x05;
const UINT16: u8 = 0x06;
const INT32: u8 = 0x07;
const UINT32: u8 = 0x08;
const INT64: u8 = 0x09;
const UINT64: u8 = 0x0a;
const DOUBLE: u8 = 0x0b;
const STRING: u8 = 0x0c;
const OPAQUE: u8 = 0x0f;

/// The server refuses documents that are nested deeper than this.
pub(crate) const DEPTH_MAX: usize = 100;

/// A value inside a binary document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JsonRef<'a> {
    kind: u8,
    bytes: &'a [u8],
}

/// An object or array inside a binary document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Container<'a> {
    bytes: &'a [u8],
    count: usize,
    offset_width: usize,
    is_object: bool,
}

impl<'a> JsonRef<'a> {
    /// The value that a whole document is.
    pub(crate) fn document(bytes: &'a [u8]) -> Self {
        match bytes.split_first() {
            Some((&kind, bytes)) => Self { kind, bytes },
            // The server reads an empty field (left behind by IGNORE) as the literal null.
            None => Self {
                kind: LITERAL,
                bytes: &[0],
            },
        }
    }

    /// The object or array that the value is, if it is one.
    pub(crate) fn container(self) -> Checked<Option<Container<'a>>> {
        let (offset_width, is_object) = match self.kind {
            SMALL_OBJECT => (2, true),
            LARGE_OBJECT => (4, true),
            SMALL_ARRAY => (2, false),
            LARGE_ARRAY => (4, false),
            _ => return Ok(None),
        };
        let mut reader = Reader::new(self.bytes);
        let count = reader.uint(offset_width)? as usize;
        let size = reader.uint(offset_width)? as usize;
        let bytes = self.bytes.get(..size).ok_or(Fault::Truncated)?;
        let container = Container {
            bytes,
            count,
            offset_width,
            is_object,
        };
        if container.header_bytes() > size {
            return Err(Fault::Truncated);
        }
        Ok(Some(container))
    }
}

impl<'a> Container<'a> {
    /// How many members or elements.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether it is an object.
    pub(crate) fn is_object(&self) -> bool {
        self.is_object
    }

    fn key_entry_bytes(&self) -> usize {
        if self.is_object {
            self.offset_width + 2
        } else {
            0
        }
    }

    fn header_bytes(&self) -> usize {
        2 * self.offset_width + self.count * (self.key_entry_bytes() + 1 + self.offset_width)
    }

    /// The key of an object's member.
    pub(crate) fn key(&self, index: usize) -> Checked<&'a [u8]> {
        let at = 2 * self.offset_width + index * self.key_entry_bytes();
        let mut reader = Reader::new(self.bytes.get(at..).ok_or(Fault::Truncated)?);
        let offset = reader.uint(self.offset_width)? as usize;
        let length = usize::from(reader.u16()?);
        let end = offset.checked_add(length).ok_or(Fault::Truncated)?;
        self.bytes.get(offset..end).ok_or(Fault::Truncated)
    }

    /// The value of a member or element.
    pub(crate) fn value(&self, index: usize) -> Checked<JsonRef<'a>> {
        let at = 2 * self.offset_width
            + self.count * self.key_entry_bytes()
            + index * (1 + self.offset_width);
        let entry = self.bytes.get(at..).ok_or(Fault::Truncated)?;
        let (&kind, entry) = entry.split_first().ok_or(Fault::Truncated)?;
        let inlined = match kind {
            LITERAL | INT16 | UINT16 => true,
            INT32 | UINT32 => self.offset_width == 4,
            _ => false,
        };
        if inlined {
            return Ok(JsonRef { kind, bytes: entry });
        }
        let offset = Reader::new(entry).uint(self.offset_width)? as usize;
        if offset < self.header_bytes() {
            return Err(Fault::Malformed("is a JSON document that overlaps itself"));
        }
        let bytes = self.bytes.get(offset..).ok_or(Fault::Truncated)?;
        Ok(JsonRef { kind, bytes })
    }
}

/// Writes the text of a binary document.
pub(crate) fn put_document(bytes: &[u8], out: &mut BytesMut) -> Checked<()> {
    JsonText::new(bytes.len()).put(JsonRef::document(bytes), out, 0)
}

/// Writes values as text, with limits that no document of the server reaches.
#[derive(Debug)]
pub(crate) struct JsonText {
    values_left: usize,
}

impl JsonText {
    /// A writer of values that take `size_bytes` in binary form.
    pub(crate) fn new(size_bytes: usize) -> Self {
        // A value takes two bytes at least. The limit is there for damaged documents whose parts
        // overlap: their text could grow without end.
        Self {
            values_left: size_bytes / 2 + 1,
        }
    }

    /// Writes one value that is nested `depth` deep.
    pub(crate) fn put(
        &mut self,
        value: JsonRef<'_>,
        out: &mut BytesMut,
        depth: usize,
    ) -> Checked<()> {
        self.values_left = self
            .values_left
            .checked_sub(1)
            .ok_or(Fault::Malformed("is a JSON document that overlaps itself"))?;
        let Some(container) = value.container()? else {
            return put_scalar(value, out);
        };
        if depth >= DEPTH_MAX {
            return Err(Fault::Malformed("is a JSON document nested too deeply"));
        }
        let (open, close) = if container.is_object() {
            (b'{', b'}')
        } else {
            (b'[', b']')
        };
        out.put_u8(open);
        for index in 0..container.len() {
            if index > 0 {
                out.put_slice(b", ");
            }
            if container.is_object() {
                put_string(container.key(index)?, out)?;
                out.put_slice(b": ");
            }
            self.put(container.value(index)?, out, depth + 1)?;
        }
        out.put_u8(close);
        Ok(())
    }
}

fn put_scalar(value: JsonRef<'_>, out: &mut BytesMut) -> Checked<()> {
    let mut reader = Reader::new(value.bytes);
    match value.kind {
        LITERAL => out.put_slice(match reader.u8()? {
            0 => b"null",
            1 => b"true",
            2 => b"false",
            _ => {
                return Err(Fault::Malformed(
                    "is a JSON document with an unknown literal",
                ));
            }
        }),
        INT16 => put_int(i64::from(reader.i16()?), out),
        UINT16 => put_uint(u64::from(reader.u16()?), out),
        INT32 => put_int(i64::from(reader.i32()?), out),
        UINT32 => put_uint(u64::from(reader.u32()?), out),
        INT64 => put_int(reader.i64()?, out),
        UINT64 => put_uint(reader.u64()?, out),
        DOUBLE => put_double(f64::from_bits(reader.u64()?), out)?,
        STRING => {
            let length = variable_length(&mut reader)?;
            put_string(reader.take(length)?, out)?;
        }
        OPAQUE => {
            let kind = reader.u8()?;
            let length = variable_length(&mut reader)?;
            put_opaque(kind, reader.take(length)?, out)?;
        }
        _ => return Err(Fault::Malformed("is a JSON document with an unknown type")),
    }
    Ok(())
}

/// Reads a length of seven bits per byte, the lowest first.
fn variable_length(reader: &mut Reader<'_>) -> Checked<usize> {
    let mut length = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = reader.u8()?;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(length).map_err(|_| Fault::Truncated);
        }
    }
    Err(Fault::Malformed(
        "is a JSON document with an impossible length",
    ))
}

/// Writes a string in quotes, escaped as the server does.
pub(crate) fn put_string(bytes: &[u8], out: &mut BytesMut) -> Checked<()> {
    if std::str::from_utf8(bytes).is_err() {
        return Err(Fault::InvalidText);
    }
    out.reserve(bytes.len() + 2);
    out.put_u8(b'"');
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| must_be_escaped(byte)) {
        out.put_slice(&rest[..at]);
        put_escaped(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
    out.put_u8(b'"');
    Ok(())
}

fn must_be_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn put_escaped(byte: u8, out: &mut BytesMut) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.put_slice(b"\\u00");
            out.put_u8(DIGITS[usize::from(byte >> 4)]);
            out.put_u8(DIGITS[usize::from(byte & 15)]);
            return;
        }
    };
    out.put_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Checked<BytesMut> {
        let mut out = BytesMut::new();
        put_document(bytes, &mut out)?;
        Ok(out)
    }

    /// `{"a": 1, "b": [true, "x"]}`.
    fn sample() -> Vec<u8> {
        let mut bytes = vec![SMALL_OBJECT, 2, 0, 34, 0];
        bytes.extend([18, 0, 1, 0, 19, 0, 1, 0]);
        bytes.extend([INT16, 1, 0, SMALL_ARRAY, 20, 0]);
        bytes.extend(b"ab");
        bytes.extend([2, 0, 12, 0, LITERAL, 1, 0, STRING, 10, 0, 1, b'x']);
        bytes.extend([0, 0]);
        bytes
    }

    #[test]
    fn documents_are_printed_as_the_server_does() {
        assert_eq!(text(&sample()).unwrap(), r#"{"a": 1, "b": [true, "x"]}"#);
        assert_eq!(text(&[]).unwrap(), "null");
        assert_eq!(text(&[SMALL_ARRAY, 0, 0, 4, 0]).unwrap(), "[]");
    }

    #[test]
    fn strings_are_escaped() {
        let raw = "q\"\\\u{8}\t\n\u{c}\r\u{1}\u{1f}\u{7f}/é";
        let mut bytes = vec![STRING, raw.len() as u8];
        bytes.extend(raw.as_bytes());
        assert_eq!(
            text(&bytes).unwrap(),
            "\"q\\\"\\\\\\b\\t\\n\\f\\r\\u0001\\u001f\u{7f}/é\""
        );
    }

    #[test]
    fn damaged_documents_are_faults() {
        let sample = sample();
        for length in 1..sample.len() {
            assert!(text(&sample[..length]).is_err(), "{length} bytes");
        }
        // An array whose element is the array itself.
        let own = [SMALL_ARRAY, 1, 0, 7, 0, SMALL_ARRAY, 0, 0];
        assert!(text(&own).is_err());
        assert_eq!(text(&[STRING, 1, 0xff]), Err(Fault::InvalidText));
    }
}
