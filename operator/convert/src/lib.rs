//! Custom resources in, [`AgentConfig`] out: the one place, for the operator and for
//! `sluice run -f` alike.
//!
//! Everything here is pure. What the schema's CEL rules refuse is refused here as well, in the same
//! words and with the field's path, so that a file on a laptop and an object in a cluster get the
//! same answer; and what this version does not do is refused rather than ignored.
//! Types, limits and patterns of single fields are the schema's own business.

mod kafka;
mod problem;
mod secrets;
mod sink;
mod source;

use sluice_agent_api::{
    AgentConfig,
    config::{BatchConfig, OnPositionLost, Replicas, SnapshotConfig, SnapshotMode, SourceConfig},
};
use sluice_crds::{ReplicaSink, ReplicationSource};

pub use problem::{ConvertError, ObjectKind, Problem};
pub use secrets::{SecretUse, sink_secrets, source_secrets, upstream_secrets};

use problem::Checks;

/// The most bytes in one batch. Together with the rows of open snapshot chunks this is what an
/// agent holds in memory.
const BATCH_SIZE_BYTES_MAX: usize = 16 << 20;

/// Rows that make one batch of a capture agent; a sink says it itself.
const CAPTURE_BATCH_ROWS: usize = 20_000;

/// The most bytes in one batch of a capture agent: Kafka gains nothing by larger ones.
const CAPTURE_BATCH_SIZE_BYTES_MAX: usize = 4 << 20;

/// How long a capture agent waits for more rows.
const CAPTURE_DELAY_MILLISECONDS: u64 = 100;

/// What an agent is to do to keep `sink` in step with `source`: directly, or from the topics that
/// the agent of [`capture_config`] or somebody else writes.
///
/// Answers with every problem of both objects when there are any.
pub fn agent_config(
    source: &ReplicationSource,
    sink: &ReplicaSink,
) -> Result<AgentConfig, ConvertError> {
    let mut checks = Checks::new(ObjectKind::Source);
    source::check(source, &mut checks);
    let topics = source::topics(source, group_id(sink));
    let from_topics = topics.is_some();
    let source_config = topics.or_else(|| source::database(source, &identity(sink)));
    checks.turn_to(ObjectKind::Sink);
    let sink_config = sink::sink_config(sink, &mut checks);
    check_pair(source, sink, &mut checks);
    let problems = checks.into_problems();
    let (Some(source_config), Some(sink_config), []) =
        (source_config, sink_config, problems.as_slice())
    else {
        return Err(ConvertError { problems });
    };
    let snapshot = source::snapshot_config(&source.spec.snapshot);
    let (snapshot, on_position_lost) = if from_topics {
        // There is nothing to copy but the topics themselves.
        let mode = SnapshotMode::Never;
        (SnapshotConfig { mode, ..snapshot }, OnPositionLost::Fail)
    } else {
        let policy = source::on_position_lost(source.spec.on_position_lost);
        (snapshot, policy)
    };
    Ok(AgentConfig {
        pipeline: pipeline_name(sink),
        source: source_config,
        sink: sink_config,
        snapshot,
        on_position_lost,
        tables: sink::routes(sink),
        batch: BatchConfig {
            rows_max: sink.spec.apply.batch_rows as usize,
            size_bytes_max: BATCH_SIZE_BYTES_MAX,
            delay_ms_max: sink::delay_milliseconds(&sink.spec.apply.max_delay).unwrap_or(0),
        },
        resnapshot: None,
        replicas: from_topics.then(|| replicas(sink)),
    })
}

/// What the agent is to do that writes a source's changes to its `spec.kafka`; none without.
pub fn capture_config(source: &ReplicationSource) -> Result<Option<AgentConfig>, ConvertError> {
    let Some(kafka) = &source.spec.kafka else {
        return Ok(None);
    };
    let mut checks = Checks::new(ObjectKind::Source);
    source::check(source, &mut checks);
    let pipeline = capture_name(source);
    let identity = format!("{pipeline} {}", kafka.bootstrap_servers);
    let source_config = source::database(source, &identity);
    let problems = checks.into_problems();
    let (Some(source_config), []) = (source_config, problems.as_slice()) else {
        return Err(ConvertError { problems });
    };
    let sink = sink::transport(kafka, &source_config.name);
    Ok(Some(AgentConfig {
        pipeline,
        source: source_config,
        sink,
        snapshot: source::snapshot_config(&source.spec.snapshot),
        on_position_lost: source::on_position_lost(source.spec.on_position_lost),
        tables: Vec::new(),
        batch: BatchConfig {
            rows_max: CAPTURE_BATCH_ROWS,
            size_bytes_max: CAPTURE_BATCH_SIZE_BYTES_MAX,
            delay_ms_max: CAPTURE_DELAY_MILLISECONDS,
        },
        resnapshot: None,
        replicas: None,
    }))
}

/// The source's part alone, for checking a source that has neither sink nor capture agent.
pub fn source_config(source: &ReplicationSource) -> Result<SourceConfig, ConvertError> {
    let mut checks = Checks::new(ObjectKind::Source);
    source::check(source, &mut checks);
    let identity = source.metadata.name.as_deref().unwrap_or_default();
    let config = match &source.spec.kafka_topics {
        Some(_) => source::topics(source, format!("sluice.{identity}")),
        None => source::database(source, identity),
    };
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

/// The name of the pipeline that captures a source into Kafka. No resource can have this name, so that
/// no sink's pipeline has it either.
pub fn capture_name(source: &ReplicationSource) -> String {
    let name = source.metadata.name.as_deref().unwrap_or_default();
    match source.metadata.namespace.as_deref() {
        Some(namespace) => format!("{namespace}/{name}:capture"),
        None => format!("{name}:capture"),
    }
}

/// The consumer group of a sink's agents: each sink reads at its own pace.
fn group_id(sink: &ReplicaSink) -> String {
    format!("sluice.{}", pipeline_name(sink).replace('/', "."))
}

/// How the partitions are shared. A later spec has a higher generation, also that of a sink that was
/// deleted and made again: `metadata.generation` alone begins anew with it.
fn replicas(sink: &ReplicaSink) -> Replicas {
    const GENERATIONS_MAX: i64 = 1_000_000;
    let created = sink.metadata.creation_timestamp.as_ref();
    let generation = sink.metadata.generation.zip(created);
    Replicas {
        count: sink.spec.replicas.max(1),
        generation: generation.map(|(generation, created)| {
            created.0.as_second() * GENERATIONS_MAX + generation.min(GENERATIONS_MAX - 1)
        }),
        index: 0,
    }
}

/// Whether the agent of a sink is to rest. Through Kafka, a paused source rests alone: what is in the
/// topics is still applied.
pub fn is_paused(source: &ReplicationSource, sink: &ReplicaSink) -> bool {
    sink.spec.paused || (source.spec.paused && source.spec.kafka.is_none())
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
    if let (Some(transport), Some(target)) = (&source.spec.kafka, &sink.spec.kafka) {
        checks.require(
            transport.bootstrap_servers != target.bootstrap_servers
                || transport.topic != target.topic,
            "spec.kafka.topic",
            "is that of the ReplicationSource's own spec.kafka: the agent would read what it writes",
        );
    }
    check_dead_letter_topic(source, sink, checks);
    let several = sink.spec.replicas > 1;
    checks.require(
        !several || source.spec.kafka_topics.is_none(),
        "spec.replicas",
        "must be 1 with kafkaTopics: where a table changes its shape is in the records alone, which \
         several agents would meet at different times",
    );
    let transport = source.spec.kafka.as_ref();
    checks.require(
        !several || !transport.is_some_and(|kafka| kafka.transactions),
        "spec.replicas",
        "must be 1 where the ReplicationSource sets kafka.transactions: one agent applies all of a \
         transaction",
    );
    let comes_whole = match transport {
        Some(kafka) => kafka.transactions,
        None => source.spec.kafka_topics.is_none(),
    };
    let target = sink.spec.kafka.as_ref();
    checks.require(
        comes_whole || !target.is_some_and(|kafka| kafka.transactions),
        "spec.kafka.transactions",
        "needs transactions that come whole: set kafka.transactions in the ReplicationSource, too",
    );
    checks.require(
        !several || sink.spec.kafka.is_none(),
        "spec.replicas",
        "must be 1 with kafka: one agent writes all topics of a sink",
    );
    if several && source.spec.kafka.is_none() && source.spec.kafka_topics.is_none() {
        checks.refuse(
            "spec.replicas",
            "more than one needs spec.kafka in the ReplicationSource: without Kafka there is one writer",
        );
    }
}

/// Records can go to a topic where they come from one, which is not to be read again.
fn check_dead_letter_topic(source: &ReplicationSource, sink: &ReplicaSink, checks: &mut Checks) {
    let Some(topic) = &sink.spec.errors.dead_letter_topic else {
        return;
    };
    let path = "spec.errors.deadLetterTopic";
    if source.spec.kafka.is_none() && source.spec.kafka_topics.is_none() {
        checks.refuse(
            path,
            "needs spec.kafka or spec.kafkaTopics in the ReplicationSource: without Kafka there are no \
             records; dead letters are in the target's table sluice.dead_letters",
        );
    }
    let patterns = source.spec.kafka_topics.iter();
    let mut patterns = patterns.flat_map(|foreign| &foreign.topics);
    if let Some(pattern) = patterns.find(|pattern| kafka::matches(pattern, topic)) {
        checks.refuse(
            path,
            &format!(
                "is one of the topics {pattern} that the ReplicationSource reads: its records would \
                 come back for ever"
            ),
        );
    }
}

#[cfg(test)]
mod tests;
