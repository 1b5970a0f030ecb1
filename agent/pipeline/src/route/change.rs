//! Rows on their way through a plan: filtered, then cut to the sink's columns.
//!
//! With a filter the sink holds the rows that pass, so a change that moves a row across the
//! filter's edge becomes the row's arrival or departure:
//!
//! | row before | row after | the sink gets |
//! |---|---|---|
//! | passes | passes | the update |
//! | passes, or not known | does not | a delete by the before image |
//! | does not pass | passes | an insert of the whole row |
//! | not known (not in the log) | passes | an update with the whole row in `after` |
//! | does not pass | does not | nothing |
//!
//! "The whole row" is the after image completed from the before image. Where the log does not
//! hold it, or not the filter's columns, the table stops: anything else would lose data silently.

use std::sync::Arc;

use sluice_core::{
    Error, Result, Row, RowBuilder, RowChange, RowOperation, SnapshotChunk, TableSchema,
    event::ChunkMode,
};

use crate::route::{
    config::Route,
    filter::{Decision, Filter},
    plan::{Plan, incompatible},
};

const FULL_ROWS: &str = "log whole rows: SET GLOBAL binlog_row_image=FULL on MySQL, ALTER TABLE … \
     REPLICA IDENTITY FULL on PostgreSQL; then take a new snapshot of the table";

/// A plan, its route for messages, and the rows' shape in the source.
pub(super) struct Passage<'a> {
    pub(super) route: &'a Route,
    pub(super) plan: &'a Plan,
    pub(super) source: &'a TableSchema,
}

impl Passage<'_> {
    /// Routes one change.
    pub(super) fn change(
        &self,
        change: RowChange,
        builder: &mut RowBuilder,
    ) -> Result<Option<RowChange>> {
        let operation = match &self.plan.filter {
            None => change.operation,
            Some(filter) => match self.filtered(filter, change.operation)? {
                Some(operation) => operation,
                None => return Ok(None),
            },
        };
        let mut shaped = |row| self.plan.row(row, builder);
        let operation = match operation {
            RowOperation::Insert { after } => RowOperation::Insert {
                after: shaped(after),
            },
            RowOperation::Delete { before } => RowOperation::Delete {
                before: shaped(before),
            },
            RowOperation::Update { before, after } => {
                let (before, after) = (shaped(before), shaped(after));
                // Only columns that the sink does not get have changed.
                if self.plan.changes_rows() && before == after {
                    return Ok(None);
                }
                RowOperation::Update { before, after }
            }
        };
        Ok(Some(RowChange {
            table: Arc::clone(&self.plan.schema),
            operation,
            ..change
        }))
    }

    /// Routes a chunk. One that has no rows left and says nothing about others vanishes.
    pub(super) fn chunk(
        &self,
        mut chunk: SnapshotChunk,
        builder: &mut RowBuilder,
    ) -> Result<Option<SnapshotChunk>> {
        if let Some(filter) = &self.plan.filter {
            let mut unknown = None;
            let mut decide = |row: &Row| match filter.decide(row, None) {
                Decision::Pass => true,
                Decision::Skip => false,
                Decision::Unknown => {
                    unknown = Some(self.undecided(filter, row, None));
                    false
                }
            };
            if chunk.origins.is_empty() {
                chunk.rows.retain(decide);
            } else {
                let pairs = chunk.rows.drain(..).zip(chunk.origins.drain(..));
                let passed = pairs.filter(|(row, _)| decide(row)).collect::<Vec<_>>();
                (chunk.rows, chunk.origins) = passed.into_iter().unzip();
            }
            if let Some(error) = unknown {
                return Err(error);
            }
            let adds_only = matches!(chunk.mode, ChunkMode::Append | ChunkMode::Upsert);
            if chunk.rows.is_empty() && adds_only {
                return Ok(None);
            }
        }
        if self.plan.changes_rows() {
            let rows = chunk.rows.into_iter();
            chunk.rows = rows.map(|row| self.plan.row(row, builder)).collect();
        }
        // The bounds of a range are keys, and keys pass as they are.
        chunk.table = Arc::clone(&self.plan.schema);
        Ok(Some(chunk))
    }

    fn filtered(&self, filter: &Filter, operation: RowOperation) -> Result<Option<RowOperation>> {
        match operation {
            RowOperation::Insert { after } => match filter.decide(&after, None) {
                Decision::Pass => Ok(Some(RowOperation::Insert { after })),
                Decision::Skip => Ok(None),
                Decision::Unknown => Err(self.undecided(filter, &after, None)),
            },
            // Deleting a row that the sink does not have does no harm.
            RowOperation::Delete { before } => match filter.decide(&before, None) {
                Decision::Skip => Ok(None),
                Decision::Pass | Decision::Unknown => Ok(Some(RowOperation::Delete { before })),
            },
            RowOperation::Update { before, after } => self.filtered_update(filter, before, after),
        }
    }

    fn filtered_update(
        &self,
        filter: &Filter,
        before: Row,
        after: Row,
    ) -> Result<Option<RowOperation>> {
        let was = filter.decide(&before, None);
        let is = filter.decide(&after, Some(&before));
        Ok(match (was, is) {
            (_, Decision::Unknown) => return Err(self.undecided(filter, &after, Some(&before))),
            (Decision::Skip, Decision::Skip) => None,
            (_, Decision::Skip) => Some(RowOperation::Delete { before }),
            (Decision::Pass, Decision::Pass) => Some(RowOperation::Update { before, after }),
            (Decision::Skip, Decision::Pass) => Some(RowOperation::Insert {
                after: self.whole(&before, &after)?,
            }),
            (Decision::Unknown, Decision::Pass) => {
                let after = self.whole(&before, &after)?;
                Some(RowOperation::Update { before, after })
            }
        })
    }

    /// The whole row after an update, for a sink that may not have it.
    fn whole(&self, before: &Row, after: &Row) -> Result<Row> {
        let row = after.laid_over(before);
        match self.plan.unchanged_column(&row, self.source) {
            None => Ok(row),
            Some(column) => {
                let message = format!(
                    "an update makes a row pass the row filter, and the log does not hold its \
                     column {column:?}"
                );
                Err(self.stopped(&message))
            }
        }
    }

    fn undecided(&self, filter: &Filter, row: &Row, older: Option<&Row>) -> Error {
        let column = filter.missing(row, older);
        let name = column.map_or("?", |column| self.source.columns[column].name.as_str());
        let message =
            format!("the row filter needs column {name:?}, which the log does not hold for a row");
        self.stopped(&message)
    }

    fn stopped(&self, message: &str) -> Error {
        incompatible(self.route, message)
            .with_table(self.source.id.clone())
            .with_hint(FULL_ROWS)
    }
}
