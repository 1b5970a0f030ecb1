//! From the bytes of binlog events to rows.
//!
//! [`table_map`] reads what a table looks like and plans how to read it; [`rows`] reads the images
//! of rows events by that plan and packs them without anything in between. The bytes given are an
//! event's body: without the common header, without the checksum. Reading order: `reader` →
//! `column_type` → `metadata` → `column` → [`table_map`] → `codec` (one value) → [`rows`]; `decimal`,
//! `temporal` and `json*` are the formats of values.
//!
//! Nothing here trusts a length: damaged or truncated bytes end in an error of
//! [`Reason::DecodeFailed`](sluice_core::Reason::DecodeFailed) that names table and column.

mod codec;
mod column;
mod column_type;
mod decimal;
mod json;
mod json_diff;
mod json_number;
mod json_opaque;
mod json_path;
mod metadata;
mod reader;
pub mod rows;
#[cfg(test)]
mod sample;
pub mod table_map;
pub(crate) mod temporal;

pub use rows::{RowsDecoder, RowsKind, rows_event_table_id};
pub use table_map::{TableMap, TableMaps, parse_table_map, table_map_name};
