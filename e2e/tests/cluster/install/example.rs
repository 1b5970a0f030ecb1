//! An example of `deploy/examples` on a cluster: what a user types, and what they see.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sluice_crds::ReplicaSink;
use sluice_e2e::{
    Cluster, MysqlDatabase, Namespace, PgDatabase, Shop, WriterOptions, Writers, assert_equal,
    cluster::Operator, mysql, postgres, wait::wait_for,
};

use crate::orders::{PATIENCE, ROW_AT_MOST};

const EXAMPLE: &str = "../deploy/examples/mysql-to-postgres.yaml";
const MYSQL_PASSWORD: &str = "an-example's-first-password";
const POSTGRES_PASSWORD: &str = "an-example's-second-password";
/// Orders in the shop when the replica is made.
const ORDERS: u64 = 20_000;

/// Both databases, with the users of the example's first lines.
struct Ends {
    user: String,
    mysql: MysqlDatabase,
    postgres: PgDatabase,
}

impl Ends {
    async fn create(cluster: &Cluster) -> Result<Self> {
        let servers = cluster.databases()?;
        let mysql = MysqlDatabase::create(&servers, "example").await?;
        let postgres = PgDatabase::create(&servers, "example").await?;
        let user = format!("u{}", mysql.name.trim_start_matches("example"));
        let (password, database) = (quoted(MYSQL_PASSWORD), &postgres.name);
        mysql
            .exec(format!(
                "CREATE USER {user} IDENTIFIED BY {password}; \
             GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {user}"
            ))
            .await?;
        let password = quoted(POSTGRES_PASSWORD);
        postgres.exec(format!(
            "CREATE ROLE {user} LOGIN PASSWORD {password}; ALTER DATABASE \"{database}\" OWNER TO {user}"
        ))
        .await?;
        Ok(Self {
            user,
            mysql,
            postgres,
        })
    }

    /// The example's text with these ends instead of its own.
    fn yaml(&self) -> Result<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLE);
        let mut text = std::fs::read_to_string(path)?;
        let Self {
            user,
            mysql,
            postgres,
        } = self;
        for (old, new) in [
            ("username: sluice", format!("username: {user}")),
            (
                "password: change-me-too",
                format!("password: {POSTGRES_PASSWORD}"),
            ),
            (
                "password: change-me\n",
                format!("password: {MYSQL_PASSWORD}\n"),
            ),
            ("host: 127.0.0.1", format!("host: {}", mysql.endpoint.host)),
            ("port: 3306", format!("port: {}", mysql.endpoint.port)),
            ("port: 5432", format!("port: {}", postgres.endpoint.port)),
            ("\"shop.", format!("\"{}.", mysql.name)),
            ("database: shop", format!("database: {}", postgres.name)),
        ] {
            ensure!(text.contains(old), "the example has no {old}");
            text = text.replace(old, &new);
        }
        Ok(text)
    }

    async fn drop(self) -> Result<()> {
        let Self {
            user,
            mysql,
            postgres,
        } = self;
        let (mysql_end, postgres_end) = (mysql.endpoint.clone(), postgres.endpoint.clone());
        mysql.exec(format!("DROP USER {user}")).await?;
        postgres.drop().await?;
        let client = postgres::connect(&postgres_end, "postgres").await?;
        client.batch_execute(&format!("DROP ROLE {user}")).await?;
        mysql.drop().await?;
        // The servers are still in use by others.
        mysql::connect(&mysql_end, None).await?;
        Ok(())
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[tokio::test]
async fn an_example_becomes_a_replica_that_people_can_watch() -> Result<()> {
    let cluster = Cluster::connect().await?;
    Operator::installed(&cluster).await?;
    let ends = Ends::create(&cluster).await?;
    let namespace = cluster.namespace("example").await?;
    let shop = Shop::create(&ends.mysql).await?;
    shop.load_rows(ORDERS).await?;
    let watched = watch(&namespace, &ends, &shop).await;
    // The agent's user can only go when the agent has.
    namespace
        .kubectl(&[
            "delete",
            "rsink",
            "--all",
            "--cascade=foreground",
            "--timeout=60s",
        ])
        .await?;
    watched?;
    ends.drop().await
}

async fn watch(namespace: &Namespace, ends: &Ends, shop: &Shop) -> Result<()> {
    let apply = ["--namespace", &namespace.name, "apply", "-f", "-"];
    let yaml = ends.yaml()?;
    namespace.cluster.kubectl_reading(&apply, &yaml).await?;
    for object in ["replicasink/shop-postgres", "replicationsource/shop"] {
        let wait = ["wait", "--for=condition=Ready", object, "--timeout=120s"];
        if let Err(error) = namespace.kubectl(&wait).await {
            let seen = namespace.describe::<ReplicaSink>("shop-postgres").await;
            return Err(error.context(seen));
        }
    }
    assert_equal(&ends.mysql, &ends.postgres, &Shop::TABLES).await?;
    let options = WriterOptions {
        count: 2,
        changes_per_second: Some(300),
        bulk: false,
        ..WriterOptions::default()
    };
    let writers = Writers::start_with(shop, options).await?;
    let seen = seen(namespace, ends).await;
    writers.stop().await?;
    seen?;
    wait_for("both sides to be equal", ROW_AT_MOST, || async {
        assert_equal(&ends.mysql, &ends.postgres, &Shop::TABLES)
            .await
            .map(Some)
    })
    .await?;
    let described = namespace
        .kubectl(&["describe", "rsink", "shop-postgres"])
        .await?;
    for words in [
        "SnapshotComplete",
        "The replica follows the source",
        "Rows copied",
    ] {
        ensure!(described.contains(words), "no {words} in:\n{described}");
    }
    Ok(())
}

/// The columns of both kinds, while rows flow.
async fn seen(namespace: &Namespace, ends: &Ends) -> Result<()> {
    let target = format!(
        "postgres {}/{}",
        ends.postgres.endpoint.host, ends.postgres.name
    );
    wait_for("columns that make sense", PATIENCE, || async {
        let said = namespace
            .kubectl(&["get", "rsrc", "shop", "-o", "wide"])
            .await?;
        let source = Row::only(&said)?;
        let narrow = [
            "NAME", "TYPE", "PHASE", "LAG", "RATE", "SNAPSHOT", "READY", "AGE", "POSITION",
        ];
        ensure!(source.names == narrow, "{:?}", source.names);
        ensure!(source.get("TYPE")? == "mysql", "{said}");
        flows(&source).with_context(|| said.clone())?;
        let said = namespace
            .kubectl(&["get", "rsink", "shop-postgres", "-o", "wide"])
            .await?;
        let sink = Row::only(&said)?;
        let narrow = [
            "NAME", "SOURCE", "TARGET", "PHASE", "LAG", "RATE", "SNAPSHOT", "READY", "AGE",
            "POSITION",
        ];
        ensure!(sink.names == narrow, "{:?}", sink.names);
        ensure!(
            sink.get("SOURCE")? == "shop" && sink.get("TARGET")? == target,
            "{said}"
        );
        flows(&sink).with_context(|| said.clone())?;
        println!("{said}");
        Ok(Some(()))
    })
    .await
}

fn flows(row: &Row) -> Result<()> {
    ensure!(
        row.get("PHASE")? == "Streaming" && row.get("READY")? == "True",
        "not streaming"
    );
    ensure!(row.get("SNAPSHOT")? == "100", "not copied");
    let lag: f64 = row.get("LAG")?.parse().context("LAG")?;
    ensure!((0.0..30.0).contains(&lag), "a lag of {lag} s");
    let rate: f64 = row.get("RATE")?.parse().context("RATE")?;
    ensure!(
        (10.0..3_000.0).contains(&rate),
        "a rate of {rate} rows per second"
    );
    let position = row.get("POSITION")?;
    let is_gtid = position.contains(":1-") && position.len() > 36;
    ensure!(is_gtid, "{position} is no GTID set");
    Ok(())
}

/// One object as `kubectl get` shows it.
struct Row {
    names: Vec<String>,
    values: Vec<String>,
}

impl Row {
    fn only(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let header = lines.next().context("no header")?;
        let line = lines.next().context("no object")?;
        ensure!(lines.next().is_none(), "several objects: {text}");
        let names: Vec<String> = header.split_whitespace().map(str::to_owned).collect();
        let mut starts: Vec<usize> = names
            .iter()
            .filter_map(|name| header.find(name.as_str()))
            .collect();
        starts.push(line.len().max(header.len()));
        let cells = starts.windows(2).map(|ends| {
            let cell = line.get(ends[0]..ends[1].min(line.len()));
            cell.unwrap_or_default().trim().to_owned()
        });
        Ok(Self {
            values: cells.collect(),
            names,
        })
    }

    fn get(&self, name: &str) -> Result<&str> {
        let index = self.names.iter().position(|one| one == name);
        let value = index.and_then(|index| self.values.get(index));
        value
            .map(String::as_str)
            .with_context(|| format!("no column {name}"))
    }
}
