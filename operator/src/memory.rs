//! What the operator remembers of each custom resource between two reconciles.
//!
//! Nothing of it has to survive a restart: it is there so that a steady pipeline costs nothing but
//! the question to its agent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{ReplicaSinkStatus, ReplicationSourceStatus};

use crate::model::{CheckState, ObjectKey, Problem};

/// What is remembered of one custom resource; `I` is what its last steps began with, `S` its status.
#[derive(Debug)]
pub(crate) struct Memory<I, S> {
    state: Mutex<State<I, S>>,
}

/// The content of a [`Memory`].
#[derive(Debug)]
pub(crate) struct State<I, S> {
    /// What the last steps that went through began with.
    pub(crate) inputs: Option<I>,
    /// When they did.
    pub(crate) done_at: Option<Instant>,
    /// What stood in their way.
    pub(crate) problem: Option<Problem>,
    /// Steps in a row that failed for a reason that may pass.
    pub(crate) failures: u32,
    /// The last check that ended.
    pub(crate) check: Option<EndedCheck>,
    /// The latest status.
    pub(crate) status: Option<Arc<S>>,
    /// The status that the API server has, as far as is known.
    pub(crate) written: Option<Arc<S>>,
    /// When it was written.
    pub(crate) written_at: Option<Timestamp>,
    /// What its source was woken for last, and when; for ReplicaSinks.
    pub(crate) told_source: Option<(Instant, Arc<S>)>,
    /// Whether a status is being made right now.
    pub(crate) busy: bool,
    /// Whether another one is to be made right after it.
    pub(crate) again: bool,
    /// Whether its agent answered the last question, and is Ready.
    pub(crate) does_well: bool,
    /// The request to copy tables again that the agent has taken on last.
    pub(crate) resnapshot_id: Option<String>,
    /// Whether it was said that its upgrade makes no headway.
    pub(crate) upgrade_reported: bool,
}

/// A check that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndedCheck {
    /// The Job.
    pub(crate) job: ObjectKey,
    /// How it came out.
    pub(crate) state: CheckState,
}

impl<I, S> Default for Memory<I, S> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                inputs: None,
                done_at: None,
                problem: None,
                failures: 0,
                check: None,
                status: None,
                written: None,
                written_at: None,
                told_source: None,
                busy: false,
                again: false,
                does_well: false,
                resnapshot_id: None,
                upgrade_reported: false,
            }),
        }
    }
}

impl<I, S> Memory<I, S> {
    /// The content, for as long as it is looked at.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<I, S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that is remembered of one kind.
#[derive(Debug)]
pub(crate) struct Memories<I, S> {
    by_key: Mutex<HashMap<ObjectKey, Arc<Memory<I, S>>>>,
}

impl<I, S> Default for Memories<I, S> {
    fn default() -> Self {
        Self {
            by_key: Mutex::default(),
        }
    }
}

impl<I, S> Memories<I, S> {
    /// What is remembered of this object; nothing yet if it is new.
    pub(crate) fn of(&self, key: &ObjectKey) -> Arc<Memory<I, S>> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(memory) = by_key.get(key) {
            return Arc::clone(memory);
        }
        let memory = Arc::<Memory<I, S>>::default();
        by_key.insert(key.clone(), Arc::clone(&memory));
        memory
    }

    /// The latest status of this object, if one was made.
    pub(crate) fn status(&self, key: &ObjectKey) -> Option<Arc<S>> {
        let by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = by_key.get(key)?;
        memory.lock().status.clone()
    }

    /// The object is gone.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        by_key.remove(key);
    }
}

/// What is remembered of ReplicaSinks.
pub(crate) type SinkMemories = Memories<crate::controller::sink::Inputs, ReplicaSinkStatus>;
/// What is remembered of ReplicationSources.
pub(crate) type SourceMemories =
    Memories<crate::controller::source::Inputs, ReplicationSourceStatus>;
