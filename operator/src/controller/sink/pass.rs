//! Observe → status: what is known of an agent reaches its resource.
//!
//! There is one pass at a time for each resource. One that would begin while another is under way
//! has the resource reconciled again right after it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::Pod},
    jiff::Timestamp,
};
use kube::Resource as _;
use sluice_crds::{ReplicaSink, ReplicaSinkStatus};
use tracing::{debug, warn};

use crate::{
    apply,
    cache::GuardedSink,
    context::{Context, SharedContext},
    controller::sink::{Outcome, SinkMemory},
    dereference, events,
    model::{AgentAnswer, CheckState, ObjectKey, Observation, SinkFacts, Upstream},
    names, preflight,
    status::{self, Patch, Weighed as _, Weight},
    wake::Wake,
};

/// Without a readable spec: what the schema has as the default.
const LAG_THRESHOLD_SECONDS: f64 = 60.0;

/// How old a source's figures may be when its sinks' merely drift.
const DRIFT_SHOWN_AFTER: Duration = Duration::from_secs(60);

/// One pass over one ReplicaSink.
pub(super) struct Pass {
    pub(super) context: SharedContext,
    pub(super) key: ObjectKey,
    pub(super) object: Arc<GuardedSink>,
    pub(super) outcome: Outcome,
    pub(super) memory: Arc<SinkMemory>,
}

/// The agent's pod, if there is one.
pub(super) fn pod(context: &Context, sink: &ObjectKey) -> Option<Arc<Pod>> {
    context
        .caches
        .pods
        .get(&sink.sibling(names::first_pod(&names::agent(&sink.name))))
}

/// The pods that the agent is to have, as far as they are there.
fn pods(context: &Context, sink: &ObjectKey, stateful_set: Option<&StatefulSet>) -> Vec<Arc<Pod>> {
    let spec = stateful_set.and_then(|set| set.spec.as_ref());
    // One that is paused may still have a pod that is ending.
    let count = spec.and_then(|spec| spec.replicas).unwrap_or(1).max(1);
    let names = (0..count).map(|ordinal| names::pod(&names::agent(&sink.name), ordinal));
    names
        .filter_map(|name| context.caches.pods.get(&sink.sibling(name)))
        .collect()
}

/// The right to make a status, given back whatever happens.
struct Turn<'a>(&'a SinkMemory);

impl<'a> Turn<'a> {
    /// None while another pass is under way, which is asked for another round.
    fn begin(memory: &'a SinkMemory) -> Option<Self> {
        let mut state = memory.lock();
        state.again |= state.busy;
        let begins = !std::mem::replace(&mut state.busy, true);
        begins.then(|| Self(memory))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().busy = false;
    }
}

impl Pass {
    /// Looks, makes a status, and writes it if that is due. Answers when it will be due.
    pub(super) async fn run(self) -> Option<Duration> {
        let turn = Turn::begin(&self.memory)?;
        let facts = self.facts().await;
        let wait = self.tell(&facts).await;
        self.note(&facts);
        drop(turn);
        if std::mem::take(&mut self.memory.lock().again) {
            self.context.waker.send(Wake::Sink(self.key.clone())).await;
        }
        wait
    }

    /// Notes how the agent does. One that did well and does not answer is asked again at once.
    fn note(&self, facts: &SinkFacts) {
        let answered = matches!(facts.observation.agent, AgentAnswer::Answered(_));
        let mut state = self.memory.lock();
        let is_ready = state.status.as_deref().is_some_and(status::is_ready);
        let did_well = std::mem::replace(&mut state.does_well, answered && is_ready);
        state.again |= did_well && !answered;
    }

    async fn facts(&self) -> SinkFacts {
        let spec = self.object.0.as_ref().ok().map(|sink| &sink.spec);
        SinkFacts {
            key: self.key.clone(),
            generation: self.object.meta().generation,
            target: spec.and_then(status::target),
            paused: self.outcome.paused,
            lag_threshold_seconds: spec.map_or(LAG_THRESHOLD_SECONDS, |spec| {
                f64::from(spec.lag_threshold_seconds)
            }),
            problem: self.outcome.problem.clone(),
            observation: self.observe().await,
            upstream: spec.and_then(|spec| self.upstream(&spec.source_ref.name)),
        }
    }

    /// The source, where it is captured into Kafka. Until its status is made, the one that was written
    /// last is taken.
    fn upstream(&self, name: &str) -> Option<Upstream> {
        let key = self.key.sibling(name);
        let source = self.context.caches.sources.get(&key)?;
        let source = source.0.as_ref().ok()?;
        source.spec.kafka.as_ref()?;
        let latest = self.context.sources.status(&key);
        Some(Upstream {
            name: name.to_owned(),
            status: latest.or_else(|| source.status.clone().map(Arc::new)),
        })
    }

    async fn observe(&self) -> Observation {
        let context = &self.context;
        let stateful_set = dereference::stateful_set(context, &self.key);
        let pods = pods(context, &self.key, stateful_set.as_deref());
        // Closed never; without a permit nobody is asked.
        let permit = context.questions.acquire().await;
        let pipeline = self.key.to_string();
        let sighting = context
            .observer
            .agent(&pipeline, stateful_set.as_deref(), &pods)
            .await;
        drop(permit);
        if let AgentAnswer::Answered(report) = &sighting.agent {
            let mut state = self.memory.lock();
            state.resnapshot_id.clone_from(&report.resnapshot_id);
        }
        Observation {
            check: self.check().await,
            stateful_set: sighting.stateful_set,
            pod: sighting.pod,
            agent: sighting.agent,
            ready_replicas: sighting.ready_replicas,
        }
    }

    /// A check that makes no headway may have an event that says why.
    async fn check(&self) -> CheckState {
        preflight::explain(
            &self.context,
            &Wake::Sink(self.key.clone()),
            &self.outcome.check,
        )
        .await
    }

    async fn tell(&self, facts: &SinkFacts) -> Option<Duration> {
        let now = Timestamp::now();
        let (status, written) = {
            let mut state = self.memory.lock();
            if state.status.is_none() {
                let sink = self.object.0.as_ref().ok();
                let present = sink.and_then(|sink| sink.status.clone()).map(Arc::new);
                state.status.clone_from(&present);
                state.written = present;
            }
            let previous = state.status.take();
            let status = Arc::new(status::sink_status(facts, previous.as_deref(), now));
            state.status = Some(Arc::clone(&status));
            (status, state.written.clone())
        };
        self.show(&status, now);
        self.wake_source(&status).await;
        let written_at = self.memory.lock().written_at;
        match status::patch_due(written.as_deref(), &*status, written_at, now) {
            Patch::Unneeded => None,
            Patch::At(time) => Duration::try_from(time.duration_since(now)).ok(),
            Patch::Now => {
                self.publish(written.as_deref(), &status);
                self.write(status, now).await
            }
        }
    }

    async fn write(&self, status: Arc<ReplicaSinkStatus>, now: Timestamp) -> Option<Duration> {
        self.context.metrics.status_patched("ReplicaSink");
        let written = apply::status::<ReplicaSink>(&self.context, &self.key, &*status).await;
        match written {
            Ok(true) => {
                let mut state = self.memory.lock();
                state.written = Some(status);
                state.written_at = Some(now);
                None
            }
            Ok(false) => {
                debug!(sink = %self.key, "the resource has gone");
                None
            }
            Err(error) => {
                warn!(sink = %self.key, %error, "a status can't be written and is tried again");
                Some(Duration::from_secs(3))
            }
        }
    }

    fn publish(&self, before: Option<&ReplicaSinkStatus>, after: &ReplicaSinkStatus) {
        let notices = events::sink_notices(before, after);
        if notices.is_empty() {
            return;
        }
        let reference = self.object.object_ref(&());
        self.context.publisher.publish(&reference, &notices);
    }

    fn show(&self, status: &Arc<ReplicaSinkStatus>, now: Timestamp) {
        let sink = self.object.0.as_ref().ok();
        let source = sink.map_or("", |sink| &sink.spec.source_ref.name);
        self.context.board.show_sink(&self.key, source, status, now);
    }

    /// Has the source made as its sinks are: at once, or by and by for figures that drift.
    async fn wake_source(&self, status: &Arc<ReplicaSinkStatus>) {
        let Ok(sink) = &self.object.0 else { return };
        {
            let mut state = self.memory.lock();
            let is_due = match &state.told_source {
                None => true,
                Some((at, told)) => match told.weigh(status) {
                    Weight::None => false,
                    Weight::Drift => at.elapsed() >= DRIFT_SHOWN_AFTER,
                    Weight::Change | Weight::Transition => true,
                },
            };
            if !is_due {
                return;
            }
            state.told_source = Some((Instant::now(), Arc::clone(status)));
        }
        let source = self.key.sibling(&sink.spec.source_ref.name);
        self.context.waker.send(Wake::Source(source)).await;
    }
}
