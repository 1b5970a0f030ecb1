//! How much a producer's queue holds. librdkafka bounds it by bytes, too, but takes no record that is
//! larger than the whole queue may be.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// About how many bytes of records wait to be written.
const QUEUED_BYTES_MAX: usize = 16 << 20;
/// After how many bytes the queue is looked at.
const LOOK_BYTES: usize = 1 << 20;

/// Keeps count of what goes into a queue that only tells how many records it holds.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// What the last records took on average.
    mean_bytes: AtomicUsize,
    /// What was put into the queue since it was looked at.
    unseen_bytes: AtomicUsize,
}

impl Room {
    /// Whether there is room for one more record. An empty queue has room for any.
    pub(crate) fn has(&self, size_bytes: usize, in_flight: impl FnOnce() -> usize) -> bool {
        if self.unseen_bytes.load(Relaxed) + size_bytes < LOOK_BYTES {
            return true;
        }
        let in_flight = in_flight();
        let queued = in_flight.saturating_mul(self.mean_bytes.load(Relaxed));
        let has = in_flight == 0 || queued.saturating_add(size_bytes) <= QUEUED_BYTES_MAX;
        if has {
            self.unseen_bytes.store(0, Relaxed);
        }
        has
    }

    /// Counts a record that is in the queue now.
    pub(crate) fn count(&self, size_bytes: usize) {
        let mean = self.mean_bytes.load(Relaxed);
        self.mean_bytes
            .store(mean - mean / 64 + size_bytes.div_ceil(64), Relaxed);
        self.unseen_bytes.fetch_add(size_bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{LOOK_BYTES, QUEUED_BYTES_MAX, Room};

    #[test]
    fn small_records_fill_the_queue_up_to_its_bytes() {
        let room = Room::default();
        let mut queued = 0;
        while room.has(100, || queued) {
            room.count(100);
            queued += 1;
            assert!(queued < 1_000_000, "the queue never fills");
        }
        let bytes = queued * 100;
        assert!(bytes > QUEUED_BYTES_MAX / 2, "{bytes}");
        assert!(bytes <= QUEUED_BYTES_MAX + LOOK_BYTES, "{bytes}");
        assert!(room.has(100, || queued / 2), "half of it is written");
    }

    #[test]
    fn a_record_larger_than_the_queue_waits_until_it_is_alone() {
        let room = Room::default();
        room.count(100);
        assert!(!room.has(60 << 20, || 1));
        assert!(room.has(60 << 20, || 0));
        room.count(60 << 20);
        assert!(!room.has(60 << 20, || 1));
    }
}
