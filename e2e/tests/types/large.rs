//! Wide tables and large documents.

use std::fmt::Write as _;

use anyhow::Result;
use mysql_async::prelude::Queryable;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice};

use super::assert_all_equal;

/// As many as MySQL lets a table have, but for a few.
const COLUMNS: usize = 1_000;

/// Documents beyond the sizes at which MySQL changes their binary form, and what edits them.
const DOCUMENTS: &[&str] = &[
    "JSON_OBJECT('text', REPEAT('é', 70000), 'n', 1)",
    "CONCAT('[', REPEAT('123456789, ', 20000), '0]')",
    "CONCAT('{', REPEAT('\"same\": 1, ', 100), '\"last\": ', REPEAT('[', 90), REPEAT(']', 90), '}')",
    "JSON_ARRAY(REPEAT('a', 127), REPEAT('b', 128), REPEAT('c', 16383), REPEAT('d', 16384), REPEAT('e', 65535))",
    "CONCAT('{\"', REPEAT('k', 65000), '\": {\"', REPEAT('l', 600), '\": null}}')",
];
const EDITS: &[&str] = &[
    "JSON_SET(j, '$.n', 2)",
    "JSON_SET(j, '$.text', 'short')",
    "JSON_REPLACE(j, '$[10000]', 5)",
    "JSON_REMOVE(j, '$[15000]')",
    "JSON_REPLACE(j, '$[4]', 'short', '$[0]', REPEAT('z', 100))",
];

#[tokio::test(flavor = "multi_thread")]
async fn wide_tables_and_large_documents_arrive() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "large").await?;
    let postgres = PgDatabase::create(&servers, "large").await?;
    let mut conn = mysql.conn().await?;
    conn.query_drop(create_wide()).await?;
    conn.query_drop("CREATE TABLE documents (id INT PRIMARY KEY, j JSON)")
        .await?;
    write(&mut conn, 0).await?;
    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_streaming().await?;
    write(&mut conn, 100).await?;
    conn.query_drop("SET SESSION binlog_row_value_options = PARTIAL_JSON")
        .await?;
    write(&mut conn, 200).await?;
    conn.query_drop("SET SESSION binlog_transaction_compression = ON")
        .await?;
    write(&mut conn, 300).await?;
    conn.disconnect().await?;
    sluice.wait_caught_up().await?;
    assert_all_equal(&mysql, &postgres).await?;
    sluice.terminate().await?;
    Ok(())
}

async fn write(conn: &mut mysql_async::Conn, base: usize) -> Result<()> {
    for row in 0..6 {
        let id = base + row;
        // Every fifth column, from another one on in each row; the others are NULL.
        let chosen = (row..COLUMNS).step_by(5);
        let (names, values): (Vec<String>, Vec<String>) = chosen
            .map(|column| (format!("c{column}"), ((id + column) % 500).to_string()))
            .unzip();
        let (names, values) = (names.join(", "), values.join(", "));
        conn.query_drop(format!(
            "INSERT INTO wide (id, {names}) VALUES ({id}, {values})"
        ))
        .await?;
    }
    let changed = (0..COLUMNS)
        .step_by(7)
        .map(|column| format!("c{column} = 7"));
    let changed = changed.collect::<Vec<_>>().join(", ");
    conn.query_drop(format!("UPDATE wide SET {changed} WHERE id = {}", base + 1))
        .await?;
    for (row, document) in DOCUMENTS.iter().enumerate() {
        let id = base + row;
        conn.query_drop(format!("INSERT INTO documents VALUES ({id}, {document})"))
            .await?;
    }
    for edit in EDITS {
        conn.query_drop(format!(
            "UPDATE documents SET j = {edit} WHERE id >= {base}"
        ))
        .await?;
    }
    Ok(())
}

fn create_wide() -> String {
    let mut sql = String::from("CREATE TABLE wide (id INT PRIMARY KEY");
    for column in 0..COLUMNS {
        let kind = [
            "INT",
            "CHAR(3) CHARACTER SET latin1",
            "SMALLINT UNSIGNED",
            "VARCHAR(5) CHARACTER SET latin1",
            "BIT(9)",
        ][column % 5];
        write!(sql, ", c{column} {kind}").expect("a String takes it");
    }
    sql + ")"
}
