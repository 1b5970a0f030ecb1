//! Agents that share a sink's topics: their number changes under load, old and new ones overlap, some
//! are killed, and tables change meanwhile. Nothing is lost or applied twice, and each row's changes
//! arrive in order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use mysql_async::{Conn, prelude::Queryable};
use serde_json::json;
use sluice_agent_api::status::Phase;
use sluice_e2e::{
    AgentFolder, MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice,
    compare::{Pair, wait_equal},
    kafka::{Format, KafkaServers, Transport},
};
use tokio::task::JoinHandle;

const WRITERS: u64 = 4;
const KEYS: u64 = 600;
/// How often each writer changes a row.
const PACE: Duration = Duration::from_millis(4);
const PATIENCE: Duration = Duration::from_secs(120);

const TABLES: &str = "
CREATE TABLE ledger (id int NOT NULL PRIMARY KEY, x bigint NOT NULL, version bigint NOT NULL);
CREATE TABLE events (writer int NOT NULL, version bigint NOT NULL);
INSERT INTO ledger WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 500)
SELECT i, 0, 0 FROM n";

/// Writes down each change of a row that is older than the one before, or the same.
const WATCH: &str = "
CREATE TABLE public.odd (id int, before bigint, after bigint);
CREATE FUNCTION public.watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.version <= OLD.version THEN
        INSERT INTO public.odd VALUES (NEW.id, OLD.version, NEW.version);
    END IF;
    RETURN NULL;
END $$;";

/// Writers of which each has its own rows, so that the versions of a row only grow.
struct Writing {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Result<u64>>>,
}

impl Writing {
    async fn start(mysql: &MysqlDatabase) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let versions = Arc::new(AtomicU64::new(1));
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let conn = mysql.conn().await?;
            let (stop, versions) = (Arc::clone(&stop), Arc::clone(&versions));
            writers.push(tokio::spawn(write(conn, writer, versions, stop)));
        }
        Ok(Self { stop, writers })
    }

    async fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut changes = 0;
        for writer in self.writers {
            changes += writer.await??;
        }
        Ok(changes)
    }
}

async fn write(
    mut conn: Conn,
    writer: u64,
    versions: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Result<u64> {
    let mut rng = Rng::with_seed(writer);
    let mut changes = 0;
    let mut pace = tokio::time::interval(PACE);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let mut key = || rng.u64(..KEYS / WRITERS) * WRITERS + writer;
        let (id, other) = (key(), key());
        let version = versions.fetch_add(1, Ordering::Relaxed);
        let statement = match rng.u32(..10) {
            0 => format!("DELETE FROM ledger WHERE id = {id}"),
            1 => format!(
                "UPDATE IGNORE ledger SET id = {other}, version = {version} WHERE id = {id}"
            ),
            2 => format!("INSERT INTO events VALUES ({writer}, {version})"),
            _ => format!(
                "INSERT INTO ledger (id, x, version) VALUES ({id}, 1, {version})
                 ON DUPLICATE KEY UPDATE x = x + 1, version = {version}"
            ),
        };
        conn.query_drop(statement).await?;
        changes += 1;
    }
    conn.disconnect().await?;
    Ok(changes)
}

/// The agents of one layout.
struct Layout {
    folder: AgentFolder,
    agents: Vec<Sluice>,
}

impl Layout {
    fn start(
        transport: &Transport,
        postgres: &PgDatabase,
        count: u32,
        generation: i64,
    ) -> Result<Self> {
        let mut folder = transport.apply(postgres, "pg", |spec| spec["replicas"] = count.into())?;
        let replicas = folder.config.replicas.as_mut();
        replicas.context("the agents share topics")?.generation = Some(generation);
        folder.write()?;
        let agents = (0..count).map(|index| start(&folder, index));
        let agents = agents.collect::<Result<_>>()?;
        Ok(Self { folder, agents })
    }

    async fn kill(&mut self, index: u32) -> Result<()> {
        let agent = &mut self.agents[index as usize];
        ensure!(
            agent.is_running()?,
            "agent {index} ended by itself: {}",
            agent.stderr()
        );
        agent.kill_nine().await?;
        *agent = start(&self.folder, index)?;
        Ok(())
    }

    async fn wait_streaming(&mut self) -> Result<()> {
        for agent in &mut self.agents {
            let streaming =
                |status: &sluice_agent_api::AgentStatus| status.phase == Phase::Streaming;
            agent.wait_until("streaming", PATIENCE, streaming).await?;
        }
        Ok(())
    }

    /// Agents that nobody has stopped are put out by those of a newer layout, and stay so.
    async fn wait_fenced(&mut self) -> Result<()> {
        for agent in &mut self.agents {
            let is_fenced = |status: &sluice_agent_api::AgentStatus| {
                let error = status.last_error.as_ref();
                error.is_some_and(|error| error.reason == "Fenced")
            };
            agent
                .wait_until("being fenced", PATIENCE, is_fenced)
                .await?;
        }
        Ok(())
    }

    /// Every agent has applied something.
    async fn wait_shared(&mut self) -> Result<()> {
        for agent in &mut self.agents {
            let works = |status: &sluice_agent_api::AgentStatus| status.rows_total > 0;
            agent.wait_until("rows of its own", PATIENCE, works).await?;
        }
        Ok(())
    }
}

fn start(folder: &AgentFolder, index: u32) -> Result<Sluice> {
    Sluice::agent(folder, &["--pod", &format!("shop-pg-{index}")])
}

fn pairs(mysql: &MysqlDatabase) -> [Pair; 2] {
    ["ledger", "events"].map(|table| Pair::same(mysql, table))
}

/// Waits until the target has a column, or has not.
async fn wait_column(mysql: &MysqlDatabase, postgres: &PgDatabase, column: &str) -> Result<()> {
    let sql = format!(
        "SELECT count(*) FROM information_schema.columns
         WHERE table_schema = '{}' AND table_name = 'ledger' AND column_name = '{column}'",
        mysql.name
    );
    let deadline = Instant::now() + PATIENCE;
    while postgres.value(&sql).await? != "1" {
        ensure!(Instant::now() < deadline, "column {column} never came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_scaled_under_load_lose_nothing_and_keep_each_rows_order() -> Result<()> {
    let begun = Instant::now();
    let (servers, kafka) = (Servers::from_env(), KafkaServers::from_env()?);
    let mysql = MysqlDatabase::create(&servers, "scale").await?;
    let postgres = PgDatabase::create(&servers, "scale").await?;
    mysql.exec(TABLES).await?;
    let transport = Transport::new(&kafka, &mysql, Format::Json)
        .source_spec(|spec| spec["kafka"]["partitions"] = 8.into());
    let mut capture = Sluice::agent(&transport.capture()?, &[])?;

    let mut alone = Layout::start(&transport, &postgres, 1, 1)?;
    wait_equal(&mysql, &postgres, &pairs(&mysql), PATIENCE).await?;
    let trigger = format!(
        "CREATE TRIGGER watch AFTER UPDATE ON {schema}.ledger
             FOR EACH ROW EXECUTE FUNCTION public.watch();
         ALTER TABLE {schema}.ledger ENABLE ALWAYS TRIGGER watch",
        schema = mysql.name
    );
    postgres.exec(format!("{WATCH} {trigger}")).await?;
    let writing = Writing::start(&mysql).await?;
    alone.wait_shared().await?;

    // Up, while the one before goes on.
    let mut four = Layout::start(&transport, &postgres, 4, 2)?;
    alone.wait_fenced().await?;
    four.wait_shared().await?;
    mysql
        .exec("ALTER TABLE ledger ADD COLUMN note varchar(20) DEFAULT 'none'")
        .await?;
    for index in [0, 2, 3] {
        four.kill(index).await?;
    }
    wait_column(&mysql, &postgres, "note").await?;
    mysql.exec("TRUNCATE TABLE ledger").await?;
    for index in [1, 0, 1, 2] {
        four.kill(index).await?;
        four.wait_streaming().await?;
    }
    drop(alone);

    // Down, and a change of the table while both layouts are there.
    mysql.exec("ALTER TABLE ledger ADD COLUMN late int").await?;
    let mut two = Layout::start(&transport, &postgres, 2, 3)?;
    mysql.exec("TRUNCATE TABLE ledger").await?;
    four.wait_fenced().await?;
    // One that starts late is too late.
    four.agents[3].kill_nine().await?;
    four.agents[3] = start(&four.folder, 3)?;
    four.wait_fenced().await?;
    two.wait_shared().await?;
    two.kill(0).await?;
    wait_column(&mysql, &postgres, "late").await?;

    let changes = writing.stop().await?;
    let arrived = wait_equal(&mysql, &postgres, &pairs(&mysql), PATIENCE).await;
    if arrived.is_err() {
        eprintln!("capture: {:#?}", capture.status().await);
        for agent in &two.agents {
            eprintln!("{:#?}\n{}", agent.status().await, agent.stderr());
        }
    }
    arrived?;
    let odd = postgres
        .rows("SELECT id, before, after FROM public.odd LIMIT 5")
        .await?;
    ensure!(odd.is_empty(), "changes came again or late: {odd:?}");
    let rows = "SELECT string_agg(sink, ' ' ORDER BY sink) FROM sluice.positions";
    let name = &two.folder.config.pipeline;
    let expected = format!("{name} {name}:0 {name}:1");
    let found = postgres.value(rows).await?;
    ensure!(found == expected, "{found}");
    for agent in &mut two.agents {
        let status = agent.status().await?;
        ensure!(
            status.dead_letters == 0 && status.last_error.is_none(),
            "{status:#?}"
        );
        ensure!(agent.terminate().await?.success());
    }
    ensure!(changes > 1_000, "{changes} changes are too few");
    capture.terminate().await?;
    eprintln!(
        "scaling 1, 4, 2 with {changes} changes took {:.0?}",
        begun.elapsed()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_several_replicas_runs_them_in_one_process() -> Result<()> {
    let (servers, kafka) = (Servers::from_env(), KafkaServers::from_env()?);
    let mysql = MysqlDatabase::create(&servers, "file").await?;
    let postgres = PgDatabase::create(&servers, "file").await?;
    mysql.exec(TABLES).await?;
    let mut file = PipelineFile::new(&mysql, &postgres).source_spec(|spec| {
        spec["kafka"] = json!({
            "bootstrapServers": kafka.bootstrap,
            "partitions": 4,
            "replicationFactor": 1,
            "format": Format::Json.spec(&kafka),
        });
    });
    // One after the other, each with another number of agents.
    for (round, replicas) in [1, 3, 2].into_iter().enumerate() {
        file = file.sink_spec(|spec| spec["replicas"] = replicas.into());
        mysql
            .exec(format!(
                "ALTER TABLE ledger ADD COLUMN round{round} int DEFAULT {round};
                 UPDATE ledger SET version = version + 1; DELETE FROM ledger WHERE id % 7 = {round}"
            ))
            .await?;
        let written = file.write()?;
        let mut running = Sluice::run(&written, &["--until-synced"])?;
        let (ended, output) = running.exit_within(PATIENCE).await?;
        ensure!(ended.success(), "{replicas} replicas: {output}");
        wait_equal(&mysql, &postgres, &pairs(&mysql), PATIENCE).await?;
        if replicas == 3 {
            let shown = running.stdout();
            for index in 0..3 {
                let name = format!("{}:{index}", written.ends.pipeline);
                ensure!(shown.contains(&name), "{name} is not shown: {shown}");
            }
        }
    }
    Ok(())
}
