//! The two control loops: one over ReplicaSinks, one over ReplicationSources.
//!
//! Reconcile = dereference → validate → build → apply → observe → status. The first four run in the
//! controller and never wait for an agent; observing and writing status is a pass of its own, of
//! which there is one at a time for each resource, so that a silent agent holds up nothing.
//! A step that fails becomes a problem in the resource's status; whatever may pass is tried again,
//! less and less often.

pub(crate) mod sink;
pub(crate) mod source;

use std::{fmt::Debug, hash::Hash, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use kube::{
    Resource,
    runtime::{
        Controller,
        controller::{Action, Config},
        reflector::{ObjectRef, Store},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Receiver;

use crate::{
    apply::ApplyError,
    build::BuildError,
    context::{Context, SharedContext},
    dereference::DereferenceError,
    model::{ObjectKey, Problem},
    validate::ValidateError,
};

/// Reconciles side by side. None of them waits for anything but the API server.
const CONCURRENCY: u16 = 16;
/// What happens together is reconciled once.
const DEBOUNCE: Duration = Duration::from_millis(30);
/// The longest wait before a failed step is tried again.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Everything is applied again after this time, in case somebody else changed it.
pub(crate) const APPLY_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// Reading what the resource refers to.
    #[error(transparent)]
    Dereference(#[from] DereferenceError),
    /// Making sure that an agent can be made.
    #[error(transparent)]
    Validate(#[from] ValidateError),
    /// Making the objects.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Writing them.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl StepError {
    /// The step's name, for metrics.
    pub(crate) fn step(&self) -> &'static str {
        match self {
            Self::Dereference(_) => "dereference",
            Self::Validate(_) => "validate",
            Self::Build(_) => "build",
            Self::Apply(_) => "apply",
        }
    }

    /// Whether it may pass by itself.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Dereference(_) | Self::Apply(_))
    }

    /// What a person reads.
    pub(crate) fn problem(&self) -> Problem {
        let reason = match self {
            Self::Dereference(_) => "ReadFailed",
            Self::Validate(error) => return error.problem(),
            Self::Build(_) => "InvalidSpec",
            Self::Apply(_) => "ApplyFailed",
        };
        Problem {
            reason,
            message: self.to_string(),
        }
    }
}

/// A reconcile has an answer for everything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Never {}

/// Runs a control loop until the process ends, over everything that there is and then over what it
/// is woken for.
pub(crate) async fn run<K, Reconciled>(
    context: SharedContext,
    store: Store<K>,
    wakes: Receiver<ObjectKey>,
    reconcile: impl Fn(Arc<K>, SharedContext) -> Reconciled + Send + 'static,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash,
    Reconciled: Future<Output = Action> + Send + 'static,
{
    let wakes = stream::unfold(wakes, |mut wakes| async {
        let key = wakes.recv().await?;
        let reference = ObjectRef::new(&key.name).within(&key.namespace);
        Some((reference, wakes))
    });
    let config = Config::default()
        .concurrency(CONCURRENCY)
        .debounce(DEBOUNCE);
    Controller::for_stream(stream::pending(), store)
        .with_config(config)
        .reconcile_all_on(stream::iter([()]))
        .reconcile_on(wakes)
        .run(
            move |object, context| {
                let reconciled = reconcile(object, context);
                async { Ok::<Action, Never>(reconciled.await) }
            },
            |_, _, _| Action::await_change(),
            context,
        )
        // Only an object that is gone by now is an error here.
        .for_each(|_| std::future::ready(()))
        .await;
}

/// How long to wait after so many failures in a row.
pub(crate) fn retry_after(failures: u32) -> Duration {
    let wait = Duration::from_millis(500 << failures.min(6));
    wait.min(RETRY_MAX)
}

/// The shortest of several waits; for ever without any.
pub(crate) fn requeue(waits: impl IntoIterator<Item = Option<Duration>>) -> Action {
    let shortest = waits.into_iter().flatten().min();
    shortest.map_or_else(Action::await_change, Action::requeue)
}

/// How often an agent is asked; one that does well, half as often.
pub(crate) fn status_interval(context: &Context, does_well: bool) -> Duration {
    let seconds = context.settings.arguments.status_interval_seconds;
    let interval = Duration::from_secs(u64::from(seconds));
    if does_well { interval * 2 } else { interval }
}
