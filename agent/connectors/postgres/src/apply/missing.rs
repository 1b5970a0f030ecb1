//! Updates whose row is not in the target.

use sluice_core::TableState;

use crate::{
    apply::{
        Attempt, Failure, SharedPlan,
        cells::Arrays,
        inflight::{Encoded, Expected},
    },
    dead_letter::{Cause, DeadLetter},
    netting::{Addition, Update, same_key},
    plan::StatementKey,
};

const PARTIAL: &str = "the row is not in the target and the source logged a part of it only";

impl<'e> Attempt<'e> {
    /// Adds rows that updates did not find. A row of which only a part is known can't be added; it
    /// is kept aside, unless a snapshot is still to bring it.
    pub(crate) async fn add_missing(&mut self, short: Expected<'e>) -> Result<(), Failure> {
        let Expected { plan, updates } = short;
        let (complete, partial): (Vec<_>, Vec<_>) =
            updates.into_iter().partition(|update| update.complete);
        let additions = complete.into_iter().map(|update| Addition {
            row: update.after,
            event: Some(update.event),
        });
        let additions = additions.collect();
        self.add_by_arrays(&plan, StatementKey::AddMissing, additions)
            .await?;
        let state = self.target.states.get(plan.id());
        if partial.is_empty() || matches!(state, Some(TableState::Snapshotting { .. })) {
            return Ok(());
        }
        for update in partial {
            if !self.is_there(&plan, &update).await? {
                let cause = Cause {
                    reason: PARTIAL.into(),
                    summary: PARTIAL.into(),
                    sqlstate: "02000".into(),
                };
                let letter = DeadLetter::of_change(update.event, Some(&update.after), cause);
                self.tally.letters.push(letter);
            }
        }
        Ok(())
    }

    async fn is_there(&mut self, plan: &SharedPlan, update: &Update<'e>) -> Result<bool, Failure> {
        let key = &plan.source.key;
        let row = if same_key(key, update.before, &update.after) {
            update.before
        } else {
            &*update.after
        };
        let mut arrays = Arrays::new(&plan.key, &[]);
        let mut cells = self.cells(plan);
        if arrays.push(plan, &mut cells, row, row).is_err() {
            return Ok(false);
        }
        let client = self.client();
        let found = async {
            let select = StatementKey::Other(plan.select_sql());
            let statement = plan.statement(client, select).await?;
            let parameters = arrays.finish(plan);
            let parameters = parameters.into_iter().map(Encoded);
            client.execute_raw(&statement, parameters).await
        }
        .await;
        match found {
            Ok(count) => Ok(count > 0),
            Err(error) => Err(self.blame(plan.id(), error).await),
        }
    }
}
