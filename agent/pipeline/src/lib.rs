//! The middle of the data path: takes events from a [`Source`](sluice_core::Source), copies present
//! rows between them without locks, and hands both to a [`Sink`](sluice_core::Sink) in batches that
//! end where the source's transactions end.
//!
//! Reading order follows the data: [`run`](run()) opens both ends and starts two loops; `intake`
//! pulls the stream through [`snapshot`] (what a copy in progress lets pass) and [`route`] (what
//! this sink wants of it) into a bounded queue; `apply` empties the queue into the sink and commits.
//! [`progress`] is what both loops tell the outside, [`stall`] what they wait for; `retry` paces the attempts after errors.

mod apply;
pub mod config;
mod intake;
pub mod progress;
mod queue;
mod retry;
pub mod route;
mod run;
pub mod snapshot;
pub mod stall;

pub use config::{FinishWhen, PipelineConfig, ResnapshotRequest, SnapshotMode};
pub use progress::{Progress, ProgressReport};
pub use run::{Finish, run};
