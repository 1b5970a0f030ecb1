//! Rows events made by hand, whole, cut off and damaged.

use bytes::BufMut;
use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::*;
use crate::{
    charset::Charsets,
    decode::{parse_table_map, sample},
};

fn map() -> TableMap {
    parse_table_map(&sample::table_map(), &Charsets::default()).unwrap()
}

fn decode(kind: RowsKind, body: &[u8]) -> Result<Vec<RowOperation>> {
    let mut rows = Vec::new();
    let mut keep = |row| rows.push(row);
    RowsDecoder::new().decode(kind, 2, body, &map(), &mut keep)?;
    Ok(rows)
}

fn full_row(id: u64) -> [Value<'static>; 8] {
    [
        Value::UInt(id),
        Value::Text("Zoë"),
        Value::Decimal("12.50"),
        Value::DateTime(1_706_745_600_124_000),
        Value::Text("é!"),
        Value::Json(r#"{"a": 1}"#),
        Value::Enum("paid"),
        Value::Set("x,y"),
    ]
}

#[test]
fn full_images_are_decoded() {
    let mut body = sample::rows_event(&[0xff]);
    sample::put_row(&mut body, 1);
    sample::put_row(&mut body, u64::MAX);
    assert_eq!(rows_event_table_id(&body).unwrap(), sample::TABLE_ID);
    let rows = decode(RowsKind::Write, &body).unwrap();
    for (row, id) in rows.iter().zip([1, u64::MAX]) {
        let RowOperation::Insert { after } = row else {
            panic!("an insert")
        };
        assert_eq!(after.values().collect::<Vec<_>>(), full_row(id));
    }
    assert_eq!(rows.len(), 2);
}

#[test]
fn a_minimal_update_is_completed_from_its_before_image() {
    let mut body = sample::rows_event(&[0b1]);
    body.put_slice(&[0b10]);
    body.put_u8(0);
    body.put_u64_le(7);
    body.put_slice(b"\0\x01n");
    let rows = decode(RowsKind::Update, &body).unwrap();
    let [RowOperation::Update { before, after }] = &rows[..] else {
        panic!("one update")
    };
    assert_eq!(before.get(0), Value::UInt(7));
    assert_eq!(before.get(1), Value::Unchanged);
    assert_eq!(after.get(0), Value::UInt(7));
    assert_eq!(after.get(1), Value::Text("n"));
    assert_eq!(after.get(2), Value::Unchanged);
}

fn partial_update(before_columns: u8, difference: &[u8]) -> Vec<u8> {
    let mut body = sample::rows_event(&[before_columns]);
    body.put_u8(0b10_0000);
    body.put_u8(0);
    body.put_u64_le(7);
    if before_columns & 0b10_0000 != 0 {
        sample::put_document(&mut body);
    }
    body.put_slice(&[1, 1, 0]);
    body.put_u32_le(difference.len() as u32);
    body.put_slice(difference);
    body
}

#[test]
fn json_differences_are_applied_to_the_before_image() {
    let difference = b"\x01\x03$.b\x03\x05\x02\0";
    let rows = decode(
        RowsKind::PartialUpdate,
        &partial_update(0b10_0001, difference),
    );
    let [RowOperation::Update { after, .. }] = &rows.unwrap()[..] else {
        panic!("one update")
    };
    assert_eq!(after.get(5), Value::Json(r#"{"a": 1, "b": 2}"#));
    let error = decode(RowsKind::PartialUpdate, &partial_update(1, difference)).unwrap_err();
    assert!(error.message().contains("document of table shop.orders"));
    assert!(error.hint().is_some());
}

#[test]
fn a_large_value_gets_a_buffer_of_its_own_size() {
    let mut body = sample::rows_event(&[0b1_0001]);
    body.put_u8(0);
    body.put_u64_le(7);
    body.put_u16_le(u16::MAX);
    body.put_bytes(b'x', usize::from(u16::MAX));
    let rows = decode(RowsKind::Delete, &body).unwrap();
    let [RowOperation::Delete { before }] = &rows[..] else {
        panic!("one delete")
    };
    assert_eq!(before.get(4), Value::Text(&"x".repeat(65_535)));
    assert!(before.size_bytes() < body.len() + 200);
}

#[test]
fn a_large_value_is_copied_once() {
    const SIZE: usize = 8 << 20;
    for (present, head, text) in [(0b1_0000, &b""[..], true), (0b10_0000, b"\x0c", false)] {
        let table_map = sample::table_map_of_long_values();
        let map = parse_table_map(&table_map, &Charsets::default()).unwrap();
        let mut body = sample::rows_event(&[present]);
        body.put_u8(0);
        let mut value = head.to_vec();
        if !text {
            // A length of seven bits per byte.
            value.put_slice(&[0x80, 0x80, 0x80, 4]);
        }
        value.put_bytes(b'x', SIZE);
        body.put_u32_le(value.len() as u32);
        body.put_slice(&value);
        let mut rows = Vec::with_capacity(1);
        let mut decoder = RowsDecoder::new();
        let counted = allocation_counter::measure(|| {
            let mut keep = |row| rows.push(row);
            decoder
                .decode(RowsKind::Write, 2, &body, &map, &mut keep)
                .unwrap();
        });
        assert_eq!(rows.len(), 1);
        assert!(
            counted.bytes_total < (SIZE + (128 << 10)) as u64,
            "{counted:?}"
        );
    }
}

#[test]
fn version_1_events_and_extra_data_are_read() {
    let version_2 = sample::rows_event(&[0b1]);
    let mut extra = version_2.clone();
    extra.splice(8..10, [5, 0, 1, 2, 3]);
    let mut version_1 = version_2.clone();
    version_1.drain(8..10);
    for (version, mut body) in [(2, version_2), (2, extra), (1, version_1)] {
        body.put_u8(0);
        body.put_u64_le(7);
        let mut keys = Vec::new();
        let mut keep = |row| {
            if let RowOperation::Delete { before } = row {
                keys.push(before);
            }
        };
        let mut decoder = RowsDecoder::new();
        decoder
            .decode(RowsKind::Delete, version, &body, &map(), &mut keep)
            .unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].get(0), Value::UInt(7));
    }
}

#[test]
fn an_event_without_a_table_has_no_rows() {
    let body = [0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 2, 0, 0];
    assert!(decode(RowsKind::Write, &body).unwrap().is_empty());
}

#[test]
fn every_truncated_event_is_an_error_that_names_the_table() {
    let mut body = sample::rows_event(&[0xff]);
    sample::put_row(&mut body, 1);
    let whole = sample::rows_event(&[0xff]).len();
    for length in (0..body.len()).filter(|&length| length != whole) {
        let error = decode(RowsKind::Write, &body[..length]).unwrap_err();
        assert_eq!(error.reason(), Reason::DecodeFailed);
        assert!(error.message().contains("shop.orders"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn damaged_events_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        kind in 0..4_u8,
        random in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let kind = [RowsKind::Write, RowsKind::Update, RowsKind::Delete, RowsKind::PartialUpdate]
            [usize::from(kind)];
        let mut body = partial_update(0b10_0001, b"\x01\x03$.b\x03\x05\x02\0");
        if kind != RowsKind::PartialUpdate {
            body = sample::rows_event(&[0xff]);
            if kind == RowsKind::Update {
                body.put_u8(0xff);
            }
            sample::put_row(&mut body, 1);
            sample::put_row(&mut body, 2);
        }
        let mut table_map = sample::table_map();
        for (place, byte) in damage {
            let (at, in_map) = (place.index(body.len()), place.index(table_map.len()));
            body[at] = byte;
            table_map[in_map] = byte;
        }
        let mut emit = |_| ();
        let mut decoder = RowsDecoder::new();
        // Either outcome is right; what matters is that there is one.
        drop(decoder.decode(kind, 2, &body, &map(), &mut emit));
        drop(decoder.decode(kind, 1, &random, &map(), &mut emit));
        if let Ok(map) = parse_table_map(&table_map, &Charsets::default()) {
            drop(decoder.decode(kind, 2, &body, &map, &mut emit));
        }
    }
}
