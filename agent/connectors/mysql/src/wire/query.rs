//! Statements: as text for what is small, prepared for tables, whose values then come in binary.

use crate::wire::{
    WireError,
    binary::{Parameter, put_parameters},
    packet::{PAYLOAD_BYTES_MAX, Wire},
    read::Fields,
};

const COM_QUERY: u8 = 0x03;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_CLOSE: u8 = 0x19;

const UNSIGNED_FLAG: u16 = 1 << 5;

/// What a result says about a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResultColumn {
    /// The name or alias.
    pub(crate) name: String,
    /// The protocol's type number.
    pub(crate) kind: u8,
    /// Whether a number is unsigned.
    pub(crate) unsigned: bool,
}

/// A row of a text result; a cell is `None` for NULL.
pub(crate) struct TextRow<'a> {
    columns: &'a [ResultColumn],
    cells: Vec<Option<&'a [u8]>>,
}

impl<'a> TextRow<'a> {
    /// A cell by its ordinal; empty for NULL.
    pub(crate) fn text(&self, index: usize) -> std::borrow::Cow<'a, str> {
        String::from_utf8_lossy(self.cells.get(index).copied().flatten().unwrap_or_default())
    }

    /// A cell by its ordinal, when it is not NULL.
    pub(crate) fn some_text(&self, index: usize) -> Option<std::borrow::Cow<'a, str>> {
        self.cells
            .get(index)
            .copied()
            .flatten()
            .map(String::from_utf8_lossy)
    }

    /// A number by the cell's ordinal.
    pub(crate) fn number<T: std::str::FromStr>(&self, index: usize) -> Option<T> {
        self.text(index).parse().ok()
    }

    /// A cell by its column's name in whatever case; empty for NULL and for an absent column.
    pub(crate) fn named(&self, name: &str) -> std::borrow::Cow<'a, str> {
        let index = self
            .columns
            .iter()
            .position(|column| column.name.eq_ignore_ascii_case(name));
        index.map_or_else(Default::default, |index| self.text(index))
    }
}

/// Runs a statement and shows each row of its result.
pub(crate) async fn query_each(
    wire: &mut Wire,
    sql: &str,
    mut each: impl FnMut(&TextRow<'_>),
) -> Result<(), WireError> {
    wire.command(&command(COM_QUERY, sql.as_bytes())).await?;
    let Some(columns) = read_columns(wire).await? else {
        return Ok(());
    };
    loop {
        let packet = wire.read_checked().await?;
        if is_end(packet) {
            return Ok(());
        }
        let mut fields = Fields(packet);
        let mut cells = Vec::with_capacity(columns.len());
        for _ in &columns {
            if fields.0.first() == Some(&0xfb) {
                fields.0 = &fields.0[1..];
                cells.push(None);
            } else {
                cells.push(Some(fields.packed_bytes().ok_or(CUT_SHORT)?));
            }
        }
        each(&TextRow {
            columns: &columns,
            cells,
        });
    }
}

/// Runs a prepared statement whose result comes in binary. The rows follow by [`next_row`].
pub(crate) async fn open_rows(
    wire: &mut Wire,
    statement: u32,
    parameters: &[Parameter<'_>],
) -> Result<Vec<ResultColumn>, WireError> {
    let mut execute = vec![COM_STMT_EXECUTE];
    execute.extend_from_slice(&statement.to_le_bytes());
    execute.push(0); // No cursor.
    execute.extend_from_slice(&1_u32.to_le_bytes());
    put_parameters(&mut execute, parameters);
    wire.command(&execute).await?;
    let columns = read_columns(wire).await?;
    columns.ok_or(WireError::Protocol("the statement has no result"))
}

/// The next row of a binary result behind its leading zero, `None` at the end.
pub(crate) async fn next_row(wire: &mut Wire) -> Result<Option<&[u8]>, WireError> {
    let packet = wire.read_checked().await?;
    match packet.split_first() {
        Some((0, row)) => Ok(Some(row)),
        _ if is_end(packet) => Ok(None),
        _ => Err(WireError::Protocol("unexpected packet inside a result")),
    }
}

/// Forgets a prepared statement. The server sends no answer.
pub(crate) async fn close_statement(wire: &mut Wire, statement: u32) -> Result<(), WireError> {
    wire.command(&command(COM_STMT_CLOSE, &statement.to_le_bytes()))
        .await
}

const CUT_SHORT: WireError = WireError::Protocol("a packet is cut short");

fn command(code: u8, body: &[u8]) -> Vec<u8> {
    [&[code], body].concat()
}

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < PAYLOAD_BYTES_MAX
}

/// Prepares a statement and answers with its number.
pub(crate) async fn prepare(wire: &mut Wire, sql: &str) -> Result<u32, WireError> {
    wire.command(&command(COM_STMT_PREPARE, sql.as_bytes()))
        .await?;
    let packet = wire.read_checked().await?;
    let mut fields = Fields(packet.get(1..).unwrap_or_default());
    let read = (|| Some((fields.u32()?, fields.u16()?, fields.u16()?)))();
    let (statement, columns, parameters) = read.ok_or(CUT_SHORT)?;
    for _ in 0..u32::from(columns) + u32::from(parameters) {
        wire.read_checked().await?;
    }
    Ok(statement)
}

/// Reads the head of a result; `None` when the statement has none.
async fn read_columns(wire: &mut Wire) -> Result<Option<Vec<ResultColumn>>, WireError> {
    let packet = wire.read_checked().await?;
    let count = match packet[0] {
        0 => return Ok(None),
        0xfb => return Err(WireError::Protocol("the server asks for a local file")),
        _ => Fields(packet).packed().ok_or(CUT_SHORT)?,
    };
    let mut columns = Vec::new();
    for _ in 0..count {
        let packet = wire.read_checked().await?;
        columns.push(parse_column(packet).ok_or(CUT_SHORT)?);
    }
    Ok(Some(columns))
}

fn parse_column(packet: &[u8]) -> Option<ResultColumn> {
    let mut fields = Fields(packet);
    for _catalog_schema_table_original in 0..4 {
        fields.packed_bytes()?;
    }
    let name = String::from_utf8_lossy(fields.packed_bytes()?).into_owned();
    fields.packed_bytes()?;
    fields.packed()?;
    let _collation = fields.u16()?;
    let _length = fields.u32()?;
    let kind = fields.u8()?;
    let flags = fields.u16()?;
    Some(ResultColumn {
        name,
        kind,
        unsigned: flags & UNSIGNED_FLAG != 0,
    })
}
