//! Avro's binary form: the primitive pieces.

use crate::encode::{Emit, FieldPlan};

/// Appends an int or a long.
pub(crate) fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends bytes or text.
pub(crate) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// Appends the branch of an optional value that is there (`["null", …]`).
pub(crate) fn put_some(out: &mut Vec<u8>) {
    out.push(2);
}

/// Appends the branch of an optional value that is not there.
pub(crate) fn put_none(out: &mut Vec<u8>) {
    out.push(0);
}

/// Values in Avro's binary form.
pub(crate) struct AvroOut<'a>(pub(crate) &'a mut Vec<u8>);

impl Emit for AvroOut<'_> {
    fn begin_field(&mut self, _field: &FieldPlan) {}

    fn end_struct(&mut self, _fields: usize) {}

    fn null(&mut self) {
        put_none(self.0);
    }

    fn some(&mut self) {
        put_some(self.0);
    }

    fn boolean(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    fn int(&mut self, value: i64) {
        put_long(value, self.0);
    }

    fn float(&mut self, value: f32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn double(&mut self, value: f64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, value: &str) {
        put_bytes(value.as_bytes(), self.0);
    }

    fn bytes(&mut self, value: &[u8]) {
        put_bytes(value, self.0);
    }

    fn begin_array(&mut self, length: usize) {
        if length > 0 {
            put_long(length as i64, self.0);
        }
    }

    fn begin_item(&mut self, _index: usize) {}

    fn end_array(&mut self, _length: usize) {
        self.0.push(0);
    }

    fn geometry(&mut self, wkb: &[u8], srid: u32) {
        put_bytes(wkb, self.0);
        put_some(self.0);
        put_long(i64::from(srid as i32), self.0);
    }

    fn scaled_decimal(&mut self, scale: u16, unscaled: &[u8]) {
        put_long(i64::from(scale), self.0);
        put_bytes(unscaled, self.0);
    }
}

/// Reads pieces from bytes. `None` means that the bytes end too early or make no sense.
#[derive(Debug, Clone)]
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn long(&mut self) -> Option<i64> {
        let mut value = 0_u64;
        let mut shift = 0;
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
            shift += 7;
            if shift > 63 {
                return None;
            }
        }
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(crate) fn boolean(&mut self) -> Option<bool> {
        match self.take(1)?[0] {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn float(&mut self) -> Option<f32> {
        Some(f32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn double(&mut self) -> Option<f64> {
        Some(f64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// The number of items in an array's or a map's next block; zero ends it.
    pub(crate) fn block(&mut self) -> Option<u64> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        Some(count.unsigned_abs())
    }
}
