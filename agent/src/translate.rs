//! From the configuration that operator and agent share to the pipeline's own.
//!
//! The pipeline knows neither custom resources nor `sluice-agent-api`, so its types are filled here.

use std::time::Duration;

use sluice_agent_api::{
    AgentConfig,
    config::{self, OnPositionLost, TableRoute},
};
use sluice_core::{Error, Reason, Result, TableId};
use sluice_pipeline::{
    FinishWhen, PipelineConfig, ResnapshotRequest, SnapshotMode,
    route::{Mask, RouteConfig, Router},
};

/// What one run adds to the configuration.
#[derive(Debug, Clone)]
pub(crate) struct RunOptions {
    /// When the run ends by itself.
    pub(crate) finish: FinishWhen,
    /// Patterns of tables to copy again.
    pub(crate) resnapshot: Vec<String>,
}

/// The pipeline's configuration. Fails when a route can't be used.
pub(crate) fn pipeline_config(
    config: &AgentConfig,
    options: &RunOptions,
) -> Result<PipelineConfig> {
    Ok(PipelineConfig {
        name: config.agent_name(),
        snapshot_mode: match config.snapshot.mode {
            config::SnapshotMode::Initial => SnapshotMode::Initial,
            config::SnapshotMode::Never => SnapshotMode::Never,
            config::SnapshotMode::Only => SnapshotMode::Only,
            config::SnapshotMode::WhenNeeded => SnapshotMode::WhenNeeded,
        },
        chunk_rows: config.snapshot.chunk_rows,
        parallelism: config.snapshot.parallelism as usize,
        resnapshot_when_lost: config.on_position_lost == OnPositionLost::Resnapshot,
        rows_max: config.batch.rows_max,
        size_bytes_max: config.batch.size_bytes_max,
        delay_max: Duration::from_millis(config.batch.delay_ms_max),
        router: router(&config.tables)?,
        resnapshot: options.resnapshot.clone(),
        request: config.resnapshot.as_ref().map(|request| ResnapshotRequest {
            id: request.id.clone(),
            tables: request.tables.clone(),
        }),
        finish: options.finish,
    })
}

/// The routes of a sink, with their filters read.
pub(crate) fn router(routes: &[TableRoute]) -> Result<Router> {
    let routes: Result<Vec<RouteConfig>> = routes.iter().map(route).collect();
    Router::new(routes?)
}

fn route(route: &TableRoute) -> Result<RouteConfig> {
    let target = route.target.as_deref().map(str::parse::<TableId>);
    let target = target.transpose().map_err(|error| {
        Error::new(
            Reason::InvalidConfig,
            format!("route {:?}: {error}", route.source),
        )
    })?;
    let masked = route.mask_columns.iter().map(|(column, mask)| {
        let mask = match mask {
            config::Mask::Sha256 => Mask::Sha256,
            config::Mask::Null => Mask::Null,
            config::Mask::Redact => Mask::Redact,
        };
        (column.clone(), mask)
    });
    Ok(RouteConfig {
        source: route.source.clone(),
        target,
        include_columns: route.include_columns.clone(),
        exclude_columns: route.exclude_columns.clone(),
        rename_columns: route.rename_columns.clone(),
        mask_columns: masked.collect(),
        row_filter: route.row_filter.clone(),
    })
}
