//! Nothing lost, nothing twice: the agent is killed at random moments while writers run, servers
//! die and networks break; at the end both sides are equal.

use std::{
    env,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use fastrand::Rng;
use serde_json::json;
use sluice_e2e::{
    MysqlDatabase, PgDatabase, PipelineFile, Shop, Sluice, TcpProxy, ThrowAway, WriterOptions,
    Writers, assert_equal, servers::Kind, workload::ACCOUNTS_SUM,
};
use tokio::time::sleep;

const KILLS: u32 = 60;
const ORDERS: u64 = 60_000;

/// Everything that can break.
struct World {
    rng: Rng,
    servers: ThrowAway,
    mysql_proxy: TcpProxy,
    postgres_proxy: TcpProxy,
}

impl World {
    /// Breaks something, and mends it while the agent runs.
    async fn trouble(&mut self, round: u32) -> Result<()> {
        // Servers take seconds to come back, so each of these is rare and certain to come.
        match round {
            10 | 40 => self.servers.restart(Kind::Mysql).await?,
            20 | 50 => self.servers.restart(Kind::Postgres).await?,
            15 | 45 => {
                self.servers.kill(Kind::Mysql).await?;
                self.servers.start(Kind::Mysql).await?;
            }
            25 | 55 => {
                self.servers.kill(Kind::Postgres).await?;
                self.servers.start(Kind::Postgres).await?;
            }
            _ if round.is_multiple_of(3) => {
                let proxy = if self.rng.bool() {
                    &self.mysql_proxy
                } else {
                    &self.postgres_proxy
                };
                proxy.cut();
                sleep(Duration::from_millis(self.rng.u64(..300))).await;
                proxy.restore().await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A random moment of a run: often in the middle of starting, sometimes much later.
    async fn random_moment(&mut self) {
        let longest = if self.rng.u32(..4) == 0 { 4_000 } else { 1_200 };
        sleep(Duration::from_millis(self.rng.u64(10..longest))).await;
    }
}

fn seed() -> u64 {
    let given = env::var("SLUICE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(1, |now| now.as_micros() as u64 % 1_000_000)
    })
}

/// Accounts are copied at once, so their sum is never anything but all or nothing.
async fn check_sum(postgres: &PgDatabase, schema: &str) -> Result<()> {
    let exists = format!("SELECT to_regclass('{schema}.accounts') IS NOT NULL");
    if postgres.value(exists).await? == "t" {
        let sql = format!("SELECT coalesce(sum(balance), 0) FROM \"{schema}\".accounts");
        let sum = postgres.value(sql).await?;
        ensure!(
            sum == "0" || sum == ACCOUNTS_SUM.to_string(),
            "the replica's accounts hold {sum}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_kills_and_broken_servers_and_networks_lose_nothing() -> Result<()> {
    let started = Instant::now();
    let seed = seed();
    eprintln!("crashes: SLUICE_SEED={seed} makes the same choices");
    let servers = ThrowAway::both().await?;
    let mysql = MysqlDatabase::create(servers.servers(), "crash").await?;
    let postgres = PgDatabase::create(servers.servers(), "crash").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(ORDERS).await?;
    let mut world = World {
        rng: Rng::with_seed(seed),
        mysql_proxy: TcpProxy::to(&mysql.endpoint.address()).await?,
        postgres_proxy: TcpProxy::to(&postgres.endpoint.address()).await?,
        servers,
    };
    let file = PipelineFile::new(&mysql, &postgres)
        .mysql_address(&world.mysql_proxy.host(), world.mysql_proxy.port())
        .postgres_address(&world.postgres_proxy.host(), world.postgres_proxy.port())
        .source_spec(|spec| spec["snapshot"] = json!({"chunkRows": 1000, "parallelism": 3}))
        .write()?;
    let options = WriterOptions {
        seed,
        changes_per_second: Some(1_000),
        ..WriterOptions::default()
    };
    let writers = Writers::start_with(&shop, options).await?;

    let mut snapshots = 0;
    let orders = format!("{}.orders", mysql.name);
    for round in 1..=KILLS {
        // A copy of one table begins again now and then, and is interrupted as well.
        let again = round % 12 == 0;
        let arguments: &[&str] = if again {
            &["--resnapshot", &orders]
        } else {
            &[]
        };
        let mut sluice = Sluice::run(&file, arguments)?;
        world.trouble(round).await?;
        world.random_moment().await;
        ensure!(
            sluice.is_running()?,
            "sluice ended by itself: {}",
            sluice.stderr()
        );
        let copying = sluice
            .status()
            .await
            .is_ok_and(|status| status.snapshot.percent < 100);
        snapshots += u32::from(copying);
        sluice.kill_nine().await?;
        check_sum(&postgres, &mysql.name).await?;
    }
    let killed = started.elapsed();

    let mut sluice = Sluice::run(&file, &[])?;
    sluice.wait_streaming().await?;
    let report = writers.stop().await?;
    sluice.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &Shop::TABLES).await?;
    check_sum(&postgres, &mysql.name).await?;
    let status = sluice.status().await?;
    ensure!(status.dead_letters == 0, "{status:#?}");
    ensure!(sluice.terminate().await?.success());
    eprintln!(
        "crashes: {KILLS} kills, {snapshots} of them while copying, in {killed:.0?}; all of it in \
         {:.0?}; {report:?}",
        started.elapsed()
    );
    Ok(())
}
