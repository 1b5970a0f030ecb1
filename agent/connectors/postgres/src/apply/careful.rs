//! Finding the row that the server refuses.
//!
//! What failed as a whole is tried again in parts, in source order, each inside a savepoint, and a
//! part that fails in halves, until what fails is a single change. That one is taken along by the
//! next change of its row, if there is one in the group, and is kept as a dead letter otherwise, or
//! stops its table. A part of which changes were kept aside that others of the same row follow counts
//! as failed, too.

use std::ops::Range;

use sluice_core::{Row, RowChange};

use crate::{
    apply::{
        Attempt, Failure, SharedPlan, Tally, Target, chunk::RowsMode, segment::Group, sets::Inserts,
    },
    dead_letter::{
        Cause, DeadLetter,
        parcel::{DELETE, Parcel, key_of},
        successors::Successors,
    },
};

/// How many parts there are at first.
const FIRST_PARTS: usize = 8;
const SAVEPOINT: &str = "SAVEPOINT sluice_part";
const RELEASE: &str = "RELEASE SAVEPOINT sluice_part";
const ROLL_BACK: &str = "ROLLBACK TO SAVEPOINT sluice_part; RELEASE SAVEPOINT sluice_part";

/// What became of a part.
enum Outcome {
    /// It is applied, but for what the letters hold.
    Applied {
        tally: Tally,
        /// Whether changes of a row were applied one after another.
        one_by_one: bool,
    },
    /// Something of it is refused.
    Refused(Cause),
}

/// Applies a group that failed as a whole.
pub(crate) async fn apply_events(target: Target<'_>, group: &Group<'_>) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    // Copies, which share their rows: a change that takes another along differs from the source's.
    let events = group.events.iter().map(|&event| Some(event.clone()));
    let mut events: Vec<Option<RowChange>> = events.collect();
    let mut successors = None;
    let mut parts = parts_of(events.len());
    while let Some(part) = parts.pop() {
        let present: Vec<&RowChange> = events[part.clone()].iter().flatten().collect();
        if present.is_empty() {
            continue;
        }
        target.run(SAVEPOINT).await?;
        let outcome = attempt(target, group, &present).await?;
        let judged = match outcome {
            Outcome::Refused(cause) => Err(cause),
            Outcome::Applied { tally, .. } if tally.letters.is_empty() => Ok(tally),
            Outcome::Applied { tally, one_by_one } => {
                let successors = successors.get_or_insert_with(|| Successors::new(&events));
                let in_turn = part.len() == 1 || !one_by_one;
                judge(tally, successors, part.end - 1, in_turn)
            }
        };
        match judged {
            Ok(counts) => {
                target.run(RELEASE).await?;
                tally.add(counts);
            }
            Err(cause) if part.len() == 1 => {
                target.run(ROLL_BACK).await?;
                let successors = successors.get_or_insert_with(|| Successors::new(&events));
                let letter = pass_on(successors, &mut events, part.start, cause);
                tally.letters.extend(letter);
                // What is left to be done at once.
                if events[part.start].is_some() {
                    parts.push(part);
                }
            }
            Err(_) => {
                target.run(ROLL_BACK).await?;
                halve(&mut parts, &part);
            }
        }
    }
    Ok(tally)
}

/// Refuses a part whose letters are of rows that change again, inside of it or behind its last place.
fn judge(
    mut tally: Tally,
    successors: &Successors,
    last: usize,
    in_turn: bool,
) -> Result<Tally, Cause> {
    let is_last = |letter: &DeadLetter| successors.is_last(last, letter.parcel());
    if in_turn && tally.letters.iter().all(is_last) {
        return Ok(tally);
    }
    match tally.letters.pop() {
        Some(letter) => Err(letter.into_cause()),
        None => Ok(tally),
    }
}

/// Tries a part.
async fn attempt<'a>(
    target: Target<'a>,
    group: &Group<'a>,
    events: &[&'a RowChange],
) -> Result<Outcome, Failure> {
    let mut attempt = Attempt::new(target);
    let applied = attempt.apply_group(group, events, Inserts::Upsert).await;
    let outcome = match applied {
        Ok(()) => attempt.settle().await,
        failed => failed,
    };
    match outcome {
        Ok(()) => Ok(Outcome::Applied {
            tally: attempt.tally,
            one_by_one: attempt.one_by_one || group.ordered(),
        }),
        Err(Failure::Content(table, refusal)) => {
            if events.len() == 1 {
                target.check_refusal(&table, &refusal)?;
            }
            Ok(Outcome::Refused(refusal.cause()))
        }
        Err(other) => Err(other),
    }
}

/// Has the next change of a refused change's row take it along; a letter where there is none. Leaves
/// in its place what must not wait: the removal of the row as it was, where another takes its key.
fn pass_on(
    successors: &Successors,
    events: &mut [Option<RowChange>],
    at: usize,
    cause: Cause,
) -> Option<DeadLetter> {
    let event = events[at].take()?;
    let mut parcel = Parcel::of_change(&event);
    let table = &event.table;
    let written = parcel.writes.as_ref().map(|row| key_of(table, row));
    let removed = parcel.removes.clone();
    let keys = [written.as_ref(), removed.as_ref()];
    for next in successors.after(at, table, keys.into_iter().flatten()) {
        let Some(later) = &events[next.place] else {
            continue;
        };
        if parcel.writes.is_some() && next.changes(written.as_ref()) {
            events[next.place] = parcel.carried_by(later);
            return None;
        }
        if next.comes_to(written.as_ref()) {
            parcel.writes = None;
        }
        if table.has_key() && parcel.removes.is_some() && next.touches(removed.as_ref()) {
            if parcel.operation == DELETE {
                // Refused as such: the row that comes is written over the one that is there.
                events[next.place] = parcel.carried_by(later);
            } else {
                events[at] = parcel.removal(&event);
            }
            parcel.removes = None;
        }
        if parcel.writes.is_none() && parcel.removes.is_none() {
            return None;
        }
    }
    Some(DeadLetter::of_parcel(&event, parcel, cause))
}

/// Applies rows of a snapshot that failed as a whole.
pub(crate) async fn apply_rows<'e>(
    target: Target<'e>,
    plan: &SharedPlan,
    rows: &'e [Row],
    mode: RowsMode,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let mut parts = parts_of(rows.len());
    while let Some(part) = parts.pop() {
        target.run(SAVEPOINT).await?;
        let mut attempt = Attempt::new(target);
        let outcome = attempt.put_rows(plan, &rows[part.clone()], mode).await;
        match outcome {
            Ok(()) => {
                target.run(RELEASE).await?;
                tally.add(attempt.tally);
            }
            Err(Failure::Content(table, refusal)) if part.len() == 1 => {
                target.run(ROLL_BACK).await?;
                target.check_refusal(&table, &refusal)?;
                let row = &rows[part.start];
                let letter = DeadLetter::of_row(&plan.source, row, refusal.cause());
                tally.letters.push(letter);
            }
            Err(Failure::Content(..)) => {
                target.run(ROLL_BACK).await?;
                halve(&mut parts, &part);
            }
            Err(other) => return Err(other),
        }
    }
    Ok(tally)
}

/// The parts to begin with, the first one on top.
fn parts_of(count: usize) -> Vec<Range<usize>> {
    let size = count.div_ceil(FIRST_PARTS).max(1);
    let starts = (0..count).step_by(size).rev();
    starts.map(|start| start..count.min(start + size)).collect()
}

fn halve(parts: &mut Vec<Range<usize>>, part: &Range<usize>) {
    let middle = part.start + part.len() / 2;
    parts.push(middle..part.end);
    parts.push(part.start..middle);
}
