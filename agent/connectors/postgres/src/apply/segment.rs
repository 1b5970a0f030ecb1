//! The changes between two barriers: grouped by table, applied inside a savepoint, and tried again
//! differently when something stands in the way.
//!
//! Each try begins from the savepoint. What may follow a failure, in this order: inserts that meet
//! existing rows become upserts; a target's table that somebody altered is looked at again; refused
//! rows are searched for ([`careful`]); the table stops and the others go on.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::join;
use sluice_core::{Error, Result, RowChange, RowOperation, TableId};

use crate::{
    apply::{Attempt, Failure, Savepoint, SharedPlan, Tally, Target, careful, sets::Inserts},
    dead_letter::later::Substitute,
    error::Refusal,
    tables::Tables,
};

/// How many schemas are found by looking through a list.
const RECENT_MAX: usize = 16;

/// Changes that are applied together: those of one table, or those of every table whose triggers or
/// foreign keys fire, in source order.
pub(crate) struct Group<'e> {
    plans: HashMap<TableId, SharedPlan>,
    /// The changes in source order.
    pub(crate) events: Vec<&'e RowChange>,
    ordered: bool,
    inserts: Inserts,
    careful: bool,
    refreshed: bool,
}

/// Changes between two barriers.
#[derive(Default)]
pub(crate) struct Segment<'e> {
    groups: Vec<Group<'e>>,
    by_table: HashMap<TableId, usize>,
    ordered: Option<usize>,
    /// The groups of the last changes, by their schemas' addresses: neighbours mostly share them.
    recent: Vec<(usize, usize)>,
}

/// Where a change stands in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    group: usize,
    index: usize,
}

/// What applying a segment came to.
#[derive(Default)]
pub(crate) struct SegmentOutcome {
    pub(crate) tally: Tally,
    pub(crate) stopped: Vec<(TableId, Error)>,
}

impl Group<'_> {
    /// Whether its changes are applied in source order.
    pub(crate) fn ordered(&self) -> bool {
        self.ordered
    }
}

impl<'e> Segment<'e> {
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The tables concerned.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &TableId> {
        self.groups.iter().flat_map(|group| group.plans.keys())
    }

    /// Adds a change whose table has the same schema, by address, as an earlier one's. Answers
    /// whether it did.
    pub(crate) fn push_again(&mut self, event: &'e RowChange) -> bool {
        let address = Arc::as_ptr(&event.table) as usize;
        let recent = self.recent.iter().find(|(known, _)| *known == address);
        let Some(&(_, group)) = recent else {
            return false;
        };
        self.groups[group].events.push(event);
        true
    }

    /// Adds a change.
    pub(crate) fn push(&mut self, event: &'e RowChange, plan: &SharedPlan) {
        let next = self.groups.len();
        let group = if plan.guarded {
            *self.ordered.get_or_insert(next)
        } else {
            *self.by_table.entry(event.table.id.clone()).or_insert(next)
        };
        if group == next {
            self.groups.push(Group {
                plans: HashMap::new(),
                events: Vec::new(),
                ordered: plan.guarded,
                inserts: Inserts::Fresh,
                careful: false,
                refreshed: false,
            });
        }
        let found = &mut self.groups[group];
        if !found.plans.contains_key(plan.id()) {
            found.plans.insert(plan.id().clone(), Arc::clone(plan));
        }
        found.events.push(event);
        if self.recent.len() < RECENT_MAX {
            self.recent
                .push((Arc::as_ptr(&event.table) as usize, group));
        }
    }

    /// The changes, each with its place; those of a table in source order.
    pub(crate) fn events(&self) -> impl Iterator<Item = (Place, &'e RowChange)> {
        let groups = self.groups.iter().enumerate();
        groups.flat_map(|(group, content)| {
            let events = content.events.iter().enumerate();
            events.map(move |(index, &event)| (Place { group, index }, event))
        })
    }

    /// Puts changes in the places of others.
    pub(crate) fn substitute(&mut self, substitutes: &'e [Substitute<Place>]) {
        let mut ordered: Vec<_> = substitutes.iter().collect();
        // From the end, so that the places before stay what they are.
        ordered.sort_unstable_by_key(|substitute| std::cmp::Reverse(substitute.place));
        for Substitute { place, changes } in ordered {
            let events = &mut self.groups[place.group].events;
            drop(events.splice(place.index..=place.index, changes));
        }
    }

    /// Applies the changes. Fails only when nothing can go on over this session.
    pub(crate) async fn apply(
        mut self,
        target: Target<'e>,
        tables: &mut Tables,
        savepoint: &mut Savepoint,
    ) -> Result<SegmentOutcome> {
        let mut outcome = SegmentOutcome::default();
        // Nothing waits for the savepoint but the error that needs it.
        let set = target.run(savepoint.advance());
        let (set, mut attempt) = join(set, self.attempt(target)).await;
        set.map_err(Failure::fatal)?;
        loop {
            let failure = match attempt {
                Ok(tally) => {
                    outcome.tally = tally;
                    return Ok(outcome);
                }
                Err(Failure::Session(error)) => return Err(error),
                Err(failure) => failure,
            };
            let back = target.run(Savepoint::ROLL_BACK).await;
            back.map_err(Failure::fatal)?;
            let stopped = match failure {
                Failure::Content(table, refusal) => {
                    self.after_refusal(target, tables, &table, &refusal).await?
                }
                Failure::Table(table, error) => {
                    self.after_trouble(target, tables, table, error).await?
                }
                Failure::OutOfTurn(table) => {
                    let Some(group) = self.group_of(&table) else {
                        return Err(unknown_table(&table));
                    };
                    group.careful = true;
                    None
                }
                Failure::Session(error) => return Err(error),
            };
            if let Some((table, error)) = stopped {
                self.drop_table(&table);
                outcome.stopped.push((table, error));
            }
            attempt = self.attempt(target).await;
        }
    }

    async fn attempt(&self, target: Target<'e>) -> Result<Tally, Failure> {
        let mut attempt = Attempt::new(target);
        for group in self.groups.iter().filter(|group| !group.careful) {
            let letters = attempt.tally.letters.len();
            attempt.one_by_one = group.ordered;
            attempt
                .apply_group(group, &group.events, group.inserts)
                .await?;
            if attempt.one_by_one && group.events.len() > 1 {
                attempt.settle().await?;
                if attempt.tally.letters.len() > letters {
                    return Err(Failure::OutOfTurn(group.events[0].table.id.clone()));
                }
            }
        }
        attempt.settle().await?;
        let mut tally = attempt.tally;
        for group in self.groups.iter().filter(|group| group.careful) {
            tally.add(careful::apply_events(target, group).await?);
        }
        Ok(tally)
    }

    async fn after_refusal(
        &mut self,
        target: Target<'e>,
        tables: &mut Tables,
        table: &TableId,
        refusal: &Refusal,
    ) -> Result<Option<(TableId, Error)>> {
        if let Some(stopped) = self.refresh(target, tables, table).await? {
            return Ok(Some(stopped));
        }
        let Some(group) = self.group_of(table) else {
            return Err(unknown_table(table));
        };
        if refusal.is_unique_violation() && group.inserts == Inserts::Fresh {
            group.inserts = Inserts::Upsert;
        } else {
            group.careful = true;
        }
        Ok(None)
    }

    async fn after_trouble(
        &mut self,
        target: Target<'e>,
        tables: &mut Tables,
        table: TableId,
        error: Error,
    ) -> Result<Option<(TableId, Error)>> {
        let looked_before = self.group_of(&table).is_none_or(|group| group.refreshed);
        let before = self.plan_of(&table);
        if let Some(stopped) = self.refresh(target, tables, &table).await? {
            return Ok(Some(stopped));
        }
        let after = self.plan_of(&table);
        let changed = match (before, after) {
            (Some(before), Some(after)) => !Arc::ptr_eq(&before, &after),
            _ => false,
        };
        if changed && !looked_before {
            return Ok(None);
        }
        Ok(Some((table, error)))
    }

    /// Looks once at what the target's table is by now.
    async fn refresh(
        &mut self,
        target: Target<'e>,
        tables: &mut Tables,
        table: &TableId,
    ) -> Result<Option<(TableId, Error)>> {
        let Some(group) = self.group_of(table) else {
            return Ok(None);
        };
        if std::mem::replace(&mut group.refreshed, true) {
            return Ok(None);
        }
        match tables.refresh(target.session, table).await {
            Ok(plan) => {
                group.plans.insert(table.clone(), plan);
                Ok(None)
            }
            Err(error) if error.class() == sluice_core::Class::StopTable => {
                Ok(Some((table.clone(), error)))
            }
            Err(error) => Err(error),
        }
    }

    fn plan_of(&mut self, table: &TableId) -> Option<SharedPlan> {
        self.group_of(table)?.plans.get(table).cloned()
    }

    fn group_of(&mut self, table: &TableId) -> Option<&mut Group<'e>> {
        self.groups
            .iter_mut()
            .find(|group| group.plans.contains_key(table))
    }

    fn drop_table(&mut self, table: &TableId) {
        for group in &mut self.groups {
            group.plans.remove(table);
            group.events.retain(|event| event.table.id != *table);
        }
        self.groups.retain(|group| !group.plans.is_empty());
    }
}

impl<'e> Attempt<'e> {
    /// Applies some of a group's changes.
    pub(crate) async fn apply_group(
        &mut self,
        group: &Group<'e>,
        events: &[&'e RowChange],
        inserts: Inserts,
    ) -> Result<(), Failure> {
        let alike = |a: &&RowChange, b: &&RowChange| {
            let kinds = (&a.operation, &b.operation);
            let same_kind = matches!(
                kinds,
                (RowOperation::Insert { .. }, RowOperation::Insert { .. })
                    | (RowOperation::Update { .. }, RowOperation::Update { .. })
                    | (RowOperation::Delete { .. }, RowOperation::Delete { .. })
            );
            !group.ordered || same_kind && a.table.id == b.table.id
        };
        for run in events.chunk_by(alike) {
            let table = &run[0].table.id;
            let Some(plan) = group.plans.get(table) else {
                return Err(Failure::Session(unknown_table(table)));
            };
            self.apply(plan, run, inserts).await?;
            if group.ordered {
                self.settle().await?;
            }
        }
        Ok(())
    }
}

impl Failure {
    /// The error, where the failure can't be a table's own.
    pub(crate) fn fatal(self) -> Error {
        match self {
            Self::Session(error) | Self::Table(_, error) => error,
            Self::Content(table, _) | Self::OutOfTurn(table) => unknown_table(&table),
        }
    }
}

fn unknown_table(table: &TableId) -> Error {
    Error::new(
        sluice_core::Reason::Internal,
        format!("table {table} failed outside of its group"),
    )
}
