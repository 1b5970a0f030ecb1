//! Netted changes of one table as statements: removals, then updates, then additions.
//!
//! Rows travel as parameter arrays, a few thousand per statement, sorted by key so that the index
//! is walked in order. Many new rows go in by COPY; huge ones always travel by COPY, through a
//! staging table where they change rows that exist. Where other unique indexes could be in the way
//! of a set, rows that touch them are removed first and added last; where even that won't do, the
//! changes are applied one by one.

use std::{cmp::Ordering, sync::Arc};

use sluice_agent_api::config::Deletes;
use sluice_core::{Row, RowChange, RowOperation};

use crate::{
    apply::{Attempt, Failure, SharedPlan, cells::Arrays, inflight::Expected},
    netting::{Addition, InOrder, Layout, Netted, Removal, Update, changed_columns, net},
    plan::{Plan, StatementKey, Unique},
};

pub(crate) const ROWS_PER_STATEMENT: usize = 4096;
const BYTES_PER_STATEMENT: usize = 1 << 20;
/// Fewer new rows are inserted by statement, which takes one round trip instead of two.
pub(crate) const COPY_ROWS_MIN: usize = 200;
/// Rows beyond this never become parameters, which are held in memory several times.
pub(crate) const ROW_BYTES_MAX: usize = 256 << 10;

/// What is known about rows that the source inserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserts {
    /// They are not in the target.
    Fresh,
    /// They may be.
    Upsert,
}

impl<'e> Attempt<'e> {
    /// Applies changes of one table.
    pub(crate) async fn apply(
        &mut self,
        plan: &SharedPlan,
        events: &[&'e RowChange],
        inserts: Inserts,
    ) -> Result<(), Failure> {
        if !plan.has_key() {
            return self.apply_keyless(plan, events).await;
        }
        let layout = Layout {
            key: &plan.source.key,
            columns: &plan.ordinals,
            moves: !plan.guarded && !plan.has_extra_columns,
        };
        let netted = net(layout, events).and_then(|netted| around_unique(plan, netted));
        let Ok(mut netted) = netted else {
            return self.apply_in_order(plan, events).await;
        };
        let key = &plan.source.key;
        netted
            .deletes
            .sort_unstable_by(|a, b| by_key(key, a.key, b.key));
        netted
            .updates
            .sort_unstable_by(|a, b| by_key(key, a.before, b.before));
        netted
            .inserts
            .sort_unstable_by(|a, b| by_key(key, &a.row, &b.row));
        self.remove(plan, netted.deletes).await?;
        self.update(plan, netted.updates, &netted.patterns).await?;
        self.add(plan, netted.inserts, inserts).await
    }

    /// Applies changes one by one in source order.
    async fn apply_in_order(
        &mut self,
        plan: &SharedPlan,
        events: &[&'e RowChange],
    ) -> Result<(), Failure> {
        self.one_by_one = true;
        for &event in events {
            match &event.operation {
                RowOperation::Insert { after } => {
                    let row = std::borrow::Cow::Borrowed(after);
                    let event = Some(event);
                    let addition = Addition { row, event };
                    self.add(plan, vec![addition], Inserts::Upsert).await?;
                }
                RowOperation::Delete { before } => {
                    let removal = Removal {
                        key: before,
                        moved: false,
                    };
                    self.remove(plan, vec![removal]).await?;
                }
                RowOperation::Update { before, after } => {
                    let pattern = changed_columns(&plan.ordinals, before, after);
                    if pattern.is_empty() {
                        continue;
                    }
                    let update = Update {
                        before,
                        after: std::borrow::Cow::Borrowed(after),
                        pattern: 0,
                        complete: !after.has_unchanged(),
                        event,
                    };
                    self.update(plan, vec![update], &[pattern]).await?;
                    // A missing row must be there before the next change of it.
                    self.settle().await?;
                }
            }
        }
        Ok(())
    }

    /// Waits for the statements on their way, and adds rows that updates did not find.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
        loop {
            let settled = self.flight.settle().await;
            settled.map_err(|failed| self.failure(failed))?;
            let Some(short) = self.flight.short.pop() else {
                return Ok(());
            };
            self.add_missing(short).await?;
        }
    }

    async fn remove(
        &mut self,
        plan: &SharedPlan,
        removals: Vec<Removal<'e>>,
    ) -> Result<(), Failure> {
        let (gone, marked): (Vec<_>, Vec<_>) = removals
            .into_iter()
            .partition(|removal| removal.moved || plan.deletes == Deletes::Apply);
        self.by_keys(plan, StatementKey::Delete, &gone).await?;
        if plan.deletes == Deletes::Soft {
            self.by_keys(plan, StatementKey::Mark, &marked).await?;
        }
        Ok(())
    }

    async fn by_keys(
        &mut self,
        plan: &SharedPlan,
        kind: StatementKey,
        removals: &[Removal<'e>],
    ) -> Result<(), Failure> {
        for piece in removals.chunks(ROWS_PER_STATEMENT) {
            let mut arrays = Arrays::new(&plan.key, &[]);
            // A key that the target can't hold names no row there, and is none to count.
            let mut cells = self.cells(plan);
            for removal in piece {
                let _absent = arrays.push(plan, &mut cells, removal.key, removal.key);
            }
            if arrays.rows() > 0 {
                self.send(plan, kind.clone(), arrays, None).await?;
            }
        }
        Ok(())
    }

    async fn update(
        &mut self,
        plan: &SharedPlan,
        updates: Vec<Update<'e>>,
        patterns: &[Box<[usize]>],
    ) -> Result<(), Failure> {
        let mut by_pattern: Vec<Vec<Update<'e>>> = patterns.iter().map(|_| Vec::new()).collect();
        for update in updates {
            by_pattern[update.pattern as usize].push(update);
        }
        for (pattern, updates) in patterns.iter().zip(by_pattern) {
            let (large, small): (Vec<_>, Vec<_>) = updates
                .into_iter()
                .partition(|update| update.after.size_bytes() > ROW_BYTES_MAX);
            self.update_by_arrays(plan, pattern, small).await?;
            if !large.is_empty() {
                self.update_by_stage(plan, pattern, large).await?;
            }
        }
        Ok(())
    }

    async fn update_by_arrays(
        &mut self,
        plan: &SharedPlan,
        pattern: &[usize],
        updates: Vec<Update<'e>>,
    ) -> Result<(), Failure> {
        let mut updates = updates.into_iter().peekable();
        let mut cells = self.cells(plan);
        while updates.peek().is_some() {
            let mut arrays = Arrays::new(&plan.key, pattern);
            let mut sent = Vec::new();
            for update in updates.by_ref() {
                match arrays.push(plan, &mut cells, update.before, &update.after) {
                    Ok(()) => sent.push(update),
                    Err(misfit) => {
                        self.set_aside(plan, update.event, Some(&update.after), &misfit)?;
                    }
                }
                if arrays.rows() >= ROWS_PER_STATEMENT || arrays.bytes() >= BYTES_PER_STATEMENT {
                    break;
                }
            }
            if arrays.rows() > 0 {
                let expected = Expected {
                    plan: Arc::clone(plan),
                    updates: sent,
                };
                let key = StatementKey::Update(pattern.into());
                self.send(plan, key, arrays, Some(expected)).await?;
            }
        }
        self.tally.add_nulled(plan, &cells);
        Ok(())
    }

    /// Adds rows.
    pub(crate) async fn add(
        &mut self,
        plan: &SharedPlan,
        additions: Vec<Addition<'e>>,
        inserts: Inserts,
    ) -> Result<(), Failure> {
        let fresh = inserts == Inserts::Fresh && !plan.inserts_may_exist() && plan.may_copy;
        if fresh && additions.len() >= COPY_ROWS_MIN {
            return self.add_by_copy(plan, &additions).await;
        }
        let (large, small): (Vec<_>, Vec<_>) = additions
            .into_iter()
            .partition(|addition| addition.row.size_bytes() > ROW_BYTES_MAX);
        self.add_by_arrays(plan, StatementKey::Upsert, small)
            .await?;
        if large.is_empty() {
            return Ok(());
        }
        if fresh {
            return self.add_by_copy(plan, &large).await;
        }
        self.upsert_by_stage(plan, large).await
    }

    /// Adds rows by statements on arrays.
    pub(crate) async fn add_by_arrays(
        &mut self,
        plan: &SharedPlan,
        kind: StatementKey,
        additions: Vec<Addition<'e>>,
    ) -> Result<(), Failure> {
        let all: Vec<_> = (0..plan.columns.len()).collect();
        let mut additions = additions.into_iter().peekable();
        let mut cells = self.cells(plan);
        while additions.peek().is_some() {
            let mut arrays = Arrays::new(&[], &all);
            for addition in additions.by_ref() {
                let row = &*addition.row;
                if let Err(misfit) = arrays.push(plan, &mut cells, row, row) {
                    self.set_addition_aside(plan, &addition, &misfit)?;
                }
                if arrays.rows() >= ROWS_PER_STATEMENT || arrays.bytes() >= BYTES_PER_STATEMENT {
                    break;
                }
            }
            if arrays.rows() > 0 {
                self.send(plan, kind.clone(), arrays, None).await?;
            }
        }
        self.tally.add_nulled(plan, &cells);
        Ok(())
    }

    /// Sends a statement on arrays.
    pub(crate) async fn send(
        &mut self,
        plan: &SharedPlan,
        kind: StatementKey,
        arrays: Arrays,
        expected: Option<Expected<'e>>,
    ) -> Result<(), Failure> {
        let statement = match plan.statement(self.client(), kind).await {
            Ok(statement) => statement,
            Err(error) => return Err(self.blame(plan.id(), error).await),
        };
        let parameters = arrays.finish(plan);
        let sent = self
            .flight
            .send(plan.id(), statement, parameters, expected)
            .await;
        sent.map_err(|failed| self.failure(failed))
    }
}

/// Makes room for unique values that change hands: rows that touch another unique index are removed
/// before, and added after, all others.
fn around_unique<'e>(plan: &Plan, mut netted: Netted<'e>) -> Result<Netted<'e>, InOrder> {
    let touches = |columns: &[usize]| match &plan.unique {
        Unique::None => false,
        Unique::Over(marked) => columns.iter().any(|&at| marked[at]),
        Unique::Unknown => true,
    };
    let touching: Vec<bool> = netted.patterns.iter().map(|p| touches(p)).collect();
    if !touching.contains(&true) {
        return Ok(netted);
    }
    let (moving, staying): (Vec<_>, Vec<_>) = netted
        .updates
        .into_iter()
        .partition(|update| touching[update.pattern as usize]);
    netted.updates = staying;
    for update in moving {
        if plan.guarded || plan.has_extra_columns || !update.complete {
            return Err(InOrder);
        }
        netted.deletes.push(Removal {
            key: update.before,
            moved: true,
        });
        netted.inserts.push(Addition {
            row: update.after,
            event: Some(update.event),
        });
    }
    Ok(netted)
}

fn by_key(key: &[usize], a: &Row, b: &Row) -> Ordering {
    key.iter()
        .map(|&at| {
            let values = a.get(at).compare(&b.get(at));
            values.unwrap_or_else(|| a.cell(at).cmp(b.cell(at)))
        })
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}
