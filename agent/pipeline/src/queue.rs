//! The queue between the two loops: bounded by bytes, so that a slow target slows the source down
//! instead of filling the memory.

use std::sync::Arc;

use sluice_core::{ChangeEvent, Position, Watermark};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How many parcels the queue holds at most, whatever their size.
const PARCELS_MAX: usize = 64;

/// Events on their way from intake to apply.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// The events, in order.
    pub(crate) events: Vec<ChangeEvent>,
    /// Set when the parcel ends at a transaction boundary.
    pub(crate) end: Option<ParcelEnd>,
    /// The parcel's share of the queue, given back when it is dropped.
    _share: Option<OwnedSemaphorePermit>,
}

/// What is true once everything up to the end of a parcel is applied.
#[derive(Debug, Clone)]
pub(crate) struct ParcelEnd {
    /// The position to store.
    pub(crate) position: Position,
    /// The same place by the server's own count.
    pub(crate) watermark: Option<Watermark>,
    /// When the last transaction was committed at the source.
    pub(crate) commit_time_micros: Option<i64>,
    /// Whether a table's state changed, so that the position is to be stored even without rows.
    pub(crate) tables_changed: bool,
}

impl ParcelEnd {
    /// The end of two parcels that are applied as one.
    #[must_use]
    pub(crate) fn behind(mut self, older: &Self) -> Self {
        self.commit_time_micros = self.commit_time_micros.or(older.commit_time_micros);
        self.tables_changed |= older.tables_changed;
        self
    }
}

/// The sending end.
#[derive(Debug, Clone)]
pub(crate) struct ParcelSender {
    parcels: mpsc::Sender<Parcel>,
    space: Arc<Semaphore>,
    size_bytes_max: usize,
}

/// Makes a queue of at most about `size_bytes_max` bytes.
pub(crate) fn queue(size_bytes_max: usize) -> (ParcelSender, mpsc::Receiver<Parcel>) {
    let (parcels, receiver) = mpsc::channel(PARCELS_MAX);
    let size_bytes_max = size_bytes_max.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let space = Arc::new(Semaphore::new(size_bytes_max));
    (
        ParcelSender {
            parcels,
            space,
            size_bytes_max,
        },
        receiver,
    )
}

impl ParcelSender {
    /// Waits for room and sends; `false` when nobody receives any more.
    pub(crate) async fn send(&self, events: Vec<ChangeEvent>, end: Option<ParcelEnd>) -> bool {
        let size: usize = events.iter().map(ChangeEvent::size_bytes).sum();
        // A single event larger than the queue takes all of it.
        let share = size.min(self.size_bytes_max) as u32;
        let space = Arc::clone(&self.space);
        let Ok(share) = space.acquire_many_owned(share).await else {
            return false;
        };
        self.parcels
            .send(Parcel {
                events,
                end,
                _share: Some(share),
            })
            .await
            .is_ok()
    }
}
