//! Every kind of schema change while rows come and go: at the end both sides are equal, tables and
//! all.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use serde_json::json;
use sluice_agent_api::AgentStatus;
use sluice_e2e::{
    MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice, compare, wait::wait_for,
};

use super::{scripts::SCRIPTS, writers::RestlessWriters};

const PATIENCE: Duration = Duration::from_secs(90);
/// How many rows the writers get done between two schema changes.
const BETWEEN: u64 = 10;
/// Statements that take longer are asked what they wait for.
const SUSPICIOUS: Duration = Duration::from_secs(8);
const LOCKS: &str = "SELECT l.object_name, l.lock_type, l.lock_status, t.processlist_id, \
    t.processlist_command, t.processlist_time, t.processlist_state, t.processlist_info \
    FROM performance_schema.metadata_locks l \
    JOIN performance_schema.threads t ON t.thread_id = l.owner_thread_id \
    WHERE l.object_schema = DATABASE() AND l.object_type = 'TABLE'";

/// What is done to the agent meanwhile.
#[derive(Clone, Copy, PartialEq)]
enum Agent {
    /// It runs, and the tables are copied before the first change.
    Runs,
    /// It is killed again and again, and the tables are still being copied in small pieces.
    IsKilled,
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_keep_flowing_through_every_schema_change() -> Result<()> {
    change_schemas("ddl", Agent::Runs).await
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_changes_are_followed_across_crashes_and_half_made_copies() -> Result<()> {
    change_schemas("ddlcrash", Agent::IsKilled).await
}

async fn change_schemas(label: &str, agent: Agent) -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, label).await?;
    let postgres = PgDatabase::create(&servers, label).await?;
    let mut conn = mysql.conn().await?;
    conn.query_drop("SET SESSION sql_mode = '', lock_wait_timeout = 20")
        .await?;
    create_tables(&mut conn).await?;
    let file = PipelineFile::new(&mysql, &postgres)
        .source_spec(|spec| spec["snapshot"] = json!({"chunkRows": 100, "parallelism": 2}))
        .sink_spec(|spec| {
            spec["schemaChanges"] = json!({"dropColumn": "Apply", "dropTable": "Apply"});
        });
    let written = file.write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    // What the agents have logged that were killed.
    let mut killed = String::new();
    match agent {
        Agent::Runs => sluice.wait_streaming().await.map(drop)?,
        // From the first commit on the log is followed; tables that were made before it may have
        // another name by the next start, and nobody would know whose they are.
        Agent::IsKilled => {
            let begun = |status: &AgentStatus| status.position.is_some();
            sluice
                .wait_until("the first commit", PATIENCE, begun)
                .await?;
        }
    }

    let tables: Vec<&str> = SCRIPTS.iter().map(|script| script.table).collect();
    let writers = RestlessWriters::start(&mysql, &tables, 3).await?;
    let longest = SCRIPTS
        .iter()
        .map(|script| script.steps.len())
        .max()
        .unwrap_or(0);
    for step in 0..longest {
        for script in SCRIPTS {
            if let Some(statements) = script.steps.get(step) {
                let statements = statements.replace("{t}", script.table);
                run(&mysql, &mut conn, &statements).await?;
            }
            if agent == Agent::IsKilled && fastrand::u8(..12) == 0 {
                sluice.kill_nine().await?;
                killed += &sluice.stderr();
                sluice = Sluice::run(&written, &[])?;
            }
        }
        let enough = writers.written() + BETWEEN;
        wait_for("writers", PATIENCE, || async {
            Ok((writers.written() >= enough).then_some(()))
        })
        .await?;
    }
    writers.stop().await?;
    conn.disconnect().await?;
    let caught_up = sluice.wait_caught_up_within(PATIENCE).await;
    caught_up.with_context(|| killed.clone() + &sluice.stderr())?;
    let status = sluice
        .wait_until("the copies of refilled tables", PATIENCE, |status| {
            status
                .tables
                .values()
                .all(|table| table.phase == "Streaming" || table.error.is_some())
        })
        .await?;
    let log = killed + &sluice.stderr();
    let waiting: Vec<String> = status
        .tables
        .iter()
        .filter_map(|(name, table)| {
            let error = table.error.as_ref()?;
            let lines: Vec<&str> = log.lines().filter(|line| line.contains(name)).collect();
            Some(format!("{name}: {error:?}\n  {}", lines.join("\n  ")))
        })
        .collect();
    assert!(waiting.is_empty(), "{}", waiting.join("\n"));
    assert_eq!(status.dead_letters, 0);
    expect_same_tables(&mysql, &postgres, &log).await?;
    sluice.terminate().await?;
    Ok(())
}

async fn create_tables(conn: &mut mysql_async::Conn) -> Result<()> {
    for script in SCRIPTS {
        let (table, definition) = (script.table, script.definition);
        conn.query_drop(format!(
            "CREATE TABLE {table} (id INT NOT NULL, n INT, {definition})"
        ))
        .await?;
        conn.query_drop(format!(
            "INSERT INTO {table} (id, n) WITH RECURSIVE r (i) AS \
             (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 300) SELECT i * 5, i FROM r"
        ))
        .await?;
    }
    Ok(())
}

/// Runs statements that are separated as in the scripts: by `; ` at a place where a new one begins.
/// When they take long, an error tells who was in the way.
async fn run(mysql: &MysqlDatabase, conn: &mut mysql_async::Conn, statements: &str) -> Result<()> {
    let mut running = std::pin::pin!(conn.query_drop(statements));
    if let Ok(done) = tokio::time::timeout(SUSPICIOUS, &mut running).await {
        return done.with_context(|| statements.to_owned());
    }
    let in_the_way = mysql.rows(LOCKS).await?;
    let done = running.await;
    done.with_context(|| format!("{statements}; locks: {in_the_way:#?}"))
}

/// The same tables on both sides, with the same columns and rows.
async fn expect_same_tables(mysql: &MysqlDatabase, postgres: &PgDatabase, log: &str) -> Result<()> {
    let schema = &mysql.name;
    let there = names(
        mysql
            .rows("SHOW FULL TABLES WHERE table_type = 'BASE TABLE'")
            .await?,
    );
    let sql = format!("SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'");
    let here = names(postgres.rows(sql).await?);
    let mut differences = Vec::new();
    if there != here {
        let odd: Vec<&String> = there.symmetric_difference(&here).collect();
        differences.push(format!(
            "tables on one side only: {odd:?}
  {log}"
        ));
    }
    for table in there.intersection(&here) {
        let sql = format!(
            "SELECT column_name FROM information_schema.columns \
             WHERE table_schema = '{schema}' AND table_name = '{table}'"
        );
        let (left, right) = (
            names(mysql.rows(&sql).await?),
            names(postgres.rows(&sql).await?),
        );
        if left != right {
            differences.push(format!(
                "{table}: {left:?} in MySQL, {right:?} in PostgreSQL"
            ));
            continue;
        }
        match compare::compare(mysql, postgres, &compare::Pair::same(mysql, table)).await {
            Ok(found) if found.different == 0 => {}
            Ok(found) => {
                let name = format!("{schema}.{table}");
                let lines: Vec<&str> = log.lines().filter(|line| line.contains(&name)).collect();
                differences.push(format!(
                    "{table}: {} of {} rows differ: {}\n  {}",
                    found.different,
                    found.mysql_rows,
                    found.examples.join("; "),
                    lines.join("\n  ")
                ));
            }
            Err(error) => differences.push(format!("{table}: {error:#}")),
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

fn names(rows: Vec<Vec<Option<String>>>) -> BTreeSet<String> {
    rows.into_iter()
        .filter_map(|mut row| row.swap_remove(0))
        .collect()
}
