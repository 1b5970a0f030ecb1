//! The copy of present rows, against `mysql --quick --batch | psql COPY`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Shop, Sluice, process::is_streaming};

use crate::{
    Settings,
    report::{Report, grouped, median, rate},
    shell::{ORDER_COLUMNS, ORDERS_TABLE, mysql_export, psql, timed},
};

const PATIENCE: Duration = Duration::from_secs(600);

struct Measured {
    took: Duration,
    cpu_seconds: f64,
    peak_bytes: u64,
}

pub(crate) async fn run(settings: &Settings, report: &mut Report) -> Result<()> {
    let mysql = MysqlDatabase::create(&settings.servers, "bench").await?;
    Shop::create(&mysql).await?.load_rows(settings.rows).await?;
    let (mut ours, mut plain, mut cpu, mut peaks) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..settings.repeat {
        // Whoever is first finds other caches: they take turns.
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                let measured = copy(settings, &mysql).await?;
                ours.push(rate(settings.rows, measured.took));
                cpu.push(measured.cpu_seconds * 1e6 / settings.rows as f64);
                peaks.push(crate::report::mebibytes(measured.peak_bytes));
            } else {
                plain.push(rate(settings.rows, pipe(settings, &mysql).await?));
            }
        }
    }
    let (ours, plain) = (median(ours), median(plain));
    report.bar(
        "snapshot",
        format!("{} rows/s", grouped(ours)),
        &format!(
            "{} rows/s (mysql | psql COPY), ratio {:.2}",
            grouped(plain),
            ours / plain
        ),
        ("ratio >= 1.00", ours >= plain),
    );
    report.note(
        "snapshot: CPU of the agent",
        format!("{:.1} s per million rows", median(cpu)),
        "",
    );
    report.note(
        "snapshot: peak memory",
        format!("{:.0} MiB", median(peaks)),
        "",
    );
    Ok(())
}

async fn copy(settings: &Settings, mysql: &MysqlDatabase) -> Result<Measured> {
    let postgres = PgDatabase::create(&settings.servers, "bench").await?;
    let file = PipelineFile::new(mysql, &postgres)
        .source_spec(|spec| spec["tables"] = json!({"include": [format!("{}.orders", mysql.name)]}))
        .write()?;
    postgres.exec("CHECKPOINT").await?;
    let started = Instant::now();
    let mut sluice = Sluice::run(&file, &[])?;
    sluice
        .wait_until("the copy", PATIENCE, is_streaming)
        .await?;
    let took = started.elapsed();
    let measured = Measured {
        took,
        cpu_seconds: sluice.cpu_seconds()?,
        peak_bytes: sluice.peak_rss_bytes()?,
    };
    sluice.terminate().await?;
    let table = format!("\"{}\".orders", mysql.name);
    let arrived = postgres
        .value(format!("SELECT count(*) FROM {table}"))
        .await?;
    ensure!(
        arrived == settings.rows.to_string(),
        "{arrived} rows arrived"
    );
    Ok(measured)
}

async fn pipe(settings: &Settings, mysql: &MysqlDatabase) -> Result<Duration> {
    let postgres = PgDatabase::create(&settings.servers, "bench").await?;
    postgres
        .exec(format!("CREATE TABLE orders {ORDERS_TABLE}; CHECKPOINT"))
        .await?;
    let query = format!("SELECT {ORDER_COLUMNS} FROM orders");
    let export = mysql_export(&settings.servers, &mysql.name, &query);
    let import = format!(
        "{} -c \"COPY orders FROM STDIN (NULL 'NULL')\"",
        psql(&postgres)
    );
    let took = timed(&postgres, &format!("{export} | {import}")).await?;
    let arrived = postgres.value("SELECT count(*) FROM orders").await?;
    ensure!(
        arrived == settings.rows.to_string(),
        "{arrived} rows arrived"
    );
    Ok(took)
}
