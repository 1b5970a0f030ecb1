//! What the page shows, kept in memory: the latest status of every custom resource, its lag over
//! the last half hour, and what happened lately. Everything in it is bounded by the number of
//! custom resources.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hyper::body::Bytes;
use k8s_openapi::jiff::Timestamp;
use sluice_crds::{ReplicaSinkStatus, ReplicationSourceStatus};

use crate::{
    metrics::{Gauges, Metrics},
    model::{Notice, ObjectKey},
    page::{
        document::{self, Happening, Operator},
        ring::LagRing,
    },
};

/// What happened is kept in so many lines.
const HAPPENINGS_MAX: usize = 200;
/// Many visitors get the same document.
const DOCUMENT_AGE_MAX: Duration = Duration::from_secs(1);

/// What the page shows.
#[derive(Debug, Default)]
pub(crate) struct Board {
    content: Mutex<Content>,
    document: Mutex<Option<(Instant, bool, Bytes)>>,
}

/// Everything on the board.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) sinks: BTreeMap<ObjectKey, Sink>,
    pub(crate) sources: BTreeMap<ObjectKey, Arc<ReplicationSourceStatus>>,
    /// The newest last.
    pub(crate) happenings: VecDeque<Happening>,
}

/// A ReplicaSink on the board.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    /// The name of its ReplicationSource.
    pub(crate) source: String,
    pub(crate) status: Arc<ReplicaSinkStatus>,
    pub(crate) lags: LagRing,
}

impl Board {
    /// A ReplicaSink of this source has this status now.
    pub(crate) fn show_sink(
        &self,
        key: &ObjectKey,
        source: &str,
        status: &Arc<ReplicaSinkStatus>,
        now: Timestamp,
    ) {
        let mut content = self.lock();
        let sink = content.sinks.entry(key.clone()).or_default();
        if sink.source != source {
            source.clone_into(&mut sink.source);
        }
        sink.status = Arc::clone(status);
        if let Some(seconds) = status.lag.as_ref().and_then(|lag| lag.seconds) {
            sink.lags.record(seconds, now);
        }
    }

    /// A ReplicationSource has this status now.
    pub(crate) fn show_source(&self, key: &ObjectKey, status: &Arc<ReplicationSourceStatus>) {
        let mut content = self.lock();
        content.sources.insert(key.clone(), Arc::clone(status));
    }

    /// A ReplicaSink is gone.
    pub(crate) fn forget_sink(&self, key: &ObjectKey) {
        self.lock().sinks.remove(key);
    }

    /// A ReplicationSource is gone.
    pub(crate) fn forget_source(&self, key: &ObjectKey) {
        self.lock().sources.remove(key);
    }

    /// Something happened to an object.
    pub(crate) fn happened(&self, kind: &str, key: &ObjectKey, notice: &Notice, now: Timestamp) {
        let mut content = self.lock();
        if content.happenings.len() >= HAPPENINGS_MAX {
            content.happenings.pop_front();
        }
        let happening = Happening::new(kind, key, notice, now);
        content.happenings.push_back(happening);
    }

    /// The JSON document behind the page; at most a second old.
    pub(crate) fn document(&self, operator: &Operator, now: Timestamp) -> Bytes {
        let mut kept = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, leads, bytes)) = kept.as_ref()
            && at.elapsed() < DOCUMENT_AGE_MAX
            && *leads == operator.leads
        {
            return bytes.clone();
        }
        let bytes = Bytes::from(document::render(&self.lock(), operator, now));
        *kept = Some((Instant::now(), operator.leads, bytes.clone()));
        bytes
    }

    /// The page for Prometheus.
    pub(crate) fn metrics(
        &self,
        metrics: &Metrics,
        is_leader: bool,
        agents: (usize, usize),
    ) -> String {
        let content = self.lock();
        let sinks = content.sinks.iter();
        metrics.render(&Gauges {
            is_leader,
            agents,
            source_count: content.sources.len(),
            sinks: sinks.map(|(key, sink)| (key, &*sink.status)).collect(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        // A holder that panicked left whole entries behind.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
