//! The vocabulary of the data path: what a change is, what a value is, where a stream stands, and the
//! two traits between which the pipeline runs.
//!
//! Read in this order: [`value`] → [`row`] → [`schema`] → [`event`] → [`position`] → [`source`] →
//! [`sink`] → [`letter`] → [`error`].
//! Nothing here does I/O or knows a driver; connectors translate their system into these types at
//! their border and back out of them at the other end.

pub mod error;
pub mod event;
pub mod gtid;
pub mod letter;
pub mod position;
pub mod row;
pub mod schema;
pub mod selection;
pub mod sink;
pub mod source;
pub mod value;

pub use error::{Class, Error, Reason, Result};
pub use event::{
    Batch, ChangeEvent, RowChange, RowOperation, SchemaChange, SnapshotChunk, Transaction,
};
pub use gtid::GtidSet;
pub use letter::{DeadLetters, Letter, Origin, Place, RawRecord, Stage, Unreadable};
pub use position::{LogPosition, Position, Requests, SnapshotState, TableState, Watermark};
pub use row::{Row, RowBuilder};
pub use schema::{Column, ColumnType, TableId, TableSchema};
pub use selection::TableSelection;
pub use sink::{Peers, Sink, SinkObserver, WriteOutcome};
pub use source::{ChunkRequest, SnapshotReader, Source, SourceBatch};
pub use value::Value;
