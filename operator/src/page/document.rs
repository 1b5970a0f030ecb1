//! `/v1/pipelines`: the JSON document that the page is drawn from.

use std::sync::Arc;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use serde::Serialize;
use sluice_crds::{
    ReplicationSourceStatus,
    status::{KafkaProgress, Lag, LastError, Phase, Rate, SnapshotProgress, TableCounts},
};

use crate::{
    model::{Notice, ObjectKey},
    page::{
        board::{Content, Sink},
        ring::Series,
    },
};

/// The operator that shows the page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operator {
    /// What tells it from others: the pod's name.
    pub(crate) identity: String,
    /// Whether it holds the Lease. One that does not knows no pipelines.
    pub(crate) leads: bool,
    /// Its version.
    pub(crate) version: &'static str,
}

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Happening {
    at: String,
    kind: String,
    namespace: String,
    name: String,
    warning: bool,
    reason: String,
    message: String,
}

impl Happening {
    /// Something that happened now.
    pub(crate) fn new(kind: &str, key: &ObjectKey, notice: &Notice, now: Timestamp) -> Self {
        Self {
            at: rfc3339(now),
            kind: kind.to_owned(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            warning: notice.warning,
            reason: notice.reason.clone(),
            message: notice.message.clone(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    now: String,
    operator: &'a Operator,
    pipelines: Vec<Pipeline<'a>>,
    sources: Vec<Source<'a>>,
    /// The newest first.
    events: Vec<&'a Happening>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pipeline<'a> {
    namespace: &'a str,
    name: &'a str,
    source: &'a str,
    /// `mysql`, …, where the source is known.
    source_kind: Option<&'a str>,
    target: Option<&'a str>,
    phase: Option<Phase>,
    position: Option<&'a str>,
    lag: Option<&'a Lag>,
    kafka: Option<&'a KafkaProgress>,
    rate: Option<&'a Rate>,
    snapshot: Option<&'a SnapshotProgress>,
    tables: Option<&'a TableCounts>,
    dead_letters: Option<i64>,
    last_error: Option<&'a LastError>,
    conditions: Vec<Shown<'a>>,
    lags: Series,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    namespace: &'a str,
    name: &'a str,
    kind: Option<&'a str>,
    phase: Option<Phase>,
    conditions: Vec<Shown<'a>>,
}

/// A condition.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    kind: &'a str,
    status: &'a str,
    reason: &'a str,
    message: &'a str,
    since: String,
}

/// The document, as JSON.
pub(crate) fn render(content: &Content, operator: &Operator, now: Timestamp) -> Vec<u8> {
    let pipelines = content.sinks.iter();
    let sources = content.sources.iter();
    let document = Document {
        now: rfc3339(now),
        operator,
        pipelines: pipelines
            .map(|(key, sink)| pipeline(key, sink, content, now))
            .collect(),
        sources: sources.map(|(key, status)| source(key, status)).collect(),
        events: content.happenings.iter().rev().collect(),
    };
    serde_json::to_vec(&document).expect("strings, numbers and lists are always JSON")
}

fn pipeline<'a>(
    key: &'a ObjectKey,
    sink: &'a Sink,
    content: &'a Content,
    now: Timestamp,
) -> Pipeline<'a> {
    let status = &*sink.status;
    let source = content.sources.get(&key.sibling(&*sink.source));
    Pipeline {
        namespace: &key.namespace,
        name: &key.name,
        source: &sink.source,
        source_kind: source.and_then(|source| source.kind.as_deref()),
        target: status.target.as_deref(),
        phase: status.phase,
        position: status.position.as_deref(),
        lag: status.lag.as_ref(),
        kafka: status.kafka.as_ref(),
        rate: status.rate.as_ref(),
        snapshot: status.snapshot.as_ref(),
        tables: status.tables.as_ref(),
        dead_letters: status.dead_letters,
        last_error: status.last_error.as_ref(),
        conditions: status.conditions.iter().map(shown).collect(),
        lags: sink.lags.series(now),
    }
}

fn source<'a>(key: &'a ObjectKey, status: &'a Arc<ReplicationSourceStatus>) -> Source<'a> {
    Source {
        namespace: &key.namespace,
        name: &key.name,
        kind: status.kind.as_deref(),
        phase: status.phase,
        conditions: status.conditions.iter().map(shown).collect(),
    }
}

fn shown(condition: &Condition) -> Shown<'_> {
    Shown {
        kind: &condition.type_,
        status: &condition.status,
        reason: &condition.reason,
        message: &condition.message,
        since: rfc3339(condition.last_transition_time.0),
    }
}

fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
