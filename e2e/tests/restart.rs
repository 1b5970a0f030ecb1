//! How long it takes from kill −9 until changes arrive again. The bar is 2 s on an idle machine
//! (`make bench` measures that); here the machine is shared and only nonsense fails.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sluice_e2e::{
    MysqlDatabase, PgDatabase, PipelineFile, Servers, Shop, Sluice, WriterOptions, Writers,
    wait::wait_for,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_streams_again_within_seconds() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "restart").await?;
    let postgres = PgDatabase::create(&servers, "restart").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(5_000).await?;
    let file = PipelineFile::new(&mysql, &postgres).write()?;
    let options = WriterOptions {
        changes_per_second: Some(500),
        ..WriterOptions::default()
    };
    let writers = Writers::start_with(&shop, options).await?;
    let mut sluice = Sluice::run(&file, &[])?;
    sluice.wait_streaming().await?;
    let client = postgres.client().await?;
    let sql = format!(
        "SELECT uses FROM \"{}\".tags WHERE name = 'mark'",
        mysql.name
    );
    let mut times = Vec::new();
    for round in 1..=5 {
        sluice.kill_nine().await?;
        mysql
            .exec(format!("REPLACE INTO tags VALUES ('mark', {round})"))
            .await?;
        let killed = Instant::now();
        sluice = Sluice::run(&file, &[])?;
        wait_for("the mark", Duration::from_secs(60), || async {
            let row = client.query_opt(&sql, &[]).await?;
            Ok(row
                .is_some_and(|row| row.get::<_, i32>(0) == round)
                .then_some(()))
        })
        .await?;
        times.push(killed.elapsed());
    }
    writers.stop().await?;
    times.sort();
    eprintln!("restart: from start to the first change applied {times:.2?}");
    ensure!(times[2] < Duration::from_secs(10), "{times:?}");
    Ok(())
}
