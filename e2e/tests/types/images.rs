//! Shapes of the log: row images that leave columns out, JSON updates that hold the difference only,
//! and compressed transactions. Each is chosen by the writer's session, so one log holds them all.

use std::time::Duration;

use anyhow::Result;
use mysql_async::{Conn, prelude::Queryable};
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice};

use super::assert_all_equal;

const CREATE: &[&str] = &[
    "CREATE TABLE wide (id INT PRIMARY KEY, a INT, b VARCHAR(50) NOT NULL DEFAULT 'it''s', \
     t TEXT, bl LONGBLOB, j JSON, k JSON, d DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3), \
     n DECIMAL(10,2) NOT NULL DEFAULT 1.5, g INT AS (a + 1) STORED, h INT AS (a + 2) VIRTUAL, \
     e ENUM('x', 'y') DEFAULT 'y', x BINARY(3) DEFAULT 'z')",
    "CREATE TABLE by_text (k VARCHAR(20) PRIMARY KEY, a INT DEFAULT 5, t TEXT)",
    "CREATE TABLE in_two (a INT, b VARCHAR(20), c INT, t TEXT, PRIMARY KEY (b, a))",
    "CREATE TABLE without_key (a INT, b VARCHAR(20) DEFAULT 'b', t TEXT)",
    "CREATE TABLE counted (id INT AUTO_INCREMENT PRIMARY KEY, a INT NOT NULL DEFAULT 3, t TEXT)",
];

/// What each session does to its own rows, which begin at `{base}`.
const STATEMENTS: &[&str] = &[
    "INSERT INTO wide (id, a, t, bl, j) VALUES ({base}, 1, REPEAT('t', 500), REPEAT('b', 500), '{}')",
    // Columns that are not named take their defaults.
    "INSERT INTO wide (id) VALUES ({base} + 1), ({base} + 2), ({base} + 3)",
    "INSERT INTO wide (id, b, n, e, x) VALUES ({base} + 4, 'b', 2, NULL, NULL)",
    "UPDATE wide SET a = 7 WHERE id BETWEEN {base} AND {base} + 2",
    "UPDATE wide SET b = 'changed', t = NULL WHERE id = {base}",
    "UPDATE wide SET t = 'new', bl = x'00ff' WHERE id = {base} + 1",
    "UPDATE wide SET id = id + 50 WHERE id = {base} + 2",
    "UPDATE wide SET a = NULL, n = 99.99, e = 'x' WHERE id = {base} + 1",
    "DELETE FROM wide WHERE id = {base} + 3",
    "REPLACE INTO wide (id, a) VALUES ({base} + 4, 8)",
    "INSERT INTO wide (id, a) VALUES ({base} + 4, 9) ON DUPLICATE KEY UPDATE a = 10",
    // Documents, in ways that a difference can tell and in ways that it can't.
    "INSERT INTO wide (id, j, k) VALUES ({base} + 5, JSON_OBJECT('a', 'one', 'b', JSON_ARRAY(1, 2, 3), \
     'c', JSON_OBJECT('d', 1.5, 'big', REPEAT('x', 1000))), '[1, 2, 3]'), ({base} + 6, '[]', NULL)",
    "UPDATE wide SET j = JSON_SET(j, '$.a', 'two') WHERE id = {base} + 5",
    "UPDATE wide SET j = JSON_SET(j, '$.b[1]', 'x', '$.c.d', 9), a = 1 WHERE id = {base} + 5",
    "UPDATE wide SET j = JSON_REMOVE(j, '$.b[0]') WHERE id = {base} + 5",
    "UPDATE wide SET j = JSON_REPLACE(j, '$.c.d', CAST(123.456 AS DECIMAL(10,3))) WHERE id = {base} + 5",
    "UPDATE wide SET j = JSON_SET(j, '$.new', TRUE), k = JSON_REMOVE(k, '$[2]') WHERE id = {base} + 5",
    "UPDATE wide SET k = JSON_ARRAY_APPEND(k, '$', 5), t = 'k' WHERE id = {base} + 5",
    "UPDATE wide SET j = JSON_ARRAY_INSERT(j, '$[0]', JSON_OBJECT()) WHERE id = {base} + 6",
    "UPDATE wide SET j = NULL WHERE id = {base} + 6",
    "UPDATE wide SET j = '{\"again\": [null]}' WHERE id = {base} + 6",
    "INSERT INTO by_text VALUES ('k{base}', 1, 'long'), ('l{base}', 2, NULL)",
    "INSERT INTO by_text (k) VALUES ('m{base}')",
    "UPDATE by_text SET a = a + 1 WHERE k LIKE '_{base}'",
    "UPDATE by_text SET k = CONCAT('z', k) WHERE k = 'k{base}'",
    "DELETE FROM by_text WHERE k = 'l{base}'",
    "INSERT INTO in_two VALUES ({base}, 'x', 1, 't'), ({base}, 'y', 1, 't')",
    "UPDATE in_two SET c = 2 WHERE a = {base} AND b = 'x'",
    "UPDATE in_two SET b = 'z' WHERE a = {base} AND b = 'y'",
    "DELETE FROM in_two WHERE a = {base} AND b = 'x'",
    "INSERT INTO without_key (a, t) VALUES ({base}, 'one'), ({base}, 'one'), ({base}, 'two')",
    "UPDATE without_key SET b = 'c' WHERE a = {base} LIMIT 1",
    "DELETE FROM without_key WHERE a = {base} AND t = 'two'",
    "INSERT INTO counted (t) VALUES ('x'), (NULL)",
    "INSERT INTO counted VALUES ()",
];

/// Settings of a session that writes. Keyless tables need whole rows in the log, so the last
/// statements are only for those that log them; MySQL logs whole rows of such tables anyway.
const SESSIONS: &[&[&str]] = &[
    &["binlog_row_image = FULL"],
    &["binlog_row_image = NOBLOB"],
    &["binlog_row_image = MINIMAL"],
    &[
        "binlog_row_image = FULL",
        "binlog_row_value_options = PARTIAL_JSON",
    ],
    &["binlog_transaction_compression = ON"],
    &[
        "binlog_transaction_compression = ON",
        "binlog_row_value_options = PARTIAL_JSON",
    ],
    &[
        "binlog_transaction_compression = ON",
        "binlog_row_image = MINIMAL",
    ],
];

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_row_image_says_what_happened() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "images").await?;
    let postgres = PgDatabase::create(&servers, "images").await?;
    for statement in CREATE {
        mysql.exec(statement).await?;
    }
    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_streaming().await?;
    for (session, base) in SESSIONS.iter().zip((0..).step_by(1_000)) {
        // Statement by statement, and then everything in one transaction.
        write(&mysql, session, base, false).await?;
        write(&mysql, session, base + 100, true).await?;
    }
    sluice.wait_caught_up().await?;
    let status = sluice.status().await?;
    assert_eq!(status.dead_letters, 0, "{status:#?}");
    assert_all_equal(&mysql, &postgres).await?;
    sluice.terminate().await?;
    Ok(())
}

async fn write(mysql: &MysqlDatabase, session: &[&str], base: u32, at_once: bool) -> Result<()> {
    let mut conn: Conn = mysql.conn().await?;
    for setting in session {
        conn.query_drop(format!("SET SESSION {setting}")).await?;
    }
    if at_once {
        conn.query_drop("START TRANSACTION").await?;
    }
    for statement in STATEMENTS {
        conn.query_drop(statement.replace("{base}", &base.to_string()))
            .await?;
    }
    conn.query_drop("COMMIT").await?;
    conn.disconnect().await?;
    Ok(())
}

/// The difference to a document that the log does not hold: refused by name, and a new start with a
/// copy of everything mends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_difference_without_its_document_is_refused_and_can_be_mended() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "partial").await?;
    let postgres = PgDatabase::create(&servers, "partial").await?;
    mysql
        .exec(
            "CREATE TABLE t (id INT PRIMARY KEY, j JSON); \
             INSERT INTO t VALUES (1, JSON_OBJECT('a', REPEAT('x', 1000), 'b', 1))",
        )
        .await?;
    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_caught_up().await?;
    mysql
        .exec(
            "SET SESSION binlog_row_image = MINIMAL, binlog_row_value_options = PARTIAL_JSON; \
             UPDATE t SET j = JSON_SET(j, '$.b', 2) WHERE id = 1",
        )
        .await?;
    let (status, said) = sluice.exit_within(Duration::from_secs(30)).await?;
    assert_eq!(status.code(), Some(1), "{said}");
    for word in [
        "column j",
        &format!("{}.t", mysql.name),
        "binlog_row_value_options = ''",
    ] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    assert!(said.contains("sluice run --resnapshot '*'"), "{said}");

    let mut sluice = Sluice::run(&written, &["--resnapshot", "*"])?;
    sluice.wait_caught_up().await?;
    mysql.exec("INSERT INTO t VALUES (2, '[]')").await?;
    sluice.wait_caught_up().await?;
    assert_all_equal(&mysql, &postgres).await?;
    sluice.terminate().await?;
    Ok(())
}
