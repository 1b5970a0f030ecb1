//! Where a stream goes on, and when it can't.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use sluice_core::{LogPosition, Reason, Source, source::ChunkRequest};

use super::{
    fixture::{Fixture, Stream, tell, tell_row},
    instance::Instance,
};

/// Without the announcements that follow a resumption.
fn rows(told: Vec<String>) -> Vec<String> {
    told.into_iter()
        .filter(|event| !event.starts_with("alter"))
        .collect()
}

#[tokio::test]
async fn a_stream_goes_on_where_it_stood() {
    let mut fixture = Fixture::start().await;
    fixture.run(["CREATE TABLE t (id INT PRIMARY KEY)"]).await;
    let mut stream = fixture.stream().await;
    for id in 0..20 {
        fixture.run([format!("INSERT INTO t VALUES ({id})")]).await;
        stream.catch_up().await;
        assert_eq!(rows(stream.told()), [format!("t+{id}")]);
        if id % 3 == 0 {
            let position = stream.position.clone().unwrap();
            let text = position.to_string();
            stream = Stream::open(fixture.source(), Some(&text.parse().unwrap())).await;
            assert_eq!(stream.start, position);
        }
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_stream_knows_its_place_as_soon_as_it_is_open() {
    let instance = Instance::start("");
    let mut fixture = Fixture::start_on(&instance.url).await;
    fixture.run(["CREATE TABLE t (id INT PRIMARY KEY)"]).await;
    for id in 0..200 {
        fixture.run([format!("INSERT INTO t VALUES ({id})")]).await;
    }
    // Nothing more is written, so that every transaction is skipped.
    let opened = Instant::now();
    let mut stream = fixture.stream().await;
    stream.catch_up().await;
    let waited = opened.elapsed();
    assert!(
        waited < Duration::from_millis(900),
        "{waited:?}: the place came with a heartbeat"
    );
    fixture.run(["FLUSH BINARY LOGS"]).await;
    stream.catch_up().await;
    fixture.end().await;
}

#[tokio::test]
async fn a_purged_log_and_a_foreign_position_are_lost_positions() {
    let instance = Instance::start("");
    let mut fixture = Fixture::start_on(&instance.url).await;
    fixture.run(["CREATE TABLE t (id INT PRIMARY KEY)"]).await;
    let mut stream = fixture.stream().await;
    stream.catch_up().await;
    let position = stream.position.clone().unwrap();
    drop(stream);
    fixture
        .run(["INSERT INTO t VALUES (1)", "FLUSH BINARY LOGS"])
        .await;
    let last: String = fixture
        .client
        .query::<(String, u64, String), _>("SHOW BINARY LOGS")
        .await
        .unwrap()
        .pop()
        .unwrap()
        .0;
    fixture
        .run([format!("PURGE BINARY LOGS TO '{last}'")])
        .await;
    let error = fixture.source().open(Some(&position)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::PositionLost);
    assert!(error.message().contains("1 transactions"), "{error}");
    assert!(error.hint().unwrap().contains("onPositionLost"));

    let foreign: LogPosition = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().unwrap();
    let LogPosition::Gtid(mut both) = foreign else {
        panic!()
    };
    let here = fixture.stream().await.start.clone();
    let LogPosition::Gtid(here) = here else {
        panic!("{here}")
    };
    both.extend(&here);
    let error = fixture
        .source()
        .open(Some(&LogPosition::Gtid(both)))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::PositionLost);
    assert!(error.message().contains("3e11fa47"), "{error}");
    let file = LogPosition::File {
        file: "binlog.000001".into(),
        offset: 4,
    };
    let error = fixture.source().open(Some(&file)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::PositionLost);
    assert!(error.message().contains("binlog.000001"), "{error}");
    let foreign = fixture
        .source()
        .open(Some(&LogPosition::Lsn(7)))
        .await
        .unwrap_err();
    assert_eq!(foreign.reason(), Reason::InvalidConfig);
    fixture.end().await;
}

#[tokio::test]
async fn without_gtids_files_and_offsets_do_the_same() {
    let instance = Instance::start("--gtid-mode=OFF --enforce-gtid-consistency=OFF");
    let mut fixture = Fixture::start_on(&instance.url).await;
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY)",
            "CREATE TABLE v (x INT)",
        ])
        .await;
    let mut stream = fixture.stream().await;
    assert!(matches!(stream.start, LogPosition::File { .. }));
    for id in 0..10 {
        fixture.run([format!("INSERT INTO t VALUES ({id})")]).await;
        stream.catch_up().await;
        assert_eq!(rows(stream.told()), [format!("t+{id}")]);
        let position = stream.position.clone().unwrap();
        stream = Stream::open(fixture.source(), Some(&position)).await;
        if id % 3 == 0 {
            fixture.run(["FLUSH BINARY LOGS"]).await;
        }
    }
    fixture
        .run([
            "INSERT INTO t VALUES (100)",
            "SET binlog_transaction_compression = ON",
        ])
        .await;
    fixture
        .run([
            "INSERT INTO t VALUES (101)",
            "ALTER TABLE t ADD w INT DEFAULT 2",
        ])
        .await;
    stream.catch_up().await;
    stream
        .until(|events| events.iter().any(|event| tell(event) == "alter t(id,w)"))
        .await;
    assert_eq!(rows(stream.told()), ["t+100", "t+101"]);

    let mut reader = stream.source.snapshot_reader().await.unwrap();
    let tables = stream.source.tables().await.unwrap();
    let request = ChunkRequest {
        table: tables[0].id.clone(),
        after: None,
        until: None,
        seen: stream.position.clone().unwrap(),
        size_bytes_max: usize::MAX,
    };
    let chunk = reader.read_chunk(&tables[0], &request).await.unwrap();
    assert_eq!(chunk.rows.len(), 12);
    assert_eq!(tell_row(&chunk.rows[11]), "101,2");
    let here = stream.watermark.clone().unwrap();
    assert_eq!(chunk.high.has_reached(&here), Some(true));
    fixture.run(["INSERT INTO v VALUES (1), (1)"]).await;
    let view = reader.open_view(&fixture.table("v")).await.unwrap();
    assert_eq!(reader.read_view(usize::MAX).await.unwrap().len(), 2);
    stream.catch_up().await;
    assert_eq!(
        stream.watermark.as_ref().unwrap().has_reached(&view.at),
        Some(true)
    );
    let position = stream.position.clone().unwrap();
    let LogPosition::File { file, offset } = &position else {
        panic!("{position}")
    };
    let beyond = LogPosition::File {
        file: file.clone(),
        offset: offset + 1_000_000,
    };
    let error = fixture.source().open(Some(&beyond)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::PositionLost);
    let gtid: LogPosition = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().unwrap();
    let error = fixture.source().open(Some(&gtid)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::PositionLost);
    fixture.end().await;
}

#[tokio::test]
async fn a_server_that_restarts_is_unreachable_and_then_goes_on() {
    let instance = Instance::start("");
    let mut fixture = Fixture::start_on(&instance.url).await;
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY)",
            "INSERT INTO t VALUES (1)",
        ])
        .await;
    let mut stream = fixture.stream().await;
    stream.catch_up().await;
    let position = stream.position.clone().unwrap();
    instance.restart("");
    let error = loop {
        match stream.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.class(), sluice_core::Class::Retry, "{error}");
    let mut fixture = Fixture::start_on(&instance.url).await;
    let mut source = Stream::open(fixture.source(), Some(&position)).await;
    fixture
        .run([
            "CREATE TABLE u (id INT PRIMARY KEY)",
            "INSERT INTO u VALUES (1)",
        ])
        .await;
    source.catch_up().await;
    assert_eq!(source.told(), ["create u(id)", "u+1"]);
}

#[tokio::test]
async fn a_failing_setting_is_named_before_the_stream_starts() {
    let instance = Instance::start("--binlog-row-metadata=MINIMAL");
    let fixture = Fixture::start_on(&instance.url).await;
    let error = fixture.source().open(None).await.unwrap_err();
    assert_eq!(error.reason(), Reason::PrerequisiteMissing);
    assert_eq!(error.hint(), Some("SET PERSIST binlog_row_metadata = FULL"));
    drop(fixture);
    instance.restart("--skip-log-bin");
    let fixture = Fixture::start_on(&instance.url).await;
    let error = fixture.source().open(None).await.unwrap_err();
    assert_eq!(error.reason(), Reason::PrerequisiteMissing);
    assert!(error.message().contains("log_bin"), "{error}");
}
