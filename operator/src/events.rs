//! Transitions become Kubernetes Events, which `kubectl describe` shows and which outlive the status
//! that they led to.
//!
//! What a step from one status to the next has to tell is found here, purely: one Event for each
//! thing that happened, and never two for the same. [`Publisher`] writes them behind the
//! reconcile's back: a queue that is full, or an API server that refuses, costs an Event and
//! nothing else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::apis::meta::v1::Condition,
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use sluice_crds::{ReplicaSinkStatus, ReplicationSourceStatus};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::{debug, warn};

use crate::{
    metrics::Metrics,
    model::{MANAGER, Notice, ObjectKey, phase_name},
    page::Board,
};

/// Events that wait to be written.
const QUEUE_LENGTH_MAX: usize = 1_024;
/// The same is not said again for so long, unless something else was said in between.
const SAID_FOR: SignedDuration = SignedDuration::from_secs(60);
/// The API server refuses longer notes.
const NOTE_LENGTH_MAX: usize = 1_000;

/// Reasons of a `Ready` that is not True and yet nobody's trouble.
const CALM: [&str; 10] = [
    "AgentNotReady",
    "AgentNotStarted",
    "CatchingUp",
    "CheckRunning",
    "Complete",
    "Connecting",
    "Paused",
    "SinksUnknown",
    "Snapshotting",
    "Stopped",
];
/// Reasons of a source's `Ready` that only repeat what its sinks say.
const REPEATED: [&str; 3] = ["SinkNotReady", "SinksUnknown", "Streaming"];

/// What has happened to a ReplicaSink between two statuses.
pub(crate) fn sink_notices(
    previous: Option<&ReplicaSinkStatus>,
    next: &ReplicaSinkStatus,
) -> Vec<Notice> {
    let empty = ReplicaSinkStatus::default();
    let previous = previous.unwrap_or(&empty);
    let mut notices: Vec<Notice> = ready(&previous.conditions, &next.conditions, false)
        .into_iter()
        .collect();
    if notices.is_empty() {
        notices.extend(phase(previous, next));
    }
    notices.extend(prerequisites(
        &previous.conditions,
        &next.conditions,
        &notices,
    ));
    notices.extend(snapshot(previous, next));
    notices.extend(tables(previous, next, &notices));
    notices.extend(dead_letters(previous, next));
    notices.extend(risk(&previous.conditions, &next.conditions));
    notices
}

/// What has happened to a ReplicationSource between two statuses.
pub(crate) fn source_notices(
    previous: Option<&ReplicationSourceStatus>,
    next: &ReplicationSourceStatus,
) -> Vec<Notice> {
    let empty = ReplicationSourceStatus::default();
    let previous = previous.unwrap_or(&empty);
    let mut notices: Vec<Notice> = ready(&previous.conditions, &next.conditions, true)
        .into_iter()
        .collect();
    notices.extend(prerequisites(
        &previous.conditions,
        &next.conditions,
        &notices,
    ));
    notices
}

fn ready(previous: &[Condition], next: &[Condition], is_source: bool) -> Option<Notice> {
    let before = find(previous, "Ready").map(|ready| (&*ready.status, &*ready.reason));
    let ready = find(next, "Ready")?;
    let now = (&*ready.status, &*ready.reason);
    if before == Some(now) || (is_source && REPEATED.contains(&now.1)) {
        return None;
    }
    let was = before.map(|(status, _)| status);
    if now.0 == "True" {
        // From one way of being ready to another is nothing to tell.
        let became = was != Some("True");
        return became.then(|| notice(false, "Ready", &ready.message));
    }
    let calm = CALM.contains(&now.1);
    if calm && was != Some("True") && now.1 != "Paused" {
        return None;
    }
    Some(notice(!calm, now.1, &ready.message))
}

fn phase(previous: &ReplicaSinkStatus, next: &ReplicaSinkStatus) -> Option<Notice> {
    let name = phase_name(next.phase?);
    let before = previous.phase.map(phase_name)?;
    if before == name {
        return None;
    }
    let message = find(&next.conditions, "Ready").map_or("", |ready| &ready.message);
    Some(notice(
        false,
        name,
        &format!("Was {before} before. {message}"),
    ))
}

fn prerequisites(previous: &[Condition], next: &[Condition], said: &[Notice]) -> Option<Notice> {
    const KIND: &str = "PrerequisitesMet";
    let met = find(next, KIND)?;
    let before = find(previous, KIND).map(|met| &*met.status);
    if before == Some(&*met.status) {
        return None;
    }
    match met.status.as_str() {
        "True" => Some(notice(false, KIND, &met.message)),
        "False" if !has(said, "PrerequisitesNotMet") => {
            Some(notice(true, "PrerequisitesNotMet", &met.message))
        }
        _ => None,
    }
}

fn snapshot(previous: &ReplicaSinkStatus, next: &ReplicaSinkStatus) -> Option<Notice> {
    const KIND: &str = "SnapshotComplete";
    let complete = find(&next.conditions, KIND)?;
    let before = find(&previous.conditions, KIND).map(|complete| &*complete.status);
    // A replica that an earlier operator saw complete has not become complete now.
    let is_news = before == Some("False") || previous.position.is_none();
    if complete.status != "True" || before == Some("True") || !is_news {
        return None;
    }
    let rows = next.snapshot.as_ref().map_or(0, |copy| copy.rows_copied);
    let message = format!("{} Rows copied: {rows}.", complete.message);
    Some(notice(false, KIND, &message))
}

fn tables(
    previous: &ReplicaSinkStatus,
    next: &ReplicaSinkStatus,
    said: &[Notice],
) -> Option<Notice> {
    let failed = |status: &ReplicaSinkStatus| status.tables.as_ref().map(|tables| tables.failed);
    // After a time without figures nothing can be said to have become more.
    let more = failed(next)? > failed(previous)?;
    let told = has(said, "TableFailed") || has(said, "TablePaused");
    let error = next.last_error.as_ref()?;
    let about = matches!(error.reason.as_str(), "TableFailed" | "TablePaused");
    (more && !told && about).then(|| notice(true, &error.reason, &error.message))
}

fn dead_letters(previous: &ReplicaSinkStatus, next: &ReplicaSinkStatus) -> Option<Notice> {
    let count = next.dead_letters.unwrap_or(0);
    let first = count > 0 && previous.dead_letters.unwrap_or(0) == 0;
    first.then(|| {
        let message = format!(
            "The target refused {count} records; they are kept aside in sluice.dead_letters with \
             the reason, and the rest goes on."
        );
        notice(true, "DeadLetters", &message)
    })
}

fn risk(previous: &[Condition], next: &[Condition]) -> Option<Notice> {
    const KIND: &str = "PositionAtRisk";
    let risk = find(next, KIND).filter(|risk| risk.status == "True")?;
    let before = find(previous, KIND).is_some_and(|risk| risk.status == "True");
    (!before).then(|| notice(true, KIND, &risk.message))
}

fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn has(notices: &[Notice], reason: &str) -> bool {
    notices.iter().any(|notice| notice.reason == reason)
}

fn notice(warning: bool, reason: &str, message: &str) -> Notice {
    Notice {
        warning,
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

/// Writes Events, one after the other, and shows them on the page.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    queue: Sender<Item>,
    board: Arc<Board>,
    said: Arc<Mutex<Said>>,
}

/// What was said last of each object, by its uid, and when.
type Said = HashMap<String, (Timestamp, Vec<Notice>)>;
type Item = (ObjectReference, Notice);

impl Publisher {
    /// A publisher, and what it queues; [`publish_queued`] is to be run on that.
    pub(crate) fn new(board: Arc<Board>) -> (Self, Queue) {
        let (queue, items) = channel(QUEUE_LENGTH_MAX);
        let said = Arc::default();
        (Self { queue, board, said }, Queue(items))
    }

    /// Has Events about an object written. What was the last word about it a moment ago is not said
    /// again: a step may be repeated when its status could not be written.
    pub(crate) fn publish(&self, about: &ObjectReference, notices: &[Notice]) {
        if self.is_said(about, notices, Timestamp::now()) {
            return;
        }
        for notice in notices {
            let kind = about.kind.as_deref().unwrap_or_default();
            let key = ObjectKey {
                namespace: about.namespace.clone().unwrap_or_default(),
                name: about.name.clone().unwrap_or_default(),
            };
            self.board.happened(kind, &key, notice, Timestamp::now());
            if self
                .queue
                .try_send((about.clone(), notice.clone()))
                .is_err()
            {
                warn!(object = %key, reason = %notice.reason, "an event is left out: too many wait");
            }
        }
    }
}

impl Publisher {
    fn is_said(&self, about: &ObjectReference, notices: &[Notice], now: Timestamp) -> bool {
        // A holder that panicked left whole entries behind.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|_, (at, _)| now.duration_since(*at) < SAID_FOR);
        let uid = about.uid.clone().unwrap_or_default();
        let last = said.insert(uid, (now, notices.to_vec()));
        last.is_some_and(|(_, last)| last == notices)
    }
}

/// Events that wait to be written.
#[derive(Debug)]
pub(crate) struct Queue(Receiver<Item>);

/// Writes queued Events until nobody queues any more.
pub(crate) async fn publish_queued(
    mut queue: Queue,
    client: Client,
    identity: &str,
    metrics: &Metrics,
) {
    let reporter = Reporter {
        controller: MANAGER.to_owned(),
        instance: Some(identity.to_owned()),
    };
    let recorder = Recorder::new(client, reporter);
    while let Some((about, notice)) = queue.0.recv().await {
        metrics.api_write("Event");
        if let Err(error) = recorder.publish(&event(&notice), &about).await {
            // Its namespace may be on its way out, or the event gone that it would be counted in.
            debug!(%error, reason = %notice.reason, "an event was not written");
        }
    }
}

fn event(notice: &Notice) -> Event {
    let kind = if notice.warning {
        EventType::Warning
    } else {
        EventType::Normal
    };
    Event {
        type_: kind,
        reason: notice.reason.clone(),
        note: Some(notice.message.chars().take(NOTE_LENGTH_MAX).collect()),
        action: "Observe".to_owned(),
        secondary: None,
    }
}

#[cfg(test)]
mod tests;
