//! Status of a ReplicationSource, which is made of what is known of its sinks.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::Resource as _;
use sluice_crds::{ReplicationSource, ReplicationSourceStatus};
use tracing::{debug, trace, warn};

use crate::{
    apply,
    cache::GuardedSource,
    context::Context,
    controller::source::{Outcome, SourceMemory, capture},
    events,
    model::{ObjectKey, Observation, SourceFacts},
    preflight,
    status::{self, Patch, Weighed as _, Weight},
    wake::Wake,
};

/// Without a readable spec: what the schema has as the default.
const LAG_THRESHOLD_SECONDS: f64 = 60.0;

/// One pass over one ReplicationSource. The controller runs one at a time.
pub(super) struct Pass<'a> {
    pub(super) context: &'a Context,
    pub(super) key: &'a ObjectKey,
    pub(super) object: &'a GuardedSource,
    pub(super) outcome: &'a Outcome,
    pub(super) sinks: &'a [ObjectKey],
    pub(super) memory: &'a SourceMemory,
}

impl Pass<'_> {
    /// Makes a status, and writes it if that is due. Answers when it will be due.
    pub(super) async fn run(&self) -> Option<Duration> {
        let facts = self.facts().await;
        trace!(source = %facts.key, sinks = facts.sinks.len(), "a status is made");
        let now = Timestamp::now();
        let (before, status, written, written_at) = {
            let mut state = self.memory.lock();
            if state.status.is_none() {
                let source = self.object.0.as_ref().ok();
                let present = source
                    .and_then(|source| source.status.clone())
                    .map(Arc::new);
                state.status.clone_from(&present);
                state.written = present;
            }
            let before = state.status.take();
            let status = status::source_status(&facts, before.as_deref(), now);
            let status = Arc::new(status);
            state.status = Some(Arc::clone(&status));
            (before, status, state.written.clone(), state.written_at)
        };
        self.context.board.show_source(self.key, &status);
        if facts.capture.is_some() {
            self.wake_sinks(before.as_deref(), &status).await;
        }
        match status::patch_due(written.as_deref(), &*status, written_at, now) {
            Patch::Unneeded => None,
            Patch::At(time) => Duration::try_from(time.duration_since(now)).ok(),
            Patch::Now => {
                self.publish(written.as_deref(), &status);
                self.write(status, now).await
            }
        }
    }

    async fn facts(&self) -> SourceFacts {
        let spec = self.object.0.as_ref().ok().map(|source| &source.spec);
        let owner = Wake::Source(self.key.clone());
        let sinks = self.sinks.iter();
        let sinks = sinks.map(|sink| (sink.name.clone(), self.context.sinks.status(sink)));
        SourceFacts {
            key: self.key.clone(),
            generation: self.object.meta().generation,
            kind: spec.and_then(|spec| {
                let kinds = [
                    (spec.mysql.is_some(), "mysql"),
                    (spec.postgres.is_some(), "postgres"),
                    (spec.kafka_topics.is_some(), "kafkaTopics"),
                ];
                kinds.into_iter().find_map(|(is, kind)| is.then_some(kind))
            }),
            paused: spec.is_some_and(|spec| spec.paused),
            lag_threshold_seconds: spec.map_or(LAG_THRESHOLD_SECONDS, |spec| {
                f64::from(spec.lag_threshold_seconds)
            }),
            problem: self.outcome.problem.clone(),
            check: preflight::explain(self.context, &owner, &self.outcome.check).await,
            sinks: sinks.collect(),
            capture: self.observe().await,
        }
    }

    /// Whether there is an agent to be asked.
    pub(super) fn has_agent(&self) -> bool {
        let spec = self.object.0.as_ref().ok().map(|source| &source.spec);
        spec.is_some_and(|spec| spec.kafka.is_some() && !spec.paused)
    }

    /// What is seen of the source's own agent, where it is to have one.
    async fn observe(&self) -> Option<Observation> {
        let source = self.object.0.as_ref().ok()?;
        source.spec.kafka.as_ref()?;
        let owner = Wake::Source(self.key.clone());
        let observation = capture::observe(self.context, self.key, source, self.memory).await;
        Some(Observation {
            check: preflight::explain(self.context, &owner, &self.outcome.check).await,
            ..observation
        })
    }

    /// What feeds a replica decides whether it is ready.
    async fn wake_sinks(
        &self,
        before: Option<&ReplicationSourceStatus>,
        after: &ReplicationSourceStatus,
    ) {
        let weight = before.map_or(Weight::Transition, |before| before.weigh(after));
        if weight == Weight::Transition {
            for sink in self.sinks {
                self.context.waker.send(Wake::Sink(sink.clone())).await;
            }
        }
    }

    async fn write(
        &self,
        status: Arc<ReplicationSourceStatus>,
        now: Timestamp,
    ) -> Option<Duration> {
        self.context.metrics.status_patched("ReplicationSource");
        let written = apply::status::<ReplicationSource>(self.context, self.key, &*status).await;
        match written {
            Ok(true) => {
                let mut state = self.memory.lock();
                state.written = Some(status);
                state.written_at = Some(now);
                None
            }
            Ok(false) => {
                debug!(source = %self.key, "the resource has gone");
                None
            }
            Err(error) => {
                warn!(source = %self.key, %error, "a status can't be written and is tried again");
                Some(Duration::from_secs(3))
            }
        }
    }

    fn publish(&self, before: Option<&ReplicationSourceStatus>, after: &ReplicationSourceStatus) {
        let notices = events::source_notices(before, after);
        if notices.is_empty() {
            return;
        }
        let reference = self.object.object_ref(&());
        self.context.publisher.publish(&reference, &notices);
    }
}
