//! One writer: of two agents on one sink the older one can't commit any more, and stops.

use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_e2e::{
    MysqlDatabase, PgDatabase, PipelineFile, Servers, Shop, Sluice, WriterOptions, Writers,
    assert_equal,
};

const GENTLY: WriterOptions = WriterOptions {
    count: 2,
    seed: 3,
    changes_per_second: Some(500),
    bulk: false,
};

async fn world(label: &str) -> Result<(MysqlDatabase, PgDatabase, Shop)> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, label).await?;
    let postgres = PgDatabase::create(&servers, label).await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(5_000).await?;
    Ok((mysql, postgres, shop))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_of_two_agents_stops_and_says_why() -> Result<()> {
    let (mysql, postgres, shop) = world("two").await?;
    let file = PipelineFile::new(&mysql, &postgres).write()?;
    let writers = Writers::start_with(&shop, GENTLY).await?;
    let mut older = Sluice::run(&file, &[])?;
    older.wait_streaming().await?;
    let mut newer = Sluice::run(&file, &[])?;
    let (status, stderr) = older.exit_within(Duration::from_secs(30)).await?;
    assert_eq!(status.code(), Some(1), "{stderr}");
    ensure!(stderr.contains("Fenced"), "{stderr}");
    newer.wait_streaming().await?;
    writers.stop().await?;
    newer.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &Shop::TABLES).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_wakes_up_after_it_was_replaced_commits_nothing() -> Result<()> {
    let (mysql, postgres, shop) = world("asleep").await?;
    let file = PipelineFile::new(&mysql, &postgres).write()?;
    let writers = Writers::start_with(&shop, GENTLY).await?;
    let mut older = Sluice::run(&file, &[])?;
    older.wait_streaming().await?;
    // As long as it sleeps, its transaction may hold the position's row; the new one gets past it.
    older.signal("STOP").await?;
    let mut newer = Sluice::run(&file, &[])?;
    newer.wait_streaming().await?;
    older.signal("CONT").await?;
    let ended = older.exit_within(Duration::from_secs(60)).await;
    if !newer.is_running()? {
        anyhow::bail!(
            "the newer agent was put out by the older one: {}",
            newer.stderr()
        );
    }
    let (status, stderr) = ended?;
    assert_eq!(status.code(), Some(1), "{stderr}");
    ensure!(stderr.contains("Fenced"), "{stderr}");
    writers.stop().await?;
    newer.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &Shop::TABLES).await
}
