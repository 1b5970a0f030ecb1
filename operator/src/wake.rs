//! Tells the two controllers what to reconcile.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::model::ObjectKey;

/// What waits while a controller has not picked it up; a controller does so at once and keeps each
/// object once.
const QUEUE_LENGTH: usize = 1024;

/// An object to reconcile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A ReplicaSink.
    Sink(ObjectKey),
    /// A ReplicationSource.
    Source(ObjectKey),
}

/// Tells the two controllers what to reconcile.
#[derive(Debug, Clone)]
pub(crate) struct Waker {
    sinks: Sender<ObjectKey>,
    sources: Sender<ObjectKey>,
    /// Before the controllers start there is nobody to wake, and when they do, they begin with
    /// everything that there is.
    awake: Arc<AtomicBool>,
}

/// The controllers' ends.
pub(crate) struct Wakes {
    pub(crate) sinks: Receiver<ObjectKey>,
    pub(crate) sources: Receiver<ObjectKey>,
}

impl Waker {
    /// A waker, and what it wakes.
    pub(crate) fn new() -> (Self, Wakes) {
        let (sinks, sink_queue) = mpsc::channel(QUEUE_LENGTH);
        let (sources, source_queue) = mpsc::channel(QUEUE_LENGTH);
        let waker = Self {
            sinks,
            sources,
            awake: Arc::default(),
        };
        let queues = Wakes {
            sinks: sink_queue,
            sources: source_queue,
        };
        (waker, queues)
    }

    /// From now on wakes are passed on.
    pub(crate) fn start(&self) {
        self.awake.store(true, Ordering::Release);
    }

    /// Has the object reconciled soon.
    pub(crate) async fn send(&self, wake: Wake) {
        if !self.awake.load(Ordering::Acquire) {
            return;
        }
        // A closed queue means that the operator ends.
        let (Ok(()) | Err(_)) = match wake {
            Wake::Sink(key) => self.sinks.send(key).await,
            Wake::Source(key) => self.sources.send(key).await,
        };
    }
}
