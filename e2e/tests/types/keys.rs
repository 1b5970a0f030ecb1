//! Keys: every type that MySQL takes as a primary key, copied in many small chunks while rows of
//! all parts of the table change, their keys included.

use anyhow::Result;
use mysql_async::{Conn, prelude::Queryable};
use serde_json::json;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice};

use super::{LENIENT, assert_all_equal};

/// A table whose key is made of a number `n`.
struct Keyed {
    name: &'static str,
    /// Definitions of the key's columns and of the key.
    definition: &'static str,
    /// The key's columns, each with an expression of `{n}`.
    columns: &'static [(&'static str, &'static str)],
    /// How many rows it can have: the key's type may be narrow.
    rows: u32,
}

/// As many rows as keys of wide types get.
const MANY: u32 = 700;
/// How far keys move.
const FAR: u32 = 5_000;

const TABLES: &[Keyed] = &[
    keyed(
        "by_int",
        "k INT PRIMARY KEY",
        &[("k", "{n} * 7 - 2000")],
        MANY,
    ),
    keyed(
        "by_int_down",
        "k INT, PRIMARY KEY (k DESC)",
        &[("k", "{n} * 7 - 2000")],
        MANY,
    ),
    keyed(
        "by_big_unsigned",
        "k BIGINT UNSIGNED PRIMARY KEY",
        &[("k", "CAST(9223372036854775507 AS UNSIGNED) + {n}")],
        MANY,
    ),
    keyed(
        "by_tiny",
        "k TINYINT PRIMARY KEY",
        &[("k", "{n} - 128")],
        250,
    ),
    keyed("by_text", "k VARCHAR(40) PRIMARY KEY", &[("k", TEXT)], MANY),
    keyed(
        "by_exact_text",
        "k VARCHAR(40) COLLATE utf8mb4_bin PRIMARY KEY",
        &[("k", TEXT)],
        MANY,
    ),
    keyed(
        "by_padded_text",
        "k CHAR(40) COLLATE utf8mb4_general_ci PRIMARY KEY",
        &[("k", TEXT)],
        MANY,
    ),
    keyed(
        "by_latin_text",
        "k VARCHAR(40) CHARACTER SET latin1 PRIMARY KEY",
        &[("k", LATIN)],
        MANY,
    ),
    keyed(
        "by_german_text",
        "k VARCHAR(40) COLLATE utf8mb4_de_pb_0900_ai_ci PRIMARY KEY",
        &[("k", TEXT)],
        MANY,
    ),
    keyed(
        "by_utf16_text",
        "k VARCHAR(40) CHARACTER SET utf16 PRIMARY KEY",
        &[("k", TEXT)],
        MANY,
    ),
    keyed(
        "by_prefix",
        "k VARCHAR(40), PRIMARY KEY (k(12))",
        &[("k", TEXT)],
        MANY,
    ),
    keyed(
        "by_uuid",
        "k BINARY(16) PRIMARY KEY",
        &[("k", "UNHEX(SUBSTR(SHA2({n}, 256), 1, 32))")],
        MANY,
    ),
    keyed(
        "by_zeros",
        "k BINARY(4) PRIMARY KEY",
        &[("k", "UNHEX(LPAD(HEX({n} * 256), 8, '0'))")],
        MANY,
    ),
    keyed(
        "by_bytes",
        "k VARBINARY(8) PRIMARY KEY",
        &[(
            "k",
            "IF({n} < 5, LEFT(x'00000000', {n} - 1), UNHEX(LPAD(HEX({n} * 3), 6, '0')))",
        )],
        MANY,
    ),
    keyed(
        "by_decimal",
        "k DECIMAL(30,10) PRIMARY KEY",
        &[("k", "({n} - 300) / 7")],
        MANY,
    ),
    keyed(
        "by_float",
        "k FLOAT PRIMARY KEY",
        &[("k", "({n} - 300) / 10")],
        MANY,
    ),
    keyed(
        "by_double",
        "k DOUBLE PRIMARY KEY",
        &[("k", "({n} - 300) / 7e0")],
        MANY,
    ),
    keyed(
        "by_day",
        "k DATE PRIMARY KEY",
        &[("k", "DATE'1969-06-01' + INTERVAL {n} DAY")],
        MANY,
    ),
    keyed(
        "by_clock",
        "k DATETIME(6) PRIMARY KEY",
        &[(
            "k",
            "TIMESTAMP'1969-12-31 23:59:59' + INTERVAL {n} * 5001 MICROSECOND",
        )],
        MANY,
    ),
    keyed(
        "by_moment",
        "k TIMESTAMP(3) PRIMARY KEY",
        &[(
            "k",
            "TIMESTAMP'2024-03-31 00:00:00' + INTERVAL {n} * 61001000 MICROSECOND",
        )],
        MANY,
    ),
    keyed(
        "by_span",
        "k TIME(2) PRIMARY KEY",
        &[("k", "SEC_TO_TIME(({n} - 300) * 123.45)")],
        MANY,
    ),
    keyed("by_year", "k YEAR PRIMARY KEY", &[("k", "1900 + {n}")], 250),
    keyed(
        "by_bits",
        "k BIT(40) PRIMARY KEY",
        &[("k", "{n} << 25 | 1")],
        MANY,
    ),
    // The order of the labels is not that of the alphabet.
    keyed(
        "by_label",
        "k ENUM('zebra', 'ant', 'Monkey') NOT NULL, j INT, PRIMARY KEY (k, j)",
        &[("k", "1 + {n} % 3"), ("j", "{n}")],
        MANY,
    ),
    keyed(
        "by_labels",
        "k SET('z', 'a', 'm') NOT NULL, j INT, PRIMARY KEY (k, j)",
        &[("k", "{n} % 8"), ("j", "{n}")],
        MANY,
    ),
    keyed(
        "by_three",
        "c VARCHAR(10) NOT NULL, b DATETIME NOT NULL, a INT NOT NULL, PRIMARY KEY (a, c, b)",
        &[
            ("a", "{n} % 5 - 2"),
            ("b", "TIMESTAMP'2024-01-01 00:00:00' + INTERVAL {n} HOUR"),
            ("c", "CONCAT('ä', {n} % 7)"),
        ],
        MANY,
    ),
    keyed(
        "by_generated",
        "a INT, k INT AS (a * 2) STORED PRIMARY KEY",
        &[("a", "{n}")],
        MANY,
    ),
    keyed("in_parts", "k INT PRIMARY KEY", &[("k", "{n}")], MANY),
];

/// Letters of several scripts in an order that depends on the collation, and the number.
const TEXT: &str =
    "CONCAT(ELT(1 + {n} % 10, 'a', 'B', 'é', 'ß', 'Z', '中', '😀', ' ', '_', ''), {n})";
const LATIN: &str = "CONCAT(ELT(1 + {n} % 7, 'a', 'B', 'é', 'ß', 'Z', '€', 'ÿ'), {n})";

const fn keyed(
    name: &'static str,
    definition: &'static str,
    columns: &'static [(&'static str, &'static str)],
    rows: u32,
) -> Keyed {
    Keyed {
        name,
        definition,
        columns,
        rows,
    }
}

impl Keyed {
    fn create(&self) -> String {
        let Self {
            name, definition, ..
        } = self;
        let parts = if *name == "in_parts" {
            " PARTITION BY HASH (k) PARTITIONS 4"
        } else {
            ""
        };
        format!("CREATE TABLE {name} (seq INT NOT NULL, v VARCHAR(50), {definition}){parts}")
    }

    /// Inserts the rows whose number has this remainder by ten.
    fn insert(&self, remainder: u32) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        let values: Vec<String> = self
            .columns
            .iter()
            .map(|(_, expression)| expression.replace("{n}", "n"))
            .collect();
        format!(
            "INSERT INTO {} (seq, v, {}) SELECT n, CONCAT('value ', n), {} FROM numbers \
             WHERE n <= {} AND n % 10 = {remainder}",
            self.name,
            names.join(", "),
            values.join(", "),
            self.rows
        )
    }

    /// Changes, moves, deletes and inserts rows everywhere in the table.
    fn change(&self, round: u32) -> Vec<String> {
        let name = self.name;
        let mut statements = vec![
            format!("UPDATE {name} SET v = CONCAT(v, '+{round}') WHERE seq % 9 = {round}"),
            format!("DELETE FROM {name} WHERE seq % 13 = {round}"),
            self.insert(round),
        ];
        if self.rows == MANY {
            let moved: Vec<String> = self
                .columns
                .iter()
                .map(|(column, expression)| {
                    let far = expression.replace("{n}", &format!("(seq + {FAR})"));
                    format!("{column} = {far}")
                })
                .collect();
            let moved = moved.join(", ");
            statements.push(format!(
                "UPDATE {name} SET {moved} WHERE seq % 17 = {round}"
            ));
        }
        statements
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_with_every_kind_of_key_are_copied_while_they_change() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "keys").await?;
    let postgres = PgDatabase::create(&servers, "keys").await?;
    let mut conn = mysql.conn().await?;
    conn.query_drop("SET SESSION cte_max_recursion_depth = 10000")
        .await?;
    conn.query_drop(
        "CREATE TABLE numbers (n INT PRIMARY KEY) AS \
         WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 1000) \
         SELECT n FROM r",
    )
    .await?;
    for table in TABLES {
        conn.query_drop(table.create()).await?;
        for remainder in 4..10 {
            conn.query_drop(table.insert(remainder)).await?;
        }
    }
    create_oddities(&mut conn).await?;

    let file = PipelineFile::new(&mysql, &postgres)
        .source_spec(|spec| spec["snapshot"] = json!({"chunkRows": 100, "parallelism": 3}));
    let written = file.write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    // These fall into the copy, as far as the machine's speed will have it.
    change_everything(&mut conn, 0).await?;
    change_everything(&mut conn, 1).await?;
    sluice.wait_streaming().await?;
    change_everything(&mut conn, 2).await?;
    change_everything(&mut conn, 3).await?;
    conn.disconnect().await?;
    sluice.wait_caught_up().await?;

    let status = sluice.status().await?;
    let waiting: Vec<_> = status
        .tables
        .iter()
        .filter(|(_, table)| table.error.is_some())
        .collect();
    assert!(waiting.is_empty(), "{waiting:#?}");
    assert_eq!(status.dead_letters, 0);
    assert_all_equal(&mysql, &postgres).await?;
    sluice.terminate().await?;
    Ok(())
}

/// Tables without a key, with an invisible one, and with columns that are not what they seem.
const ODDITIES: &[&str] = &[
    "CREATE TABLE without_key (a INT, b VARCHAR(20), c DECIMAL(10,3), d DOUBLE, e BLOB)",
    "CREATE TABLE with_unique_only (a INT NOT NULL UNIQUE, b VARCHAR(20))",
    "CREATE TABLE with_generated (id INT PRIMARY KEY, a INT, twice INT AS (a * 2) VIRTUAL, \
     label VARCHAR(30) AS (CONCAT('#', a)) STORED, document JSON AS (JSON_OBJECT('a', a)) VIRTUAL)",
    "CREATE TABLE with_invisible (id INT PRIMARY KEY, a INT INVISIBLE, b INT, c INT INVISIBLE)",
    "CREATE TABLE with_function_index (id INT PRIMARY KEY, a INT, b INT, KEY ((a + b)), \
     KEY ((LOWER(a))))",
    "CREATE TABLE parent (id INT PRIMARY KEY)",
    "CREATE TABLE child (id INT PRIMARY KEY, parent_id INT, \
     FOREIGN KEY (parent_id) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE)",
    "SET SESSION sql_generate_invisible_primary_key = ON",
    "CREATE TABLE with_invisible_key (a INT, b VARCHAR(20))",
    "SET SESSION sql_generate_invisible_primary_key = OFF",
];

async fn create_oddities(conn: &mut Conn) -> Result<()> {
    conn.query_drop(LENIENT).await?;
    for statement in ODDITIES {
        conn.query_drop(*statement).await?;
    }
    conn.query_drop("INSERT INTO parent SELECT n FROM numbers WHERE n <= 500")
        .await?;
    for remainder in 4..10 {
        change_oddities(conn, remainder).await?;
    }
    Ok(())
}

async fn change_oddities(conn: &mut Conn, round: u32) -> Result<()> {
    let rows = format!("FROM numbers WHERE n <= 500 AND n % 10 = {round}");
    let statements = [
        // Each row twice, so that a delete of one of them must leave the other.
        format!(
            "INSERT INTO without_key SELECT n, IF(n % 3, 'x', NULL), n / 7, n / 3e0, x'00ff' {rows} \
             UNION ALL SELECT n, IF(n % 3, 'x', NULL), n / 7, n / 3e0, x'00ff' {rows}"
        ),
        format!("DELETE FROM without_key WHERE a % 11 = {round} ORDER BY a LIMIT 7"),
        format!("UPDATE without_key SET b = 'y' WHERE a % 7 = {round} LIMIT 5"),
        format!("INSERT INTO with_unique_only SELECT n, 'x' {rows}"),
        format!(
            "UPDATE with_unique_only SET b = 'y', a = a + 1000 WHERE a % 13 = {round} AND a < 1000"
        ),
        format!("DELETE FROM with_unique_only WHERE a % 11 = {round}"),
        format!("INSERT INTO with_generated (id, a) SELECT n, n * 2 {rows}"),
        format!("UPDATE with_generated SET a = a + 1 WHERE id % 7 = {round}"),
        format!("INSERT INTO with_invisible (id, a, b) SELECT n, n * 2, n * 3 {rows}"),
        format!("UPDATE with_invisible SET c = b + 1 WHERE id % 7 = {round}"),
        format!("INSERT INTO with_function_index SELECT n, n * 2, n * 3 {rows}"),
        format!("UPDATE with_function_index SET b = b + 1 WHERE id % 7 = {round}"),
        format!("INSERT INTO with_invisible_key SELECT n, 'x' {rows}"),
        format!("UPDATE with_invisible_key SET b = 'y' WHERE a % 7 = {round}"),
        format!("DELETE FROM with_invisible_key WHERE a % 11 = {round}"),
        format!("INSERT INTO child SELECT n, n {rows} AND n IN (SELECT id FROM parent)"),
        format!("DELETE FROM parent WHERE id % 17 = {round}"),
        format!("UPDATE parent SET id = id + 1000 WHERE id % 19 = {round} AND id < 1000"),
    ];
    for statement in statements {
        conn.query_drop(statement).await?;
    }
    Ok(())
}

async fn change_everything(conn: &mut Conn, round: u32) -> Result<()> {
    for table in TABLES {
        for statement in table.change(round) {
            conn.query_drop(statement).await?;
        }
    }
    change_oddities(conn, round).await
}
