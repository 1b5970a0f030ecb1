//! From kill −9 until changes arrive again.

use std::time::{Duration, Instant};

use anyhow::Result;
use sluice_e2e::{
    MysqlDatabase, PgDatabase, PipelineFile, Shop, Sluice, WriterOptions, Writers, wait::wait_for,
};

use crate::{
    Settings,
    report::{Report, median},
};

const ROUNDS: i32 = 7;

pub(crate) async fn run(settings: &Settings, report: &mut Report) -> Result<()> {
    let mysql = MysqlDatabase::create(&settings.servers, "bench").await?;
    let postgres = PgDatabase::create(&settings.servers, "bench").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(50_000).await?;
    let file = PipelineFile::new(&mysql, &postgres).write()?;
    let options = WriterOptions {
        changes_per_second: Some(1_000),
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
    for round in 1..=ROUNDS {
        sluice.kill_nine().await?;
        let killed = Instant::now();
        mysql
            .exec(format!("REPLACE INTO tags VALUES ('mark', {round})"))
            .await?;
        sluice = Sluice::run(&file, &[])?;
        wait_for("the mark", Duration::from_secs(60), || async {
            let row = client.query_opt(&sql, &[]).await?;
            Ok(row
                .is_some_and(|row| row.get::<_, i32>(0) == round)
                .then_some(()))
        })
        .await?;
        times.push(killed.elapsed().as_secs_f64());
    }
    writers.stop().await?;
    sluice.terminate().await?;
    let worst = times.iter().copied().fold(0.0, f64::max);
    report.bar(
        "restart after kill -9",
        format!("{:.2} s, at most {worst:.2} s", median(times)),
        "",
        ("< 2 s", worst < 2.0),
    );
    Ok(())
}
