//! Rows and transactions of the stream.

use mysql_async::prelude::Queryable;
use sluice_core::{ChangeEvent, LogPosition, Reason, Source};

use super::fixture::{Fixture, Stream};

#[tokio::test]
async fn inserts_updates_and_deletes_arrive_in_order() {
    let mut fixture = Fixture::start().await;
    fixture
        .run(["CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(10))"])
        .await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "INSERT INTO t VALUES (1, 'a'), (2, NULL)",
            "BEGIN",
            "UPDATE t SET v = 'b' WHERE id = 1",
            "UPDATE t SET id = 3 WHERE id = 2",
            "DELETE FROM t WHERE id = 1",
            "COMMIT",
            "BEGIN",
            "INSERT INTO t VALUES (9, 'x')",
            "ROLLBACK",
        ])
        .await;
    stream.catch_up().await;
    assert_eq!(stream.ends, 2);
    assert_eq!(
        stream.told(),
        ["t+1,a", "t+2,null", "t~1,a>1,b", "t~2,null>3,null", "t-1,b"]
    );
    fixture.end().await;
}

#[tokio::test]
async fn changes_know_their_transaction() {
    let mut fixture = Fixture::start().await;
    fixture.run(["CREATE TABLE t (id INT PRIMARY KEY)"]).await;
    let mut stream = fixture.stream().await;
    fixture
        .run(["INSERT INTO t VALUES (1), (2)", "INSERT INTO t VALUES (3)"])
        .await;
    stream.catch_up().await;
    let changes: Vec<_> = stream
        .events
        .iter()
        .map(|event| match event {
            ChangeEvent::Row(change) => change,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        changes
            .iter()
            .map(|change| change.ordinal)
            .collect::<Vec<_>>(),
        [0, 1, 0]
    );
    assert_eq!(changes[0].transaction, changes[1].transaction);
    let (first, second) = (&changes[0].transaction, &changes[2].transaction);
    assert_ne!(first.id, second.id);
    assert!(first.start_offset > 0 && first.start_offset < second.start_offset);
    assert!(stream.watermark.as_ref().unwrap().offset > second.start_offset);
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_micros() as i64;
    assert!((now - first.commit_time_micros).abs() < 60_000_000);
    let Some(LogPosition::Gtid(set)) = &stream.position else {
        panic!("no GTID position")
    };
    let (uuid, number) = first.id.rsplit_once(':').unwrap();
    let mut sources = set.sources();
    let source = sources
        .find(|(source, _)| source.to_string() == uuid)
        .unwrap()
        .0;
    assert!(set.contains(source, number.parse().unwrap()));
    fixture.end().await;
}

#[tokio::test]
async fn a_large_transaction_comes_in_pieces_with_one_end() {
    let mut fixture = Fixture::start().await;
    fixture
        .run(["CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100))"])
        .await;
    let mut stream = fixture.stream().await;
    fixture
        .run(["INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) SELECT i, REPEAT('x', 50) FROM n"])
        .await;
    let (mut rows, mut inside) = (0, 0);
    while rows < 50_000 {
        let batch = stream.next().await.unwrap();
        let count = batch
            .events
            .iter()
            .filter(|event| matches!(event, ChangeEvent::Row(_)))
            .count();
        assert!(count < 10_000, "a batch of {count} rows");
        rows += count;
        inside += usize::from(count > 0 && batch.position.is_none());
        stream.ends += batch
            .events
            .iter()
            .filter(|event| matches!(event, ChangeEvent::TransactionEnd(_)))
            .count();
        assert!(batch.position.is_none() || stream.ends == 1 || count == 0);
    }
    assert!(inside > 5, "{inside} batches inside the transaction");
    stream.catch_up().await;
    assert_eq!(stream.ends, 1);
    fixture.end().await;
}

#[tokio::test]
async fn compressed_transactions_are_unpacked_piece_by_piece() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)",
            "SET SESSION binlog_transaction_compression = ON",
        ])
        .await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
            "INSERT INTO t SELECT i, SHA2(i, 256) FROM (WITH RECURSIVE n (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 30099) SELECT i FROM n) x",
            "INSERT INTO t VALUES (3, REPEAT('z', 3000000)), (4, '')",
            "DELETE FROM t WHERE id = 1",
        ])
        .await;
    stream.catch_up().await;
    assert_eq!(stream.events.len(), 30_005);
    assert_eq!(stream.ends, 4);
    let told = stream.told();
    assert_eq!(told[..2], ["t+1,a", "t+2,b"]);
    assert_eq!(told[30_002].len(), 3_000_004);
    assert_eq!(told[30_003..], ["t+4,", "t-1,a"]);
    fixture.end().await;
}

#[tokio::test]
async fn large_rows_pass_on_both_sides_of_the_packet_limit() {
    let mut fixture = Fixture::start().await;
    fixture
        .run(["CREATE TABLE t (id INT PRIMARY KEY, v LONGBLOB)"])
        .await;
    let mut stream = fixture.stream().await;
    let sizes = [
        200_000, 300_000, 16_777_100, 16_777_215, 16_777_300, 40_000_000,
    ];
    for (id, size) in sizes.iter().enumerate() {
        fixture
            .run([format!("INSERT INTO t VALUES ({id}, REPEAT('x', {size}))")])
            .await;
    }
    stream.until(|events| events.len() == sizes.len()).await;
    for (event, size) in stream.events.iter().zip(sizes) {
        let held = event.size_bytes();
        assert!(
            held > size && held < size + 1000,
            "{held} bytes for a value of {size}"
        );
    }
    fixture.end().await;
}

#[tokio::test]
async fn only_selected_tables_deliver_rows_but_the_position_moves_on() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE a (id INT PRIMARY KEY)",
            "CREATE TABLE b (id INT PRIMARY KEY)",
        ])
        .await;
    let mut stream = Stream::open(fixture.source_of(&["*"], &["b"]), None).await;
    let start = stream.start.clone();
    fixture.run(["INSERT INTO b VALUES (1)"]).await;
    stream.catch_up().await;
    assert_eq!(stream.told(), [""; 0]);
    assert_ne!(stream.position.as_ref(), Some(&start));
    assert!(stream.ends == 0);
    fixture
        .run([
            "BEGIN",
            "INSERT INTO b VALUES (2)",
            "INSERT INTO a VALUES (1)",
            "COMMIT",
        ])
        .await;
    stream.catch_up().await;
    assert_eq!(stream.told(), ["a+1"]);
    fixture.end().await;
}

#[tokio::test]
async fn an_idle_stream_reports_heartbeats() {
    let fixture = Fixture::start().await;
    let mut stream = fixture.stream().await;
    // Others write to the server, too: a batch may well end inside one of their transactions.
    let mut reports = 0;
    while reports < 3 {
        let batch = stream.next().await.unwrap();
        assert!(batch.events.is_empty());
        reports += usize::from(batch.position.is_some() && batch.watermark.is_some());
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_dropped_call_loses_nothing() {
    let mut fixture = Fixture::start().await;
    fixture
        .run(["CREATE TABLE t (id INT PRIMARY KEY, v LONGBLOB)"])
        .await;
    let mut stream = fixture.stream().await;
    for id in 0..50 {
        fixture
            .run([format!(
                "INSERT INTO t VALUES ({id}, REPEAT('x', {}))",
                id * 40_000
            )])
            .await;
    }
    let mut seen = Vec::new();
    while seen.len() < 50 {
        // Polls once, as the losing arm of a select does.
        if let Some(batch) = futures_util::FutureExt::now_or_never(stream.source.next()) {
            seen.extend(
                batch
                    .unwrap()
                    .events
                    .into_iter()
                    .filter(|event| matches!(event, ChangeEvent::Row(_))),
            );
        }
        tokio::task::yield_now().await;
    }
    let told: Vec<_> = seen.iter().map(super::fixture::tell).collect();
    for (id, text) in told.iter().enumerate() {
        assert!(text.starts_with(&format!("t+{id},")), "{}", &text[..20]);
    }
    fixture.end().await;
}

#[tokio::test]
async fn statements_instead_of_rows_are_an_error_that_names_them() {
    let mut fixture = Fixture::start().await;
    fixture.run(["CREATE TABLE t (id INT PRIMARY KEY)"]).await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "SET SESSION binlog_format = STATEMENT",
            "INSERT INTO t VALUES (1)",
        ])
        .await;
    let error = stream.try_catch_up().await.unwrap_err();
    assert_eq!(error.reason(), Reason::StatementInLog);
    assert!(error.message().contains("INSERT") && error.message().contains(&fixture.database));
    assert!(error.hint().unwrap().contains("binlog_format"));
    fixture.end().await;
}

#[tokio::test]
async fn statements_about_other_databases_are_none_of_ours() {
    let mut fixture = Fixture::start().await;
    let other = format!("{}_other", fixture.database);
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY)".to_owned(),
            format!("CREATE DATABASE {other}"),
            format!("CREATE TABLE {other}.t (id INT PRIMARY KEY)"),
        ])
        .await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "SET SESSION binlog_format = STATEMENT".to_owned(),
            format!("INSERT INTO {other}.t VALUES (1)"),
            "SET SESSION binlog_format = ROW".to_owned(),
            "INSERT INTO t VALUES (1)".to_owned(),
            format!("DROP DATABASE {other}"),
        ])
        .await;
    stream.catch_up().await;
    assert_eq!(stream.told(), ["t+1"]);
    fixture.end().await;
}

#[tokio::test]
async fn one_phase_xa_is_a_transaction_and_two_phases_are_refused() {
    let mut fixture = Fixture::start().await;
    fixture.run(["CREATE TABLE t (id INT PRIMARY KEY)"]).await;
    let mut stream = fixture.stream().await;
    let xid = fixture.database.clone();
    fixture
        .run([
            format!("XA START '{xid}'"),
            "INSERT INTO t VALUES (1)".to_owned(),
            format!("XA END '{xid}'"),
            format!("XA COMMIT '{xid}' ONE PHASE"),
        ])
        .await;
    stream.catch_up().await;
    assert_eq!(stream.told(), ["t+1"]);
    assert_eq!(stream.ends, 1);
    fixture
        .run([
            format!("XA START '{xid}'"),
            "INSERT INTO t VALUES (2)".to_owned(),
            format!("XA END '{xid}'"),
            format!("XA PREPARE '{xid}'"),
            format!("XA ROLLBACK '{xid}'"),
        ])
        .await;
    let error = stream.try_catch_up().await.unwrap_err();
    assert_eq!(error.reason(), Reason::DecodeFailed);
    assert!(error.message().contains("XA"), "{error}");
    fixture.end().await;
}

#[tokio::test]
async fn tagged_transactions_are_counted_and_resumed() {
    let mut fixture = Fixture::start().await;
    fixture.run(["CREATE TABLE t (id INT PRIMARY KEY)"]).await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "SET gtid_next = 'AUTOMATIC:sluice_test'",
            "INSERT INTO t VALUES (1)",
        ])
        .await;
    stream.catch_up().await;
    assert_eq!(stream.told(), ["t+1"]);
    let position = stream.position.clone().unwrap();
    assert!(position.to_string().contains(":sluice_test:"), "{position}");
    let executed: String = fixture
        .client
        .query_first("SELECT @@GLOBAL.gtid_executed")
        .await
        .unwrap()
        .unwrap();
    let executed: LogPosition = executed.parse().unwrap();
    let (LogPosition::Gtid(executed), LogPosition::Gtid(held)) = (executed, &position) else {
        panic!("no GTIDs");
    };
    assert!(executed.contains_set(held));
    drop(stream);
    fixture
        .run([
            "INSERT INTO t VALUES (2)",
            "SET gtid_next = 'AUTOMATIC'",
            "INSERT INTO t VALUES (3)",
        ])
        .await;
    let mut resumed = Stream::open(fixture.source(), Some(&position)).await;
    resumed.catch_up().await;
    assert_eq!(resumed.told(), ["alter t(id)", "t+2", "t+3"]);
    resumed.source.confirm(&position).await.unwrap();
    fixture.end().await;
}
