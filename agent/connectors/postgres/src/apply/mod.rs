//! Applying rows: changes as netted sets, snapshot chunks as COPY.
//!
//! Data passes like this: a [`segment`] of changes between two barriers is grouped by table, each
//! group is netted ([`crate::netting`]) and becomes a few statements on parameter arrays
//! ([`cells`], [`inflight`]) or a COPY ([`copy`]). An [`Attempt`] is one try at this inside a
//! savepoint; it counts what it did, and its counts are thrown away with it. When the server
//! refuses a row, the group is tried again in halves ([`careful`]) until the row is alone.

pub(crate) mod bulk;
pub(crate) mod careful;
pub(crate) mod cells;
pub(crate) mod chunk;
pub(crate) mod copy;
pub(crate) mod inflight;
pub(crate) mod keyless;
pub(crate) mod missing;
pub(crate) mod segment;
pub(crate) mod sets;

use std::{collections::BTreeMap, sync::Arc};

use sluice_agent_api::config::{OnBadRecord, Unrepresentable};
use sluice_core::{Error, Reason, Row, RowChange, SnapshotState, TableId};
use tokio_postgres::Client;

use crate::{
    connect::Session,
    dead_letter::{Cause, DeadLetter},
    error::{Refusal, Trouble, classify_apply},
    netting::Addition,
    settings::Settings,
};
use cells::{CellWriter, Misfit};
use inflight::{Failed, InFlight};

/// Where rows go and under which policies.
#[derive(Clone, Copy)]
pub(crate) struct Target<'e> {
    pub(crate) session: &'e Session,
    pub(crate) settings: &'e Settings,
    /// How far each table's copy was at the last commit.
    pub(crate) states: &'e SnapshotState,
}

/// What an attempt counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Values written as NULL, by table and column.
    pub(crate) nulled: BTreeMap<(TableId, String), u64>,
    /// Refused records.
    pub(crate) letters: Vec<DeadLetter>,
}

impl Tally {
    /// Takes another's counts over.
    pub(crate) fn add(&mut self, other: Self) {
        for (column, count) in other.nulled {
            *self.nulled.entry(column).or_default() += count;
        }
        self.letters.extend(other.letters);
    }

    /// Takes the counts of a writer over.
    pub(crate) fn add_nulled(&mut self, plan: &crate::plan::Plan, cells: &CellWriter) {
        for (column, &count) in plan.columns.iter().zip(&cells.nulled) {
            if count > 0 {
                let name = (plan.id().clone(), column.source_name.clone());
                *self.nulled.entry(name).or_default() += count;
            }
        }
    }
}

/// The savepoint to which a failed attempt goes back; there is one at a time in a transaction.
#[derive(Debug, Default)]
pub(crate) struct Savepoint {
    is_set: bool,
}

impl Savepoint {
    /// Goes back to it; it stays.
    pub(crate) const ROLL_BACK: &'static str = "ROLLBACK TO SAVEPOINT sluice";

    /// The statements that move it to here.
    pub(crate) fn advance(&mut self) -> &'static str {
        if std::mem::replace(&mut self.is_set, true) {
            "RELEASE SAVEPOINT sluice; SAVEPOINT sluice"
        } else {
            "SAVEPOINT sluice"
        }
    }
}

/// Why an attempt ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server refuses a row of this table for its content.
    Content(TableId, Refusal),
    /// This table can't go on.
    Table(TableId, Error),
    /// Nothing can go on over this session.
    Session(Error),
    /// Changes were applied one by one and some were kept aside: what comes later of the same rows
    /// has to be looked at in its order.
    OutOfTurn(TableId),
}

/// One try at applying rows, inside a savepoint.
pub(crate) struct Attempt<'e> {
    pub(crate) target: Target<'e>,
    pub(crate) flight: InFlight<'e>,
    pub(crate) tally: Tally,
    /// Whether changes of a row were applied one after another, and not as one.
    pub(crate) one_by_one: bool,
}

impl<'e> Attempt<'e> {
    pub(crate) fn new(target: Target<'e>) -> Self {
        Self {
            target,
            flight: InFlight::new(&target.session.client),
            tally: Tally::default(),
            one_by_one: false,
        }
    }

    pub(crate) fn client(&self) -> &'e Client {
        &self.target.session.client
    }

    pub(crate) fn cells(&self, plan: &crate::plan::Plan) -> CellWriter {
        CellWriter::new(plan, self.target.settings.unrepresentable)
    }

    /// Turns an error of a statement into a failure.
    pub(crate) fn failure(&self, failed: Failed) -> Failure {
        self.target.failure(&failed.table, failed.error)
    }

    /// Turns an error of a statement outside of the queue into a failure, unless an earlier one of
    /// the queue is to blame.
    pub(crate) async fn blame(&mut self, table: &TableId, error: tokio_postgres::Error) -> Failure {
        let failed = self.flight.blame(table, error).await;
        self.failure(failed)
    }

    /// Keeps a change aside that holds a value which the target can't.
    pub(crate) fn set_aside(
        &mut self,
        plan: &SharedPlan,
        event: &RowChange,
        after: Option<&Row>,
        misfit: &Misfit,
    ) -> Result<(), Failure> {
        self.target.check_misfit(plan.id(), misfit)?;
        let letter = DeadLetter::of_change(event, after, misfit.cause());
        self.tally.letters.push(letter);
        Ok(())
    }

    /// Keeps a row aside that was to be added and holds such a value.
    pub(crate) fn set_addition_aside(
        &mut self,
        plan: &SharedPlan,
        addition: &Addition<'_>,
        misfit: &Misfit,
    ) -> Result<(), Failure> {
        self.target.check_misfit(plan.id(), misfit)?;
        let cause = misfit.cause();
        let letter = match addition.event {
            Some(event) => DeadLetter::of_addition(event, &addition.row, cause),
            None => DeadLetter::of_row(&plan.source, &addition.row, cause),
        };
        self.tally.letters.push(letter);
        Ok(())
    }
}

impl Target<'_> {
    /// Turns an error of a statement into a failure.
    pub(crate) fn failure(&self, table: &TableId, error: tokio_postgres::Error) -> Failure {
        match classify_apply(&self.session.address, table, error) {
            Trouble::Content(refusal) => Failure::Content(table.clone(), refusal),
            Trouble::Table(error) => Failure::Table(table.clone(), error),
            Trouble::Session(error) => Failure::Session(error),
        }
    }

    /// Fails where the policy for values that the target can't hold is to stop.
    pub(crate) fn check_misfit(&self, table: &TableId, misfit: &Misfit) -> Result<(), Failure> {
        if self.settings.unrepresentable != Unrepresentable::Fail {
            return Ok(());
        }
        let message = format!(
            "table {table}: column {}: {}",
            misfit.column, misfit.reason.0
        );
        let error = Error::new(Reason::RowRefused, message)
            .with_table(table.clone())
            .with_hint(format!(
                "set unrepresentable: Null or DeadLetter, or mend the value in the source; then \
                 sluice run --resnapshot {table}"
            ));
        Err(Failure::Table(table.clone(), error))
    }

    /// Fails where the policy for refused records is to stop.
    pub(crate) fn check_refusal(&self, table: &TableId, refusal: &Refusal) -> Result<(), Failure> {
        if self.settings.on_bad_record == OnBadRecord::DeadLetter {
            return Ok(());
        }
        let message = format!(
            "table {table}: the target refuses a row: {} (SQLSTATE {})",
            refusal.object, refusal.sqlstate
        );
        let error = Error::new(Reason::RowRefused, message)
            .with_table(table.clone())
            .with_hint(format!(
                "set errors.onBadRecord: DeadLetter, or mend the row or the target; then \
                 sluice run --resnapshot {table}"
            ));
        Err(Failure::Table(table.clone(), error))
    }

    /// Runs plain statements of Sluice's own.
    pub(crate) async fn run(&self, statements: &str) -> Result<(), Failure> {
        let done = self.session.client.batch_execute(statements).await;
        done.map_err(|error| Failure::Session(self.session.error(error)))
    }
}

impl Misfit {
    /// The reason for a dead letter.
    pub(crate) fn cause(&self) -> Cause {
        let reason = format!("column {}: {}", self.column, self.reason.0);
        Cause {
            summary: reason.clone(),
            reason,
            sqlstate: "22000".into(),
        }
    }
}

impl Refusal {
    /// The reason for a dead letter.
    pub(crate) fn cause(&self) -> Cause {
        Cause {
            reason: self.message.clone(),
            summary: self.object.clone(),
            sqlstate: self.sqlstate.clone(),
        }
    }
}

/// A plan that several statements share.
pub(crate) type SharedPlan = Arc<crate::plan::Plan>;
