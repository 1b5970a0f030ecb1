//! What the user asked for, in the form in which the sink needs it.

use sluice_agent_api::config::{
    Deletes, OnBadRecord, PostgresConfig, SchemaPolicies, SinkConfig, Unrepresentable,
};

/// A sink's settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Names the row of `sluice.positions`.
    pub(crate) pipeline: String,
    pub(crate) schema_changes: SchemaPolicies,
    pub(crate) deletes: Deletes,
    pub(crate) on_bad_record: OnBadRecord,
    pub(crate) unrepresentable: Unrepresentable,
    pub(crate) postgres: PostgresConfig,
}

impl Settings {
    pub(crate) fn new(pipeline: String, sink: &SinkConfig, postgres: PostgresConfig) -> Self {
        Self {
            pipeline,
            schema_changes: sink.schema_changes,
            deletes: sink.deletes,
            on_bad_record: sink.on_bad_record,
            unrepresentable: sink.unrepresentable,
            postgres,
        }
    }

    /// How the session names itself.
    pub(crate) fn application_name(&self) -> String {
        format!("sluice/{}", self.pipeline)
    }
}
