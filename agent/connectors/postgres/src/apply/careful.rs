//! Finding the row that the server refuses.
//!
//! What failed as a whole is tried again in parts, in source order, each inside a savepoint, and a
//! part that fails in halves, until what fails is a single change. That one is kept as a dead
//! letter, or stops its table.

use sluice_core::Row;

use crate::{
    apply::{
        Attempt, Failure, SharedPlan, Tally, Target, chunk::RowsMode, segment::Group, sets::Inserts,
    },
    dead_letter::DeadLetter,
};

/// How many parts there are at first.
const FIRST_PARTS: usize = 8;
const SAVEPOINT: &str = "SAVEPOINT sluice_part";
const RELEASE: &str = "RELEASE SAVEPOINT sluice_part";
const ROLL_BACK: &str = "ROLLBACK TO SAVEPOINT sluice_part; RELEASE SAVEPOINT sluice_part";

/// Applies a group that failed as a whole.
pub(crate) async fn apply_events<'e>(
    target: Target<'e>,
    group: &Group<'e>,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let mut parts = parts_of(&group.events);
    while let Some(part) = parts.pop() {
        target.run(SAVEPOINT).await?;
        let mut attempt = Attempt::new(target);
        let applied = attempt.apply_group(group, part, Inserts::Upsert).await;
        let outcome = match applied {
            Ok(()) => attempt.settle().await,
            failed => failed,
        };
        match (outcome, part) {
            (Ok(()), _) => {
                target.run(RELEASE).await?;
                tally.add(attempt.tally);
            }
            (Err(Failure::Content(table, refusal)), [event]) => {
                target.run(ROLL_BACK).await?;
                target.check_refusal(&table, &refusal)?;
                let letter = DeadLetter::of_change(event, None, refusal.cause());
                tally.letters.push(letter);
            }
            (Err(Failure::Content(..)), _) => {
                target.run(ROLL_BACK).await?;
                halve(&mut parts, part);
            }
            (Err(other), _) => return Err(other),
        }
    }
    Ok(tally)
}

/// Applies rows of a snapshot that failed as a whole.
pub(crate) async fn apply_rows<'e>(
    target: Target<'e>,
    plan: &SharedPlan,
    rows: &'e [Row],
    mode: RowsMode,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let mut parts = parts_of(rows);
    while let Some(part) = parts.pop() {
        target.run(SAVEPOINT).await?;
        let mut attempt = Attempt::new(target);
        let outcome = attempt.put_rows(plan, part, mode).await;
        match (outcome, part) {
            (Ok(()), _) => {
                target.run(RELEASE).await?;
                tally.add(attempt.tally);
            }
            (Err(Failure::Content(table, refusal)), [row]) => {
                target.run(ROLL_BACK).await?;
                target.check_refusal(&table, &refusal)?;
                let letter = DeadLetter::of_row(&plan.source, row, refusal.cause());
                tally.letters.push(letter);
            }
            (Err(Failure::Content(..)), _) => {
                target.run(ROLL_BACK).await?;
                halve(&mut parts, part);
            }
            (Err(other), _) => return Err(other),
        }
    }
    Ok(tally)
}

/// The parts to begin with, the first one on top.
fn parts_of<T>(all: &[T]) -> Vec<&[T]> {
    let size = all.len().div_ceil(FIRST_PARTS).max(1);
    all.chunks(size).rev().collect()
}

fn halve<'s, T>(parts: &mut Vec<&'s [T]>, part: &'s [T]) {
    let (first, second) = part.split_at(part.len() / 2);
    parts.push(second);
    parts.push(first);
}
