//! Chunks and views of tables.

use std::sync::Arc;

use sluice_core::{Reason, Row, SnapshotReader, Source, TableSchema, Value, source::ChunkRequest};

use super::fixture::{Fixture, Stream, tell_row};

fn request(stream: &Stream, table: &TableSchema) -> ChunkRequest {
    ChunkRequest {
        table: table.id.clone(),
        after: None,
        until: None,
        seen: stream
            .position
            .clone()
            .unwrap_or_else(|| stream.start.clone()),
        size_bytes_max: usize::MAX,
    }
}

/// Reads a table chunk by chunk, as the pipeline does.
async fn read_all(
    stream: &Stream,
    reader: &mut dyn SnapshotReader,
    table: &TableSchema,
    chunk_rows: u64,
) -> Vec<Vec<String>> {
    let mut chunks = Vec::new();
    let mut after: Option<Row> = None;
    loop {
        let until = reader
            .boundary(table, after.as_ref(), chunk_rows)
            .await
            .unwrap();
        let mut request = request(stream, table);
        request.after = after.clone();
        request.until = until.clone();
        let rows = reader.read_chunk(table, &request).await.unwrap().rows;
        chunks.push(rows.iter().map(tell_row).collect());
        if until.is_none() {
            return chunks;
        }
        after = until;
    }
}

async fn only_table(stream: &mut Stream) -> Arc<TableSchema> {
    stream.source.tables().await.unwrap().remove(0)
}

/// Columns, the key among them, and rows.
const KEYS: &[(&str, &str, &[&str])] = &[
    ("a INT", "a", &["-5", "0", "1", "2", "9"]),
    (
        "a BIGINT UNSIGNED",
        "a",
        &["0", "1", "18446744073709551615", "9223372036854775808"],
    ),
    (
        "a INT, b VARCHAR(9)",
        "a, b",
        &["1,''", "1,'a'", "1,'b'", "2,''", "2,'z'", "3,'a'"],
    ),
    (
        "a VARCHAR(9)",
        "a",
        &["''", "'B'", "'a'", "'ä2'", "'z'", "'\\''"],
    ),
    (
        "a VARCHAR(9) CHARACTER SET latin1",
        "a",
        &["'é'", "'f'", "'ÿ'", "'a'"],
    ),
    (
        "a CHAR(9) COLLATE utf8mb4_bin",
        "a",
        &["'a'", "'A'", "' '", "'😀'", "'é'"],
    ),
    (
        "a VARBINARY(9)",
        "a",
        &["''", "0x00", "0x0000", "0xff", "0x61"],
    ),
    ("a BINARY(3)", "a", &["0x00", "0x61", "0x6161", "0xffff"]),
    ("a ENUM('z', 'a', 'm')", "a", &["'a'", "'m'", "'z'"]),
    ("a SET('z', 'a')", "a", &["''", "'a'", "'z'", "'z,a'"]),
    ("a BIT(9)", "a", &["0", "1", "256", "511"]),
    (
        "a DATE",
        "a",
        &[
            "'0000-00-00'",
            "'2024-00-01'",
            "'2024-02-29'",
            "'9999-12-31'",
        ],
    ),
    (
        "a DATETIME(6)",
        "a",
        &[
            "'1000-01-01'",
            "'2024-02-29 01:02:03.000004'",
            "'2024-02-29 01:02:03.000005'",
        ],
    ),
    (
        "a TIMESTAMP(3)",
        "a",
        &[
            "'1970-01-01 00:00:01'",
            "'2024-02-29 01:02:03.004'",
            "'2038-01-19'",
        ],
    ),
    (
        "a TIME(6)",
        "a",
        &["'-838:59:59'", "'-00:00:00.000001'", "'0'", "'12:00:00.5'"],
    ),
    (
        "a YEAR, b INT",
        "a, b",
        &["0,1", "1901,1", "2155,1", "2155,2"],
    ),
    (
        "a DECIMAL(20,5)",
        "a",
        &["-1.5", "0", "0.00001", "99999999999.99999"],
    ),
    ("a DOUBLE", "a", &["-1e300", "-0.1", "0.1", "1e300"]),
    ("a FLOAT", "a", &["-1e30", "-0.1", "0.1", "16777216"]),
];

#[tokio::test]
async fn chunks_of_every_kind_of_key_cover_the_table_once() {
    for (columns, key, values) in KEYS {
        let mut fixture = Fixture::start().await;
        fixture
            .run([format!("CREATE TABLE t ({columns}, PRIMARY KEY ({key}))")])
            .await;
        for value in *values {
            fixture
                .run([format!("INSERT INTO t VALUES ({value})")])
                .await;
        }
        let mut stream = fixture.stream().await;
        let table = only_table(&mut stream).await;
        let mut reader = stream.source.snapshot_reader().await.unwrap();
        let whole = read_all(&stream, reader.as_mut(), &table, 1000).await;
        assert_eq!(whole.concat().len(), values.len(), "{columns}");
        for chunk_rows in [1, 2, 3] {
            let chunks = read_all(&stream, reader.as_mut(), &table, chunk_rows).await;
            assert_eq!(chunks.concat(), whole.concat(), "{columns} by {chunk_rows}");
            assert!(chunks.iter().all(|chunk| chunk.len() as u64 <= chunk_rows));
        }
        drop(stream);
        fixture.end().await;
    }
}

#[tokio::test]
async fn a_chunk_that_grows_too_large_ends_early_at_a_key() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(1000))",
            "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i, REPEAT('x', 1000) FROM n",
        ])
        .await;
    let mut stream = fixture.stream().await;
    let table = only_table(&mut stream).await;
    let mut reader = stream.source.snapshot_reader().await.unwrap();
    let mut request = request(&stream, &table);
    request.size_bytes_max = 100_000;
    let chunk = reader.read_chunk(&table, &request).await.unwrap();
    let last = chunk.truncated_at.unwrap();
    assert_eq!(last.get(0), Value::Int(chunk.rows.len() as i64));
    assert!((90..110).contains(&chunk.rows.len()));
    request.after = Some(last);
    request.size_bytes_max = usize::MAX;
    let rest = reader.read_chunk(&table, &request).await.unwrap();
    assert_eq!(rest.rows.len() + chunk.rows.len(), 1000);
    assert!(rest.truncated_at.is_none());
    fixture.end().await;
}

#[tokio::test]
async fn a_chunk_sees_everything_that_the_stream_has_shown() {
    let mut fixture = Fixture::start().await;
    fixture.run(["CREATE TABLE t (id INT PRIMARY KEY)"]).await;
    let mut stream = fixture.stream().await;
    let table = only_table(&mut stream).await;
    let mut reader = stream.source.snapshot_reader().await.unwrap();
    for id in 1..=50 {
        fixture.run([format!("INSERT INTO t VALUES ({id})")]).await;
        stream.until(|events| events.len() == id).await;
        let chunk = reader
            .read_chunk(&table, &request(&stream, &table))
            .await
            .unwrap();
        assert!(chunk.rows.len() >= id);
        let here = stream.watermark.clone().unwrap();
        assert_eq!(chunk.high.has_reached(&here), Some(true));
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_changed_definition_comes_with_its_rows() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY, k INT NOT NULL)",
            "INSERT INTO t VALUES (1, 7)",
        ])
        .await;
    let mut stream = fixture.stream().await;
    let table = only_table(&mut stream).await;
    let mut reader = stream.source.snapshot_reader().await.unwrap();
    fixture.run(["ALTER TABLE t ADD v INT DEFAULT 3"]).await;
    let chunk = reader
        .read_chunk(&table, &request(&stream, &table))
        .await
        .unwrap();
    assert_eq!(chunk.table.columns.len(), 3);
    assert_eq!(
        chunk.rows.iter().map(tell_row).collect::<Vec<_>>(),
        ["1,7,3"]
    );
    fixture
        .run(["ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (k)"])
        .await;
    let chunk = reader
        .read_chunk(&table, &request(&stream, &table))
        .await
        .unwrap();
    assert_eq!(chunk.table.key, [1]);
    assert!(chunk.rows.is_empty());
    for key in ["VARCHAR(20)", "DATE", "DECIMAL(9, 1)"] {
        fixture.run(["DROP TABLE t"]).await;
        let create = format!("CREATE TABLE t (id {key} PRIMARY KEY)");
        fixture.run([create.as_str()]).await;
        let keys = "INSERT INTO t VALUES ('20200101'), ('20200102')";
        fixture.run([keys]).await;
        let until = reader.boundary(&table, None, 1).await.unwrap();
        assert_eq!(until, None, "{key}: of no use until the stream says so");
    }
    fixture.run(["DROP TABLE t"]).await;
    let error = reader
        .read_chunk(&table, &request(&stream, &table))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::TableMissing);
    let error = reader.boundary(&table, None, 5).await.unwrap_err();
    assert_eq!(error.reason(), Reason::TableMissing);
    let error = reader.estimate(&table.id).await.unwrap_err();
    assert_eq!(error.reason(), Reason::TableMissing);
    fixture.end().await;
}

#[tokio::test]
async fn a_view_shows_a_keyless_table_at_one_place_while_others_write() {
    let mut fixture = Fixture::start().await;
    fixture
        .run(["CREATE TABLE t (v INT)", "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n"])
        .await;
    let mut stream = fixture.stream().await;
    let table = only_table(&mut stream).await;
    assert!(!table.has_key());
    let mut reader = stream.source.snapshot_reader().await.unwrap();
    let (url, database) = (fixture.url.clone(), fixture.database.clone());
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = tokio::spawn(async move {
        use mysql_async::prelude::Queryable as _;
        let mut client = mysql_async::Conn::from_url(&url).await.unwrap();
        let mut id = 10_000;
        while stopped.try_recv().is_err() {
            client
                .query_drop(format!("INSERT INTO {database}.t VALUES ({id})"))
                .await
                .unwrap();
            id += 1;
        }
    });
    let view = reader.open_view(&table.id).await.unwrap();
    let mut viewed = 0;
    loop {
        let rows = reader.read_view(20_000).await.unwrap();
        if rows.is_empty() {
            break;
        }
        viewed += rows.len();
    }
    stop.send(()).unwrap();
    writer.await.unwrap();
    // The stream began before the first of the writer's rows: what it shows before the place is
    // exactly what the view has beyond the first rows.
    stream.catch_up().await;
    let before = stream
        .events
        .iter()
        .filter(|event| match event {
            sluice_core::ChangeEvent::Row(change) => {
                change.transaction.start_offset < view.at.offset
            }
            _ => false,
        })
        .count();
    assert_eq!(viewed, 5000 + before);
    assert!(reader.read_view(1).await.unwrap().is_empty());
    fixture.end().await;
}

#[tokio::test]
async fn the_stream_goes_on_while_a_statement_waits_for_a_view() {
    use mysql_async::prelude::Queryable as _;
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE t (v INT)",
            // More than a socket holds, so that the view stays open.
            "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i FROM n",
            "INSERT INTO t SELECT a.v FROM t a JOIN t b",
        ])
        .await;
    let mut stream = fixture.stream().await;
    let table = only_table(&mut stream).await;
    let mut reader = stream.source.snapshot_reader().await.unwrap();
    fixture.run(["ALTER TABLE t ADD a INT"]).await;
    reader.open_view(&table.id).await.unwrap();
    let mut altering = mysql_async::Conn::from_url(&fixture.url).await.unwrap();
    let statement = format!("ALTER TABLE {}.t ADD b INT", fixture.database);
    let waiting = tokio::spawn(async move { altering.query_drop(statement).await });
    let waits = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'ALTER TABLE {}.t%' \
         AND state = 'Waiting for table metadata lock'",
        fixture.database
    );
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while fixture.client.query_first::<u8, _>(&waits).await.unwrap() != Some(1) {
        assert!(
            std::time::Instant::now() < deadline,
            "ALTER TABLE does not wait"
        );
    }
    // Fails after less time than the lock's.
    stream.until(|events| !events.is_empty()).await;
    assert_eq!(stream.told(), ["alter t(v,a)"]);
    assert!(!waiting.is_finished());
    while !reader.read_view(1 << 20).await.unwrap().is_empty() {}
    waiting.await.unwrap().unwrap();
    stream.until(|events| !events.is_empty()).await;
    assert_eq!(stream.told(), ["alter t(v,a,b)"]);
    fixture.end().await;
}

#[tokio::test]
async fn estimates_are_about_right() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100))",
            "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i, REPEAT('x', 100) FROM n",
            "ANALYZE TABLE t",
        ])
        .await;
    let mut stream = fixture.stream().await;
    let table = only_table(&mut stream).await;
    let mut reader = stream.source.snapshot_reader().await.unwrap();
    let estimate = reader.estimate(&table.id).await.unwrap();
    assert!((10_000..40_000).contains(&estimate.rows), "{estimate:?}");
    assert!((50..500).contains(&estimate.row_bytes), "{estimate:?}");
    fixture.end().await;
}

#[tokio::test]
async fn a_unique_index_serves_as_the_key_of_chunks() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE t (a INT, u VARCHAR(5) NOT NULL, UNIQUE KEY `odd ``name` (u))",
            "INSERT INTO t VALUES (1, 'c'), (2, 'a'), (3, 'b'), (4, 'd')",
        ])
        .await;
    let mut stream = fixture.stream().await;
    let table = only_table(&mut stream).await;
    let mut reader = stream.source.snapshot_reader().await.unwrap();
    let chunks = read_all(&stream, reader.as_mut(), &table, 3).await;
    assert_eq!(chunks, [vec!["2,a", "3,b", "1,c"], vec!["4,d"]]);
    fixture.end().await;
}

#[tokio::test]
async fn the_prefix_of_a_long_column_serves_as_the_key_of_chunks() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE t (k TEXT, v INT, PRIMARY KEY (k(2)))",
            "INSERT INTO t VALUES ('bb1', 1), ('aa2', 2), ('cc0', 3)",
        ])
        .await;
    let mut stream = fixture.stream().await;
    let table = only_table(&mut stream).await;
    let mut reader = stream.source.snapshot_reader().await.unwrap();
    let chunks = read_all(&stream, reader.as_mut(), &table, 2).await;
    assert_eq!(chunks, [vec!["aa2,2", "bb1,1"], vec!["cc0,3"]]);
    fixture.end().await;
}

#[tokio::test]
async fn a_read_that_is_broken_off_leaves_the_reader_usable() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(1000))",
            "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i, REPEAT('x', 1000) FROM n",
        ])
        .await;
    let mut stream = fixture.stream().await;
    let table = only_table(&mut stream).await;
    let mut reader = stream.source.snapshot_reader().await.unwrap();
    let whole = request(&stream, &table);
    for _ in 0..5 {
        let read = reader.read_chunk(&table, &whole);
        tokio::pin!(read);
        for _ in 0..3 {
            assert!(futures_util::poll!(&mut read).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(
        reader.read_chunk(&table, &whole).await.unwrap().rows.len(),
        5000
    );
    fixture.end().await;
}
