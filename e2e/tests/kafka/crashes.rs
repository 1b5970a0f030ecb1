//! Exactly once through Kafka: both agents, the broker and the registry are killed at random under
//! load; at the end the replica is equal, and a `read_committed` consumer has seen each change once.

use std::{
    collections::{BTreeMap, HashSet},
    env,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use serde_json::json;
use sluice_e2e::{
    MysqlDatabase, PgDatabase, Shop, ThrowAway, WriterOptions, Writers,
    compare::{Pair, wait_equal},
    kafka::{Format, Transport, topics},
    servers::Kind,
};
use tokio::time::sleep;

use crate::agents::Agent;

const KILLS: u32 = 60;
const ORDERS: u64 = 20_000;
const PATIENCE: Duration = Duration::from_secs(180);

/// No change of a row may be there twice. Rows of the first copy have no transaction.
fn count_changes(bootstrap: &str, topics: &[String]) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for topic in topics {
        let mut seen = HashSet::new();
        for record in topics::read_committed(bootstrap, &[topic])? {
            let header = record.header("sluice").context("no header `sluice`")?;
            let fields: Vec<&str> = header.splitn(4, ' ').collect();
            let [operation, _shape, _control, transaction] = fields[..] else {
                bail!("{topic}: the header {header:?}");
            };
            if matches!(operation, "r" | "t") {
                continue;
            }
            // A change of the key is two records.
            let change = format!("{transaction} {operation}");
            ensure!(
                seen.insert(change),
                "{topic}: change {transaction} ({operation}) is there twice, at {}/{} again",
                record.partition,
                record.offset
            );
        }
        counts.insert(topic.clone(), seen.len());
    }
    Ok(counts)
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_kills_of_agents_broker_and_registry_lose_and_double_nothing() -> Result<()> {
    let started = Instant::now();
    let given = env::var("SLUICE_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    eprintln!("crashes through Kafka: SLUICE_SEED={seed} makes the same choices");
    let mut rng = Rng::with_seed(seed);
    let servers = ThrowAway::with_kafka().await?;
    let kafka = servers.kafka()?;
    let mysql = MysqlDatabase::create(servers.servers(), "crash").await?;
    let postgres = PgDatabase::create(servers.servers(), "crash").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(ORDERS).await?;
    let transport = Transport::new(&kafka, &mysql, Format::Avro)
        .source_spec(|spec| spec["snapshot"] = json!({"chunkRows": 1000, "parallelism": 2}));
    let mut capture = Agent::start(transport.capture()?)?;
    let mut apply = Agent::start(transport.apply(&postgres, "pg", |_| {})?)?;
    let options = WriterOptions {
        seed,
        changes_per_second: Some(500),
        ..WriterOptions::default()
    };
    let writers = Writers::start_with(&shop, options).await?;

    let mut kills = BTreeMap::<&str, u32>::new();
    for round in 1..=KILLS {
        let what = match round {
            // Servers take seconds to come back, so each of these is rare and certain to come.
            7 | 19 | 31 | 43 | 55 => {
                servers.kill(Kind::Kafka).await?;
                servers.start(Kind::Kafka).await?;
                "broker"
            }
            13 | 37 => {
                servers.kill(Kind::Registry).await?;
                servers.start(Kind::Registry).await?;
                "registry"
            }
            _ if rng.bool() => {
                capture.kill().await?;
                "capture"
            }
            _ => {
                apply.kill().await?;
                "apply"
            }
        };
        *kills.entry(what).or_default() += 1;
        let longest = if rng.u32(..4) == 0 { 5_000 } else { 1_500 };
        sleep(Duration::from_millis(rng.u64(10..longest))).await;
    }
    let killed = started.elapsed();
    let written = writers.stop().await?;
    let pairs: Vec<Pair> = Shop::TABLES
        .iter()
        .map(|table| Pair::same(&mysql, table))
        .collect();
    let arrived = wait_equal(&mysql, &postgres, &pairs, PATIENCE).await;
    if arrived.is_err() {
        eprintln!("capture: {:#?}", capture.running.status().await);
        eprintln!("apply: {:#?}", apply.running.status().await);
    }
    arrived?;
    let names: Vec<String> = Shop::TABLES
        .iter()
        .map(|table| transport.topic(table))
        .collect();
    let counts = count_changes(&kafka.bootstrap, &names)?;
    let counters = counts[&transport.topic("counters")];
    ensure!(counters > 0, "nothing was captured as a change: {counts:?}");
    for agent in [&capture, &apply] {
        let status = agent.running.status().await?;
        ensure!(status.dead_letters == 0, "{status:#?}");
    }
    ensure!(apply.running.terminate().await?.success());
    ensure!(capture.running.terminate().await?.success());
    eprintln!(
        "crashes through Kafka: {kills:?} in {killed:.0?}, all of it in {:.0?}; {written:?}; {counts:?}",
        started.elapsed()
    );
    Ok(())
}
