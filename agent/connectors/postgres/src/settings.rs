//! What the user asked for, in the form in which the sink needs it.

use sluice_agent_api::config::{
    Deletes, OnBadRecord, PostgresConfig, Replicas, SchemaPolicies, SinkConfig, Unrepresentable,
};

/// A sink's settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Names the pipeline's links and dead letters.
    pub(crate) pipeline: String,
    /// Names the agent's row of `sluice.positions`: the pipeline, or one of its replicas.
    pub(crate) row: String,
    /// Which of the pipeline's replicas this is.
    pub(crate) replicas: Option<Replicas>,
    pub(crate) schema_changes: SchemaPolicies,
    pub(crate) deletes: Deletes,
    pub(crate) on_bad_record: OnBadRecord,
    pub(crate) unrepresentable: Unrepresentable,
    pub(crate) postgres: PostgresConfig,
}

impl Settings {
    pub(crate) fn new(pipeline: String, sink: &SinkConfig, postgres: PostgresConfig) -> Self {
        Self {
            row: pipeline.clone(),
            pipeline,
            replicas: None,
            schema_changes: sink.schema_changes,
            deletes: sink.deletes,
            on_bad_record: sink.on_bad_record,
            unrepresentable: sink.unrepresentable,
            postgres,
        }
    }

    /// Makes this one of several agents.
    pub(crate) fn share(&mut self, replicas: Replicas) {
        self.row = replicas.name(&self.pipeline);
        self.replicas = Some(replicas);
    }

    /// Whether another agent changes the tables as a whole, and this one only looks at them.
    pub(crate) fn is_follower(&self) -> bool {
        self.replicas.is_some_and(|replicas| !replicas.is_leader())
    }

    /// How the session names itself.
    pub(crate) fn application_name(&self) -> String {
        format!("sluice/{}", self.row)
    }
}
