//! PostgreSQL as a sink.
//!
//! Read in this order: `connect` and `error` (the session), `catalog`, `layout` and `link` (what
//! Sluice keeps in the target), `peers` (those who share a pipeline), `types` with `encode` (values), `schema`, `ddl`, `alter` and
//! `evolve` (tables), `plan` and `netting` (how rows go), `apply` (rows), `sink` (the whole
//! as a [`sluice_core::Sink`]), [`preflight`] (whether it can work at all).
//!
//! **Exactly once.** The row of `sluice.positions` is updated first and last in every transaction
//! that applies rows. **Failure.** Errors of the session end everything since the last commit and
//! are tried again by the caller; errors of a table stop that table; errors of a row are kept as
//! dead letters.

mod alter;
mod apply;
mod catalog;
mod connect;
mod conversion;
mod ddl;
mod dead_letter;
mod encode;
mod error;
mod evolve;
mod json;
mod layout;
mod link;
mod netting;
mod numeric;
mod observe;
mod peers;
mod plan;
pub mod preflight;
mod schema;
mod settings;
mod sink;
mod sql;
mod statements;
mod tables;
mod text;
mod tls;
mod types;
mod writer;

pub use dead_letter::desk as dead_letters;
pub use sink::PostgresSink;
