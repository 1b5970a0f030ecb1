//! Schemas that change while rows flow, under a registry that compares each with the one before.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use serde_json::json;
use sluice_e2e::{
    KafkaServers, MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice,
    compare::{Pair, wait_equal},
    kafka::{Format, registry, topics},
};
use tokio::{task::JoinHandle, time::sleep};

const PATIENCE: Duration = Duration::from_secs(60);

/// One statement after the other, with rows between them.
const COMPATIBLE: &[&str] = &[
    "ALTER TABLE goods ADD COLUMN note varchar(20)",
    "ALTER TABLE goods ADD COLUMN rank_no int NOT NULL DEFAULT 5",
    "UPDATE goods SET note = CONCAT('n', id) WHERE id % 2 = 0",
    "ALTER TABLE goods DROP COLUMN color",
    "ALTER TABLE goods RENAME COLUMN size TO width",
    "ALTER TABLE goods MODIFY amount bigint",
    "UPDATE goods SET amount = 5000000000 + id WHERE id % 3 = 0",
    "ALTER TABLE goods MODIFY label varchar(200)",
];

/// Two tables, one pipeline through Avro, and somebody who inserts into both all the time.
struct World {
    mysql: Arc<MysqlDatabase>,
    postgres: PgDatabase,
    kafka: KafkaServers,
    file: PipelineFile,
    sluice: Sluice,
    source: String,
    inserting: JoinHandle<Result<()>>,
}

impl World {
    async fn start(label: &str) -> Result<Self> {
        let (servers, kafka) = (Servers::from_env(), KafkaServers::from_env()?);
        let mysql = Arc::new(MysqlDatabase::create(&servers, label).await?);
        let postgres = PgDatabase::create(&servers, label).await?;
        mysql
            .exec(
                "CREATE TABLE goods (id int PRIMARY KEY AUTO_INCREMENT, color varchar(10), size int, \
                 amount int, label varchar(20)); \
                 CREATE TABLE others (id int PRIMARY KEY AUTO_INCREMENT, size int); \
                 INSERT INTO goods (color, size, amount, label) VALUES ('red', 1, 2, '3')",
            )
            .await?;
        let source = mysql.name.replace('_', "-");
        let file = PipelineFile::new(&mysql, &postgres)
            .named(&source, &source)
            .source_spec(|spec| {
                spec["kafka"] = json!({
                    "bootstrapServers": kafka.bootstrap,
                    "replicationFactor": 1,
                    "partitions": 2,
                    "format": Format::Avro.spec(&kafka),
                });
            });
        let sluice = Sluice::run(&file.write()?, &[])?;
        let inserting = tokio::spawn(insert(Arc::clone(&mysql)));
        let mut world = Self {
            mysql,
            postgres,
            kafka,
            file,
            sluice,
            source,
            inserting,
        };
        // Both topics are there, so that their subjects can have rules.
        world.wait_more("goods").await?;
        world.wait_more("others").await?;
        Ok(world)
    }

    fn subject(&self, table: &str) -> String {
        format!("{}.{}.{table}-value", self.source, self.mysql.name)
    }

    async fn rule(&self, table: &str, rule: &str) -> Result<()> {
        registry::set_compatibility(&self.kafka.registry_url, &self.subject(table), rule).await
    }

    async fn rows(&self, table: &str) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM \"{}\".{table}", self.mysql.name);
        // A table that is not there yet is empty.
        let found = self.postgres.value(sql).await;
        found.map_or(Ok(0), |count| Ok(count.parse()?))
    }

    /// Waits until more rows have arrived than are there now.
    async fn wait_more(&mut self, table: &str) -> Result<()> {
        let before = self.rows(table).await?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.rows(table).await? < before + 10 {
            ensure!(self.sluice.is_running()?, "{}", self.sluice.stderr());
            ensure!(
                tokio::time::Instant::now() < deadline,
                "no rows of {table} arrive: {:#?}",
                self.sluice.statuses().await
            );
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn wait_equal(&self, tables: &[&str]) -> Result<()> {
        let pairs: Vec<Pair> = tables
            .iter()
            .map(|table| Pair::same(&self.mysql, table))
            .collect();
        wait_equal(&self.mysql, &self.postgres, &pairs, PATIENCE).await
    }

    async fn end(mut self) -> Result<()> {
        ensure!(
            self.sluice.terminate().await?.success(),
            "{}",
            self.sluice.stderr()
        );
        topics::delete(&self.kafka.bootstrap, &self.source).await?;
        registry::delete_subjects(&self.kafka.registry_url, &self.source).await
    }
}

/// Inserts into both tables, whatever columns they have, until it is aborted.
async fn insert(mysql: Arc<MysqlDatabase>) -> Result<()> {
    loop {
        mysql
            .exec(
                "INSERT INTO goods (label) VALUES (CONCAT('1', CONNECTION_ID() % 1000)); \
                 INSERT INTO others (size) VALUES (1)",
            )
            .await?;
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_dropped_renamed_and_widened_while_rows_flow() -> Result<()> {
    let mut world = World::start("evolve").await?;
    world.rule("goods", "BACKWARD").await?;
    for statement in COMPATIBLE {
        world.mysql.exec(statement).await?;
        world.wait_more("goods").await?;
    }
    world.inserting.abort();
    world.wait_equal(&["goods", "others"]).await?;
    let versions = registry::versions(&world.kafka.registry_url, &world.subject("goods")).await?;
    ensure!(
        versions.len() >= 5,
        "each new shape is a version: {versions:?}"
    );
    let newest = registry::latest(&world.kafka.registry_url, &world.subject("goods")).await?;
    let newest = newest.to_string();
    for (name, is_there) in [("width", true), ("note", true), ("color", false)] {
        ensure!(newest.contains(name) == is_there, "{name}: {newest}");
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_registry_refuses_stops_that_table_alone_and_can_be_mended() -> Result<()>
{
    let mut world = World::start("refused").await?;
    world.rule("goods", "BACKWARD").await?;
    // Text can't be read as a number by those who hold the older records.
    world
        .mysql
        .exec("ALTER TABLE goods MODIFY label int")
        .await?;
    let table = format!("{}.goods", world.mysql.name);
    let capture = format!("{}:capture", world.source);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let error = loop {
        let statuses = world.sluice.statuses().await?;
        let capturing = statuses.iter().find(|status| status.pipeline == capture);
        let known = capturing.and_then(|status| status.tables.get(&table));
        if let Some(error) = known.and_then(|table| table.error.clone()) {
            break error;
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            "the table does not stop: {statuses:#?}"
        );
        sleep(Duration::from_millis(50)).await;
    };
    ensure!(error.reason == "TargetIncompatible", "{error:?}");
    for part in [world.subject("goods").as_str(), "BACKWARD"] {
        ensure!(error.message.contains(part), "{part}: {error:?}");
    }
    let hint = error.hint.clone().unwrap_or_default();
    ensure!(
        hint.contains("NONE") && hint.contains(&world.subject("goods")),
        "{error:?}"
    );
    let before = world.rows("goods").await?;
    world.wait_more("others").await?;
    ensure!(
        world.rows("goods").await? == before,
        "rows of the table that stopped arrive"
    );

    world.rule("goods", "NONE").await?;
    world.sluice.terminate().await?;
    world.sluice = Sluice::run(&world.file.write()?, &["--resnapshot", &table])?;
    world.wait_more("goods").await?;
    world.inserting.abort();
    world.wait_equal(&["goods", "others"]).await?;
    world.end().await
}
