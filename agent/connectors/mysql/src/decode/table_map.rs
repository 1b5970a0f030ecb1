//! Table map events: what the rows that follow look like, and how to read them.
//!
//! The server writes one before the rows of every statement, and nearly always the same one as
//! before; [`TableMaps`] compares the bytes and reuses the plan.

use std::{collections::HashMap, sync::Arc};

use sluice_core::{Column, Error, Reason, Result, TableId, TableSchema};

use super::{
    codec::Codec,
    column::ColumnCodec,
    column_type::RawType,
    metadata::Metadata,
    reader::{Checked, Fault, Reader},
};
use crate::charset::Charsets;

/// How many bytes the number of a table and its flags take.
const POST_HEADER_BYTES: usize = 8;

/// How many table maps are remembered at least, and twice as many at most.
const REMEMBERED_MAX: usize = 2048;

/// A table as the log describes it, and the plan for decoding its rows.
#[derive(Debug)]
pub struct TableMap {
    /// The number that rows events name the table by; it changes when the table is opened again.
    pub table_id: u64,
    /// The table's shape, as far as the log knows it: no defaults, no generated columns.
    pub schema: Arc<TableSchema>,
    pub(crate) plan: Arc<Plan>,
}

/// How a table's rows are decoded.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) codecs: Vec<Codec>,
    /// How many bytes a packed row takes beside the contents of text and bytes.
    pub(crate) row_bytes: usize,
    pub(crate) json_columns: usize,
}

/// The number, database and table of a table map, read without its columns.
pub fn table_map_name(body: &[u8]) -> Result<(u64, &str, &str)> {
    let (id, schema, name, _) = read_name(body).map_err(nameless)?;
    Ok((id, schema, name))
}

/// Reads a table map.
///
/// Fails with [`Reason::PrerequisiteMissing`] when the server logged it without names, that is
/// with `binlog_row_metadata=MINIMAL`.
pub fn parse_table_map(body: &[u8], charsets: &Charsets) -> Result<TableMap> {
    let (table_id, schema, name, columns) = read_name(body).map_err(nameless)?;
    let table = TableId::new(schema, name);
    let damaged = |fault: Fault| {
        let message = format!("the table map of {table} {}", fault.describe());
        Error::new(Reason::DecodeFailed, message).with_table(table.clone())
    };
    let columns = RawColumns::read(columns).map_err(damaged)?;
    let metadata = Metadata::read(columns.optional, &columns.types).map_err(damaged)?;
    let Some(names) = &metadata.names else {
        let message = format!(
            "the log describes table {table} without column names: \
             binlog_row_metadata is not FULL"
        );
        return Err(Error::new(Reason::PrerequisiteMissing, message)
            .with_hint(
                "SET PERSIST binlog_row_metadata = FULL; what is logged already stays unreadable, \
                 so copy every table again: sluice run --resnapshot '*'",
            )
            .with_table(table));
    };
    let mut codecs = Vec::with_capacity(names.len());
    let mut described = Vec::with_capacity(names.len());
    for (index, (&ty, &name)) in columns.types.iter().zip(names).enumerate() {
        let name = std::str::from_utf8(name).map_err(|_| damaged(Fault::InvalidText))?;
        let codec = ColumnCodec::new(ty, index, &metadata, charsets).map_err(|problem| {
            let message = format!("column {name} of table {table} {problem}");
            Error::new(Reason::DecodeFailed, message).with_table(table.clone())
        })?;
        described.push(Column {
            name: name.to_owned(),
            ty: codec.ty(ty, metadata.unsigned[index]),
            nullable: columns.is_nullable(index),
            generated: false,
            boolean: false,
            default: None,
        });
        codecs.push(codec.codec);
    }
    let json_columns = codecs.iter().filter(|codec| codec.is_json()).count();
    let row_bytes = codecs.iter().map(Codec::cell_bytes).sum::<usize>() + 2 + 4 * codecs.len();
    Ok(TableMap {
        table_id,
        schema: Arc::new(TableSchema {
            id: table,
            columns: described,
            key: metadata.key,
        }),
        plan: Arc::new(Plan {
            codecs,
            row_bytes,
            json_columns,
        }),
    })
}

type NameAndRest<'a> = (u64, &'a str, &'a str, Reader<'a>);

fn read_name(body: &[u8]) -> Checked<NameAndRest<'_>> {
    let mut reader = Reader::new(body);
    let table_id = reader.uint(6)?;
    reader.take(POST_HEADER_BYTES - 6)?;
    let mut name = || {
        let name = reader.prefixed(1)?;
        reader.u8()?; // A zero ends the name as well.
        std::str::from_utf8(name).map_err(|_| Fault::InvalidText)
    };
    let (schema, table) = (name()?, name()?);
    Ok((table_id, schema, table, reader))
}

fn nameless(fault: Fault) -> Error {
    let message = format!("a table map event {}", fault.describe());
    Error::new(Reason::DecodeFailed, message)
}

/// The columns of a table map without what the optional part says.
struct RawColumns<'a> {
    types: Vec<RawType>,
    nullable: &'a [u8],
    optional: Reader<'a>,
}

impl<'a> RawColumns<'a> {
    fn read(mut reader: Reader<'a>) -> Checked<Self> {
        let count = reader.length()?;
        let codes = reader.take(count)?;
        let mut metadata = Reader::new(reader.length_encoded_bytes()?);
        let types = codes.iter().map(|&code| RawType::read(code, &mut metadata));
        Ok(Self {
            types: types.collect::<Checked<_>>()?,
            nullable: reader.take(count.div_ceil(8))?,
            optional: reader,
        })
    }

    fn is_nullable(&self, index: usize) -> bool {
        self.nullable[index / 8] >> (index % 8) & 1 != 0
    }
}

/// The table maps that a stream has shown, by table number.
///
/// Remembers at least the last 2,048 tables; maps that were not used for longest are forgotten.
#[derive(Debug, Default)]
pub struct TableMaps {
    recent: HashMap<u64, Remembered>,
    older: HashMap<u64, Remembered>,
}

#[derive(Debug)]
struct Remembered {
    /// The event's bytes after the table's number and flags.
    bytes: Box<[u8]>,
    map: Arc<TableMap>,
}

impl TableMaps {
    /// Remembers nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The table map of an event: a remembered one when the bytes are the same, else a new one.
    pub fn read(&mut self, body: &[u8], charsets: &Charsets) -> Result<Arc<TableMap>> {
        let (table_id, ..) = table_map_name(body)?;
        let bytes = &body[POST_HEADER_BYTES..];
        if let Some(known) = self.recent.get(&table_id)
            && *known.bytes == *bytes
        {
            return Ok(Arc::clone(&known.map));
        }
        let remembered = match self.older.remove(&table_id) {
            Some(known) if *known.bytes == *bytes => known,
            _ => Remembered {
                bytes: bytes.into(),
                map: Arc::new(parse_table_map(body, charsets)?),
            },
        };
        let map = Arc::clone(&remembered.map);
        if self.recent.len() >= REMEMBERED_MAX {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(table_id, remembered);
        Ok(map)
    }

    /// The table map that rows of a table number have, if one was read.
    pub fn get(&self, table_id: u64) -> Option<&Arc<TableMap>> {
        let known = self
            .recent
            .get(&table_id)
            .or_else(|| self.older.get(&table_id));
        known.map(|known| &known.map)
    }

    /// Forgets everything, as a server does when it starts: table numbers begin again.
    pub fn clear(&mut self) {
        self.recent.clear();
        self.older.clear();
    }
}

impl TableMap {
    /// How many columns the table has.
    pub(crate) fn width(&self) -> usize {
        self.plan.codecs.len()
    }

    /// The name of a column, for errors.
    pub(crate) fn column_name(&self, index: usize) -> &str {
        self.schema
            .columns
            .get(index)
            .map_or("?", |column: &Column| &column.name)
    }
}

#[cfg(test)]
mod tests {
    use sluice_core::ColumnType;

    use super::*;
    use crate::decode::sample;

    #[test]
    fn a_full_table_map_is_read() {
        let body = sample::table_map();
        assert_eq!(table_map_name(&body).unwrap(), (117, "shop", "orders"));
        let map = parse_table_map(&body, &Charsets::default()).unwrap();
        assert_eq!(map.schema.id.to_string(), "shop.orders");
        assert_eq!(map.schema.key, [0]);
        let types: Vec<_> = map.schema.columns.iter().map(|column| &column.ty).collect();
        assert_eq!(
            types[..3],
            [
                &ColumnType::Int {
                    bits: 64,
                    unsigned: true
                },
                &ColumnType::Varchar { length: 50 },
                &ColumnType::Decimal {
                    precision: 10,
                    scale: 2
                },
            ]
        );
        assert!(!map.schema.columns[0].nullable && map.schema.columns[1].nullable);
    }

    #[test]
    fn a_table_map_without_names_asks_for_full_metadata() {
        let body = sample::table_map_without_names();
        let error = parse_table_map(&body, &Charsets::default()).unwrap_err();
        assert_eq!(error.reason(), Reason::PrerequisiteMissing);
        assert!(error.message().contains("shop.orders"));
        assert!(error.hint().unwrap().contains("binlog_row_metadata = FULL"));
    }

    #[test]
    fn a_recurring_table_map_is_parsed_once() {
        let (charsets, mut maps) = (Charsets::default(), TableMaps::new());
        let body = sample::table_map();
        let first = maps.read(&body, &charsets).unwrap();
        assert!(Arc::ptr_eq(&first, &maps.read(&body, &charsets).unwrap()));
        assert!(Arc::ptr_eq(&first, maps.get(117).unwrap()));
        let mut renamed = body.clone();
        let at = renamed
            .windows(6)
            .position(|name| name == b"orders")
            .unwrap();
        renamed[at] = b'O';
        let second = maps.read(&renamed, &charsets).unwrap();
        assert_eq!(&*second.schema.id.name, "Orders");
        for id in 1000..1000 + 2 * REMEMBERED_MAX as u64 {
            let mut other = body.clone();
            other[..8].copy_from_slice(&id.to_le_bytes());
            maps.read(&other, &charsets).unwrap();
        }
        assert!(maps.get(117).is_none());
    }

    #[test]
    fn truncated_table_maps_are_errors_that_name_the_table() {
        let body = sample::table_map();
        for length in 0..body.len() {
            let Err(error) = parse_table_map(&body[..length], &Charsets::default()) else {
                continue; // Cut between two fields of the optional part.
            };
            assert!(
                length < 22 || error.message().contains("shop.orders"),
                "{error}"
            );
        }
    }
}
