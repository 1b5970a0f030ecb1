//! A database that is dropped and made again, and tables that move between databases.

use anyhow::Result;
use serde_json::json;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice, assert_equal};

#[tokio::test(flavor = "multi_thread")]
async fn databases_come_and_go() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "databases").await?;
    let postgres = PgDatabase::create(&servers, "databases").await?;
    let other = MysqlDatabase::create_named(&servers, &format!("{}_other", mysql.name)).await?;
    let outside = MysqlDatabase::create_named(&servers, &format!("not_{}", mysql.name)).await?;
    for database in [&mysql, &other, &outside] {
        database
            .exec("CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 1)")
            .await?;
    }
    let file = PipelineFile::new(&mysql, &postgres)
        .source_spec(|spec| spec["tables"]["include"] = json!([format!("{}*.*", mysql.name)]))
        .sink_spec(|spec| spec["schemaChanges"] = json!({"dropTable": "Apply"}));
    let written = file.write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_caught_up().await?;

    let (here, there, beyond) = (&mysql.name, &other.name, &outside.name);
    mysql
        .exec(format!(
            "CREATE TABLE moving (id INT PRIMARY KEY, v INT); INSERT INTO moving VALUES (1, 1); \
             RENAME TABLE moving TO {there}.moved; INSERT INTO {there}.moved VALUES (2, 2); \
             CREATE TABLE leaving (id INT PRIMARY KEY); INSERT INTO leaving VALUES (1); \
             RENAME TABLE leaving TO {beyond}.left_us; INSERT INTO {beyond}.left_us VALUES (2); \
             RENAME TABLE {beyond}.t TO {here}.came; INSERT INTO {here}.came VALUES (2, 2); \
             USE {beyond}; CREATE TABLE {here}.`by name` (id INT PRIMARY KEY, v INT); \
             INSERT INTO {here}.`by name` VALUES (1, 1)"
        ))
        .await?;
    sluice.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &["t", "came", "by name"]).await?;
    assert_equal(&other, &postgres, &["t", "moved"]).await?;
    assert_eq!(tables(&postgres, beyond).await?, "");

    other
        .exec(format!(
            "DROP DATABASE {there}; CREATE DATABASE {there}; \
             CREATE TABLE {there}.t (id INT PRIMARY KEY, w TEXT); \
             INSERT INTO {there}.t VALUES (5, 'again')"
        ))
        .await?;
    sluice.wait_caught_up().await?;
    assert_equal(&other, &postgres, &["t"]).await?;
    assert_eq!(tables(&postgres, there).await?, "t");
    assert_equal(&mysql, &postgres, &["t", "came", "by name"]).await?;
    sluice.terminate().await?;
    Ok(())
}

/// The names of the tables in a schema of the target.
async fn tables(postgres: &PgDatabase, schema: &str) -> Result<String> {
    let sql = format!(
        "SELECT coalesce(string_agg(tablename, ' ' ORDER BY tablename), '') FROM pg_tables \
         WHERE schemaname = '{schema}'"
    );
    postgres.value(sql).await
}
