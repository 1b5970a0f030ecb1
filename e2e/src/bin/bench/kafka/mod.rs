//! Through Kafka in Avro, against Debezium and its JDBC sink: the same database, the same broker and
//! registry, the same changes, one partition, one after the other.

mod chain;
mod ours;
mod peer;

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;
use sluice_e2e::{
    KafkaServers, MysqlDatabase, PgDatabase, Shop, WriterOptions, Writers, assert_equal,
    kafka::{registry, topics},
};

use crate::{
    Settings,
    changes::Orders,
    latency,
    report::{Report, grouped, mebibytes, percentile, rate},
};
use chain::{Chain, MARKER, Measured};

const CHANGES_PER_SECOND: u32 = 1_000;
/// Debezium takes its time for each.
const SAMPLES: i64 = 400;

pub(crate) async fn run(settings: &Settings, report: &mut Report) -> Result<()> {
    let kafka = KafkaServers::from_env()?;
    let mysql = MysqlDatabase::create(&settings.servers, "bench").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(settings.rows).await?;
    mysql
        .exec("CREATE TABLE ticks (id bigint PRIMARY KEY)")
        .await?;
    let postgres = (
        PgDatabase::create(&settings.servers, "bench").await?,
        PgDatabase::create(&settings.servers, "bench").await?,
    );
    let mut peer = peer::Debezium::new(&kafka, &mysql, &postgres.0)?;
    let mut ours = ours::Ours::new(&kafka, &mysql, &postgres.1)?;
    let measured = measure(settings, &mysql, &shop, (&mut ours, &mut peer)).await;
    let prefixes = [ours.topics(), peer.topics()];
    peer.end().await?;
    let (ours, peer) = measured?;
    bars(report, &ours, &peer);
    assert_equal(&mysql, &postgres.1, &["orders", "ticks"]).await?;
    for prefix in prefixes {
        topics::delete(&kafka.bootstrap, &prefix).await?;
        registry::delete_subjects(&kafka.registry_url, &prefix).await?;
    }
    Ok(())
}

async fn measure(
    settings: &Settings,
    mysql: &MysqlDatabase,
    shop: &Shop,
    chains: (&mut ours::Ours<'_>, &mut peer::Debezium<'_>),
) -> Result<(Measured, Measured)> {
    let (ours, peer) = chains;
    let rows = settings.rows;
    let (mut own, mut other) = (Measured::default(), Measured::default());
    other.snapshot = rate(rows, peer.capture_snapshot(rows).await?);
    own.snapshot = rate(rows, ours.capture_snapshot(rows).await?);
    other.apply_rows = rate(rows, peer.apply_snapshot(rows).await?);
    own.apply_rows = rate(rows, ours.apply_snapshot(rows).await?);

    Orders::new(rows).change(mysql, settings.changes).await?;
    mysql.exec(marker(MARKER as i64)).await?;
    let changes = settings.changes + 1;
    other.backlog = rate(changes, peer.capture_backlog(changes).await?);
    own.backlog = rate(changes, ours.capture_backlog(changes).await?);
    other.apply_changes = rate(changes, peer.apply_backlog().await?);
    own.apply_changes = rate(changes, ours.apply_backlog().await?);

    peer.run_both().await?;
    (other.latency, other.load) = delay(mysql, shop, peer, 0).await?;
    other.memory = peer::Debezium::memory_bytes()?;
    peer.stop_both().await?;
    ours.run_both().await?;
    (own.latency, own.load) = delay(mysql, shop, ours, 1_000_000).await?;
    own.memory = ours.memory_bytes()?;
    own.cpu = ours.cpu_seconds();
    ours.stop_both().await?;
    Ok((own, other))
}

/// Inserts an order that is known by its number.
fn marker(id: i64) -> String {
    format!(
        "INSERT INTO orders (id, customer, status, amount, quantity, created) \
         VALUES ({id}, 1, 'new', 1, 1, '2026-01-01')"
    )
}

/// Milliseconds from commit to visible, sorted, while a thousand changes per second are made; and how
/// many there were.
async fn delay(
    mysql: &MysqlDatabase,
    shop: &Shop,
    chain: &mut impl Chain,
    first: i64,
) -> Result<(Vec<f64>, f64)> {
    // Both are through with what came before, and warm.
    let mut conn = mysql.conn().await?;
    conn.query_drop(format!("INSERT INTO ticks VALUES ({})", first + 900_000))
        .await?;
    chain.wait_tick(first + 900_000).await?;
    conn.disconnect().await?;
    let options = WriterOptions {
        count: 2,
        changes_per_second: Some(CHANGES_PER_SECOND),
        bulk: false,
        ..WriterOptions::default()
    };
    let writers = Writers::start_with(shop, options).await?;
    let started = std::time::Instant::now();
    let times = latency::through(
        mysql,
        chain.target(),
        &chain.table("ticks"),
        first..first + SAMPLES,
    )
    .await;
    let took = started.elapsed();
    let written = writers.stop().await?;
    ensure!(written.changes > 0, "nobody wrote");
    // What was written last is to arrive before the agents are stopped and both sides compared.
    let last = 2 * MARKER as i64 + first;
    mysql.exec(marker(last)).await?;
    chain.wait_row("orders", last).await?;
    Ok((times?, rate(written.changes, took)))
}

fn bars(report: &mut Report, ours: &Measured, peer: &Measured) {
    for (what, own, other, unit, times) in [
        (
            "snapshot into Kafka",
            ours.snapshot,
            peer.snapshot,
            "rows/s",
            4.0,
        ),
        (
            "backlog into Kafka",
            ours.backlog,
            peer.backlog,
            "changes/s",
            8.0,
        ),
        (
            "apply rows from Kafka",
            ours.apply_rows,
            peer.apply_rows,
            "rows/s",
            7.0,
        ),
        (
            "apply changes from Kafka",
            ours.apply_changes,
            peer.apply_changes,
            "changes/s",
            7.0,
        ),
    ] {
        report.bar(
            &format!("kafka: {what}"),
            format!("{} {unit}", grouped(own)),
            &format!(
                "{} {unit} (Debezium), ratio {:.1}",
                grouped(other),
                own / other
            ),
            (&format!(">= {times:.0} times"), own >= times * other),
        );
    }
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        let (own, other) = (
            percentile(&ours.latency, part),
            percentile(&peer.latency, part),
        );
        let measured = format!("{own:.1} ms at {:.0} changes/s", ours.load);
        let baseline = format!("{other:.1} ms at {:.0} changes/s (Debezium)", peer.load);
        let what = format!("kafka: latency {name}");
        if name == "p99" {
            let reached = own < 150.0 && own < other / 3.0;
            report.bar(
                &what,
                measured,
                &baseline,
                ("< 150 ms and < a third", reached),
            );
        } else {
            report.note(&what, measured, &baseline);
        }
    }
    for (what, bytes) in [("capture", ours.memory[0]), ("apply", ours.memory[1])] {
        let mebi = mebibytes(bytes);
        report.bar(
            &format!("kafka: peak memory, {what}"),
            format!("{mebi:.0} MiB"),
            &format!(
                "{:.0} MiB (Connect worker, both)",
                mebibytes(peer.memory[0])
            ),
            ("< 128 MiB", mebi < 128.0),
        );
    }
    for (what, seconds) in [("capture", ours.cpu[0]), ("apply", ours.cpu[1])] {
        let what = format!("kafka: CPU of all of it, {what}");
        report.note(&what, format!("{seconds:.1} s"), "");
    }
}
