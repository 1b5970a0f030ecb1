//! Events made by hand, for unit tests.

use bytes::BufMut;

/// One column of the sample table: name, type code, metadata, nullable.
type SampleColumn = (&'static str, u8, &'static [u8], bool);

const COLUMNS: [SampleColumn; 8] = [
    ("id", 8, &[], false),
    ("name", 15, &[200, 0], true),
    ("price", 246, &[10, 2], false),
    ("created", 18, &[3], true),
    ("note", 252, &[2], true),
    ("document", 245, &[4], true),
    ("state", 254, &[247, 1], false),
    ("tags", 254, &[248, 1], true),
];

/// The number of the sample table.
pub(crate) const TABLE_ID: u64 = 117;

/// The table map of `shop.orders` with full metadata.
pub(crate) fn table_map() -> Vec<u8> {
    let mut body = table_map_without_names();
    let mut names = Vec::new();
    for (name, ..) in COLUMNS {
        names.push(name.len() as u8);
        names.extend(name.as_bytes());
    }
    put_field(&mut body, 4, &names);
    put_field(&mut body, 5, b"\x02\x01x\x01y");
    put_field(&mut body, 6, b"\x02\x04open\x04paid");
    put_field(&mut body, 8, &[0]);
    body
}

/// The same with a note and a document that may be of any length.
pub(crate) fn table_map_of_long_values() -> Vec<u8> {
    let mut body = table_map();
    // The note's metadata is a length of two bytes.
    let place = [2, 4, 247, 1];
    let at = body
        .windows(4)
        .position(|bytes| bytes == place)
        .expect("the metadata of the note");
    body[at] = 4;
    body
}

/// The same as a server logs it with `binlog_row_metadata=MINIMAL`.
pub(crate) fn table_map_without_names() -> Vec<u8> {
    let mut body = Vec::new();
    body.put_uint_le(TABLE_ID, 6);
    body.put_u16_le(1);
    body.put_slice(b"\x04shop\0\x06orders\0");
    body.put_u8(COLUMNS.len() as u8);
    body.extend(COLUMNS.iter().map(|(_, code, ..)| *code));
    let metadata = COLUMNS.map(|(_, _, metadata, _)| metadata).concat();
    body.put_u8(metadata.len() as u8);
    body.put_slice(&metadata);
    let nullable = COLUMNS
        .iter()
        .rev()
        .fold(0, |bits, column| bits << 1 | u8::from(column.3));
    body.put_u8(nullable);
    put_field(&mut body, 1, &[0x80]);
    // utf8mb4_0900_ai_ci for text, but latin1_swedish_ci for the second.
    put_field(&mut body, 2, &[252, 255, 0, 1, 8]);
    put_field(&mut body, 10, &[252, 255, 0]);
    body
}

fn put_field(body: &mut Vec<u8>, kind: u8, value: &[u8]) {
    body.put_slice(&[kind, value.len() as u8]);
    body.put_slice(value);
}

/// The start of a version 2 rows event with the given columns present.
pub(crate) fn rows_event(present: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_uint_le(TABLE_ID, 6);
    body.put_slice(&[1, 0, 2, 0, COLUMNS.len() as u8]);
    body.put_slice(present);
    body
}

/// A full image of a row.
pub(crate) fn put_row(body: &mut Vec<u8>, id: u64) {
    body.put_u8(0);
    body.put_u64_le(id);
    body.put_slice(b"\x04Zo\xc3\xab");
    body.put_slice(&[0x80, 0, 0, 12, 50]);
    body.put_slice(&[0x99, 0xb2, 0x82, 0, 0, 0x04, 0xd8]);
    body.put_slice(b"\x02\0\xe9!");
    put_document(body);
    body.put_slice(&[2, 3]);
}

/// `{"a": 1}` as a row holds it.
pub(crate) fn put_document(body: &mut Vec<u8>) {
    let document = [0, 1, 0, 12, 0, 11, 0, 1, 0, 5, 1, 0, b'a'];
    body.put_u32_le(document.len() as u32);
    body.put_slice(&document);
}
