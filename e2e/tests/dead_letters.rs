//! `sluice dead-letters`: what the target refused is listed, and applied again once the cause is
//! mended, beside the running agent and never behind a later change.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice, assert_equal};

struct Letters {
    path: String,
}

impl Letters {
    /// Runs `sluice dead-letters ACTION -f FILE …`; answers its output and whether it succeeded.
    async fn run(&self, action: &str, arguments: &[&str]) -> Result<(String, bool)> {
        let mut all = vec!["dead-letters", action, "-f", &self.path];
        all.extend(arguments);
        let output = Sluice::command(&all).await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code().is_some_and(|code| code < 2),
            "{errors}"
        );
        let text = String::from_utf8_lossy(&output.stdout);
        Ok((format!("{text}{errors}"), output.status.success()))
    }

    async fn list(&self) -> Result<Vec<Value>> {
        let (text, _) = self.run("list", &["-o", "json"]).await?;
        serde_json::from_str(&text).with_context(|| format!("not a list: {text}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_listed_and_retried_until_the_replica_equals_the_source() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "letters").await?;
    let postgres = PgDatabase::create(&servers, "letters").await?;
    let schema = &mysql.name;
    mysql
        .exec(
            "CREATE TABLE t (id INT PRIMARY KEY, v INT, w VARCHAR(20)); \
             INSERT INTO t VALUES (1, 1, 'a'), (2, 20002, 'b'), (3, 3, 'c'), (4, 4, 'd')",
        )
        .await?;
    postgres
        .exec(format!(
            "CREATE SCHEMA \"{schema}\"; CREATE TABLE \"{schema}\".t \
             (id int PRIMARY KEY, v int CONSTRAINT small CHECK (v < 100), w varchar(20))"
        ))
        .await?;
    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let letters = Letters {
        path: written
            .path()
            .to_str()
            .context("a path of text")?
            .to_owned(),
    };
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_caught_up().await?;
    mysql
        .exec(
            "INSERT INTO t VALUES (5, 50005, 'e'), (6, 60006, 'zanzibar'), (7, 70007, 'g'); \
             UPDATE t SET v = 30003 WHERE id = 3; \
             UPDATE t SET id = 8, v = 80008 WHERE id = 4",
        )
        .await?;
    sluice.wait_caught_up().await?;
    let listed = letters.list().await?;
    let keys: Vec<_> = listed
        .iter()
        .map(|letter| letter["key"]["id"].clone())
        .collect();
    assert_eq!(keys, [2, 5, 6, 7, 3, 4].map(|id| json!(id)), "{listed:#?}");
    for letter in &listed {
        assert_eq!(letter["reason"], "constraint small", "{letter:#?}");
        assert_eq!(letter["retryable"], true, "{letter:#?}");
    }
    let (table, _) = letters.run("list", &[]).await?;
    ensure!(table.contains("6 dead letters"), "{table}");
    ensure!(
        !table.contains("zanzibar"),
        "a value is in the list: {table}"
    );
    let (values, _) = letters.run("list", &["--values"]).await?;
    ensure!(values.contains("zanzibar"), "{values}");

    // Later changes: one that the target takes, one that it refuses, one that ends the row.
    mysql
        .exec(
            "UPDATE t SET v = 5, w = 'later' WHERE id = 5; \
             UPDATE t SET w = 'zanzibar 2' WHERE id = 6; \
             DELETE FROM t WHERE id = 7",
        )
        .await?;
    sluice.wait_caught_up().await?;
    let (text, succeeded) = letters.run("retry", &[]).await?;
    ensure!(!succeeded && text.contains("constraint small"), "{text}");
    postgres
        .exec(format!("ALTER TABLE \"{schema}\".t DROP CONSTRAINT small"))
        .await?;
    let first = letters.list().await?[0]["id"].to_string();
    let (text, _) = letters.run("retry", &["--id", &first]).await?;
    ensure!(text.contains("1 applied"), "{text}");
    let (text, succeeded) = letters.run("retry", &[]).await?;
    ensure!(
        succeeded && text.contains("3 applied, 0 refused again"),
        "{text}"
    );
    assert_equal(&mysql, &postgres, &["t"]).await?;
    assert_eq!(letters.list().await?, Vec::<Value>::new());

    // The agent was not put out, and goes on from there.
    mysql.exec("UPDATE t SET v = v + 1, w = 'end'").await?;
    sluice.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &["t"]).await?;
    let log = sluice.stderr();
    ensure!(
        !log.contains("zanzibar"),
        "a row's value is in the log: {log}"
    );
    sluice.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_dropped_only_where_it_is_said_which() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "dropped").await?;
    let postgres = PgDatabase::create(&servers, "dropped").await?;
    let schema = &mysql.name;
    mysql
        .exec(
            "CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 1), (2, 200), (3, 300)",
        )
        .await?;
    postgres
        .exec(format!(
            "CREATE SCHEMA \"{schema}\"; \
             CREATE TABLE \"{schema}\".t (id int PRIMARY KEY, v int CHECK (v < 100))"
        ))
        .await?;
    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let letters = Letters {
        path: written
            .path()
            .to_str()
            .context("a path of text")?
            .to_owned(),
    };
    let (text, succeeded) = letters.run("list", &[]).await?;
    ensure!(!succeeded && text.contains("no schema sluice"), "{text}");
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_caught_up().await?;
    let all = Sluice::command(&["dead-letters", "drop", "-f", &letters.path]).await?;
    assert_eq!(all.status.code(), Some(2), "dropped without a word of what");
    let (text, _) = letters.run("drop", &["--table", "no.such"]).await?;
    ensure!(text.contains("0 dead letters dropped"), "{text}");
    let first = letters.list().await?[0]["id"].to_string();
    let (text, _) = letters.run("drop", &["--id", &first]).await?;
    ensure!(text.contains("1 dead letter dropped"), "{text}");
    let (text, _) = letters.run("drop", &["--all"]).await?;
    ensure!(text.contains("1 dead letter dropped"), "{text}");
    assert_eq!(letters.list().await?, Vec::<Value>::new());
    sluice.terminate().await?;
    Ok(())
}
