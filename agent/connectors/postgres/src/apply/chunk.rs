//! Snapshot chunks: rows that replace, or add to, what the target holds.
//!
//! The common chunk goes straight into the table by COPY. A chunk that is the whole truth about a
//! range of keys empties the range first. Where rows turn out to exist the chunk becomes an upsert,
//! and where stale rows still hold its unique values they are displaced: a later chunk brings them
//! back as they are now.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};
use sluice_agent_api::config::Deletes;
use sluice_core::{Class, Error, Result, Row, SnapshotChunk, TableId, event::ChunkMode};

use crate::{
    apply::{
        Attempt, Failure, Savepoint, SharedPlan, Tally, Target, careful,
        cells::{Arrays, CellWriter, Form},
        inflight::Encoded,
        sets::Inserts,
    },
    dead_letter::DeadLetter,
    encode::Encoder,
    netting::Addition,
    plan::{DELETED_AT, Plan, StatementKey},
    tables::Tables,
};

/// How rows go in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowsMode {
    /// By COPY: they are new.
    Copy,
    /// By INSERT … ON CONFLICT.
    Upsert,
    /// The same, after rows with other keys that hold their unique values were removed.
    Displace,
}

/// Applies a chunk; the inner error stops the table.
pub(crate) async fn apply<'e>(
    target: Target<'e>,
    tables: &mut Tables,
    mut plan: SharedPlan,
    chunk: &'e SnapshotChunk,
    savepoint: &mut Savepoint,
) -> Result<Result<Tally, (TableId, Error)>> {
    let set = target.run(savepoint.advance()).await;
    set.map_err(Failure::fatal)?;
    let mut mode = first_mode(&plan, &chunk.mode);
    let mut search = false;
    let mut refreshed = false;
    loop {
        let outcome = attempt(target, &plan, chunk, mode, search).await;
        let failure = match outcome {
            Ok(tally) => return Ok(Ok(tally)),
            Err(Failure::Session(error)) => return Err(error),
            Err(failure) => failure,
        };
        let back = target.run(Savepoint::ROLL_BACK).await;
        back.map_err(Failure::fatal)?;
        let mut changed = false;
        if !std::mem::replace(&mut refreshed, true) {
            let fresh = match tables.refresh(target.session, plan.id()).await {
                Err(error) if error.class() == Class::StopTable => {
                    return Ok(Err((plan.id().clone(), error)));
                }
                fresh => fresh?,
            };
            changed = !std::sync::Arc::ptr_eq(&fresh, &plan);
            plan = fresh;
        }
        match failure {
            Failure::Session(error) => return Err(error),
            failure @ Failure::OutOfTurn(_) => return Err(failure.fatal()),
            Failure::Table(_, _) if changed => {}
            Failure::Table(table, error) => return Ok(Err((table, error))),
            Failure::Content(_, refusal) => {
                match (refusal.is_unique_violation() && plan.has_key(), mode) {
                    (true, RowsMode::Copy) => mode = RowsMode::Upsert,
                    (true, RowsMode::Upsert) if !plan.unique_sets.is_empty() => {
                        mode = RowsMode::Displace;
                    }
                    _ => search = true,
                }
            }
        }
    }
}

fn first_mode(plan: &Plan, mode: &ChunkMode) -> RowsMode {
    if !plan.has_key() {
        return RowsMode::Copy;
    }
    match mode {
        ChunkMode::Append => RowsMode::Copy,
        ChunkMode::Upsert => RowsMode::Upsert,
        ChunkMode::ReplaceRange { .. } if !ranges_agree(plan) => RowsMode::Upsert,
        ChunkMode::ReplaceRange { .. } | ChunkMode::ReplaceAll => match plan.deletes {
            Deletes::Apply => RowsMode::Copy,
            Deletes::Soft | Deletes::Ignore => RowsMode::Upsert,
        },
    }
}

/// Whether a range of keys holds the same rows here and in the source.
fn ranges_agree(plan: &Plan) -> bool {
    let mut encoders = plan.key.iter().map(|&at| plan.columns[at].encoder);
    plan.source.key_orders_everywhere() && encoders.all(Encoder::keeps_order)
}

async fn attempt<'e>(
    target: Target<'e>,
    plan: &SharedPlan,
    chunk: &'e SnapshotChunk,
    mode: RowsMode,
    search: bool,
) -> Result<Tally, Failure> {
    let mut attempt = Attempt::new(target);
    match &chunk.mode {
        ChunkMode::Append | ChunkMode::Upsert => {}
        ChunkMode::ReplaceRange { after, until } => {
            if ranges_agree(plan) {
                let bounds = [(">", after.as_ref()), ("<=", until.as_ref())];
                attempt.clear(plan, &bounds).await?;
            }
        }
        ChunkMode::ReplaceAll => attempt.clear(plan, &[]).await?,
    }
    if search {
        return careful::apply_rows(target, plan, &chunk.rows, mode).await;
    }
    attempt.put_rows(plan, &chunk.rows, mode).await?;
    Ok(attempt.tally)
}

impl<'e> Attempt<'e> {
    /// Puts rows of a snapshot into the table.
    pub(crate) async fn put_rows(
        &mut self,
        plan: &SharedPlan,
        rows: &'e [Row],
        mode: RowsMode,
    ) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        if mode == RowsMode::Copy && plan.may_copy {
            for (index, misfit) in self.copy(plan, rows.iter()).await? {
                let letter = DeadLetter::of_row(&plan.source, &rows[index], misfit.cause());
                self.tally.letters.push(letter);
            }
            return Ok(());
        }
        if mode == RowsMode::Displace {
            for columns in &plan.unique_sets {
                self.displace(plan, columns, rows).await?;
            }
        }
        let additions = rows.iter().map(|row| Addition {
            row: Cow::Borrowed(row),
            event: None,
        });
        let additions = additions.collect();
        self.add(plan, additions, Inserts::Upsert).await?;
        self.settle().await
    }

    /// Removes rows that hold the unique values of these rows under other keys.
    async fn displace(
        &mut self,
        plan: &SharedPlan,
        columns: &[usize],
        rows: &'e [Row],
    ) -> Result<(), Failure> {
        let key = StatementKey::Other(plan.displace_sql(columns));
        for piece in rows.chunks(crate::apply::sets::ROWS_PER_STATEMENT) {
            let mut arrays = Arrays::new(&plan.key, columns);
            let mut cells = self.cells(plan);
            for row in piece {
                // A row that does not fit displaces nothing; it is kept aside later.
                let _misfit = arrays.push(plan, &mut cells, row, row);
            }
            self.send(plan, key.clone(), arrays, None).await?;
        }
        Ok(())
    }

    /// Empties the table, or a range of keys of it, the way deletes go.
    async fn clear(
        &mut self,
        plan: &SharedPlan,
        bounds: &[(&str, Option<&Row>)],
    ) -> Result<(), Failure> {
        let table = plan.target.sql();
        let (condition, parameters) = match range_condition(plan, &mut self.cells(plan), bounds) {
            Ok(range) => range,
            Err(misfit) => return self.target.check_misfit(plan.id(), &misfit),
        };
        let verb = match plan.deletes {
            Deletes::Soft if plan.has_key() => {
                format!("UPDATE {table} SET {DELETED_AT} = now() WHERE {DELETED_AT} IS NULL")
            }
            Deletes::Ignore if plan.has_key() => return Ok(()),
            _ if bounds.is_empty() => empty_sql(self.target, plan).await?,
            _ => format!("DELETE FROM {table} WHERE true"),
        };
        let client = self.client();
        let done = async {
            let text = StatementKey::Other(format!("{verb}{condition}"));
            let statement = plan.statement(client, text).await?;
            let parameters = parameters.into_iter().map(Encoded);
            client.execute_raw(&statement, parameters).await
        }
        .await;
        match done {
            Ok(_) => Ok(()),
            Err(error) => Err(self.blame(plan.id(), error).await),
        }
    }
}

/// The statement that empties a table: TRUNCATE where it is allowed and nothing refers to the table.
async fn empty_sql(target: Target<'_>, plan: &Plan) -> Result<String, Failure> {
    let answer = crate::schema::may_truncate(&target.session.client, plan.target.oid).await;
    let may = answer.map_err(|error| target.failure(plan.id(), error))?;
    let table = plan.target.sql();
    Ok(if may {
        format!("TRUNCATE {table}")
    } else {
        format!("DELETE FROM {table}")
    })
}

/// ` AND (k1, k2) > ($1, $2) AND …`.
fn range_condition(
    plan: &Plan,
    cells: &mut CellWriter,
    bounds: &[(&str, Option<&Row>)],
) -> Result<(String, Vec<Bytes>), crate::apply::cells::Misfit> {
    let mut condition = String::new();
    let mut parameters = Vec::new();
    let names = plan.key.iter().map(|&at| plan.columns[at].name.clone());
    let names = crate::sql::list(names);
    for (comparison, bound) in bounds {
        let Some(row) = bound else { continue };
        let mut values = Vec::new();
        for (index, &at) in plan.key.iter().enumerate() {
            // A bound holds the key alone, in key order.
            let value = row.get(index);
            let mut out = BytesMut::new();
            cells.put(plan, at, &value, Form::Element, &mut out)?;
            out.advance(4);
            parameters.push(out.freeze());
            let number = parameters.len();
            values.push(format!("${number}::{}", plan.columns[at].element_sql));
        }
        let values = crate::sql::list(values);
        let pieces = [" AND (", &names, ") ", comparison, " (", &values, ")"];
        condition.extend(pieces);
    }
    Ok((condition, parameters))
}
