//! Custom resources in, [`AgentConfig`] out: the one place, for the operator and for
//! `sluice run -f` alike.
//!
//! Everything here is pure. What the schema's CEL rules refuse is refused here as well, in the same
//! words and with the field's path, so that a file on a laptop and an object in a cluster get the
//! same answer; and what this version does not do is refused rather than ignored.
//! Types, limits and patterns of single fields are the schema's own business.

mod problem;
mod secrets;
mod sink;
mod source;

use sluice_agent_api::{
    AgentConfig,
    config::{BatchConfig, SourceConfig},
};
use sluice_crds::{ReplicaSink, ReplicationSource};

pub use problem::{ConvertError, ObjectKind, Problem};
pub use secrets::{SecretUse, sink_secrets, source_secrets};

use problem::Checks;

/// The most bytes in one batch. Together with the rows of open snapshot chunks this is what an
/// agent holds in memory.
const BATCH_SIZE_BYTES_MAX: usize = 16 << 20;

/// What an agent is to do to keep `sink` in step with `source`.
///
/// Answers with every problem of both objects when there are any.
pub fn agent_config(
    source: &ReplicationSource,
    sink: &ReplicaSink,
) -> Result<AgentConfig, ConvertError> {
    let mut checks = Checks::new(ObjectKind::Source);
    let source_config = source::source_config(source, &identity(sink), &mut checks);
    checks.turn_to(ObjectKind::Sink);
    let sink_config = sink::sink_config(sink, &mut checks);
    check_pair(source, sink, &mut checks);
    let problems = checks.into_problems();
    let (Some(source_config), Some(sink_config), []) =
        (source_config, sink_config, problems.as_slice())
    else {
        return Err(ConvertError { problems });
    };
    Ok(AgentConfig {
        pipeline: pipeline_name(sink),
        source: source_config,
        sink: sink_config,
        snapshot: source::snapshot_config(&source.spec.snapshot),
        on_position_lost: source::on_position_lost(source.spec.on_position_lost),
        tables: sink::routes(sink),
        batch: BatchConfig {
            rows_max: sink.spec.apply.batch_rows as usize,
            size_bytes_max: BATCH_SIZE_BYTES_MAX,
            delay_ms_max: sink::delay_milliseconds(&sink.spec.apply.max_delay).unwrap_or(0),
        },
        resnapshot: None,
    })
}

/// The source's part alone, for checking a source that has no sink yet.
pub fn source_config(source: &ReplicationSource) -> Result<SourceConfig, ConvertError> {
    let mut checks = Checks::new(ObjectKind::Source);
    let identity = source.metadata.name.as_deref().unwrap_or_default();
    let config = source::source_config(source, identity, &mut checks);
    let problems = checks.into_problems();
    match (config, problems.as_slice()) {
        (Some(config), []) => Ok(config),
        _ => Err(ConvertError { problems }),
    }
}

/// Every problem of a sink alone, for a sink whose source is not there.
pub fn sink_problems(sink: &ReplicaSink) -> Vec<Problem> {
    let mut checks = Checks::new(ObjectKind::Sink);
    sink::check(sink, &mut checks);
    checks.into_problems()
}

/// The name of the sink's pipeline: `namespace/name`, or the name where there is no namespace.
pub fn pipeline_name(sink: &ReplicaSink) -> String {
    let name = sink.metadata.name.as_deref().unwrap_or_default();
    match sink.metadata.namespace.as_deref() {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// What tells a pipeline from every other one that may read the same source. The target is part of
/// it: two clusters may well have a sink of the same name.
fn identity(sink: &ReplicaSink) -> String {
    let target = sink.spec.postgres.as_ref();
    let target = target.map_or_else(String::new, |target| {
        format!("{}:{}/{}", target.host, target.port, target.database)
    });
    let (name, source) = (pipeline_name(sink), &sink.spec.source_ref.name);
    format!("{name} {source} {target}")
}

fn check_pair(source: &ReplicationSource, sink: &ReplicaSink, checks: &mut Checks) {
    let (wanted, given) = (&sink.spec.source_ref.name, source.metadata.name.as_deref());
    checks.require(
        given == Some(wanted.as_str()) && source.metadata.namespace == sink.metadata.namespace,
        "spec.sourceRef.name",
        &format!("names {wanted}, not this ReplicationSource"),
    );
    if sink.spec.replicas > 1 && source.spec.kafka.is_none() && source.spec.kafka_topics.is_none() {
        checks.refuse(
            "spec.replicas",
            "more than one needs spec.kafka in the ReplicationSource: without Kafka there is one writer",
        );
    }
}

#[cfg(test)]
mod tests;
