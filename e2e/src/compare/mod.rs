//! Whether the replica is equal to the source, row by row and value by value.
//!
//! Each column is read on both sides as text by an expression that both databases can make
//! (`columns`), brought into one canonical form (`canonical`), and both sides are streamed in
//! key order and merged; tables without a key are compared as multisets. Differences name keys and
//! columns, never values. Nothing may write meanwhile.

mod canonical;
mod columns;
mod json;
mod merge;

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{MysqlDatabase, PgDatabase, mysql, postgres, wait::wait_for};
use columns::TablePlan;
use tokio::time::sleep;

/// How many differences are named.
const NAMED_MAX: usize = 10;

/// A table on both sides.
#[derive(Debug, Clone, Default)]
pub struct Pair {
    /// The table in MySQL.
    pub mysql_table: String,
    /// The schema in PostgreSQL.
    pub schema: String,
    /// The table in PostgreSQL.
    pub table: String,
    /// Columns of MySQL that are not compared.
    pub ignored: Vec<String>,
    /// Columns that have another name in PostgreSQL: MySQL's name, then PostgreSQL's.
    pub renamed: Vec<(String, String)>,
    /// A condition in MySQL's SQL for the rows that the target should have.
    pub condition: Option<String>,
}

impl Pair {
    /// A table under its own name, all of it.
    pub fn same(mysql: &MysqlDatabase, table: &str) -> Self {
        Self {
            mysql_table: table.to_owned(),
            schema: mysql.name.clone(),
            table: table.to_owned(),
            ..Self::default()
        }
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// Rows in MySQL.
    pub mysql_rows: u64,
    /// Rows in PostgreSQL.
    pub postgres_rows: u64,
    /// Rows that are missing, too many or different.
    pub different: u64,
    /// The first of them in words.
    pub examples: Vec<String>,
}

impl Comparison {
    fn differ(&mut self, example: impl FnOnce() -> String) {
        self.different += 1;
        if self.examples.len() < NAMED_MAX {
            self.examples.push(example());
        }
    }
}

/// Fails unless every one of these tables is equal on both sides, under its own name.
pub async fn assert_equal(
    mysql: &MysqlDatabase,
    postgres: &PgDatabase,
    tables: &[&str],
) -> Result<()> {
    let pairs: Vec<Pair> = tables
        .iter()
        .map(|table| Pair::same(mysql, table))
        .collect();
    assert_pairs_equal(mysql, postgres, &pairs).await
}

/// Fails unless every one of these pairs is equal.
pub async fn assert_pairs_equal(
    mysql: &MysqlDatabase,
    postgres: &PgDatabase,
    pairs: &[Pair],
) -> Result<()> {
    let mut failures = Vec::new();
    for pair in pairs {
        let found = compare(mysql, postgres, pair)
            .await
            .with_context(|| format!("table {} can't be compared", pair.mysql_table))?;
        if found.different > 0 {
            failures.push(format!(
                "table {}: {} rows differ ({} in MySQL, {} in PostgreSQL):\n    {}",
                pair.mysql_table,
                found.different,
                found.mysql_rows,
                found.postgres_rows,
                found.examples.join("\n    ")
            ));
        }
    }
    if !failures.is_empty() {
        bail!("the sides differ\n  {}", failures.join("\n  "));
    }
    Ok(())
}

/// Waits until every one of these pairs is equal; fails with the differences that remain.
pub async fn wait_equal(
    mysql: &MysqlDatabase,
    postgres: &PgDatabase,
    pairs: &[Pair],
    at_most: Duration,
) -> Result<()> {
    wait_for("both sides to be equal", at_most, || async {
        let compared = assert_pairs_equal(mysql, postgres, pairs).await;
        if compared.is_err() {
            // It reads both sides whole: not all the time.
            sleep(Duration::from_millis(300)).await;
        }
        compared.map(Some)
    })
    .await
}

/// Compares one table.
pub async fn compare(
    mysql: &MysqlDatabase,
    postgres: &PgDatabase,
    pair: &Pair,
) -> Result<Comparison> {
    let mut conn = mysql::connect(&mysql.endpoint, Some(&mysql.name)).await?;
    let client = postgres::connect(&postgres.endpoint, &postgres.name).await?;
    let plan = TablePlan::new(&mut conn, &client, &mysql.name, pair).await?;
    let found = merge::run(&mut conn, &client, &plan).await?;
    conn.disconnect().await?;
    Ok(found)
}
