//! Values inside JSON documents that JSON has no type for: decimals, temporals, bytes.

use bytes::{BufMut, BytesMut};

use super::{
    column_type::{TYPE_DATE, TYPE_DATETIME, TYPE_NEW_DECIMAL, TYPE_TIME, TYPE_TIMESTAMP},
    decimal::{DecimalLayout, DecimalText},
    json_number::put_uint,
    reader::{Checked, Reader},
    temporal::{DateText, DateTimeParts, TimeParts},
};

/// How many characters of base64 the server prints before it breaks the line.
const BASE64_LINE: usize = 76;

/// Writes an opaque value of a column type.
pub(crate) fn put_opaque(kind: u8, bytes: &[u8], out: &mut BytesMut) -> Checked<()> {
    let mut reader = Reader::new(bytes);
    let mut text = DateText::default();
    match kind {
        TYPE_NEW_DECIMAL => {
            let layout = DecimalLayout::new(reader.u8()?, reader.u8()?)?;
            let mut text = DecimalText::new();
            out.put_slice(layout.read(&mut reader, &mut text)?.as_bytes());
        }
        TYPE_DATE => {
            let parts = DateTimeParts::unpack(reader.i64()?);
            put_quoted(text.date(parts.year, parts.month, parts.day), out);
        }
        TYPE_DATETIME | TYPE_TIMESTAMP => {
            let parts = DateTimeParts::unpack(reader.i64()?);
            put_quoted(text.date_time(&parts, 6), out);
        }
        TYPE_TIME => {
            let parts = TimeParts::unpack(reader.i64()?);
            put_quoted(text.time(&parts, 6), out);
        }
        _ => {
            out.put_slice(b"\"base64:type");
            put_uint(u64::from(kind), out);
            out.put_u8(b':');
            put_base64(bytes, out);
            out.put_u8(b'"');
        }
    }
    Ok(())
}

fn put_quoted(text: &str, out: &mut BytesMut) {
    out.put_u8(b'"');
    out.put_slice(text.as_bytes());
    out.put_u8(b'"');
}

fn put_base64(bytes: &[u8], out: &mut BytesMut) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.reserve(bytes.len() / 3 * 4 + 4);
    for (index, group) in bytes.chunks(3).enumerate() {
        if index > 0 && index % (BASE64_LINE / 4) == 0 {
            // A line break of the encoder, escaped like any other in a JSON string.
            out.put_slice(b"\\n");
        }
        let bits = (0..3).fold(0_u32, |bits, at| {
            bits << 8 | u32::from(group.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            out.put_u8(if at <= group.len() { digit } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opaque(kind: u8, bytes: &[u8]) -> String {
        let mut out = BytesMut::new();
        put_opaque(kind, bytes, &mut out).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn bytes_are_printed_in_base64_with_their_type() {
        assert_eq!(opaque(252, b""), "\"base64:type252:\"");
        assert_eq!(opaque(252, b"a"), "\"base64:type252:YQ==\"");
        assert_eq!(opaque(15, b"ab"), "\"base64:type15:YWI=\"");
        assert_eq!(opaque(15, b"abc"), "\"base64:type15:YWJj\"");
        assert!(opaque(15, &[0; 58]).contains("A\\nA"));
    }

    #[test]
    fn decimals_and_times_are_printed_as_in_columns() {
        assert_eq!(opaque(TYPE_NEW_DECIMAL, &[2, 2, 0x80 | 7]), "0.07");
        let packed = -((((10_i64 << 12) + 5) << 24) + 500_000);
        assert_eq!(
            opaque(TYPE_TIME, &packed.to_le_bytes()),
            "\"-10:00:05.500000\""
        );
    }
}
