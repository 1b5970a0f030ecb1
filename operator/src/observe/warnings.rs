//! The newest warning event of an object: some troubles are nowhere else, such as a quota that
//! refuses a pod, or a volume that can't be mounted.
//!
//! Asked only for objects that make no headway, and not again for a while.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::Event,
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, Client, Resource, ResourceExt as _, api::ListParams};
use tracing::debug;

use crate::observe::pod::shortened;

/// How long an answer is good for.
const GOOD_FOR: SignedDuration = SignedDuration::from_secs(15);
const EVENTS_MAX: u32 = 50;

/// Asks for warnings, and remembers the answers for a while.
pub(crate) struct Warnings {
    client: Client,
    answers: Mutex<HashMap<String, (Timestamp, Option<String>)>>,
}

impl Debug for Warnings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Warnings").finish_non_exhaustive()
    }
}

impl Warnings {
    /// Warnings of a cluster.
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            answers: Mutex::default(),
        }
    }

    /// The newest warning about an object, as `Reason: message`.
    pub(crate) async fn latest<K>(&self, object: &K, now: Timestamp) -> Option<String>
    where
        K: Resource<Scope = NamespaceResourceScope>,
    {
        let (uid, namespace) = (object.uid()?, object.namespace()?);
        if let Some((at, answer)) = self.lock().get(&uid)
            && now.duration_since(*at) < GOOD_FOR
        {
            return answer.clone();
        }
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let wanted = ListParams::default()
            .fields(&format!("involvedObject.uid={uid},type=Warning"))
            .limit(EVENTS_MAX);
        let answer = match events.list(&wanted).await {
            Ok(events) => newest(&events.items),
            Err(error) => {
                debug!(%error, object = %object.name_any(), "events can't be read");
                None
            }
        };
        self.lock().insert(uid, (now, answer.clone()));
        answer
    }

    /// Forgets what is not good any more.
    pub(crate) fn forget_old(&self, now: Timestamp) {
        self.lock()
            .retain(|_, (at, _)| now.duration_since(*at) < GOOD_FOR);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Timestamp, Option<String>)>> {
        // A holder that panicked left whole entries behind.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn newest(events: &[Event]) -> Option<String> {
    let event = events.iter().max_by_key(|event| seen_at(event))?;
    let reason = event.reason.as_deref().unwrap_or("Warning");
    let message = event.message.as_deref().unwrap_or("no message");
    Some(shortened(&format!("{reason}: {message}")))
}

fn seen_at(event: &Event) -> Option<Timestamp> {
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref());
    let series = series.map(|time| time.0);
    let made = event.event_time.as_ref().map(|time| time.0);
    last.max(series).max(made)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

    use super::*;

    fn event(reason: &str, second: i64) -> Event {
        Event {
            reason: Some(reason.to_owned()),
            message: Some("it is so.\n".to_owned()),
            last_timestamp: Some(Time(Timestamp::from_second(second).unwrap())),
            ..Event::default()
        }
    }

    #[test]
    fn the_newest_warning_counts_however_its_time_is_given() {
        let mut newer = event("FailedMount", 50);
        newer.last_timestamp = None;
        newer.event_time = Some(MicroTime(Timestamp::from_second(70).unwrap()));
        let events = [event("FailedCreate", 60), newer, event("Other", 10)];
        assert_eq!(newest(&events).unwrap(), "FailedMount: it is so");
        assert_eq!(newest(&[]), None);
    }
}
