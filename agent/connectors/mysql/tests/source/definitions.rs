//! Definitions from the server's catalog and from the log are the same.

use std::sync::Arc;

use sluice_core::{
    ChangeEvent, Reason, Source, TableSchema,
    schema::{ColumnDefault, ColumnType},
};

use super::fixture::{Fixture, Stream};
use crate::decode::types::CASES;

#[tokio::test]
async fn the_log_and_the_catalog_describe_every_type_alike() {
    let mut fixture = Fixture::start().await;
    let columns: Vec<_> = CASES
        .iter()
        .enumerate()
        .map(|(at, (ty, _))| format!("c{at} {ty}"))
        .collect();
    fixture
        .run([
            format!(
                "CREATE TABLE t (id INT PRIMARY KEY, {})",
                columns.join(", ")
            ),
            "CREATE TABLE more (a INT NOT NULL, b VARCHAR(20) CHARACTER SET latin1 NOT NULL, \
             c INT INVISIBLE, d INT AS (a + 1) VIRTUAL, e INT AS (a + 2) STORED, \
             f ENUM('é', 'x') CHARACTER SET latin1, g SET('ü', 'y,') CHARACTER SET utf16, \
             PRIMARY KEY (b, a), INDEX ((a + 5)))"
                .replace("'y,'", "'y'"),
        ])
        .await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "INSERT INTO t (id) VALUES (1)",
            "INSERT INTO more (a, b) VALUES (1, 'x')",
        ])
        .await;
    // A row whose shape differs from the catalog's would come behind an announcement.
    stream.catch_up().await;
    assert_eq!(stream.events.len(), 2);
    let shapes: Vec<_> = stream
        .events
        .iter()
        .map(|event| match event {
            ChangeEvent::Row(change) => Arc::clone(&change.table),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shapes[0].columns.len(), CASES.len() + 1);
    let more = &shapes[1];
    assert_eq!(
        more.columns
            .iter()
            .map(|column| column.generated)
            .collect::<Vec<_>>(),
        [false, false, false, true, true, false, false]
    );
    assert_eq!(more.key, [1, 0]);
    fixture.end().await;
}

async fn tables_of(fixture: &Fixture) -> Vec<Arc<TableSchema>> {
    let mut source = fixture.source();
    source.open(None).await.unwrap();
    source.tables().await.unwrap()
}

#[tokio::test]
async fn keys_and_defaults_come_from_the_catalog() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE a (u INT NOT NULL, v INT, w INT NOT NULL, \
             UNIQUE KEY z (v), UNIQUE KEY y (w, u), UNIQUE KEY x (u))",
            "CREATE TABLE b (u INT)",
            "CREATE TABLE c (p TINYINT(1) DEFAULT 1, q VARCHAR(9) DEFAULT 'it''s', \
             r DATETIME DEFAULT CURRENT_TIMESTAMP, s INT NOT NULL, t CHAR(36) DEFAULT (UUID()))",
            "CREATE VIEW v AS SELECT 1",
            "SET sql_generate_invisible_primary_key = ON",
            "CREATE TABLE g (x INT)",
            "SET sql_generate_invisible_primary_key = OFF",
        ])
        .await;
    let tables = tables_of(&fixture).await;
    let names: Vec<_> = tables.iter().map(|table| &*table.id.name).collect();
    assert_eq!(names, ["a", "b", "c", "g"]);
    let key: Vec<_> = tables[0]
        .key_columns()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(key, ["w", "u"]);
    assert!(!tables[1].has_key());
    let defaults: Vec<_> = tables[2]
        .columns
        .iter()
        .map(|column| column.default.clone())
        .collect();
    let literal = |text: &str| Some(ColumnDefault::Literal(text.into()));
    assert_eq!(defaults[..2], [literal("1"), literal("it's")]);
    assert!(
        matches!(&defaults[2], Some(ColumnDefault::Expression(text)) if text.starts_with("CURRENT_TIMESTAMP"))
    );
    assert_eq!(defaults[3], None);
    assert!(matches!(&defaults[4], Some(ColumnDefault::Expression(text)) if text.contains("uuid")));
    assert!(tables[2].columns[0].boolean);
    assert_eq!(tables[3].columns[0].name, "my_row_id");
    assert_eq!(
        tables[3].columns[0].ty,
        ColumnType::Int {
            bits: 64,
            unsigned: true
        }
    );
    assert_eq!(tables[3].key, [0]);
    fixture.end().await;
}

#[tokio::test]
async fn a_unique_index_is_the_key_in_the_stream_too() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE a (u INT NOT NULL, v INT, w INT NOT NULL, \
             UNIQUE KEY z (v), UNIQUE KEY y (w, u), UNIQUE KEY x (u))",
            "CREATE TABLE g (x INT, UNIQUE KEY (x))",
            "SET SESSION binlog_row_image = MINIMAL",
        ])
        .await;
    let tables = tables_of(&fixture).await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "INSERT INTO a VALUES (1, 2, 3)",
            "UPDATE a SET v = 9",
            "DELETE FROM a",
            "INSERT INTO g VALUES (1)",
        ])
        .await;
    stream.catch_up().await;
    let ChangeEvent::Row(change) = &stream.events[0] else {
        panic!("{:?}", stream.events)
    };
    assert_eq!(change.table.key, tables[0].key);
    // The partial images hold the key and nothing else.
    let told = stream.told();
    let key = &tables[0].key;
    assert_eq!(told.len(), 4, "{told:?}");
    let expected = if *key == [0] { "a-1,?,?" } else { "a-1,?,3" };
    assert_eq!(told[2], expected);
    fixture.end().await;
}

#[tokio::test]
async fn no_selected_table_is_an_error_that_names_the_patterns() {
    let fixture = Fixture::start().await;
    let mut source = fixture.source_of(&["absent_*"], &[]);
    source.open(None).await.unwrap();
    let error = source.tables().await.unwrap_err();
    assert_eq!(error.reason(), Reason::NoTables);
    assert!(error.message().contains("absent_*"), "{error}");
    fixture.end().await;
}

#[tokio::test]
async fn odd_names_are_quoted_everywhere() {
    let mut fixture = Fixture::start().await;
    fixture
        .run(["CREATE TABLE `a\"b ``c` (`my key` INT PRIMARY KEY, `select` INT, `naïve` INT)"])
        .await;
    let mut stream = Stream::open(fixture.source(), None).await;
    fixture
        .run([
            "INSERT INTO `a\"b ``c` VALUES (1, 2, 3)",
            "TRUNCATE `a\"b ``c`",
        ])
        .await;
    stream.catch_up().await;
    assert_eq!(stream.told(), ["a\"b `c+1,2,3", "truncate a\"b `c"]);
    let mut reader = stream.source.snapshot_reader().await.unwrap();
    reader.estimate(&fixture.table("a\"b `c")).await.unwrap();
    fixture.end().await;
}
