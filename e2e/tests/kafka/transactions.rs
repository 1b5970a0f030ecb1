//! With `kafka.transactions` every read of the replica sees the source as it was between two
//! transactions, though the rows come through many partitions, agents are killed and a transaction is
//! larger than any batch.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use mysql_async::{Conn, prelude::Queryable};
use serde_json::json;
use sluice_e2e::{
    MysqlDatabase, PgDatabase, Servers,
    compare::{Pair, wait_equal},
    kafka::{Format, KafkaServers, Transport, topics},
    postgres::rows_of,
};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::agents::Agent;

const WRITERS: u64 = 4;
const ACCOUNTS: u64 = 200;
const SUM: u64 = 3 * ACCOUNTS * 1_000;
/// How many rows one transaction adds at once.
const BULK: u64 = 100_000;
/// How often the replica is read in between.
const READS: u64 = 200;
const KILLS: u32 = 5;
/// An agent that is not optimised, on a busy machine: `make bench` has the bar.
const MEMORY_BYTES_MAX: u64 = 224 << 20;
/// How often each writer commits.
const PACE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(120);
const TABLES: [&str; 5] = ["cash", "savings", "loans", "journal", "bulk"];

const SCHEMA: &str = "
CREATE TABLE cash (id int NOT NULL PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE savings LIKE cash;
CREATE TABLE loans LIKE cash;
CREATE TABLE journal (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, writer int NOT NULL);
CREATE TABLE bulk (id bigint NOT NULL PRIMARY KEY, note varchar(100) NOT NULL);
SET cte_max_recursion_depth = 1000000;
INSERT INTO cash WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 200)
SELECT i, 1000 FROM n;
INSERT INTO savings SELECT * FROM cash;
INSERT INTO loans SELECT * FROM cash";

/// Moves money between tables and writes each transaction down in the journal.
async fn write(mut conn: Conn, writer: u64, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut rng = Rng::with_seed(writer);
    let mut pace = tokio::time::interval(PACE);
    let mut committed = 0;
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let mut sql = "BEGIN;".to_owned();
        // Always in the order of the tables and by disjoint rows: no deadlocks.
        let account = 1 + rng.u64(..ACCOUNTS / WRITERS) * WRITERS + writer;
        let amount = rng.u32(1..50);
        let (from, to) =
            [("cash", "savings"), ("cash", "loans"), ("savings", "loans")][rng.usize(..3)];
        let transfer = format!(
            "UPDATE {from} SET balance = balance - {amount} WHERE id = {account};
             UPDATE {to} SET balance = balance + {amount} WHERE id = {account};
             INSERT INTO journal (writer) VALUES ({writer});"
        );
        sql.push_str(&transfer);
        let end = if rng.u32(..10) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        sql.push_str(end);
        conn.query_drop(sql).await?;
        committed += u64::from(end == "COMMIT");
    }
    conn.disconnect().await?;
    Ok(committed)
}

/// Reads all tables in one statement, again and again.
fn read(client: Client, schema: String, stop: Arc<AtomicBool>) -> JoinHandle<Result<u64>> {
    tokio::spawn(async move {
        let sql = format!(
            "SELECT (SELECT sum(balance) FROM \"{schema}\".cash) + (SELECT sum(balance) FROM \
             \"{schema}\".savings) + (SELECT sum(balance) FROM \"{schema}\".loans), (SELECT count(*) \
             FROM \"{schema}\".bulk), (SELECT count(*) FROM \"{schema}\".journal)"
        );
        let (mut reads, mut written) = (0, 0_u64);
        while !stop.load(Ordering::Relaxed) || reads < READS {
            let rows = rows_of(&client, &sql).await?;
            let cell = |index: usize| rows[0][index].clone().unwrap_or_default();
            ensure!(cell(0) == SUM.to_string(), "the accounts hold {}", cell(0));
            let bulk: u64 = cell(1).parse()?;
            ensure!(
                bulk.is_multiple_of(BULK),
                "{bulk} rows of a large transaction"
            );
            let now: u64 = cell(2).parse()?;
            ensure!(
                now >= written,
                "the journal went back to {now} from {written}"
            );
            written = now;
            reads += 1;
        }
        ensure!(written > 0, "nothing ever came");
        Ok(reads)
    })
}

/// The rows that the journal has in the replica.
async fn journal(postgres: &PgDatabase, mysql: &MysqlDatabase) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM \"{}\".journal", mysql.name);
    Ok(postgres.value(sql).await?.parse()?)
}

/// Waits until the replica has gone on.
async fn wait_further(postgres: &PgDatabase, mysql: &MysqlDatabase, by: u64) -> Result<()> {
    let before = journal(postgres, mysql).await?;
    sluice_e2e::wait::wait_for("the replica to go on", PATIENCE, || async {
        Ok((journal(postgres, mysql).await? >= before + by).then_some(()))
    })
    .await
}

/// Compares the bounds with the records that lie between them: how many of each table each transaction has.
fn check_bounds(kafka: &KafkaServers, transport: &Transport, mysql: &str) -> Result<u64> {
    let mut counted: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for table in TABLES {
        for record in topics::read_committed(&kafka.bootstrap, &[&transport.topic(table)])? {
            if record.value.is_none() {
                continue;
            }
            let value = record.json()?;
            if let Some(id) = value["transaction"]["id"].as_str() {
                let tables = counted.entry(id.to_owned()).or_default();
                *tables.entry(format!("{mysql}.{table}")).or_default() += 1;
            }
        }
    }
    let topic = format!("{}.transaction", transport.name);
    let mut open: Option<String> = None;
    let mut journalled = 0;
    for record in topics::read_committed(&kafka.bootstrap, &[&topic])? {
        let value = record.json()?;
        let id = value["id"].as_str().context("no id")?.to_owned();
        match value["status"].as_str() {
            Some("BEGIN") => {
                ensure!(open.is_none(), "{id} begins inside of {open:?}");
                open = Some(id);
            }
            Some("END") => {
                ensure!(open.as_ref() == Some(&id), "{id} ends inside of {open:?}");
                open = None;
                let told = value["data_collections"].as_array().context("no counts")?;
                let told: BTreeMap<String, u64> = told
                    .iter()
                    .map(|table| {
                        let name = table["data_collection"].as_str().unwrap_or_default();
                        (name.to_owned(), table["event_count"].as_u64().unwrap_or(0))
                    })
                    .collect();
                let found = counted.remove(&id).unwrap_or_default();
                ensure!(
                    told == found,
                    "{id}: {told:?} are told, {found:?} are there"
                );
                ensure!(
                    value["event_count"].as_u64() == Some(told.values().sum()),
                    "{value}"
                );
                journalled += told.get(&format!("{mysql}.journal")).copied().unwrap_or(0);
            }
            _ => bail!("{value}"),
        }
    }
    ensure!(open.is_none(), "{open:?} does not end");
    ensure!(
        counted.is_empty(),
        "without bounds: {:?}",
        counted.keys().next()
    );
    Ok(journalled)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_only_states_between_transactions_through_kafka_too() -> Result<()> {
    let (servers, kafka) = (Servers::from_env(), KafkaServers::from_env()?);
    let mysql = MysqlDatabase::create(&servers, "bounds").await?;
    let postgres = PgDatabase::create(&servers, "bounds").await?;
    mysql.exec(SCHEMA).await?;
    let transport = Transport::new(&kafka, &mysql, Format::Json)
        .source_spec(|spec| spec["kafka"]["transactions"] = json!(true));
    let mut capture = Agent::start(transport.capture()?)?;
    // Small batches: many commits, each of them a chance to be wrong.
    let small = |spec: &mut serde_json::Value| {
        spec["apply"] = json!({"batchRows": 50, "maxDelay": "5ms"});
    };
    let mut apply = Agent::start(transport.apply(&postgres, "pg", small)?)?;
    let pairs: Vec<Pair> = TABLES
        .iter()
        .map(|table| Pair::same(&mysql, table))
        .collect();
    wait_equal(&mysql, &postgres, &pairs, PATIENCE).await?;

    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        writers.push(tokio::spawn(write(
            mysql.conn().await?,
            writer,
            Arc::clone(&stop),
        )));
    }
    let ending = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..2 {
        let client = postgres.client().await?;
        readers.push(read(client, mysql.name.clone(), Arc::clone(&ending)));
    }
    let bulk = |from: u64| {
        format!(
            "SET cte_max_recursion_depth = {BULK};
             INSERT INTO bulk WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE \
             i < {BULK}) SELECT i + {from}, REPEAT('x', 50) FROM n"
        )
    };
    mysql.exec(bulk(0)).await?;
    let mut peak = 0;
    for round in 0..KILLS {
        wait_further(&postgres, &mysql, 200).await?;
        peak = peak.max(apply.running.peak_rss_bytes()?);
        apply.kill().await?;
        if round % 2 == 1 {
            capture.kill().await?;
        }
        if round == 2 {
            mysql.exec(bulk(BULK)).await?;
        }
    }
    wait_further(&postgres, &mysql, 200).await?;
    stop.store(true, Ordering::Relaxed);
    let mut committed = 0;
    for writer in writers {
        committed += writer.await??;
    }
    let arrived = wait_equal(&mysql, &postgres, &pairs, PATIENCE).await;
    if arrived.is_err() {
        eprintln!("capture: {:#?}", capture.running.status().await);
        eprintln!("apply: {:#?}", apply.running.status().await);
    }
    arrived?;
    ending.store(true, Ordering::Relaxed);
    for reader in readers {
        let reads = reader.await??;
        ensure!(reads >= READS);
    }
    peak = peak.max(apply.running.peak_rss_bytes()?);
    ensure!(apply.running.terminate().await?.success());
    ensure!(capture.running.terminate().await?.success());
    let journalled = check_bounds(&kafka, &transport, &mysql.name)?;
    ensure!(
        journalled == committed,
        "{journalled} of {committed} transactions have bounds"
    );
    eprintln!(
        "whole transactions: {committed}, at most {} MiB",
        peak >> 20
    );
    ensure!(peak < MEMORY_BYTES_MAX, "the agent took {peak} bytes");
    Ok(())
}
