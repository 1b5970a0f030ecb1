//! MySQL as a source: its binary log as change events, its tables as snapshot chunks.
//!
//! Reading order: [`connect`] → [`preflight`] → [`schema`] → [`decode`] (an event's bytes to rows)
//! → [`ddl`] (what a statement does to tables) → [`source`] (the stream) → [`snapshot`] (chunks).

pub mod charset;
pub mod connect;
pub mod ddl;
pub mod decode;
pub mod preflight;
pub mod schema;
pub mod snapshot;
pub mod source;

pub use source::MysqlSource;
