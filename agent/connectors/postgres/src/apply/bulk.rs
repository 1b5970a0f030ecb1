//! COPY, into the table itself or into a staging table.
//!
//! New rows go straight in. Huge rows that change others go through a staging table, since a row
//! that becomes a parameter is held in memory several times.

use sluice_agent_api::config::Unrepresentable;
use sluice_core::Row;

use crate::{
    apply::{
        Attempt, Failure, SharedPlan,
        cells::{Arrays, Misfit},
        copy::{CopyError, Fields, copy_rows, stream},
    },
    netting::{Addition, Update},
    plan::{Plan, StatementKey},
};

impl<'e> Attempt<'e> {
    pub(crate) async fn add_by_copy(
        &mut self,
        plan: &SharedPlan,
        additions: &[Addition<'e>],
    ) -> Result<(), Failure> {
        let rows = additions.iter().map(|addition| &*addition.row);
        let misfits = self.copy(plan, rows).await?;
        for (index, misfit) in misfits {
            self.set_addition_aside(plan, &additions[index], &misfit)?;
        }
        Ok(())
    }

    /// Copies rows into the table itself; answers which did not fit.
    pub(crate) async fn copy<'r>(
        &mut self,
        plan: &SharedPlan,
        rows: impl Iterator<Item = &'r Row>,
    ) -> Result<Vec<(usize, Misfit)>, Failure> {
        let mut cells = self.cells(plan);
        let mut misfits = Vec::new();
        let stop = self.target.settings.unrepresentable == Unrepresentable::Fail;
        let keep = |index, misfit| {
            if stop {
                return Err(misfit);
            }
            misfits.push((index, misfit));
            Ok(())
        };
        self.check_copy(plan).await?;
        let copied = copy_rows(self.client(), plan, &mut cells, rows, keep).await;
        self.copied(plan, copied).await?;
        self.tally.add_nulled(plan, &cells);
        Ok(misfits)
    }

    /// Makes sure that a COPY can begin: nothing before it has failed, and the table is as the plan
    /// takes it to be.
    async fn check_copy(&mut self, plan: &SharedPlan) -> Result<(), Failure> {
        let arrays = Arrays::new(&[], &[]);
        self.send(plan, StatementKey::CopyCheck, arrays, None)
            .await?;
        self.settle().await
    }

    async fn copied(
        &mut self,
        plan: &Plan,
        outcome: Result<u64, CopyError>,
    ) -> Result<u64, Failure> {
        match outcome {
            Ok(count) => Ok(count),
            Err(CopyError::Postgres(error)) => Err(self.blame(plan.id(), error).await),
            Err(CopyError::NotBegun(error)) => {
                Err(Failure::Session(self.target.session.error(error)))
            }
            Err(CopyError::Misfit(misfit)) => {
                self.target.check_misfit(plan.id(), &misfit)?;
                Ok(0)
            }
        }
    }

    pub(crate) async fn update_by_stage(
        &mut self,
        plan: &SharedPlan,
        pattern: &[usize],
        updates: Vec<Update<'e>>,
    ) -> Result<(), Failure> {
        let rows = updates.iter().map(|update| (update.before, &*update.after));
        let fields = Fields {
            plan,
            keys: &plan.key,
            values: pattern,
        };
        let (stage, misfits) = self.stage(&fields, rows).await?;
        for (index, misfit) in &misfits {
            let update = &updates[*index];
            self.set_aside(plan, update.event, Some(&update.after), misfit)?;
        }
        let apply = plan.update_from_stage_sql(&stage, pattern);
        let found = self.finish_stage(plan, &stage, &apply).await?;
        if found + misfits.len() as u64 == updates.len() as u64 {
            return Ok(());
        }
        let complete = updates.iter().filter(|update| update.complete);
        let additions = complete.map(|update| Addition {
            row: update.after.clone(),
            event: Some(update.event),
        });
        let additions = additions.collect();
        self.upsert_by_stage(plan, additions).await
    }

    pub(crate) async fn upsert_by_stage(
        &mut self,
        plan: &SharedPlan,
        additions: Vec<Addition<'e>>,
    ) -> Result<(), Failure> {
        let rows = additions
            .iter()
            .map(|addition| (&*addition.row, &*addition.row));
        let all: Vec<_> = (0..plan.columns.len()).collect();
        let fields = Fields {
            plan,
            keys: &[],
            values: &all,
        };
        let (stage, misfits) = self.stage(&fields, rows).await?;
        for (index, misfit) in misfits {
            self.set_addition_aside(plan, &additions[index], &misfit)?;
        }
        let apply = plan.upsert_from_stage_sql(&stage);
        self.finish_stage(plan, &stage, &apply).await?;
        Ok(())
    }

    /// Copies rows into a new staging table; answers its name and which rows did not fit.
    pub(crate) async fn stage<'r>(
        &mut self,
        fields: &Fields<'_>,
        rows: impl Iterator<Item = (&'r Row, &'r Row)>,
    ) -> Result<(String, Vec<(usize, Misfit)>), Failure> {
        let plan = fields.plan;
        let stage = "pg_temp.sluice_stage".to_owned();
        let create = format!(
            "CREATE TEMP TABLE sluice_stage ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA",
            plan.stage_columns(fields.keys, fields.values),
            plan.target.sql(),
        );
        let mut cells = self.cells(plan);
        let mut misfits = Vec::new();
        let stop = self.target.settings.unrepresentable == Unrepresentable::Fail;
        let keep = |index, misfit| {
            if stop {
                return Err(misfit);
            }
            misfits.push((index, misfit));
            Ok(())
        };
        self.settle().await?;
        let client = self.client();
        let copied = async {
            client.batch_execute(&create).await?;
            let copy = format!("COPY {stage} FROM STDIN (FORMAT binary)");
            let sink = client.copy_in(&copy).await.map_err(CopyError::NotBegun)?;
            stream(sink, fields, &mut cells, rows, keep).await
        }
        .await;
        self.copied(plan, copied).await?;
        self.tally.add_nulled(plan, &cells);
        Ok((stage, misfits))
    }

    /// Applies a staging table and drops it.
    pub(crate) async fn finish_stage(
        &mut self,
        plan: &Plan,
        stage: &str,
        apply: &str,
    ) -> Result<u64, Failure> {
        let client = self.client();
        let applied = async {
            let count = client.execute(apply, &[]).await?;
            client.batch_execute(&format!("DROP TABLE {stage}")).await?;
            Ok(count)
        }
        .await;
        match applied {
            Ok(count) => Ok(count),
            Err(error) => Err(self.blame(plan.id(), error).await),
        }
    }
}
