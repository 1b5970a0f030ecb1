//! One source through Kafka to two sinks that want different things.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use sluice_e2e::{
    KafkaServers, MysqlDatabase, PgDatabase, Servers, Shop, Sluice, WriterOptions, Writers,
    compare::{Pair, wait_equal},
    kafka::{Format, Transport, console, topics},
};

const PATIENCE: Duration = Duration::from_secs(120);

async fn two_sinks(format: Format, label: &str) -> Result<()> {
    let (servers, kafka) = (Servers::from_env(), KafkaServers::from_env()?);
    let mysql = MysqlDatabase::create(&servers, label).await?;
    let (all, some) = (
        PgDatabase::create(&servers, label).await?,
        PgDatabase::create(&servers, label).await?,
    );
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(5_000).await?;
    let transport = Transport::new(&kafka, &mysql, format);
    let capture = transport.capture()?;
    let apply_all = transport.apply(&all, "all", |_| {})?;
    let apply_some = transport.apply(&some, "some", |spec| {
        spec["tables"] = json!([
            {"source": format!("{}.customers", mysql.name), "columns": {"exclude": ["photo"]}},
            {"source": format!("{}.orders", mysql.name), "target": "sales.orders",
             "columns": {"include": ["id", "amount", "status"], "rename": {"amount": "total"}}},
        ]);
    })?;

    let mut capturing = Sluice::agent(&capture, &[])?;
    let mut applying = [Sluice::agent(&apply_all, &[])?];
    let options = WriterOptions {
        changes_per_second: Some(500),
        ..WriterOptions::default()
    };
    let writers = Writers::start_with(&shop, options).await?;
    capturing.wait_streaming().await?;
    // A sink that comes later reads from the beginning.
    let mut late = Sluice::agent(&apply_some, &[])?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let written = writers.stop().await?;
    ensure!(written.changes > 500, "{written:?}");

    let pairs: Vec<Pair> = Shop::TABLES
        .iter()
        .map(|table| Pair::same(&mysql, table))
        .collect();
    wait_equal(&mysql, &all, &pairs, PATIENCE).await?;
    let mut customers = Pair::same(&mysql, "customers");
    customers.ignored = vec!["photo".to_owned()];
    let mut orders = Pair::same(&mysql, "orders");
    "sales".clone_into(&mut orders.schema);
    let kept = ["id", "amount", "status"];
    let columns = "customer quantity created updated note payload flags rate email";
    orders.ignored = columns.split(' ').map(str::to_owned).collect();
    ensure!(
        orders
            .ignored
            .iter()
            .all(|column| !kept.contains(&column.as_str()))
    );
    orders.renamed = vec![("amount".to_owned(), "total".to_owned())];
    wait_equal(&mysql, &some, &[customers, orders], PATIENCE).await?;
    let others = "SELECT count(*) FROM pg_class WHERE relname IN ('seats', 'tags', 'events')";
    ensure!(
        some.value(others).await? == "0",
        "tables that nobody asked for"
    );

    let topic = transport.topic("customers");
    if format == Format::Json {
        let line = &console::values(&kafka, &topic, 1).await?[0];
        let record: serde_json::Value = serde_json::from_str(line)?;
        ensure!(
            record["op"] == "r" && record["after"]["name"].is_string(),
            "{record}"
        );
    }
    for sluice in applying.iter_mut().chain([&mut late, &mut capturing]) {
        ensure!(sluice.terminate().await?.success(), "{}", sluice.stderr());
    }
    topics::delete(&kafka.bootstrap, &transport.name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_with_different_tables_and_columns_are_equal_through_avro() -> Result<()> {
    two_sinks(Format::Avro, "fan_avro").await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_with_different_tables_and_columns_are_equal_through_json_with_schemas()
-> Result<()> {
    two_sinks(Format::JsonWithSchemas, "fan_schemas").await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_with_different_tables_and_columns_are_equal_through_json() -> Result<()> {
    two_sinks(Format::Json, "fan_json").await
}
