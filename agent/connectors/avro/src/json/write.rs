//! Values in JSON.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::encode::{Emit, FieldPlan};

/// Values in JSON, appended to a buffer.
pub(crate) struct JsonOut<'a>(pub(crate) &'a mut Vec<u8>);

impl Emit for JsonOut<'_> {
    fn begin_field(&mut self, field: &FieldPlan) {
        self.0.extend_from_slice(&field.label);
    }

    fn end_struct(&mut self, fields: usize) {
        self.0
            .extend_from_slice(if fields == 0 { b"{}" } else { b"}" });
    }

    fn null(&mut self) {
        self.0.extend_from_slice(b"null");
    }

    fn some(&mut self) {}

    fn boolean(&mut self, value: bool) {
        self.0
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn int(&mut self, value: i64) {
        self.0
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn float(&mut self, value: f32) {
        if value.is_finite() {
            let mut buffer = ryu::Buffer::new();
            self.0
                .extend_from_slice(buffer.format_finite(value).as_bytes());
        } else {
            self.text(non_finite(f64::from(value)));
        }
    }

    fn double(&mut self, value: f64) {
        if value.is_finite() {
            let mut buffer = ryu::Buffer::new();
            self.0
                .extend_from_slice(buffer.format_finite(value).as_bytes());
        } else {
            self.text(non_finite(value));
        }
    }

    fn text(&mut self, value: &str) {
        put_text(value, self.0);
    }

    fn bytes(&mut self, value: &[u8]) {
        self.0.push(b'"');
        let start = self.0.len();
        let length = value.len().div_ceil(3) * 4;
        self.0.resize(start + length, 0);
        let written = STANDARD
            .encode_slice(value, &mut self.0[start..])
            .expect("base64 takes four bytes for three");
        self.0.truncate(start + written);
        self.0.push(b'"');
    }

    fn begin_array(&mut self, _length: usize) {
        self.0.push(b'[');
    }

    fn begin_item(&mut self, index: usize) {
        if index > 0 {
            self.0.push(b',');
        }
    }

    fn end_array(&mut self, _length: usize) {
        self.0.push(b']');
    }

    fn geometry(&mut self, wkb: &[u8], srid: u32) {
        self.0.extend_from_slice(b"{\"wkb\":");
        self.bytes(wkb);
        self.0.extend_from_slice(b",\"srid\":");
        self.int(i64::from(srid as i32));
        self.0.push(b'}');
    }

    fn scaled_decimal(&mut self, scale: u16, unscaled: &[u8]) {
        self.0.extend_from_slice(b"{\"scale\":");
        self.int(i64::from(scale));
        self.0.extend_from_slice(b",\"value\":");
        self.bytes(unscaled);
        self.0.push(b'}');
    }
}

/// What Jackson writes, in quotes.
fn non_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// Appends a string.
pub(crate) fn put_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[done..index]);
        done = index + 1;
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            8 => b'b',
            12 => b'f',
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(b"0123456789ABCDEF"[usize::from(byte >> 4)]);
                out.push(b"0123456789ABCDEF"[usize::from(byte & 15)]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}
