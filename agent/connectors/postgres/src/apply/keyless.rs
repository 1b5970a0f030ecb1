//! Tables without a key: a change finds its row by all of the row's old values.
//!
//! Of several equal rows one is taken, and no matter which. The statement depends on which values
//! are NULL, so that an index of the user's own can serve it.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};
use sluice_agent_api::config::Deletes;
use sluice_core::{Row, RowChange, RowOperation};

use crate::{
    apply::{
        Attempt, Failure, SharedPlan,
        cells::{CellWriter, Form, Misfit},
        inflight::Encoded,
        sets::Inserts,
    },
    netting::{Addition, changed_columns},
    plan::{DELETED_AT, Plan, StatementKey},
};

/// A statement under construction.
struct Draft {
    text: String,
    parameters: Vec<Bytes>,
}

impl<'e> Attempt<'e> {
    /// Applies changes of a table without a key, in order.
    pub(crate) async fn apply_keyless(
        &mut self,
        plan: &SharedPlan,
        events: &[&'e RowChange],
    ) -> Result<(), Failure> {
        self.one_by_one = true;
        let is_insert = |event: &RowChange| matches!(event.operation, RowOperation::Insert { .. });
        for run in events.chunk_by(|a, b| is_insert(a) && is_insert(b)) {
            match &run[0].operation {
                RowOperation::Insert { .. } => self.append(plan, run).await?,
                RowOperation::Delete { before } => self.delete_one(plan, run[0], before).await?,
                RowOperation::Update { before, after } => {
                    self.update_one(plan, run[0], (before, after)).await?;
                }
            }
        }
        Ok(())
    }

    async fn append(&mut self, plan: &SharedPlan, run: &[&'e RowChange]) -> Result<(), Failure> {
        let additions = run.iter().filter_map(|&event| match &event.operation {
            RowOperation::Insert { after } => Some(Addition {
                row: Cow::Borrowed(after),
                event: Some(event),
            }),
            _ => None,
        });
        self.add(plan, additions.collect(), Inserts::Fresh).await
    }

    async fn delete_one(
        &mut self,
        plan: &SharedPlan,
        event: &RowChange,
        before: &Row,
    ) -> Result<(), Failure> {
        let table = plan.target.sql();
        let (mut text, alive) = match plan.deletes {
            Deletes::Ignore => return Ok(()),
            Deletes::Apply => (format!("DELETE FROM {table}"), ""),
            Deletes::Soft => (
                format!("UPDATE {table} SET {DELETED_AT} = now()"),
                " AND _sluice_deleted_at IS NULL",
            ),
        };
        text.push_str(" WHERE ");
        let draft = Draft {
            text,
            parameters: Vec::new(),
        };
        match find_one(plan, &mut self.cells(plan), before, draft, alive) {
            Ok(draft) => self.run_draft(plan, draft).await.map(|_| ()),
            // Such a row never got into the target.
            Err(misfit) => self.set_aside(plan, event, None, &misfit),
        }
    }

    async fn update_one(
        &mut self,
        plan: &SharedPlan,
        event: &'e RowChange,
        (before, after): (&'e Row, &'e Row),
    ) -> Result<(), Failure> {
        let mut cells = self.cells(plan);
        let drafted = set_changed(plan, &mut cells, before, after)
            .and_then(|draft| find_one(plan, &mut self.cells(plan), before, draft, ""));
        let draft = match drafted {
            Ok(draft) => draft,
            Err(misfit) => return self.set_aside(plan, event, None, &misfit),
        };
        self.tally.add_nulled(plan, &cells);
        let found = self.run_draft(plan, draft).await?;
        if found == 0 && !after.has_unchanged() {
            let row = Cow::Borrowed(after);
            let event = Some(event);
            let addition = Addition { row, event };
            self.add(plan, vec![addition], Inserts::Fresh).await?;
        }
        Ok(())
    }

    async fn run_draft(&mut self, plan: &SharedPlan, draft: Draft) -> Result<u64, Failure> {
        let client = self.client();
        let done = async {
            let statement = plan
                .statement(client, StatementKey::Other(draft.text))
                .await?;
            let parameters = draft.parameters.into_iter().map(Encoded);
            client.execute_raw(&statement, parameters).await
        }
        .await;
        match done {
            Ok(count) => Ok(count),
            Err(error) => Err(self.blame(plan.id(), error).await),
        }
    }
}

/// `UPDATE … SET changed = $1, … WHERE `.
fn set_changed(
    plan: &Plan,
    cells: &mut CellWriter,
    before: &Row,
    after: &Row,
) -> Result<Draft, Misfit> {
    let mut draft = Draft {
        text: format!("UPDATE {} SET ", plan.target.sql()),
        parameters: Vec::new(),
    };
    let changed = changed_columns(&plan.ordinals, before, after);
    // An update that changes nothing still has to be a statement.
    let places: &[usize] = if changed.is_empty() { &[0] } else { &changed };
    for (index, &at) in places.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        let name = &plan.columns[at].name;
        let value = draft.parameter(plan, cells, at, after)?;
        let value = value.unwrap_or_else(|| "NULL".into());
        draft.text.extend([comma, name, " = ", &value]);
    }
    draft.text.push_str(" WHERE ");
    Ok(draft)
}

/// Adds the condition that picks one row with these values.
fn find_one(
    plan: &Plan,
    cells: &mut CellWriter,
    row: &Row,
    mut draft: Draft,
    alive: &str,
) -> Result<Draft, Misfit> {
    let mut condition = String::new();
    for at in 0..plan.columns.len() {
        let column = &plan.columns[at];
        if row.get(column.source).is_unchanged() {
            continue;
        }
        let and = if condition.is_empty() { "" } else { " AND " };
        let name = &column.name;
        let text = match draft.parameter(plan, cells, at, row)? {
            None => format!("{and}{name} IS NULL"),
            // json has no equality, but it keeps the text as it came.
            Some(value) if column.element_sql.ends_with("\"json\"") => {
                format!("{and}{name}::text = {value}::text")
            }
            Some(value) => format!("{and}{name} = {value}"),
        };
        condition.push_str(&text);
    }
    let table = plan.target.sql();
    let place = if plan.target.kind == 'p' {
        format!(
            "(tableoid, ctid) IN (SELECT tableoid, ctid FROM {table} WHERE {condition}{alive} LIMIT 1)"
        )
    } else {
        format!("ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {condition}{alive} LIMIT 1))")
    };
    draft.text.push_str(&place);
    Ok(draft)
}

impl Draft {
    /// Adds a value as a parameter; `None` when it is NULL in the target.
    fn parameter(
        &mut self,
        plan: &Plan,
        cells: &mut CellWriter,
        at: usize,
        row: &Row,
    ) -> Result<Option<String>, Misfit> {
        let column = &plan.columns[at];
        let mut out = BytesMut::new();
        let value = row.get(column.source);
        if cells.put(plan, at, &value, Form::Element, &mut out)? {
            return Ok(None);
        }
        // The length in front is for arrays.
        out.advance(4);
        self.parameters.push(out.freeze());
        let number = self.parameters.len();
        let cast = column.cast_sql();
        Ok(Some(format!("${number}::{}{cast}", column.element_sql)))
    }
}
