//! The helper library itself: what it says must be right before anything else is believed.

use anyhow::Result;
use sluice_e2e::{
    MysqlDatabase, PgDatabase, Servers, Shop, ThrowAway, WriterOptions, Writers,
    compare::{Pair, compare},
    servers::Kind,
};

const COPY: &str = "(1, 0.10, '2024-01-01 00:00:00.5', 'é', '{\"a\": [1.0]}', NULL), \
     (2, -5, '1999-12-31 23:59:59', '', '2', -1.5e300)";

#[tokio::test(flavor = "multi_thread")]
async fn the_comparison_finds_every_kind_of_difference_and_names_keys_only() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "harness").await?;
    let postgres = PgDatabase::create(&servers, "harness").await?;
    mysql
        .exec(format!(
            "CREATE TABLE t (id int PRIMARY KEY, d decimal(9,2), at datetime(6), s varchar(9), \
             j json, f double); INSERT INTO t VALUES {COPY};"
        ))
        .await?;
    let schema = format!("\"{}\"", mysql.name);
    postgres
        .exec(format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.t (id int, d numeric(9,2), \
             at timestamp(6), s text, j jsonb, f float8); INSERT INTO {schema}.t VALUES {COPY}"
        ))
        .await?;
    let pair = Pair::same(&mysql, "t");
    let found = compare(&mysql, &postgres, &pair).await?;
    assert_eq!(
        (found.mysql_rows, found.postgres_rows, found.different),
        (2, 2, 0),
        "{found:?}"
    );

    postgres
        .exec(format!(
            "UPDATE {schema}.t SET s = 'secret' WHERE id = 1; DELETE FROM {schema}.t WHERE id = 2; \
             INSERT INTO {schema}.t (id) VALUES (7)"
        ))
        .await?;
    let found = compare(&mysql, &postgres, &pair).await?;
    let examples = [
        "id=1 differs in s",
        "id=2 is missing in PostgreSQL",
        "id=7 is only in PostgreSQL",
    ];
    assert_eq!(found.examples, examples);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_keep_the_shop_consistent_while_its_server_is_killed() -> Result<()> {
    let own = ThrowAway::mysql(&[]).await?;
    let database = MysqlDatabase::create(own.servers(), "shop").await?;
    let shop = Shop::create(&database).await?;
    shop.load_rows(2_000).await?;
    let options = WriterOptions {
        count: 3,
        changes_per_second: Some(2_000),
        ..Default::default()
    };
    let writers = Writers::start_with(&shop, options).await?;
    own.restart(Kind::Mysql).await?;
    own.kill(Kind::Mysql).await?;
    own.start(Kind::Mysql).await?;
    let report = writers.stop().await?;
    assert!(
        report.transactions > 10 && report.failures > 0,
        "{report:?}"
    );
    let sum = database
        .value("SELECT CAST(SUM(balance) AS SIGNED) FROM accounts")
        .await?;
    assert_eq!(sum.parse::<i64>()?, sluice_e2e::workload::ACCOUNTS_SUM);
    Ok(())
}
