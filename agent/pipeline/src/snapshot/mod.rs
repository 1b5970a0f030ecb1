//! Copies present rows while the stream goes on, without locks.
//!
//! A table with a key is copied in chunks of its key's order. A chunk is *registered* before it is
//! read: from then on stream events for its keys are laid over it, and the read is made to see
//! everything that the stream had delivered by then. Once the stream has passed the place of the
//! log that the read may have seen (`high`), the chunk and what was laid over it are exactly the
//! source's rows at the stream's position, and are handed on there. Chunks are handed on in key
//! order, so everything up to the *frontier* is in the target and nothing beyond it is. Hence:
//!
//! - an event up to the frontier passes;
//! - an event for a registered chunk is laid over it;
//! - an event beyond is dropped: the chunk that will hold its row is read later.
//!
//! That needs keys that order here as they do in the source. Where they do not (text), every event
//! passes, and chunks go in by upsert with what was laid over them. The idea of watermarks is
//! DBLog's (Andreakis and Papapanagiotou, 2020); the frontier is ours.
//!
//! A table without a key is copied from one view at one place of the log ([`Coordinator::view`]).
//!
//! Everything here is pure: the `intake` loop does the reading.

mod chunk;
mod coordinator;
mod passing;
pub(crate) mod readers;
mod refill;

pub(crate) use chunk::fits_key;
pub use coordinator::{Coordinator, CopyLimits, Job, JobKind, JobOutcome, JobResult, ReadyChunk};
