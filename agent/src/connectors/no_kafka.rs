//! Kafka in a build without it: says so.
#![allow(clippy::unused_async, reason = "a build with Kafka asks it")]

use std::sync::Arc;

use async_trait::async_trait;
use sluice_agent_api::{
    AgentConfig, SecretStore,
    kafka::{KafkaConfig, KafkaSourceConfig},
    status::{Check, CheckOutcome},
};
use sluice_core::{
    Batch, DeadLetters, Error, LogPosition, Position, Reason, Result, Sink, SnapshotReader, Source,
    SourceBatch, TableSchema, TableSelection, WriteOutcome, source::LogEnd,
};

const MESSAGE: &str = "this build of sluice has no Kafka";
const HINT: &str = "use a released binary or image, or build with --features kafka";

/// A source that can't be opened.
pub(super) fn source(
    _topics: &KafkaSourceConfig,
    _selection: TableSelection,
    _config: &AgentConfig,
    _secrets: &Arc<dyn SecretStore>,
) -> Box<dyn Source> {
    Box::new(Missing)
}

/// There is no source that could have them.
pub(super) fn dead_letters(
    _config: &AgentConfig,
    _secrets: &Arc<dyn SecretStore>,
) -> Option<Arc<dyn DeadLetters>> {
    None
}

/// A sink that can't be opened.
pub(super) fn sink(
    _pipeline: String,
    _topics: &KafkaConfig,
    _secrets: &Arc<dyn SecretStore>,
) -> Box<dyn Sink> {
    Box::new(Missing)
}

/// A check that fails.
pub(super) async fn check_source(
    subject: &str,
    _topics: &KafkaSourceConfig,
    _secrets: &Arc<dyn SecretStore>,
) -> Vec<Check> {
    vec![failed(subject)]
}

/// A check that fails.
pub(super) async fn check_sink(
    subject: &str,
    _topics: &KafkaConfig,
    _secrets: &Arc<dyn SecretStore>,
) -> Vec<Check> {
    vec![failed(subject)]
}

fn failed(subject: &str) -> Check {
    Check {
        subject: subject.to_owned(),
        name: "Supported".to_owned(),
        outcome: CheckOutcome::Failed,
        message: MESSAGE.to_owned(),
        remedy: Some(HINT.to_owned()),
    }
}

/// An end that is not there.
struct Missing;

fn missing() -> Error {
    Error::new(Reason::InvalidConfig, MESSAGE).with_hint(HINT)
}

#[async_trait]
impl Source for Missing {
    async fn open(&mut self, _resume: Option<&LogPosition>) -> Result<LogPosition> {
        Err(missing())
    }

    async fn tables(&mut self) -> Result<Vec<Arc<TableSchema>>> {
        Err(missing())
    }

    async fn next(&mut self) -> Result<SourceBatch> {
        Err(missing())
    }

    async fn confirm(&mut self, _position: &LogPosition) -> Result<()> {
        Err(missing())
    }

    async fn snapshot_reader(&mut self) -> Result<Box<dyn SnapshotReader>> {
        Err(missing())
    }

    async fn log_end(&mut self) -> Result<LogEnd> {
        Err(missing())
    }
}

#[async_trait]
impl Sink for Missing {
    async fn open(&mut self) -> Result<Option<Position>> {
        Err(missing())
    }

    async fn prepare(&mut self, _table: &Arc<TableSchema>) -> Result<()> {
        Err(missing())
    }

    async fn write(&mut self, _batch: &Batch) -> Result<WriteOutcome> {
        Err(missing())
    }

    async fn commit(&mut self, _position: &Position) -> Result<()> {
        Err(missing())
    }

    async fn durable(&mut self) -> Result<Option<Position>> {
        Err(missing())
    }
}
