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
            error.with_hint("SET PERSIST binlog_row_value_options = '', let every session reconnect, then copy every \
                 table again: sluice run --resnapshot '*'")
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
mod tests;
