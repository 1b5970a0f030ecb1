//! Several agents of one pipeline, each with a row of its own in `sluice.positions`.
//!
//! The row named like the pipeline is the *base*: who holds its lock decides. With one agent it is that
//! agent's row. With several it says where they began, which *layout* (generation and count) holds,
//! and each agent has a row besides. The first agent of a newer layout merges all rows into the base and
//! deletes the others, so that agents of the older one update nothing any more and are fenced.

use std::sync::Arc;

use sluice_agent_api::config::Replicas;
use sluice_core::{Error, Position, Reason, Result, TableState};
use tokio_postgres::{Row, error::SqlState, types::ToSql};
use tracing::info;

use crate::{
    catalog::{self, Claim, Ownership, TAKE_OVER_WAIT, fenced, stored_position},
    connect::Session,
    error::is,
    settings::Settings,
    sql::literal,
};

/// How often somebody who holds a row is waited for.
const ATTEMPTS_MAX: usize = 10;

/// The columns that [`Entry::of`] reads.
const COLUMNS: &str =
    "epoch, position, tables::text, requests::text, sink, backend_pid, generation, replicas";

/// A row of `sluice.positions`.
struct Entry {
    name: String,
    epoch: i64,
    backend_pid: i32,
    generation: i64,
    count: i32,
    position: Option<Position>,
}

/// What an attempt came to.
enum Attempt {
    Done(Ownership),
    /// Somebody holds these rows.
    Held(Vec<String>),
}

/// One attempt's view of the pipeline.
struct Layout<'a> {
    session: &'a Session,
    settings: &'a Settings,
    replicas: Replicas,
    claim: Option<Claim>,
}

/// Makes this session the only writer of its part of a pipeline, in the newest layout.
pub(crate) async fn take_over(
    session: &Session,
    settings: &Settings,
    replicas: Replicas,
    claim: Option<Claim>,
) -> Result<Ownership> {
    let layout = Layout {
        session,
        settings,
        replicas,
        claim,
    };
    let mut attempts = 0;
    loop {
        let begin = format!(
            "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL synchronous_commit = on",
            TAKE_OVER_WAIT.as_millis()
        );
        layout.run(&begin).await?;
        let outcome = layout.attempt().await;
        if let Ok(Attempt::Done(ownership)) = outcome {
            // Flushed at once: an epoch that a crash of the server takes back could be given twice.
            layout.run("COMMIT").await?;
            return Ok(ownership);
        }
        layout.run("ROLLBACK").await?;
        let held = match outcome? {
            Attempt::Held(rows) if attempts < ATTEMPTS_MAX => rows,
            _ => {
                let message = format!("others hold the position of {}", settings.row);
                return Err(Error::new(Reason::Unavailable, message)
                    .with_hint("see pg_stat_activity for who has sluice.positions locked"));
            }
        };
        attempts += 1;
        for row in held {
            catalog::end_older_agent(session, &row).await?;
        }
    }
}

impl Layout<'_> {
    async fn attempt(&self) -> Result<Attempt> {
        let base = &self.settings.pipeline;
        // Before anything else: nobody who is fenced off may end a newer agent's session.
        let own = &self.settings.row;
        self.check(&self.rows("sink IN ($1, $2)", &[base, own]).await?)?;
        let count = self.count();
        let generation = self.replicas.generation.unwrap_or_default();
        let first = format!(
            "INSERT INTO sluice.positions (sink, epoch, backend_pid, generation, replicas)
             VALUES ({}, 0, 0, {generation}, {count}) ON CONFLICT (sink) DO NOTHING",
            literal(base)
        );
        if self
            .unless_held(self.session.client.batch_execute(&first).await)?
            .is_none()
        {
            return Ok(Attempt::Held(vec![base.clone()]));
        }
        let locked = self.locked("sink = $1", &[base]).await?;
        let Some(locked) = locked else {
            return Ok(Attempt::Held(vec![base.clone()]));
        };
        self.check(&locked)?;
        // Nobody else comes or goes while the base is held.
        self.check(&self.rows("sink = $1", &[own]).await?)?;
        let Some(found) = locked.first() else {
            return Ok(Attempt::Held(vec![base.clone()]));
        };
        let newest = match self.replicas.generation {
            Some(generation) => generation,
            None => found.generation + i64::from(found.count != count),
        };
        if (found.generation, found.count) != (newest, count)
            && let Some(held) = self.renew(newest).await?
        {
            return Ok(Attempt::Held(held));
        }
        self.enter(newest).await
    }

    /// Fails when this agent is of an older layout, or when another one has its part.
    fn check(&self, found: &[Entry]) -> Result<()> {
        for entry in found {
            if self.is_outdated_by(entry) {
                return Err(older(&self.settings.row));
            }
            let is_others = |claim: Claim| {
                entry.name == self.settings.row
                    && entry.epoch > claim.epoch
                    && entry.backend_pid != claim.backend_pid
            };
            if self.claim.is_some_and(is_others) {
                return Err(fenced(&self.settings.row));
            }
        }
        Ok(())
    }

    /// Whether the layout has changed without this agent. One that was told no generation makes a
    /// layout of its own when it starts, but not while it runs.
    fn is_outdated_by(&self, entry: &Entry) -> bool {
        let layout = (entry.generation, entry.count);
        match self.replicas.generation {
            Some(own) => own < entry.generation,
            None => self
                .claim
                .is_some_and(|claim| (claim.generation, self.count()) != layout),
        }
    }

    /// Begins a layout: merges what all agents of the older one have done. Answers with the rows that
    /// are held when it can't.
    async fn renew(&self, generation: i64) -> Result<Option<Vec<String>>> {
        let base = &self.settings.pipeline;
        let condition = others(base);
        let present = self.rows(&condition, &[]).await?;
        let Some(mut all) = self.locked(&condition, &[]).await? else {
            return Ok(Some(present.into_iter().map(|entry| entry.name).collect()));
        };
        all.extend(self.rows("sink = $1", &[base]).await?);
        let epoch = all.iter().map(|entry| entry.epoch).max().unwrap_or(0) + 1;
        let older = all.len();
        let position = merged(base, all);
        let mut script = format!(
            "UPDATE sluice.positions SET epoch = {epoch}, backend_pid = 0, generation = {generation}, \
             replicas = {}, updated_at = now() WHERE sink = {}",
            self.count(),
            literal(base)
        );
        if let Some(position) = position {
            script.push_str("; ");
            let moved = catalog::position_statement(base, epoch, &position, true)?;
            script.push_str(&moved);
        }
        script.push_str(&format!("; DELETE FROM sluice.positions WHERE {condition}"));
        self.run(&script).await?;
        info!(
            pipeline = base,
            generation,
            replicas = self.count(),
            rows = older,
            "began a new layout of replicas"
        );
        Ok(None)
    }

    /// Takes the agent's own row, which begins as the base.
    async fn enter(&self, generation: i64) -> Result<Attempt> {
        let row = &self.settings.row;
        let pid = self.session.backend_pid;
        let sql = format!(
            "INSERT INTO sluice.positions AS p
                 (sink, epoch, backend_pid, position, tables, requests, generation, replicas)
             SELECT {own}, epoch + 1, {pid}, position, tables, requests, generation, replicas
             FROM sluice.positions WHERE sink = {base}
             ON CONFLICT (sink) DO UPDATE
             SET epoch = p.epoch + 1, backend_pid = {pid}, updated_at = now()
             RETURNING epoch, position, tables::text, requests::text",
            own = literal(row),
            base = literal(&self.settings.pipeline),
        );
        let entered = self.session.client.query_opt(&sql, &[]).await;
        match self.unless_held(entered)? {
            Some(Some(found)) => Ok(Attempt::Done(Ownership {
                epoch: found.get(0),
                generation,
                position: stored_position(&found)?,
            })),
            Some(None) | None => Ok(Attempt::Held(vec![row.clone()])),
        }
    }

    fn count(&self) -> i32 {
        i32::try_from(self.replicas.count.max(1)).unwrap_or(i32::MAX)
    }

    /// Rows of `sluice.positions`, or `None` while somebody holds one of them.
    async fn locked(
        &self,
        condition: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Vec<Entry>>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM sluice.positions WHERE {condition} ORDER BY sink FOR UPDATE"
        );
        let found = self.session.client.query(&sql, parameters).await;
        match self.unless_held(found)? {
            Some(found) => found.iter().map(Entry::of).collect::<Result<_>>().map(Some),
            None => Ok(None),
        }
    }

    async fn rows(
        &self,
        condition: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Entry>> {
        let sql = format!("SELECT {COLUMNS} FROM sluice.positions WHERE {condition}");
        let found = self.session.client.query(&sql, parameters).await;
        let found = found.map_err(|error| self.session.error(error))?;
        found.iter().map(Entry::of).collect()
    }

    async fn run(&self, script: &str) -> Result<()> {
        let done = self.session.client.batch_execute(script).await;
        done.map_err(|error| self.session.error(error))
    }

    /// The answer, unless somebody else held a row for too long.
    fn unless_held<T>(&self, answer: Result<T, tokio_postgres::Error>) -> Result<Option<T>> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if is(&error, &SqlState::LOCK_NOT_AVAILABLE) => Ok(None),
            Err(error) => Err(self.session.error(error)),
        }
    }
}

impl Entry {
    fn of(row: &Row) -> Result<Self> {
        Ok(Self {
            epoch: row.get(0),
            position: stored_position(row)?,
            name: row.get(4),
            backend_pid: row.get(5),
            generation: row.get(6),
            count: row.get(7),
        })
    }
}

/// The condition for the rows of a pipeline's replicas, besides its base. Other pipelines may have names
/// that begin alike.
pub(crate) fn others(pipeline: &str) -> String {
    let prefix = format!("{pipeline}:");
    format!(
        "left(sink, {length}) = {} AND substr(sink, {length} + 1) ~ '^[0-9]+$'",
        literal(&prefix),
        length = prefix.chars().count(),
    )
}

/// Where all agents together are. Each partition counts as the furthest of them has it. What became of
/// tables the leader says, who alone changes them; a table that stopped for one of them stays stopped.
fn merged(base: &str, mut all: Vec<Entry>) -> Option<Position> {
    let leader = format!("{base}:0");
    // The leader comes first, and the base last, which is older than every other.
    all.sort_by_key(|entry| (entry.name != leader, entry.name == base));
    let mut places = all
        .into_iter()
        .filter_map(|entry| Some((entry.position?, entry.name == base)));
    let (mut first, _) = places.next()?;
    for (place, is_base) in places {
        first.log.add(&place.log);
        for (table, state) in place.tables.iter().filter(|_| !is_base) {
            let known = first.tables.get(table);
            let stops = matches!(state, TableState::Stopped { .. });
            if stops && matches!(known, Some(TableState::Streaming)) {
                Arc::make_mut(&mut first.tables).insert(table.clone(), state.clone());
            }
        }
    }
    Some(first)
}

/// The error of an agent whose layout is not the newest.
fn older(row: &str) -> Error {
    let message = format!("a newer layout of replicas has taken over from {row}");
    Error::new(Reason::Fenced, message)
        .with_hint("stop this agent; spec.replicas or another setting was changed since it started")
}

#[cfg(test)]
mod tests {
    use sluice_core::{Requests, SnapshotState, TableId};

    use super::*;

    fn entry(name: &str, log: Option<&str>, tables: &[(&str, TableState)]) -> Entry {
        let tables: SnapshotState = tables
            .iter()
            .map(|(name, state)| (TableId::new("shop", *name), state.clone()))
            .collect();
        Entry {
            name: name.to_owned(),
            epoch: 1,
            backend_pid: 0,
            generation: 1,
            count: 2,
            position: log.map(|log| Position {
                log: log.parse().unwrap(),
                tables: Arc::new(tables),
                requests: Requests::default(),
            }),
        }
    }

    fn stopped() -> TableState {
        TableState::Stopped {
            reason: "RowRefused".into(),
            message: "x".into(),
            hint: None,
        }
    }

    #[test]
    fn the_leader_says_what_became_of_tables_and_each_partition_is_as_far_as_anybody_has_it() {
        use TableState::Streaming;
        let all = vec![
            entry(
                "p",
                Some("kafka:a/0=1,a/1=1,c/0=1"),
                &[("gone", stopped()), ("new", stopped())],
            ),
            entry(
                "p:1",
                Some("kafka:a/0=1,a/1=8,c/0=1"),
                &[("a", stopped()), ("old", Streaming)],
            ),
            entry(
                "p:0",
                Some("kafka:a/0=5,a/1=1,c/0=3"),
                &[("a", Streaming), ("new", Streaming)],
            ),
        ];
        let position = merged("p", all).unwrap();
        assert_eq!(position.log.to_string(), "kafka:a/0=5,a/1=8,c/0=3");
        let tables: Vec<&str> = position.tables.keys().map(|id| &*id.name).collect();
        assert_eq!(tables, ["a", "new"]);
        assert_eq!(position.tables[&TableId::new("shop", "a")], stopped());
    }

    #[test]
    fn a_replica_that_never_committed_counts_for_nothing() {
        assert!(merged("p", vec![entry("p", None, &[]), entry("p:0", None, &[])]).is_none());
        let all = vec![
            entry("p", Some("kafka:a/0=1"), &[]),
            entry("p:0", None, &[]),
        ];
        assert_eq!(merged("p", all).unwrap().log.to_string(), "kafka:a/0=1");
    }
}
