//! In direct mode every read of the replica sees the source as it was at one moment.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use serde_json::json;
use sluice_e2e::{
    MysqlDatabase, PgDatabase, PipelineFile, Servers, Shop, Sluice, Writers, assert_equal,
    postgres::rows_of, wait::wait_for, workload::ACCOUNTS_SUM,
};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

const READS: usize = 1_000;

/// Reads the sum again and again; answers with the number of reads.
fn reader(client: Client, schema: String, stop: Arc<AtomicBool>) -> JoinHandle<Result<usize>> {
    tokio::spawn(async move {
        let sql = format!(
            "SELECT sum(balance), count(*), (SELECT sum(x) FROM \"{schema}\".counters), \
             (SELECT count(DISTINCT abs(position)) FROM \"{schema}\".seats) FROM \"{schema}\".accounts"
        );
        let (mut reads, mut counted) = (0, 0_i64);
        while !stop.load(Ordering::Relaxed) || reads < READS {
            let rows = rows_of(&client, &sql).await?;
            let cell = |index: usize| rows[0][index].clone().unwrap_or_default();
            ensure!(
                cell(0) == ACCOUNTS_SUM.to_string(),
                "the accounts hold {} together",
                cell(0)
            );
            ensure!(cell(1) == "50", "there are {} accounts", cell(1));
            // Half of a swap is never seen either.
            ensure!(cell(3) == "40", "{} different seats", cell(3));
            let now: i64 = cell(2).parse()?;
            ensure!(
                now >= counted,
                "the counters went back from {counted} to {now}"
            );
            counted = now;
            reads += 1;
        }
        ensure!(counted > 0, "the counters never moved");
        Ok(reads)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_replica_sees_only_states_that_the_source_had() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "bank").await?;
    let postgres = PgDatabase::create(&servers, "bank").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(20_000).await?;
    let file = PipelineFile::new(&mysql, &postgres)
        .source_spec(|spec| spec["snapshot"] = json!({"chunkRows": 2000}))
        // Small batches: many commits, each of them a chance to be wrong.
        .sink_spec(|spec| spec["apply"] = json!({"batchRows": 50, "maxDelay": "5ms"}))
        .write()?;
    let writers = Writers::start(&shop, 4).await?;
    let mut sluice = Sluice::run(&file, &[])?;
    sluice.wait_streaming().await?;

    let ending = Arc::new(AtomicBool::new(false));
    let readers: Vec<JoinHandle<Result<usize>>> = vec![
        reader(
            postgres.client().await?,
            mysql.name.clone(),
            Arc::clone(&ending),
        ),
        reader(
            postgres.client().await?,
            mysql.name.clone(),
            Arc::clone(&ending),
        ),
    ];
    for _ in 0..4 {
        let before = sluice.wait_streaming().await?.rows_total;
        sluice
            .wait_until("some rows", Duration::from_secs(60), |status| {
                status.rows_total > before + 500
            })
            .await?;
        sluice.kill_nine().await?;
        sluice = Sluice::run(&file, &[])?;
    }
    sluice.wait_streaming().await?;
    writers.stop().await?;
    ending.store(true, Ordering::Relaxed);
    for reader in readers {
        let reads = reader.await??;
        ensure!(reads >= READS);
    }
    sluice.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &Shop::TABLES).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wrote_can_ask_the_replica_whether_it_has_seen_the_write() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "seen").await?;
    let postgres = PgDatabase::create(&servers, "seen").await?;
    mysql
        .exec("CREATE TABLE t (id int PRIMARY KEY, x int)")
        .await?;
    let mut sluice = Sluice::run(&PipelineFile::new(&mysql, &postgres).write()?, &[])?;
    sluice.wait_streaming().await?;
    let client = postgres.client().await?;
    for id in 0..20 {
        mysql
            .exec(format!("INSERT INTO t VALUES ({id}, {id})"))
            .await?;
        let gtid = mysql.value("SELECT @@global.gtid_executed").await?;
        wait_for("the write", Duration::from_secs(30), || async {
            let row = client
                .query_one("SELECT sluice.replicated($1)", &[&gtid])
                .await?;
            Ok(row.get::<_, bool>(0).then_some(()))
        })
        .await?;
        // The answer and the row are visible together.
        let rows = postgres
            .value(format!("SELECT count(*) FROM \"{}\".t", mysql.name))
            .await?;
        assert_eq!(rows, (id + 1).to_string());
    }
    let unknown = "ffffffff-ffff-ffff-ffff-ffffffffffff:1";
    let row = client
        .query_one("SELECT sluice.replicated($1)", &[&unknown])
        .await?;
    assert!(!row.get::<_, bool>(0));
    Ok(())
}
