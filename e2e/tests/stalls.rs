//! Ends that give no answer and no error: packets that are dropped, tables that are locked. The agent
//! must say so within seconds, name the end and what it waits for, and go on by itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_agent_api::{
    AgentStatus,
    status::{Stall, StalledOn},
};
use sluice_e2e::{AgentFolder, MysqlDatabase, PgDatabase, Servers, Sluice, TcpProxy};

/// How soon a stall must show.
const NOTICED_MAX: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(90);

struct World {
    mysql: MysqlDatabase,
    postgres: PgDatabase,
    pod: AgentFolder,
}

impl World {
    async fn create(label: &str) -> Result<Self> {
        let servers = Servers::from_env();
        let mysql = MysqlDatabase::create(&servers, label).await?;
        let postgres = PgDatabase::create(&servers, label).await?;
        mysql
            .exec(
                "CREATE TABLE orders (id int PRIMARY KEY, note text); \
                 INSERT INTO orders VALUES (1, 'one'), (2, 'two')",
            )
            .await?;
        let pod = AgentFolder::new(&mysql, &postgres)?;
        Ok(Self {
            mysql,
            postgres,
            pod,
        })
    }

    async fn behind_mysql_proxy(&mut self) -> Result<TcpProxy> {
        let proxy = TcpProxy::to(&self.mysql.endpoint.address()).await?;
        let connection = self.pod.mysql()?;
        (connection.host, connection.port) = (proxy.host(), proxy.port());
        self.pod.write()?;
        Ok(proxy)
    }

    async fn behind_postgres_proxy(&mut self) -> Result<TcpProxy> {
        let proxy = TcpProxy::to(&self.postgres.endpoint.address()).await?;
        let connection = self.pod.postgres()?;
        (connection.host, connection.port) = (proxy.host(), proxy.port());
        self.pod.write()?;
        Ok(proxy)
    }

    fn table(&self) -> String {
        format!("\"{}\".orders", self.mysql.name)
    }
}

async fn started(pod: &AgentFolder) -> Result<Sluice> {
    let mut agent = Sluice::agent(pod, &[])?;
    agent.wait_streaming().await?;
    agent
        .wait_until("readiness", PATIENCE, |status| status.ready)
        .await?;
    Ok(agent)
}

/// Waits until the agent says which end stalls, and asserts what must be true meanwhile.
async fn stalled(
    agent: &mut Sluice,
    on: StalledOn,
    since: Instant,
) -> Result<(AgentStatus, Stall)> {
    let status = agent
        .wait_until("a stall", NOTICED_MAX, |status| status.stalled.is_some())
        .await?;
    let noticed = since.elapsed();
    let stall = status.stalled.clone().context("it was there")?;
    eprintln!("stalls: noticed after {noticed:.1?}: {}", stall.message);
    ensure!(noticed <= NOTICED_MAX, "noticed after {noticed:?}");
    ensure!(stall.on == on && !status.ready, "{status:#?}");
    ensure!(stall.hint.is_some() && stall.seconds >= 5, "{stall:?}");
    ensure!(agent.get("/readyz").await.is_err(), "/readyz says ok");
    agent
        .get("/healthz")
        .await
        .context("a restart mends nothing")?;
    let metrics = agent.get("/metrics").await?;
    let end = format!("on=\"{on:?}\"");
    let shown = |line: &str| line.starts_with("sluice_stalled_seconds{") && line.contains(&end);
    ensure!(metrics.lines().any(shown), "{metrics}");
    Ok((status, stall))
}

/// The lag counts on while nothing moves.
async fn lag_grows(agent: &mut Sluice, from: &AgentStatus) -> Result<()> {
    let before = from.lag.seconds.context("the lag is unknown")?;
    ensure!(before > 3.0, "the lag is {before} s");
    agent
        .wait_until("the lag to grow", Duration::from_secs(5), |status| {
            status.lag.seconds.is_some_and(|lag| lag >= before + 2.0)
        })
        .await?;
    Ok(())
}

async fn recovered(agent: &mut Sluice) -> Result<()> {
    agent.wait_caught_up_within(PATIENCE).await?;
    agent
        .wait_until("readiness", PATIENCE, |status| {
            status.ready && status.stalled.is_none()
        })
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_falls_silent_is_said_so_whatever_its_heartbeat() -> Result<()> {
    let mut world = World::create("stall_source").await?;
    world.pod.config.source.heartbeat_seconds = 60;
    let proxy = world.behind_mysql_proxy().await?;
    let mut agent = started(&world.pod).await?;
    proxy.stall();
    let since = Instant::now();
    let (status, stall) = stalled(&mut agent, StalledOn::Source, since).await?;
    ensure!(stall.message.contains("MySQL at 127.0.0.1:"), "{stall:?}");
    lag_grows(&mut agent, &status).await?;
    proxy.resume();
    world
        .mysql
        .exec("INSERT INTO orders VALUES (3, 'x')")
        .await?;
    recovered(&mut agent).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_source_is_no_silent_one() -> Result<()> {
    let world = World::create("stall_idle").await?;
    let mut agent = started(&world.pod).await?;
    let until = Instant::now() + Duration::from_secs(12);
    agent
        .wait_until("time to pass", Duration::from_secs(15), |status| {
            assert!(status.ready && status.stalled.is_none(), "{status:#?}");
            Instant::now() > until
        })
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_is_named_with_who_holds_the_lock() -> Result<()> {
    let world = World::create("stall_lock").await?;
    let mut agent = started(&world.pod).await?;
    let blocker = world.postgres.client().await?;
    let table = world.table();
    blocker
        .batch_execute(&format!("BEGIN; LOCK TABLE {table}"))
        .await?;
    let pid: i32 = blocker
        .query_one("SELECT pg_backend_pid()", &[])
        .await?
        .get(0);
    world
        .mysql
        .exec("INSERT INTO orders VALUES (3, 'x')")
        .await?;
    let since = Instant::now();
    let (status, stall) = stalled(&mut agent, StalledOn::Target, since).await?;
    let message = &stall.message;
    for part in [
        "PostgreSQL at",
        ".orders",
        &format!("process {pid}"),
        "sluice-e2e",
    ] {
        ensure!(message.contains(part), "no {part} in {message}");
    }
    let hint = stall.hint.unwrap_or_default();
    let remedy = format!("SELECT pg_terminate_backend({pid})");
    ensure!(hint.contains(&remedy), "{hint}");
    lag_grows(&mut agent, &status).await?;
    // The lock outlasts the session's own limit on waiting for locks: no attempt may look ready.
    let until = since + Duration::from_secs(45);
    agent
        .wait_until("time to pass", Duration::from_secs(60), |status| {
            assert!(!status.ready, "{status:#?}");
            Instant::now() > until
        })
        .await?;
    agent.get("/healthz").await?;
    blocker.batch_execute("COMMIT").await?;
    recovered(&mut agent).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_falls_silent_is_said_so() -> Result<()> {
    let mut world = World::create("stall_target").await?;
    let proxy = world.behind_postgres_proxy().await?;
    let mut agent = started(&world.pod).await?;
    proxy.stall();
    world
        .mysql
        .exec("INSERT INTO orders VALUES (3, 'x')")
        .await?;
    let since = Instant::now();
    let (status, stall) = stalled(&mut agent, StalledOn::Target, since).await?;
    ensure!(
        stall.message.contains("PostgreSQL at 127.0.0.1:"),
        "{stall:?}"
    );
    let hint = stall.hint.unwrap_or_default();
    ensure!(hint.contains("pg_blocking_pids"), "{hint}");
    lag_grows(&mut agent, &status).await?;
    proxy.resume();
    recovered(&mut agent).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_connections_were_forgotten_is_opened_again() -> Result<()> {
    let mut world = World::create("stall_forgotten").await?;
    let proxy = world.behind_postgres_proxy().await?;
    let mut agent = started(&world.pod).await?;
    proxy.forget();
    world
        .mysql
        .exec("INSERT INTO orders VALUES (3, 'x')")
        .await?;
    let since = Instant::now();
    stalled(&mut agent, StalledOn::Target, since).await?;
    recovered(&mut agent).await?;
    eprintln!("stalls: back after {:.1?}", since.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_slow_but_moves_on_is_no_stall() -> Result<()> {
    let mut world = World::create("stall_slow").await?;
    let note = "n".repeat(60_000);
    for first in [10, 40] {
        let rows: Vec<String> = (first..first + 30)
            .map(|id| format!("({id}, '{note}')"))
            .collect();
        let insert = format!("INSERT INTO orders VALUES {}", rows.join(", "));
        world.mysql.exec(insert).await?;
    }
    let proxy = world.behind_postgres_proxy().await?;
    // The copy's 3.6 MB are one call of the sink, and take more than ten seconds.
    proxy.throttle(Some(300_000));
    let began = Instant::now();
    let mut agent = Sluice::agent(&world.pod, &[])?;
    let mut opened = false;
    agent
        .wait_until("the copy", PATIENCE, |status| {
            opened |= status.position.is_some();
            let quiet = !opened || status.stalled.is_none();
            assert!(quiet, "{status:#?}");
            status.snapshot.percent == 100
        })
        .await?;
    let took = began.elapsed();
    ensure!(took > Duration::from_secs(10), "only {took:?}");
    proxy.throttle(None);
    recovered(&mut agent).await
}
