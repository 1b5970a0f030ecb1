//! What the steps of a reconcile hand to each other.
//!
//! A custom resource is *dereferenced* (everything that it refers to is looked up), *validated*
//! ([`ValidatedAgent`], [`ValidatedSource`]: from here on nothing reads a raw spec), *built* and
//! *applied*; then its agent is *observed* ([`Observation`]), and [`SinkFacts`] or [`SourceFacts`]
//! become its status.
//!
//! What the later steps are called as:
//! - `observe::check::state(&Context, &ObjectKey) -> CheckState`: how the check Job of this name stands, from the
//!   caches alone. The reconcile calls it before it applies.
//! - `observe::agent(&Context, &ObjectKey /* ReplicaSink */) -> Observation` (async; `check` is filled in by the
//!   caller): the StatefulSet and pod `{names::agent(sink)}` and `-0` from the caches, the agent over HTTP.
//! - `observe::forget(&Context, &ObjectKey)`: the ReplicaSink is gone.
//! - `status::sink_status(&SinkFacts, &ReplicaSinkStatus, Timestamp) -> ReplicaSinkStatus` and
//!   `status::source_status(&SourceFacts, &ReplicationSourceStatus, Timestamp) -> ReplicationSourceStatus`, pure.
//! - `status::write::is_due(previous written, new, since last write: Duration) -> bool`, pure: whether to patch now.
//! - `events::sink_notices(previous, new) -> Vec<Notice>`, `events::source_notices(..)`, pure; and
//!   `events::publish(&Context, &ObjectReference, &[Notice])`.

use std::{collections::BTreeMap, fmt, sync::Arc};

use k8s_openapi::{api::core::v1::ResourceRequirements, jiff::Timestamp};
use kube::{Resource, ResourceExt as _};
use sluice_agent_api::{
    AgentConfig, AgentStatus, SecretKey,
    config::SourceConfig,
    status::{Check, CheckReport},
};
use sluice_crds::{
    ReplicaSinkStatus, ReplicationSourceStatus, agent::AgentTemplate, status::Phase,
};

use crate::upgrade::Upgrade;

/// The label whose value is the name of the ReplicaSink that an object belongs to.
pub(crate) const SINK_LABEL: &str = "sluice.dev/sink";
/// The label whose value is the name of the ReplicationSource that an object belongs to.
pub(crate) const SOURCE_LABEL: &str = "sluice.dev/source";
/// The label that tells agents from check Jobs: [`AGENT`] or [`CHECK`].
pub(crate) const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// The component of an agent.
pub(crate) const AGENT: &str = "agent";
/// The component of a check Job.
pub(crate) const CHECK: &str = "check";
/// The label by which the operator knows what it made.
pub(crate) const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Its value, and the field manager of everything that the operator writes.
pub(crate) const MANAGER: &str = "sluice-operator";

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ObjectKey {
    /// Another object's name in the same namespace.
    pub(crate) fn sibling(&self, name: impl Into<String>) -> Self {
        Self {
            namespace: self.namespace.clone(),
            name: name.into(),
        }
    }

    /// The key of an object that came from the API server.
    pub(crate) fn of<K: Resource>(object: &K) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Which kind of resource an agent belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It keeps a ReplicaSink in step.
    Replica,
    /// It captures a ReplicationSource into Kafka.
    Capture,
}

/// What an agent is made of: a ReplicaSink and its ReplicationSource, or a ReplicationSource that is
/// captured into Kafka.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValidatedAgent {
    /// What it is for.
    pub(crate) role: Role,
    /// Of the resource that it belongs to.
    pub(crate) key: ObjectKey,
    /// Of the same resource, for the owner reference.
    pub(crate) uid: String,
    /// How many pods there are to be, unless it is paused.
    pub(crate) replicas: u32,
    /// What the agent is to do; its server id and its resnapshot request are final.
    pub(crate) config: AgentConfig,
    /// How its pod is run, completed with what the operator was installed with.
    pub(crate) pod: PodTemplate,
    /// The move to another image that is under way.
    pub(crate) upgrade: Option<Upgrade>,
    /// Whether no agent is to run.
    pub(crate) paused: bool,
    /// The referenced Secrets: what is mounted, and the hash of their content.
    pub(crate) secrets: Secrets,
}

/// A ReplicationSource alone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValidatedSource {
    /// Of the ReplicationSource.
    pub(crate) key: ObjectKey,
    /// Of the ReplicationSource, for the owner reference.
    pub(crate) uid: String,
    /// What `sluice check --source-config` is given.
    pub(crate) config: SourceConfig,
    /// How its check's pod is run.
    pub(crate) pod: PodTemplate,
    /// The referenced Secrets.
    pub(crate) secrets: Secrets,
}

/// How a pod of Sluice's is run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PodTemplate {
    /// The image; the one to run now, not the one that is still to come.
    pub(crate) image: String,
    /// Whether the resource names that image itself.
    pub(crate) pinned: bool,
    /// Secrets with which it is pulled.
    pub(crate) image_pull_secrets: Vec<String>,
    /// CPU and memory.
    pub(crate) resources: ResourceRequirements,
    /// The rest, as the resource has it. `image` and `resources` in it are not read any more.
    pub(crate) template: AgentTemplate,
    /// The resource's annotation `sluice.dev/restartedAt`.
    pub(crate) restarted_at: Option<String>,
}

/// The Secrets that a pod mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Secrets {
    /// Keys by the Secret's name.
    pub(crate) keys: BTreeMap<String, Vec<String>>,
    /// SHA-256 of the content of all these keys, in hexadecimal.
    pub(crate) hash: String,
}

impl Secrets {
    /// Adds a key that is to be mounted.
    pub(crate) fn insert(&mut self, key: &SecretKey) {
        let keys = self.keys.entry(key.name.clone()).or_default();
        if !keys.contains(&key.key) {
            keys.push(key.key.clone());
            keys.sort();
        }
    }
}

/// Why no agent can be made, or not be kept in step with its resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The reason for the condition `Ready`, in CamelCase: `InvalidSpec`, `SourceNotFound`,
    /// `SecretNotFound`, `DeletionBlocked`, `ApplyFailed` (the API server refused an object),
    /// `ReadFailed` (it did not answer a question).
    pub(crate) reason: &'static str,
    /// One sentence: what, where, and what to do.
    pub(crate) message: String,
}

/// What is known about one ReplicaSink when its status is made.
#[derive(Debug, Clone)]
pub(crate) struct SinkFacts {
    /// The ReplicaSink.
    pub(crate) key: ObjectKey,
    /// Its `metadata.generation`.
    pub(crate) generation: Option<i64>,
    /// `postgres pg.shop.svc/shop`; none when the spec can't be read.
    pub(crate) target: Option<String>,
    /// Whether the sink or its source says `paused`, and which.
    pub(crate) paused: Option<PausedBy>,
    /// `spec.lagThresholdSeconds`.
    pub(crate) lag_threshold_seconds: f64,
    /// What stands in the way of the resource itself. An agent that runs already goes on running,
    /// and `observation` is about it.
    pub(crate) problem: Option<Problem>,
    /// How its check Job came out, and what its agent and its pod say.
    pub(crate) observation: Observation,
    /// The source, where an agent of its own writes the topics that this replica is fed by.
    pub(crate) upstream: Option<Upstream>,
}

/// A ReplicationSource that is captured into Kafka, as the ReplicaSinks see it that are fed from there.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    /// Its name.
    pub(crate) name: String,
    /// Its latest status (as computed, not as last written); none while nothing is known.
    pub(crate) status: Option<Arc<ReplicationSourceStatus>>,
}

/// Who asked for a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PausedBy {
    /// `spec.paused` of the ReplicaSink.
    Sink,
    /// `spec.paused` of its ReplicationSource.
    Source,
}

/// What is known about one ReplicationSource when its status is made.
#[derive(Debug, Clone)]
pub(crate) struct SourceFacts {
    /// The ReplicationSource.
    pub(crate) key: ObjectKey,
    /// Its `metadata.generation`.
    pub(crate) generation: Option<i64>,
    /// `mysql`, `postgres` or `kafkaTopics`; none when the spec can't be read.
    pub(crate) kind: Option<&'static str>,
    /// `spec.paused`.
    pub(crate) paused: bool,
    /// `spec.lagThresholdSeconds`; of its own agent, where it is captured into Kafka.
    pub(crate) lag_threshold_seconds: f64,
    /// What stands in the way of the resource itself.
    pub(crate) problem: Option<Problem>,
    /// How its check Job came out.
    pub(crate) check: CheckState,
    /// The latest status (as computed, not as last written) of every ReplicaSink that names it, by
    /// name; none of it yet for a sink that was not reconciled since this operator started.
    pub(crate) sinks: BTreeMap<String, Option<Arc<ReplicaSinkStatus>>>,
    /// What was seen of its own agent, where it is captured into Kafka.
    pub(crate) capture: Option<Observation>,
}

/// What was seen of a ReplicaSink's check, pod and agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    /// How the check came out.
    pub(crate) check: CheckState,
    /// Whether a StatefulSet exists, so that there should be an agent unless paused.
    pub(crate) stateful_set: Option<StatefulSetState>,
    /// The agent's pod; none when there is none.
    pub(crate) pod: Option<PodState>,
    /// What the agent answered.
    pub(crate) agent: AgentAnswer,
    /// How many agents answered and have nothing in their way.
    pub(crate) ready_replicas: i32,
}

/// What matters of an agent's StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatefulSetState {
    /// Replicas that it was asked for; 0 while paused.
    pub(crate) replicas: i32,
    /// Replicas that there are, for the scale subresource.
    pub(crate) replicas_present: i32,
    /// When it was made.
    pub(crate) created_at: Option<Timestamp>,
    /// Why the controller manager can't make the pod (a quota, an admission webhook), as its
    /// conditions or events say it.
    pub(crate) problem: Option<String>,
}

/// What matters of an agent's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodState {
    /// Its name.
    pub(crate) name: String,
    /// What tells it from an earlier pod of the same name.
    pub(crate) uid: String,
    /// The node that it is on, once it is on one.
    pub(crate) node: Option<String>,
    /// Its address, once it has one.
    pub(crate) address: Option<String>,
    /// When it was made.
    pub(crate) created_at: Option<Timestamp>,
    /// Whether it is being deleted.
    pub(crate) terminating: bool,
    /// Whether its container runs.
    pub(crate) running: bool,
    /// Since when its container runs.
    pub(crate) running_since: Option<Timestamp>,
    /// How often its container was started again.
    pub(crate) restarts: i32,
    /// How its container ended the last time, such as `OOMKilled` or `exit code 1: …`.
    pub(crate) last_exit: Option<String>,
    /// Why it does not, as Kubernetes says it.
    pub(crate) trouble: Option<PodTrouble>,
}

/// Why a pod does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodTrouble {
    /// The reason for the condition `Ready`: `AgentUnschedulable`, `AgentImagePull`,
    /// `AgentCrashLooping` or `AgentNotStarted`.
    pub(crate) reason: &'static str,
    /// Kubernetes' own reason and message, such as `ImagePullBackOff: Back-off pulling image …`.
    pub(crate) message: String,
}

/// What an agent answered when it was asked.
#[derive(Debug, Clone, Default)]
pub(crate) enum AgentAnswer {
    /// There is nobody to ask: no pod with an address.
    #[default]
    NotAsked,
    /// It answered just now.
    Answered(Arc<AgentStatus>),
    /// It did not.
    Silent {
        /// Since when there has been no answer.
        since: Timestamp,
        /// Why, such as `connection refused`.
        error: String,
        /// The last answer, from this pod.
        last: Option<Arc<AgentStatus>>,
    },
}

/// How a resource's check Job stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum CheckState {
    /// `--preflight=false`.
    Disabled,
    /// There is no Job yet for this generation: it waits for its turn, or for the resource's problem.
    #[default]
    Waiting,
    /// The Job runs; with the trouble of its pod, if any (image, scheduling).
    Running(Option<PodTrouble>),
    /// Nothing stands in the way; there may be warnings.
    Passed(CheckReport),
    /// Something does.
    Failed {
        /// What was found, the failed ones first.
        checks: Vec<Check>,
        /// When the Job ended, so that it can be made again.
        at: Option<Timestamp>,
    },
    /// The Job ended without a report, as it does when its pod was evicted or took too long.
    Broken {
        /// What Kubernetes says about it.
        message: String,
        /// When.
        at: Option<Timestamp>,
    },
}

/// Something that happened and that `kubectl describe` should show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Whether it needs a person.
    pub(crate) warning: bool,
    /// The event's reason, in CamelCase.
    pub(crate) reason: String,
    /// What happened.
    pub(crate) message: String,
}

/// A phase is shown as the schema spells it.
pub(crate) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Idle => "Idle",
        Phase::Snapshotting => "Snapshotting",
        Phase::Streaming => "Streaming",
        Phase::Paused => "Paused",
        Phase::Failed => "Failed",
    }
}
