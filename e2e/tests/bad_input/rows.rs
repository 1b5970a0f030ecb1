//! Rows and tables that the target refuses: the row is kept aside or the table waits, and the rest
//! goes on.

use anyhow::Result;
use serde_json::json;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice, assert_equal};

use super::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_target_refuses_is_kept_aside_and_the_rest_goes_on() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "rows").await?;
    let postgres = PgDatabase::create(&servers, "rows").await?;
    let schema = &mysql.name;
    mysql
        .exec(
            "CREATE TABLE t (id INT PRIMARY KEY, v INT); \
             INSERT INTO t VALUES (1, 1), (2, 100), (3, 3)",
        )
        .await?;
    postgres
        .exec(format!(
            "CREATE SCHEMA \"{schema}\"; \
             CREATE TABLE \"{schema}\".t (id int PRIMARY KEY, v int CHECK (v < 100))"
        ))
        .await?;
    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_caught_up().await?;
    mysql
        .exec(
            "INSERT INTO t VALUES (4, 4), (5, 500), (6, 6); \
             UPDATE t SET v = 101 WHERE id = 1; \
             UPDATE t SET v = 2 WHERE id = 3; \
             DELETE FROM t WHERE id = 4; \
             INSERT INTO t VALUES (7, 7)",
        )
        .await?;
    sluice.wait_caught_up().await?;
    let sql = format!("SELECT string_agg(id || '=' || v, ' ' ORDER BY id) FROM \"{schema}\".t");
    assert_eq!(postgres.value(&sql).await?, "1=1 3=2 6=6 7=7");
    let letters = postgres
        .rows("SELECT operation, key::text, reason, source_table FROM sluice.dead_letters ORDER BY id")
        .await?;
    let status = sluice.status().await?;
    assert_eq!(status.dead_letters, 3, "{letters:?}");
    let keys: Vec<_> = letters
        .iter()
        .filter_map(|letter| letter[1].as_deref())
        .collect();
    assert_eq!(keys, [r#"{"id": 2}"#, r#"{"id": 5}"#, r#"{"id": 1}"#]);
    for letter in &letters {
        assert!(
            letter[2]
                .as_deref()
                .unwrap_or_default()
                .contains("t_v_check"),
            "{letter:?}"
        );
        assert_eq!(letter[3].as_deref(), Some(format!("{schema}.t").as_str()));
    }
    let log = sluice.stderr();
    assert!(!log.contains("500"), "a row's value is in the log: {log}");

    // What is refused now may be taken later: with the constraint gone, a copy mends everything.
    sluice.terminate().await?;
    postgres
        .exec(format!(
            "ALTER TABLE \"{schema}\".t DROP CONSTRAINT t_v_check"
        ))
        .await?;
    let mut sluice = Sluice::run(&written, &["--resnapshot", &format!("{schema}.t")])?;
    sluice.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &["t"]).await?;
    sluice.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_stops_alone_where_the_policy_says_so() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "stops").await?;
    let postgres = PgDatabase::create(&servers, "stops").await?;
    let schema = &mysql.name;
    mysql
        .exec(
            "CREATE TABLE checked (id INT PRIMARY KEY, v INT); INSERT INTO checked VALUES (1, 1); \
             CREATE TABLE dated (id INT PRIMARY KEY, d DATE); INSERT INTO dated VALUES (1, '2024-01-01'); \
             CREATE TABLE other (id INT PRIMARY KEY)",
        )
        .await?;
    let file = PipelineFile::new(&mysql, &postgres).sink_spec(|spec| {
        spec["errors"] = json!({"onBadRecord": "Stop"});
        spec["unrepresentable"] = json!("Fail");
    });
    let written = file.write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_caught_up().await?;
    postgres
        .exec(format!(
            "ALTER TABLE \"{schema}\".checked ADD CHECK (v < 100)"
        ))
        .await?;
    mysql
        .exec(
            "SET SESSION sql_mode = ''; INSERT INTO checked VALUES (2, 100), (3, 3); \
             INSERT INTO dated VALUES (2, '0000-00-00'), (3, '2024-01-02'); \
             INSERT INTO checked VALUES (4, 4); INSERT INTO other VALUES (1)",
        )
        .await?;
    sluice.wait_caught_up().await?;
    let status = sluice.status().await?;
    for (table, names) in [("checked", "v_check"), ("dated", "d")] {
        let error = status.tables[&format!("{schema}.{table}")]
            .error
            .clone()
            .expect(table);
        assert_eq!(error.reason, "RowRefused", "{error:?}");
        assert!(error.message.contains(names), "{error:?}");
        assert!(
            error.hint.unwrap_or_default().contains("--resnapshot"),
            "{table}"
        );
        let sql = format!("SELECT string_agg(id::text, ' ') FROM \"{schema}\".{table}");
        assert_eq!(
            postgres.value(sql).await?,
            "1",
            "{table} keeps its last consistent state"
        );
    }
    assert_equal(&mysql, &postgres, &["other"]).await?;

    mysql
        .exec("UPDATE checked SET v = 5 WHERE id = 2; UPDATE dated SET d = NULL WHERE id = 2")
        .await?;
    sluice.terminate().await?;
    let mut sluice = Sluice::run(&written, &["--resnapshot", &format!("{schema}.*")])?;
    sluice.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &["checked", "dated", "other"]).await?;
    sluice.terminate().await?;
    Ok(())
}

/// A table that is there already, what is wrong with it, what names it, and what mends it.
const INCOMPATIBLE: &[(&str, &str, &str, &str)] = &[
    (
        "wrong_type",
        "id int PRIMARY KEY, v date, w text",
        "column v",
        "ALTER COLUMN v TYPE int USING NULL",
    ),
    (
        "wrong_null",
        "id int PRIMARY KEY, v int NOT NULL, w text",
        "column v",
        "ALTER COLUMN v DROP NOT NULL",
    ),
    (
        "no_key",
        "id int, v int, w text",
        "unique index",
        "ADD PRIMARY KEY (id)",
    ),
    (
        "one_more",
        "id int PRIMARY KEY, v int, w text, x int NOT NULL",
        "x",
        "ALTER COLUMN x SET DEFAULT 1",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_target_table_that_does_not_fit_waits_alone_until_it_is_mended() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "fits").await?;
    let postgres = PgDatabase::create(&servers, "fits").await?;
    let schema = &mysql.name;
    postgres.exec(format!("CREATE SCHEMA \"{schema}\"")).await?;
    let mut tables = vec!["fits", "wider"];
    // These are used as they are.
    postgres
        .exec(format!(
            "CREATE TABLE \"{schema}\".fits (id int PRIMARY KEY, v int, w text); \
             CREATE TABLE \"{schema}\".wider (w varchar, extra int DEFAULT 7, v numeric, id bigint PRIMARY KEY)"
        ))
        .await?;
    for (table, columns, _, _) in INCOMPATIBLE {
        postgres
            .exec(format!("CREATE TABLE \"{schema}\".{table} ({columns})"))
            .await?;
        tables.push(table);
    }
    for table in &tables {
        mysql
            .exec(format!(
                "CREATE TABLE {table} (id INT PRIMARY KEY, v INT, w VARCHAR(20)); \
                 INSERT INTO {table} VALUES (1, 1, 'a'), (2, NULL, NULL)"
            ))
            .await?;
    }
    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_caught_up().await?;
    let status = sluice.status().await?;
    for (table, _, names, _) in INCOMPATIBLE {
        let error = status.tables[&format!("{schema}.{table}")].error.clone();
        let error = error.unwrap_or_else(|| panic!("{table} goes on: {status:#?}"));
        assert_eq!(error.reason, "TargetIncompatible", "{table}: {error:?}");
        assert!(error.message.contains(names), "{table}: {error:?}");
        assert!(
            error.hint.is_some_and(|hint| hint.contains("--resnapshot")),
            "{table}"
        );
    }
    assert_equal(&mysql, &postgres, &["fits", "wider"]).await?;

    for (table, _, _, mend) in INCOMPATIBLE {
        postgres
            .exec(format!("ALTER TABLE \"{schema}\".{table} {mend}"))
            .await?;
        mysql
            .exec(format!("INSERT INTO {table} VALUES (3, 3, 'c')"))
            .await?;
    }
    sluice.terminate().await?;
    let mut sluice = Sluice::run(&written, &["--resnapshot", &format!("{schema}.*")])?;
    sluice
        .wait_until("the copies", PATIENCE, |status| {
            status
                .tables
                .values()
                .all(|table| table.phase == "Streaming")
        })
        .await?;
    sluice.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &tables).await?;
    sluice.terminate().await?;
    Ok(())
}
