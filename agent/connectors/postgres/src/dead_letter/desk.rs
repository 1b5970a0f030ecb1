//! Dead letters as a person handles them: looks at them, has them applied again, drops them.
//!
//! Safe beside a running agent. A retry and a drop begin with a lock of the pipeline's rows of
//! `sluice.positions` and an update of one, as every transaction of the agent does: it changes nothing
//! there (so that it fences nobody off), but either waits for the other, which makes them one after
//! the other, and lets the capture of a target tell that the rows that follow came from Sluice.
//!
//! **A retry never goes back.** A letter that is there holds what no later change of its row has
//! taken along (see the module `dead_letter`), so it is the newest that is known of the row. One
//! transaction applies one letter, through the same code as the agent, and removes it.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value as Json;
use sluice_agent_api::{
    SecretStore,
    config::{PostgresConfig, SinkConfig},
};
use sluice_core::{Class, Error, Reason, Result, SnapshotState, TableId, TableState};
use tokio_postgres::types::ToSql;

use crate::{
    apply::{Attempt, Failure, Target, sets::Inserts},
    catalog,
    connect::{Session, connect},
    dead_letter::{
        later::{damaged, operation},
        parcel::{Parcel, unpack},
        reshape::{Reshape, parse_shape},
        unreadable::UNREADABLE,
    },
    link,
    settings::Settings,
    sql::literal,
    tables::Tables,
};

/// How long a retry may hold up the agent.
const STATEMENT_MAX: &str = "20s";

/// The rows of a pipeline, whose replicas have one each.
const ROWS: &str = "(sink = $1 OR starts_with(sink, $1 || '/'))";

/// A sink's dead letters.
pub struct DeadLetters {
    session: Session,
    settings: Settings,
    tables: Tables,
}

/// A letter, for reading.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    /// Its number, by which it is retried and dropped.
    pub id: i64,
    /// When it was written, in ISO 8601.
    pub at: String,
    /// The table, under its name in the target; empty where a record does not say.
    pub table: String,
    /// What happened to the row: insert, update, delete, read; or that the record is unreadable.
    pub operation: String,
    /// The source's name of the transaction, or `snapshot`.
    pub position: String,
    /// Why, without values.
    pub reason: String,
    /// The same as SQLSTATE.
    pub sqlstate: String,
    /// The Kafka record that it came with: `topic/partition@offset`.
    pub origin: Option<String>,
    /// Whether it holds all that a retry needs.
    pub retryable: bool,
    /// The row's key.
    pub key: Option<Json>,
    /// What only those see who ask for values.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub values: Option<Values>,
}

/// The values of a letter.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Values {
    /// Why, as the target says it.
    pub message: String,
    /// The row before the change.
    pub before: Option<Json>,
    /// The row after it.
    pub after: Option<Json>,
    /// The key of a record that can't be decoded, what is no text escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_key: Option<String>,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_value: Option<String>,
}

/// Which letters are meant.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those of one table; of every table without.
    pub table: Option<String>,
    /// Those with these numbers; all of them when empty.
    pub ids: Vec<i64>,
}

/// What became of a retry.
#[derive(Debug)]
pub enum Retried {
    /// The target has the row, and the letter is gone.
    Applied,
    /// It was gone already: a later change of its row took it along, or somebody else was faster.
    Gone,
    /// It stays.
    Refused(Error),
}

impl DeadLetters {
    /// Connects to the target of a sink; `pipeline` names its row in `sluice.positions`.
    pub async fn open(
        pipeline: &str,
        sink: &SinkConfig,
        postgres: &PostgresConfig,
        secrets: &Arc<dyn SecretStore>,
    ) -> Result<Self> {
        let settings = Settings::new(pipeline.to_owned(), sink, postgres.clone());
        let name = format!("sluice-dead-letters/{pipeline}");
        let session = connect(&postgres.connection, &**secrets, &name).await?;
        catalog::expect(&session).await?;
        let tables = Tables::load(&session, &settings).await?;
        Ok(Self {
            session,
            settings,
            tables,
        })
    }

    /// Up to `count` letters behind one, in the order in which they were written.
    pub async fn list(
        &self,
        filter: &Filter,
        after: i64,
        count: i64,
        with_values: bool,
    ) -> Result<Vec<Letter>> {
        let images = if with_values {
            "before::text, after::text, reason, encode(record_key, 'escape'),
             encode(record_value, 'escape')"
        } else {
            "NULL, NULL, NULL, NULL, NULL"
        };
        let sql = format!(
            "SELECT id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
                    source_table, operation, position,
                    coalesce(summary, 'SQLSTATE ' || sqlstate), sqlstate, shape IS NOT NULL,
                    key::text, origin, {images}
             FROM sluice.dead_letters WHERE {} AND id > $4 ORDER BY id LIMIT $5",
            Filter::CONDITION
        );
        let rows = self.query(&sql, filter, &[&after, &count]).await?;
        let letters = rows.iter().map(|row| {
            let json = |at: usize| -> Option<Json> {
                let text: Option<String> = row.get(at);
                text.and_then(|text| serde_json::from_str(&text).ok())
            };
            Letter {
                id: row.get(0),
                at: row.get(1),
                table: row.get(2),
                operation: row.get(3),
                position: row.get(4),
                reason: row.get(5),
                sqlstate: row.get(6),
                retryable: row.get(7),
                key: json(8),
                origin: row.get(9),
                values: with_values.then(|| Values {
                    before: json(10),
                    after: json(11),
                    message: row.get::<_, Option<String>>(12).unwrap_or_default(),
                    record_key: row.get(13),
                    record_value: row.get(14),
                }),
            }
        });
        Ok(letters.collect())
    }

    /// How many letters there are.
    pub async fn count(&self, filter: &Filter) -> Result<u64> {
        let sql = format!(
            "SELECT count(*) FROM sluice.dead_letters WHERE {}",
            Filter::CONDITION
        );
        let rows = self.query(&sql, filter, &[]).await?;
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0)) as u64)
    }

    /// Removes letters for good; answers how many.
    pub async fn drop(&mut self, filter: &Filter) -> Result<u64> {
        self.begin().await?;
        let outcome = self.drop_in_transaction(filter).await;
        self.end(outcome).await
    }

    async fn drop_in_transaction(&self, filter: &Filter) -> Result<u64> {
        let sql = format!(
            "WITH gone AS (DELETE FROM sluice.dead_letters WHERE {} RETURNING id)
             SELECT count(*) FROM gone",
            Filter::CONDITION
        );
        let rows = self.query(&sql, filter, &[]).await?;
        self.run(&self.unused_shapes()).await?;
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0)) as u64)
    }

    /// Applies a letter again.
    pub async fn retry(&mut self, id: i64) -> Result<Retried> {
        self.begin().await?;
        let outcome = self.retry_in_transaction(id).await;
        match self.end(outcome).await {
            Ok(true) => Ok(Retried::Applied),
            Ok(false) => Ok(Retried::Gone),
            // The letter's own affair, or its table's; a damaged one is, too.
            Err(error)
                if error.class() == Class::StopTable || error.reason() == Reason::Internal =>
            {
                Ok(Retried::Refused(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn retry_in_transaction(&mut self, id: i64) -> Result<bool> {
        let sql = "SELECT l.source_table, l.operation, l.removes, l.writes, s.shape::text
                   FROM sluice.dead_letters AS l LEFT JOIN sluice.dead_letter_shapes AS s
                     ON s.sink = l.sink AND s.fingerprint = l.shape
                   WHERE l.sink = $1 AND l.id = $2";
        let found = self
            .session
            .client
            .query_opt(sql, &[&self.settings.pipeline, &id])
            .await;
        let Some(row) = found.map_err(|error| self.session.error(error))? else {
            return Ok(false);
        };
        let name: String = row.get(0);
        if row.get::<_, &str>(1) == UNREADABLE {
            return Err(unreadable());
        }
        let table: TableId = name.parse().map_err(|_| damaged("a table's name"))?;
        let Some(shape) = row.get::<_, Option<String>>(4) else {
            return Err(refused(
                &table,
                "the letter is for reading only: its row was too large to be kept whole, its table \
                 has no key and was changed since, or an older version of Sluice wrote it",
            ));
        };
        self.check_state(&table).await?;
        let part = |at: usize| match row.get::<_, Option<Vec<u8>>>(at) {
            None => Ok(None),
            Some(bytes) => unpack(&bytes).map(Some).ok_or_else(|| damaged("a row")),
        };
        let parcel = Parcel {
            table: Arc::new(parse_shape(&shape)?),
            operation: operation(row.get(1)),
            removes: part(2)?,
            writes: part(3)?,
        };
        let parcel = self.fit(&table, parcel)?;
        self.apply(&parcel, id).await?;
        let remove = format!("DELETE FROM sluice.dead_letters WHERE id = {id}");
        self.run(&format!("{remove}; {}", self.unused_shapes()))
            .await?;
        Ok(true)
    }

    /// A letter waits as long as its table does.
    async fn check_state(&mut self, table: &TableId) -> Result<()> {
        let sql = format!("SELECT tables::text FROM sluice.positions WHERE {ROWS}");
        let found = self
            .session
            .client
            .query(&sql, &[&self.settings.pipeline])
            .await;
        for row in found.map_err(|error| self.session.error(error))? {
            let states = serde_json::from_str::<SnapshotState>(row.get(0));
            let mut states = states.map_err(|_| damaged("a state of tables"))?;
            match states.remove(table) {
                Some(TableState::Streaming) | None => {}
                Some(TableState::Snapshotting { .. }) => {
                    return Err(refused(
                        table,
                        "the table is being copied; try again after that",
                    ));
                }
                Some(TableState::Stopped { .. }) => {
                    let text =
                        "the table has stopped, and comes back by a copy, which brings the row";
                    return Err(refused(table, text));
                }
            }
        }
        let sink = &self.settings.pipeline;
        match link::load_one(&self.session, sink, table).await? {
            Some(link) if !link.held => {
                self.tables.links.insert(table.clone(), link);
                Ok(())
            }
            Some(_) => Err(refused(
                table,
                "the table has stopped, and comes back by a copy",
            )),
            None => Err(refused(table, "the table is not replicated any more")),
        }
    }

    /// The parcel in the shape that the table has by now.
    fn fit(&self, table: &TableId, parcel: Parcel) -> Result<Parcel> {
        let Some(link) = self.tables.links.get(table) else {
            return Err(refused(table, "the table is not replicated any more"));
        };
        let now = &link.schema;
        let mut own = (*parcel.table).clone();
        own.id = table.clone();
        let rows = [&parcel.removes, &parcel.writes].into_iter().flatten();
        let wide = if own.has_key() {
            own.key.len()
        } else {
            own.columns.len()
        };
        let lengths: Vec<_> = rows.map(sluice_core::Row::len).collect();
        if lengths
            .iter()
            .any(|&length| length != wide && length != own.columns.len())
        {
            return Err(damaged("a row of another shape"));
        }
        if own.same_shape(now) {
            return Ok(Parcel {
                table: Arc::new(now.clone()),
                ..parcel
            });
        }
        let reshape = Reshape::new(&own, now).filter(|reshape| {
            reshape.schema.has_key() && now.key.len() == reshape.schema.key.len()
        });
        let Some(reshape) = reshape else {
            return Err(refused(
                table,
                "the table's key has changed since; copy it again",
            ));
        };
        Ok(Parcel {
            writes: parcel.writes.as_ref().map(|row| reshape.row(row)),
            table: Arc::new(reshape.schema),
            ..parcel
        })
    }

    async fn apply(&mut self, parcel: &Parcel, id: i64) -> Result<()> {
        let table = &parcel.table.id;
        let Some(change) = parcel.as_change(id) else {
            return Ok(());
        };
        let plan = self.tables.plan(&self.session, &parcel.table).await?;
        let states = SnapshotState::default();
        let target = Target {
            session: &self.session,
            settings: &self.settings,
            states: &states,
        };
        let mut attempt = Attempt::new(target);
        let applied = attempt.apply(&plan, &[&change], Inserts::Upsert).await;
        let outcome = match applied {
            Ok(()) => attempt.settle().await,
            failed => failed,
        };
        match outcome {
            Ok(()) => match attempt.tally.letters.pop() {
                None => Ok(()),
                Some(letter) => Err(refused(table, &letter.into_cause().summary)),
            },
            Err(Failure::Content(_, refusal)) => {
                let text = format!("{} (SQLSTATE {})", refusal.object, refusal.sqlstate);
                Err(refused(table, &text))
            }
            Err(Failure::Table(_, error) | Failure::Session(error)) => Err(error),
            Err(failure @ Failure::OutOfTurn(_)) => Err(failure.fatal()),
        }
    }

    /// Begins a transaction that no other of this sink runs beside.
    async fn begin(&self) -> Result<()> {
        let sink = literal(&self.settings.pipeline);
        let statements = format!(
            "BEGIN; SET LOCAL lock_timeout = '{STATEMENT_MAX}'; SET LOCAL synchronous_commit = on;
             SET LOCAL statement_timeout = '{STATEMENT_MAX}';
             SET LOCAL idle_in_transaction_session_timeout = '{STATEMENT_MAX}';
             SELECT FROM sluice.positions WHERE {} ORDER BY sink FOR NO KEY UPDATE;
             UPDATE sluice.positions SET updated_at = updated_at WHERE sink = {sink}",
            ROWS.replace("$1", &sink)
        );
        let begun = self.run(&statements).await;
        if begun.is_err() {
            self.run("ROLLBACK").await?;
        }
        begun
    }

    async fn end<T>(&self, outcome: Result<T>) -> Result<T> {
        let verb = if outcome.is_ok() {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        let ended = self.run(verb).await;
        // What went wrong first explains the rest.
        let outcome = outcome?;
        ended?;
        Ok(outcome)
    }

    /// The statement that forgets shapes without letters.
    fn unused_shapes(&self) -> String {
        format!(
            "DELETE FROM sluice.dead_letter_shapes AS s WHERE s.sink = {sink} AND NOT EXISTS (
                 SELECT FROM sluice.dead_letters AS l
                 WHERE l.sink = {sink} AND l.shape = s.fingerprint)",
            sink = literal(&self.settings.pipeline)
        )
    }

    async fn run(&self, statements: &str) -> Result<()> {
        let done = self.session.client.batch_execute(statements).await;
        done.map_err(|error| self.session.error(error))
    }

    async fn query(
        &self,
        sql: &str,
        filter: &Filter,
        more: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>> {
        let ids = (!filter.ids.is_empty()).then_some(&filter.ids);
        let mut parameters: Vec<&(dyn ToSql + Sync)> =
            vec![&self.settings.pipeline, &filter.table, &ids];
        parameters.extend_from_slice(more);
        let found = self.session.client.query(sql, &parameters).await;
        found.map_err(|error| self.session.error(error))
    }
}

impl Filter {
    const CONDITION: &str = "sink = $1 AND ($2::text IS NULL OR source_table = $2)
                             AND ($3::bigint[] IS NULL OR id = ANY ($3))";
}

/// What can't be decoded can't be applied, however often.
fn unreadable() -> Error {
    let message = "the record can't be decoded, so that nothing is known to apply";
    Error::new(Reason::RowRefused, message)
        .with_hint("let its writer write the row anew, then drop the letter")
}

fn refused(table: &TableId, message: &str) -> Error {
    Error::new(Reason::RowRefused, message).with_table(table.clone())
}
