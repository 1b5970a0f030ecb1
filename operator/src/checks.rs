//! How many check Jobs run at once, and who is next.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::batch::v1::Job;

use crate::{cache::Caches, model::ObjectKey, wake::Wake};

/// A Job that was made and has not come back through the watch for this long was not made.
const MADE_FOR: Duration = Duration::from_secs(30);

/// Slots for check Jobs.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Jobs that were just made, by name.
    made: HashMap<ObjectKey, Instant>,
    /// Who waits for a slot, in order.
    waiting: VecDeque<Wake>,
}

impl Checks {
    /// Whether the Job may be made now; if not, `owner` is woken when there is room.
    pub(crate) fn may_start(
        &self,
        caches: &Caches,
        job: &ObjectKey,
        owner: Wake,
        parallelism: u32,
    ) -> bool {
        let present = caches.jobs.all();
        let known: HashSet<ObjectKey> = present.iter().map(|job| ObjectKey::of(&**job)).collect();
        let running = present.iter().filter(|job| !has_ended(job)).count();
        let mut state = self.lock();
        state
            .made
            .retain(|job, since| !known.contains(job) && since.elapsed() < MADE_FOR);
        if running + state.made.len() < parallelism as usize {
            state.waiting.retain(|waiting| *waiting != owner);
            state.made.insert(job.clone(), Instant::now());
            return true;
        }
        if !state.waiting.contains(&owner) {
            state.waiting.push_back(owner);
        }
        false
    }

    /// The Job that was to be made could not be.
    pub(crate) fn not_made(&self, job: &ObjectKey) {
        self.lock().made.remove(job);
    }

    /// A Job has ended: who is to be woken.
    pub(crate) fn next(&self) -> Option<Wake> {
        self.lock().waiting.pop_front()
    }

    /// The resource is gone or needs no check any more.
    pub(crate) fn forget(&self, owner: &Wake) {
        self.lock().waiting.retain(|waiting| waiting != owner);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a Job has ended, one way or the other.
pub(crate) fn has_ended(job: &Job) -> bool {
    let status = job.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    job.metadata.deletion_timestamp.is_some()
        || conditions.into_iter().flatten().any(|condition| {
            matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
        })
}
