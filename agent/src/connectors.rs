//! temporary until the connectors land
use std::sync::Arc;

use async_trait::async_trait;
use sluice_agent_api::{
    AgentConfig, SecretStore, config::SourceConfig, secret::InlineSecrets, status::Check,
};
use sluice_core::*;

struct Nope;
fn no<T>() -> Result<T> {
    Err(Error::new(Reason::Unreachable, "127.0.0.1:1 can't be reached").with_hint("start it"))
}
#[async_trait]
impl Source for Nope {
    async fn open(&mut self, _: Option<&LogPosition>) -> Result<LogPosition> {
        no()
    }
    async fn tables(&mut self) -> Result<Vec<Arc<TableSchema>>> {
        no()
    }
    async fn next(&mut self) -> Result<SourceBatch> {
        no()
    }
    async fn confirm(&mut self, _: &LogPosition) -> Result<()> {
        no()
    }
    async fn snapshot_reader(&mut self) -> Result<Box<dyn SnapshotReader>> {
        no()
    }
    async fn log_end(&mut self) -> Result<sluice_core::source::LogEnd> {
        no()
    }
}
#[async_trait]
impl Sink for Nope {
    async fn open(&mut self) -> Result<Option<Position>> {
        no()
    }
    async fn prepare(&mut self, _: &Arc<TableSchema>) -> Result<()> {
        no()
    }
    async fn write(&mut self, _: &Batch) -> Result<WriteOutcome> {
        no()
    }
    async fn commit(&mut self, _: &Position) -> Result<()> {
        no()
    }
    async fn durable(&mut self) -> Result<Option<Position>> {
        no()
    }
}
pub(crate) fn source(_: &AgentConfig, _: &Arc<InlineSecrets>) -> Box<dyn Source> {
    Box::new(Nope)
}
pub(crate) fn sink(_: &AgentConfig, _: &Arc<InlineSecrets>) -> Box<dyn Sink> {
    Box::new(Nope)
}
pub(crate) async fn check_source(_: &SourceConfig, _: &dyn SecretStore) -> Vec<Check> {
    Vec::new()
}
pub(crate) async fn check_sink(_: &AgentConfig, _: Arc<dyn SecretStore>) -> Vec<Check> {
    Vec::new()
}
