//! MySQL as a source: its binary log as change events, its tables as snapshot chunks.
//!
//! Reading order: `wire` (the client protocol) → [`connect`] → [`preflight`] → `schema` (the
//! catalog) → `binlog` (the stream's bytes to events) → [`decode`] (an event's bytes to rows) →
//! `ddl` (what a statement does to tables) → `stream` (events to batches of changes) → [`source`]
//! (opening it all) → [`snapshot`] (chunks).

mod binlog;
pub mod charset;
pub mod connect;
mod ddl;
pub mod decode;
mod position;
pub mod preflight;
mod schema;
mod server;
mod side;
pub mod snapshot;
pub mod source;
mod stream;
mod watermark_table;
mod wire;

pub use source::MysqlSource;
