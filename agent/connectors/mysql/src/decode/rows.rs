//! Rows events: the images of inserted, updated and deleted rows.
//!
//! The rows of an event are packed one behind another into one buffer. A row too large for that
//! gets a buffer of its own, measured first, so that a value of many megabytes is copied once.

use sluice_core::{Error, Reason, Result, Row, RowBuilder, RowOperation, Value};

use super::{
    codec::{Codec, Scratch},
    json_diff::put_changed_document,
    reader::{Checked, Fault, Reader},
    table_map::{Plan, TableMap},
};

/// The size of the buffers that small rows share.
const BUFFER_BYTES: usize = 64 * 1024;

/// Rows of events larger than this are measured first.
const LARGE_EVENT_BYTES: usize = 32 * 1024;

/// The number of an event without a table: it only ends a statement.
const NO_TABLE: u64 = 0xff_ffff;

/// The bit of an image's options that says that it holds JSON differences.
const PARTIAL_JSON: u64 = 1;

/// What the rows of an event tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsKind {
    /// `WRITE_ROWS_EVENT`.
    Write,
    /// `UPDATE_ROWS_EVENT`.
    Update,
    /// `DELETE_ROWS_EVENT`.
    Delete,
    /// `PARTIAL_UPDATE_ROWS_EVENT`: an update that may hold JSON documents as differences.
    PartialUpdate,
}

/// The number of the table that a rows event is about; 0xFFFFFF when it is about none and
/// only ends a statement.
pub fn rows_event_table_id(body: &[u8]) -> Result<u64> {
    Reader::new(body).uint(6).map_err(|fault| {
        let message = format!("a rows event {}", fault.describe());
        Error::new(Reason::DecodeFailed, message)
    })
}

/// Decodes rows events. Keeps buffers from event to event.
#[derive(Debug)]
pub struct RowsDecoder {
    builder: RowBuilder,
    scratch: Scratch,
}

impl Default for RowsDecoder {
    fn default() -> Self {
        Self::new()
    }
}

/// A fault in an image and the column that it was found in.
type Located<T> = std::result::Result<T, (Option<usize>, Fault)>;

impl RowsDecoder {
    /// A decoder with empty buffers.
    pub fn new() -> Self {
        Self {
            builder: RowBuilder::with_capacity(BUFFER_BYTES),
            scratch: Scratch::default(),
        }
    }

    /// Decodes the rows of an event (of version 1 or 2) and hands each to `emit`, in order.
    ///
    /// Columns that the event does not hold are [`Value::Unchanged`]; an `after` image takes them
    /// from its `before` image where that one has them. After an error some rows may have been
    /// emitted.
    pub fn decode(
        &mut self,
        kind: RowsKind,
        version: u8,
        body: &[u8],
        map: &TableMap,
        emit: &mut dyn FnMut(RowOperation),
    ) -> Result<()> {
        let result = self.decode_rows(kind, version, body, map, emit);
        result.map_err(|(column, fault)| failure(map, column, fault))
    }

    fn decode_rows(
        &mut self,
        kind: RowsKind,
        version: u8,
        body: &[u8],
        map: &TableMap,
        emit: &mut dyn FnMut(RowOperation),
    ) -> Located<()> {
        let Some(event) = Event::read(kind, version, body, map.width()).map_err(nowhere)? else {
            return Ok(());
        };
        let large = body.len() > LARGE_EVENT_BYTES;
        let mut images = Images {
            decoder: self,
            plan: &map.plan,
            reader: event.rows,
            large,
            documents: Vec::new(),
        };
        while !images.reader.is_empty() {
            emit(match kind {
                RowsKind::Write => RowOperation::Insert {
                    after: images.plain(event.after)?,
                },
                RowsKind::Delete => RowOperation::Delete {
                    before: images.plain(event.before)?,
                },
                RowsKind::Update => {
                    let before = images.plain(event.before)?;
                    let after = images.after(event.after, &before)?;
                    RowOperation::Update { before, after }
                }
                RowsKind::PartialUpdate => {
                    images.find_documents(event.before)?;
                    let before = images.plain(event.before)?;
                    let after = images.partial_after(event.after, &before)?;
                    RowOperation::Update { before, after }
                }
            });
        }
        if large {
            // The rest of a large buffer is not kept for the rows to come.
            self.builder = RowBuilder::with_capacity(BUFFER_BYTES);
        }
        Ok(())
    }
}

fn nowhere(fault: Fault) -> (Option<usize>, Fault) {
    (None, fault)
}

fn failure(map: &TableMap, column: Option<usize>, fault: Fault) -> Error {
    let (table, problem) = (&map.schema.id, fault.describe());
    let message = match column {
        Some(column) => format!(
            "a value of column {} of table {table} {problem}",
            map.column_name(column)
        ),
        None => format!("a rows event of table {table} {problem}"),
    };
    let error = Error::new(Reason::DecodeFailed, message).with_table(table.clone());
    match fault {
        Fault::DifferenceWithoutBase => {
            error.with_hint("SET PERSIST binlog_row_value_options = '', then read the table again")
        }
        _ => error,
    }
}

/// The parts of a rows event.
struct Event<'a> {
    before: Columns<'a>,
    after: Columns<'a>,
    rows: Reader<'a>,
}

impl<'a> Event<'a> {
    /// Reads up to the first image; `None` for an event that only ends a statement.
    fn read(kind: RowsKind, version: u8, body: &'a [u8], width: usize) -> Checked<Option<Self>> {
        let mut reader = Reader::new(body);
        let table_id = reader.uint(6)?;
        reader.take(2)?;
        if version >= 2 {
            // The length counts itself.
            let extra_bytes = usize::from(reader.u16()?).checked_sub(2);
            reader.take(extra_bytes.ok_or(Fault::Truncated)?)?;
        }
        if table_id == NO_TABLE {
            return Ok(None);
        }
        if reader.length()? != width {
            return Err(Fault::Malformed("has other columns than its table map"));
        }
        let first = Columns::new(reader.take(width.div_ceil(8))?, width);
        let after = match kind {
            RowsKind::Update | RowsKind::PartialUpdate => {
                Columns::new(reader.take(width.div_ceil(8))?, width)
            }
            RowsKind::Write | RowsKind::Delete => first,
        };
        if width == 0 {
            return Err(Fault::Malformed("has no columns"));
        }
        Ok(Some(Self {
            before: first,
            after,
            rows: reader,
        }))
    }
}

/// Which columns an image holds.
#[derive(Debug, Clone, Copy)]
struct Columns<'a> {
    bits: &'a [u8],
    count: usize,
    all: bool,
}

impl<'a> Columns<'a> {
    fn new(bits: &'a [u8], width: usize) -> Self {
        let count = (0..width).filter(|&column| bit(bits, column)).count();
        Self {
            bits,
            count,
            all: count == width,
        }
    }

    #[inline]
    fn has(&self, column: usize) -> bool {
        self.all || bit(self.bits, column)
    }
}

#[inline]
fn bit(bits: &[u8], index: usize) -> bool {
    bits[index / 8] >> (index % 8) & 1 != 0
}

/// The images of an event, read one after another.
struct Images<'d, 'a> {
    decoder: &'d mut RowsDecoder,
    plan: &'d Plan,
    reader: Reader<'a>,
    large: bool,
    /// The JSON documents of the last before image, by column, where differences may follow.
    documents: Vec<Option<&'a [u8]>>,
}

impl<'a> Images<'_, 'a> {
    /// Reads an image on its own.
    fn plain(&mut self, columns: Columns<'a>) -> Located<Row> {
        self.begin(columns)?;
        let nulls = self.nulls(columns)?;
        let (plan, decoder) = (self.plan, &mut *self.decoder);
        let mut ordinal = 0;
        for (column, codec) in plan.codecs.iter().enumerate() {
            if !columns.has(column) {
                decoder.builder.push(Value::Unchanged);
                continue;
            }
            if bit(nulls, ordinal) {
                decoder.builder.push(Value::Null);
            } else {
                codec
                    .decode(&mut self.reader, &mut decoder.builder, &mut decoder.scratch)
                    .map_err(|fault| (Some(column), fault))?;
            }
            ordinal += 1;
        }
        Ok(decoder.builder.finish())
    }

    /// Reads an after image and completes it from the before image.
    fn after(&mut self, columns: Columns<'a>, before: &Row) -> Located<Row> {
        if columns.all {
            return self.plain(columns);
        }
        self.changed(columns, before, None)
    }

    /// Reads an after image that begins with options and may hold JSON differences.
    fn partial_after(&mut self, columns: Columns<'a>, before: &Row) -> Located<Row> {
        let options = self.reader.length_encoded().map_err(nowhere)?;
        if options & PARTIAL_JSON == 0 {
            return self.after(columns, before);
        }
        let bytes = self.plan.json_columns.div_ceil(8);
        let partial = self.reader.take(bytes).map_err(nowhere)?;
        self.changed(columns, before, Some(partial))
    }

    fn changed(
        &mut self,
        columns: Columns<'a>,
        before: &Row,
        partial: Option<&[u8]>,
    ) -> Located<Row> {
        self.begin(columns)?;
        let nulls = self.nulls(columns)?;
        let plan = self.plan;
        let (mut ordinal, mut json_ordinal) = (0, 0);
        for (column, codec) in plan.codecs.iter().enumerate() {
            let is_difference = codec.is_json() && {
                json_ordinal += 1;
                partial.is_some_and(|partial| bit(partial, json_ordinal - 1))
            };
            if !columns.has(column) {
                self.decoder.builder.push_cell(before.cell(column));
                continue;
            }
            let located = |fault| (Some(column), fault);
            if bit(nulls, ordinal) {
                self.decoder.builder.push(Value::Null);
            } else if is_difference {
                self.apply_difference(column).map_err(located)?;
            } else {
                let decoder = &mut *self.decoder;
                codec
                    .decode(&mut self.reader, &mut decoder.builder, &mut decoder.scratch)
                    .map_err(located)?;
            }
            ordinal += 1;
        }
        Ok(self.decoder.builder.finish())
    }

    fn apply_difference(&mut self, column: usize) -> Checked<()> {
        let difference = self.reader.prefixed(4)?;
        let document = self.documents.get(column).copied().flatten();
        let base = document.ok_or(Fault::DifferenceWithoutBase)?;
        let mut written = Ok(());
        self.decoder.builder.push_json_with(|buffer| {
            buffer.reserve(base.len() + difference.len());
            written = put_changed_document(base, difference, buffer);
        });
        written
    }

    /// Notes the JSON documents of the before image ahead.
    fn find_documents(&mut self, columns: Columns<'a>) -> Located<()> {
        let mut ahead = self.reader;
        let nulls = ahead.take(columns.count.div_ceil(8)).map_err(nowhere)?;
        self.documents.clear();
        self.documents.resize(self.plan.codecs.len(), None);
        let present = (0..)
            .zip(&self.plan.codecs)
            .filter(|(at, _)| columns.has(*at));
        for (ordinal, (column, codec)) in present.enumerate() {
            if bit(nulls, ordinal) {
                continue;
            }
            let located = |fault| (Some(column), fault);
            if let Codec::Json { length_width } = codec {
                self.documents[column] = Some(ahead.prefixed(*length_width).map_err(located)?);
            } else {
                codec.skip(&mut ahead).map_err(located)?;
            }
        }
        Ok(())
    }

    fn nulls(&mut self, columns: Columns<'a>) -> Located<&'a [u8]> {
        let bytes = columns.count.div_ceil(8);
        self.reader.take(bytes).map_err(nowhere)
    }

    /// Starts a row with enough room for the image ahead.
    fn begin(&mut self, columns: Columns<'a>) -> Located<()> {
        let width = self.plan.codecs.len();
        let mut room = self.plan.row_bytes;
        if self.large {
            room += self.measure(columns)?;
            if room > LARGE_EVENT_BYTES {
                self.decoder.builder = RowBuilder::with_capacity(2 + 5 * width + room);
            }
        }
        self.decoder.builder.begin(width, room);
        Ok(())
    }

    /// How many bytes the image ahead takes.
    fn measure(&self, columns: Columns<'a>) -> Located<usize> {
        let mut ahead = self.reader;
        let nulls = ahead.take(columns.count.div_ceil(8)).map_err(nowhere)?;
        let present = (0..)
            .zip(&self.plan.codecs)
            .filter(|(at, _)| columns.has(*at));
        for (ordinal, (column, codec)) in present.enumerate() {
            if !bit(nulls, ordinal) {
                let located = |fault| (Some(column), fault);
                codec.skip(&mut ahead).map_err(located)?;
            }
        }
        Ok(self.reader.rest().len() - ahead.rest().len())
    }
}

#[cfg(test)]
mod tests {
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
}
