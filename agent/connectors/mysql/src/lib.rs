//! MySQL as a source: its binary log as change events, its tables as snapshot chunks.
//!
//! Reading order: [`connect`] → [`preflight`] → [`schema`] → [`decode`] (an event's bytes to rows)
//! → [`ddl`] (what a statement does to tables) → [`source`] (the stream) → [`snapshot`] (chunks).

mod binlog;
pub mod charset;
pub mod connect;
pub mod ddl;
pub mod decode;
mod position;
pub mod preflight;
pub mod schema;
mod server;
mod side;
pub mod snapshot;
pub mod source;
mod stream;
mod watermark_table;
mod wire;

pub use source::MysqlSource;
