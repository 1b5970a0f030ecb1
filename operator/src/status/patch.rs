//! When a status is worth a write.
//!
//! A change of phase, or of a condition's status or reason, is written at once; anything else that
//! a reader cares about every few seconds at most; and figures that merely drift once a minute.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Condition,
    jiff::{SignedDuration, Timestamp},
};
use sluice_crds::{
    ReplicaSinkStatus, ReplicationSourceStatus,
    status::{KafkaProgress, Lag, LastError, Phase, Rate, SnapshotProgress, TableCounts},
};

/// Between two writes of one object, transitions aside.
pub(crate) const INTERVAL: SignedDuration = SignedDuration::from_secs(3);
/// Between two writes that bring nothing but drifting figures.
pub(crate) const DRIFT_INTERVAL: SignedDuration = SignedDuration::from_secs(60);

/// A lag that changes by less than this is the same lag.
const LAG_SECONDS_DRIFT: f64 = 2.0;

/// Whether a status should be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patch {
    /// The server has it already.
    Unneeded,
    /// Now.
    Now,
    /// At this time, unless something more important happens before.
    At(Timestamp),
}

/// Everything of a status that both kinds have.
struct View<'a> {
    phase: Option<Phase>,
    conditions: &'a [Condition],
    position: Option<&'a str>,
    lag: Option<&'a Lag>,
    snapshot: Option<&'a SnapshotProgress>,
    rate: Option<&'a Rate>,
    last_error: Option<&'a LastError>,
    tables: Option<&'a TableCounts>,
    dead_letters: Option<i64>,
    /// Topics and their partitions.
    kafka: Option<(i32, i32)>,
    /// What is left, as a whole: identity and counts that change rarely.
    rest: Rest<'a>,
}

/// Generation, what the resource is of, counts of replicas, and the selector for them.
type Rest<'a> = (
    Option<i64>,
    Option<&'a str>,
    [Option<i32>; 2],
    Option<&'a str>,
);

/// A status that can be weighed.
pub(crate) trait Weighed: PartialEq {
    /// How much it matters that this status becomes the next one.
    fn weigh(&self, next: &Self) -> Weight;
}

/// How much a change matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// Nothing changed.
    None,
    /// Figures drifted.
    Drift,
    /// Something that a reader cares about.
    Change,
    /// The pipeline is in another state.
    Transition,
}

impl Weighed for ReplicaSinkStatus {
    fn weigh(&self, next: &Self) -> Weight {
        weigh(self == next, &sink(self), &sink(next))
    }
}

impl Weighed for ReplicationSourceStatus {
    fn weigh(&self, next: &Self) -> Weight {
        weigh(self == next, &source(self), &source(next))
    }
}

/// Whether `next` should be written where the server has `previous` since `last_patch_at`.
pub(crate) fn patch_due<S: Weighed>(
    previous: Option<&S>,
    next: &S,
    last_patch_at: Option<Timestamp>,
    now: Timestamp,
) -> Patch {
    let weight = previous.map_or(Weight::Transition, |previous| previous.weigh(next));
    let interval = match weight {
        Weight::None => return Patch::Unneeded,
        Weight::Transition => return Patch::Now,
        Weight::Change => INTERVAL,
        Weight::Drift => DRIFT_INTERVAL,
    };
    match last_patch_at {
        Some(last) if now.duration_since(last) < interval => Patch::At(last + interval),
        _ => Patch::Now,
    }
}

fn weigh<'a>(same: bool, previous: &View<'a>, next: &View<'a>) -> Weight {
    if same {
        return Weight::None;
    }
    let same_states = same_conditions(previous, next, |one| {
        (&*one.type_, &*one.status, &*one.reason)
    });
    if previous.phase != next.phase || !same_states {
        return Weight::Transition;
    }
    if is_change(previous, next) {
        return Weight::Change;
    }
    Weight::Drift
}

fn is_change<'a>(previous: &View<'a>, next: &View<'a>) -> bool {
    let same_conditions = same_conditions(previous, next, |one| {
        (one.observed_generation, &*one.message)
    });
    let error = |view: &View<'a>| {
        let error = view.last_error;
        error.map(|error| (&*error.reason, &*error.message))
    };
    previous.rest != next.rest
        || !same_conditions
        || error(previous) != error(next)
        || previous.tables != next.tables
        || previous.dead_letters != next.dead_letters
        || previous.kafka != next.kafka
        || previous.position.is_some() != next.position.is_some()
        || has_moved(previous.lag, next.lag)
        || has_started_or_stopped(previous.rate, next.rate)
        || percent(previous) != percent(next)
}

/// Whether there are the same conditions by this measure. Nothing is copied: every pipeline's are
/// compared every few seconds.
fn same_conditions<'a, T: PartialEq>(
    previous: &View<'a>,
    next: &View<'a>,
    measure: impl Fn(&'a Condition) -> T,
) -> bool {
    let (previous, next) = (previous.conditions.iter(), next.conditions.iter());
    previous.map(&measure).eq(next.map(&measure))
}

/// Whether the lag is another one, and not only the jitter of the same.
fn has_moved(previous: Option<&Lag>, next: Option<&Lag>) -> bool {
    let seconds = |lag: Option<&Lag>| lag.and_then(|lag| lag.seconds);
    match (seconds(previous), seconds(next)) {
        (Some(previous), Some(next)) => {
            let change = (previous - next).abs();
            change > LAG_SECONDS_DRIFT && change > previous.max(next) / 4.0
        }
        (None, None) => previous.is_some() != next.is_some(),
        _ => true,
    }
}

fn has_started_or_stopped(previous: Option<&Rate>, next: Option<&Rate>) -> bool {
    previous.is_some() != next.is_some()
}

fn percent(view: &View<'_>) -> Option<(i32, i32, i32)> {
    let snapshot = view.snapshot?;
    Some((
        snapshot.percent,
        snapshot.tables_done,
        snapshot.tables_total,
    ))
}

fn counts(kafka: &KafkaProgress) -> (i32, i32) {
    (kafka.topics, kafka.partitions)
}

fn sink(status: &ReplicaSinkStatus) -> View<'_> {
    View {
        phase: status.phase,
        conditions: &status.conditions,
        position: status.position.as_deref(),
        lag: status.lag.as_ref(),
        snapshot: status.snapshot.as_ref(),
        rate: status.rate.as_ref(),
        last_error: status.last_error.as_ref(),
        tables: status.tables.as_ref(),
        dead_letters: status.dead_letters,
        kafka: status.kafka.as_ref().map(counts),
        rest: (
            status.observed_generation,
            status.target.as_deref(),
            [status.replicas, status.ready_replicas],
            status.selector.as_deref(),
        ),
    }
}

fn source(status: &ReplicationSourceStatus) -> View<'_> {
    View {
        phase: status.phase,
        conditions: &status.conditions,
        position: status.position.as_deref(),
        lag: status.lag.as_ref(),
        snapshot: status.snapshot.as_ref(),
        rate: status.rate.as_ref(),
        last_error: status.last_error.as_ref(),
        tables: None,
        dead_letters: None,
        kafka: status.kafka.as_ref().map(counts),
        rest: (
            status.observed_generation,
            status.kind.as_deref(),
            [None; 2],
            None,
        ),
    }
}

#[cfg(test)]
mod tests;
