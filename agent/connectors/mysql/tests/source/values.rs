//! What a snapshot reads is what the stream delivered, for every value of every type.

use std::collections::BTreeMap;

use mysql_async::prelude::Queryable;
use sluice_core::{ChangeEvent, Row, RowOperation, Source, Value, source::ChunkRequest};

use super::fixture::{Fixture, Stream};
use crate::decode::types::{CASES, DOCUMENTS};

/// The rows that the stream inserted, by table and key.
fn inserted(stream: &Stream) -> BTreeMap<String, BTreeMap<i64, Row>> {
    let mut tables: BTreeMap<String, BTreeMap<i64, Row>> = BTreeMap::new();
    for event in &stream.events {
        if let ChangeEvent::Row(change) = event
            && let RowOperation::Insert { after } = &change.operation
        {
            let Value::Int(id) = after.get(0) else {
                panic!("no id")
            };
            let table = tables.entry(change.table.id.name.to_string()).or_default();
            table.insert(id, after.clone());
        }
    }
    tables
}

/// Reads each table whole and compares it with what the stream delivered.
async fn compare(fixture: &Fixture, stream: &mut Stream, what: &BTreeMap<String, String>) {
    let tables = inserted(stream);
    let mut reader = stream.source.snapshot_reader().await.unwrap();
    let mut different = Vec::new();
    for schema in stream.source.tables().await.unwrap() {
        let request = ChunkRequest {
            table: schema.id.clone(),
            after: None,
            until: None,
            seen: stream.position.clone().unwrap(),
            size_bytes_max: usize::MAX,
        };
        let chunk = reader.read_chunk(&schema, &request).await.unwrap();
        let delivered = &tables[&*schema.id.name];
        assert_eq!(chunk.rows.len(), delivered.len());
        for row in &chunk.rows {
            let Value::Int(id) = row.get(0) else {
                panic!("no id")
            };
            let same = &delivered[&id];
            for column in 0..row.len() {
                if row.cell(column) != same.cell(column) {
                    different.push(format!(
                        "{}.{id}: read {:?}, delivered {:?}",
                        what.get(&*schema.id.name)
                            .unwrap_or(&schema.columns[column].name),
                        row.get(column),
                        same.get(column)
                    ));
                }
            }
        }
    }
    assert!(
        different.is_empty(),
        "{} of {}",
        different.join("\n"),
        fixture.database
    );
}

#[tokio::test]
async fn every_value_of_every_type_is_read_as_it_was_delivered() {
    let mut fixture = Fixture::start().await;
    let mut what = BTreeMap::new();
    for (at, (ty, _)) in CASES.iter().enumerate() {
        what.insert(format!("t{at}"), (*ty).to_owned());
        fixture
            .run([format!(
                "CREATE TABLE t{at} (id INT PRIMARY KEY AUTO_INCREMENT, v {ty})"
            )])
            .await;
    }
    what.insert("documents".into(), "json".into());
    fixture
        .run(["CREATE TABLE documents (id INT PRIMARY KEY AUTO_INCREMENT, v JSON)"])
        .await;
    let mut stream = fixture.stream().await;
    for (at, (_, values)) in CASES.iter().enumerate() {
        for value in values.iter().chain(&["NULL"]) {
            fixture
                .run([format!("INSERT INTO t{at} (v) VALUES ({value})")])
                .await;
        }
    }
    for document in DOCUMENTS {
        fixture
            .run([format!("INSERT INTO documents (v) VALUES ({document})")])
            .await;
    }
    stream.catch_up().await;
    compare(&fixture, &mut stream, &what).await;
    fixture.end().await;
}

#[tokio::test]
async fn odd_columns_are_read_as_they_were_delivered() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE a (id INT PRIMARY KEY, hidden INT INVISIBLE DEFAULT 5, \
             v INT AS (id + 1) VIRTUAL, s VARCHAR(20) AS (CONCAT('x', id)) STORED, INDEX ((id + 7)))",
            "CREATE TABLE z (id INT PRIMARY KEY, a INT(8) ZEROFILL, b DECIMAL(10,2) ZEROFILL, \
             c FLOAT ZEROFILL, d YEAR, e BIGINT(20) UNSIGNED ZEROFILL)",
            "CREATE TABLE l (id INT PRIMARY KEY, a VARCHAR(20) CHARACTER SET latin1, \
             b TEXT CHARACTER SET gbk, c CHAR(9) CHARACTER SET utf16, d VARCHAR(9) CHARACTER SET sjis, \
             e VARCHAR(9) CHARACTER SET cp1251, f VARCHAR(9) CHARACTER SET ucs2, g VARCHAR(9) CHARACTER SET euckr, \
             h VARCHAR(9) CHARACTER SET big5, i VARCHAR(9) CHARACTER SET utf32, j VARCHAR(9) CHARACTER SET koi8r, \
             k ENUM('ä', 'б') CHARACTER SET utf8mb3, m SET('ä', 'ö') CHARACTER SET latin1, n VARCHAR(9) CHARACTER SET ascii)",
        ])
        .await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "INSERT INTO a (id) VALUES (1), (2)",
            "INSERT INTO z VALUES (1, 12, 12.5, 1.5, 2024, 7), (2, 0, 0, 0, 0, 0), (3, NULL, 12345678.9, 1e10, 1999, 18446744073709551615)",
            "INSERT INTO l VALUES (1, 'é€ß', '你好', 'a😀', 'テスト', 'Привет', 'añb', '한국', '繁體', '😀', 'Привет', 'б', 'ä,ö', 'abc'), \
             (2, '', '', '', '', '', '', '', '', '', '', '', '', ''), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        ])
        .await;
    stream.catch_up().await;
    compare(&fixture, &mut stream, &BTreeMap::new()).await;
    fixture.end().await;
}

#[tokio::test]
async fn random_rows_are_read_as_they_were_delivered() {
    let mut fixture = Fixture::start().await;
    fixture
        .run(["CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a BIGINT, b DOUBLE, c FLOAT, d DECIMAL(30,10), \
             e VARCHAR(40), f VARBINARY(40), g DATETIME(6), h TIME(6), i TIMESTAMP(6) NULL, j DATE, k BIT(33), \
             l JSON, m YEAR, n BINARY(7), o CHAR(7), p TIME(2), q DATETIME(1), r MEDIUMINT, s TINYINT UNSIGNED)"])
        .await;
    let mut stream = fixture.stream().await;
    let seed: u32 = fixture
        .client
        .query_first("SELECT UNIX_TIMESTAMP() % 100000")
        .await
        .unwrap()
        .unwrap();
    println!("seed {seed}");
    fixture
        .run([format!(
            "INSERT INTO t (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s) \
             WITH RECURSIVE x (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x WHERE n < 3000) \
             SELECT CAST(RAND({seed}) * 1.8e19 - 9e18 AS SIGNED), (RAND() - 0.5) * POW(10, RAND() * 600 - 300), \
             (RAND() - 0.5) * POW(10, RAND() * 70 - 35), (RAND() - 0.5) * POW(10, RAND() * 19), \
             CONVERT(SUBSTR(SHA2(RAND(), 256), 1, RAND() * 40) USING utf8mb4), UNHEX(SUBSTR(SHA2(RAND(), 256), 1, 2 * FLOOR(RAND() * 30))), \
             '1000-01-01' + INTERVAL RAND() * 2.8e11 SECOND + INTERVAL RAND() * 1e6 MICROSECOND, \
             SEC_TO_TIME((RAND() - 0.5) * 6e6), FROM_UNIXTIME(1 + RAND() * 2e9), '0001-01-01' + INTERVAL RAND() * 3000000 DAY, \
             FLOOR(RAND() * 8589934591), JSON_OBJECT('a', RAND(), 'b', JSON_ARRAY(n, RAND() * 1e300, SHA2(n, 256)), 'd', CAST(RAND() * 100 AS DECIMAL(20,5))), \
             1901 + FLOOR(RAND() * 254), UNHEX(SUBSTR(SHA2(RAND(), 256), 1, 2 * FLOOR(RAND() * 8))), SUBSTR(SHA2(RAND(), 256), 1, RAND() * 7), \
             SEC_TO_TIME((RAND() - 0.5) * 6e6), '1000-01-01' + INTERVAL RAND() * 2.8e11 SECOND, (RAND() - 0.5) * 16777215, RAND() * 255 FROM x"
        )])
        .await;
    stream.catch_up().await;
    compare(&fixture, &mut stream, &BTreeMap::new()).await;
    fixture.end().await;
}
