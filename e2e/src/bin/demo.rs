//! `make demo`: a shop with a million orders and a running workload is copied from MySQL into
//! PostgreSQL and kept in step, in front of your eyes; then both sides are compared.
//!
//! Exit code 0 when they are equal, 1 when not. `KEEP=1` goes on until Ctrl-C.

use std::{
    env,
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;
use sluice_e2e::{
    MysqlDatabase, PgDatabase, PipelineFile, Servers, Shop, Sluice, WriterOptions, Writers,
    compare::{Pair, compare},
    process::is_streaming,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    time::sleep,
};

const NAME: &str = "shop_demo";
const ORDERS: u64 = 1_000_000;
const CHANGES_PER_SECOND: u32 = 1_000;
/// How long the log is followed once everything is copied.
const STREAMING: Duration = Duration::from_secs(20);
const COPY_MAX: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> ExitCode {
    let end = End::default();
    let outcome = tokio::select! {
        outcome = demo(&end) => outcome,
        interrupted = end.interrupted() => interrupted.map(|()| {
            println!("\nInterrupted.");
            false
        }),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn keeps_running() -> bool {
    env::var("KEEP").is_ok_and(|keep| !keep.is_empty() && keep != "0")
}

/// Who ends the demo: itself, or somebody who presses Ctrl-C. The agent must not outlive it.
#[derive(Default)]
struct End {
    may_be_asked: AtomicBool,
    asked: Notify,
}

impl End {
    /// Waits as long as the pipeline is to be watched.
    async fn of_watching(&self) {
        if keeps_running() {
            self.may_be_asked.store(true, Ordering::Relaxed);
            self.asked.notified().await;
        } else {
            sleep(STREAMING).await;
        }
    }

    /// Returns when somebody wants to end everything at once.
    async fn interrupted(&self) -> Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // With KEEP=1 the first one only ends the watching, and both sides are compared.
            if !self.may_be_asked.swap(false, Ordering::Relaxed) {
                return Ok(());
            }
            self.asked.notify_one();
        }
    }
}

async fn demo(end: &End) -> Result<bool> {
    let servers = Servers::from_env();
    println!("Sluice demo: a live MySQL database, replicated into PostgreSQL.\n");
    let mut mysql = MysqlDatabase::create_named(&servers, NAME).await?;
    let mut postgres = PgDatabase::create_named(&servers, NAME).await?;
    mysql.keep();
    postgres.keep();
    let shop = load(&mysql).await?;

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/demo/shop.yaml");
    let file = PipelineFile::new(&mysql, &postgres)
        .named("shop", "shop-replica")
        .write_to(&path)?;
    println!(
        "Writers now change about {CHANGES_PER_SECOND} rows per second: inserts, updates, deletes,"
    );
    println!("changes of keys, swaps of unique values, money transfers. Meanwhile");
    println!("\n    target/release/sluice run -f target/demo/shop.yaml\n");
    println!(
        "copies every table without locking any, and follows the binary log at the same time."
    );
    let hint = if keeps_running() {
        "Press Ctrl-C when you have seen enough"
    } else {
        "Watch it for half a minute"
    };
    println!("{hint}:\n");
    let options = WriterOptions {
        changes_per_second: Some(CHANGES_PER_SECOND),
        bulk: false,
        ..WriterOptions::default()
    };
    let writers = Writers::start_with(&shop, options).await?;
    let started = Instant::now();
    let mut sluice = Sluice::run_visibly(&file)?;
    let status = sluice
        .wait_until("the copy", COPY_MAX, is_streaming)
        .await?;
    let copied = started.elapsed();
    let rows = status.snapshot.rows_copied;
    end.of_watching().await;
    let report = writers.stop().await?;
    let stopped = Instant::now();
    sluice.wait_caught_up().await?;
    let behind = stopped.elapsed();
    sluice.terminate().await?;

    println!(
        "\nCopied {} rows in {copied:.1?} while the writers wrote.",
        grouped(rows)
    );
    println!(
        "The writers made {} transactions with {} changes; {behind:.1?} after the last one the",
        grouped(report.transactions),
        grouped(report.changes)
    );
    println!("replica had them all. Is it equal? Every row and every value, compared:\n");
    let is_equal = compare_all(&mysql, &postgres).await?;
    farewell(&servers);
    Ok(is_equal)
}

async fn load(mysql: &MysqlDatabase) -> Result<Shop> {
    println!("Filling MySQL with a shop of {} orders …", grouped(ORDERS));
    let started = Instant::now();
    let shop = Shop::create(mysql).await?;
    shop.load_rows(ORDERS).await?;
    println!("… done in {:.1?}.\n", started.elapsed());
    Ok(shop)
}

async fn compare_all(mysql: &MysqlDatabase, postgres: &PgDatabase) -> Result<bool> {
    println!(
        "  {:<14}{:>12}{:>12}{:>12}",
        "table", "MySQL", "PostgreSQL", "different"
    );
    let mut different = 0;
    for table in Shop::TABLES {
        let found = compare(mysql, postgres, &Pair::same(mysql, table)).await?;
        println!(
            "  {table:<14}{:>12}{:>12}{:>12}",
            grouped(found.mysql_rows),
            grouped(found.postgres_rows),
            grouped(found.different)
        );
        for example in &found.examples {
            println!("      {example}");
        }
        different += found.different;
    }
    if different == 0 {
        println!("\nBoth sides are equal.\n");
    } else {
        println!("\nBOTH SIDES DIFFER in {} rows.\n", grouped(different));
    }
    Ok(different == 0)
}

fn farewell(servers: &Servers) {
    println!("Both databases are still there:\n");
    println!("    {} {NAME}", servers.mysql_client.display());
    println!("    psql \"${{SLUICE_PG_URL%/*}}/{NAME}\" -c 'SELECT * FROM sluice.positions'\n");
    println!(
        "(after eval \"$(e2e/servers up)\", which sets the variable; `make down` stops the servers)."
    );
    println!("The whole configuration is in target/demo/shop.yaml: run it again, or change it.");
    if !keeps_running() {
        println!("KEEP=1 make demo keeps workload and pipeline running until Ctrl-C.");
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
