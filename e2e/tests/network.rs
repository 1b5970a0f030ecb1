//! Networks that do not say that they are broken: connections that were forgotten on the way, where
//! nobody ever answers and nobody closes.
//!
//! Only the source is tested: a silent log and an idle one differ by heartbeats. That a target is gone
//! is noticed by TCP itself (keep-alive and the time until an acknowledgement), and this proxy's
//! kernel acknowledges everything.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use sluice_e2e::{
    MysqlDatabase, PgDatabase, PipelineFile, Servers, Shop, Sluice, TcpProxy, WriterOptions,
    Writers, assert_equal,
};
use tokio::time::sleep;

const GENTLY: WriterOptions = WriterOptions {
    count: 2,
    seed: 9,
    changes_per_second: Some(500),
    bulk: false,
};
const NOTICED_MAX: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fell_silent_is_left_and_found_again() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "silent").await?;
    let postgres = PgDatabase::create(&servers, "silent").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(5_000).await?;
    let proxy = TcpProxy::to(&mysql.endpoint.address()).await?;
    let file = PipelineFile::new(&mysql, &postgres)
        .mysql_address(&proxy.host(), proxy.port())
        .source_spec(|spec| spec["heartbeatSeconds"] = json!(1))
        .write()?;
    let writers = Writers::start_with(&shop, GENTLY).await?;
    let mut sluice = Sluice::run(&file, &[])?;
    let before = sluice.wait_streaming().await?.rows_total;
    sluice
        .wait_until("changes", NOTICED_MAX, |status| {
            status.rows_total > before + 100
        })
        .await?;
    proxy.forget();
    let forgotten = Instant::now();
    // What is on its way may still arrive; this can't be.
    sleep(Duration::from_millis(100)).await;
    mysql.exec("INSERT INTO tags VALUES ('after', 1)").await?;
    sluice.wait_caught_up_within(NOTICED_MAX).await?;
    eprintln!("network: back after {:.1?}", forgotten.elapsed());
    writers.stop().await?;
    sluice.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &Shop::TABLES).await
}
