//! Schema changes of the stream, in order with the rows.

use sluice_core::{ChangeEvent, SchemaChange, schema::ColumnDefault};

use super::fixture::{Fixture, Stream};

#[tokio::test]
async fn an_added_column_is_announced_with_its_default_before_its_rows() {
    let mut fixture = Fixture::start().await;
    fixture.run(["CREATE TABLE t (id INT PRIMARY KEY)"]).await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "INSERT INTO t VALUES (1)",
            "ALTER TABLE t ADD COLUMN v INT NOT NULL DEFAULT 7",
            "INSERT INTO t VALUES (2, 3)",
        ])
        .await;
    stream.until(|events| events.len() == 3).await;
    let ChangeEvent::Schema(SchemaChange::Alter(schema)) = &stream.events[1] else {
        panic!("{:?}", stream.events);
    };
    assert_eq!(
        schema.columns[1].default,
        Some(ColumnDefault::Literal("7".into()))
    );
    assert_eq!(stream.told(), ["t+1", "alter t(id,v)", "t+2,3"]);
    fixture.end().await;
}

#[tokio::test]
async fn changes_of_quiet_tables_are_announced_without_a_row() {
    let mut fixture = Fixture::start().await;
    fixture
        .run(["CREATE TABLE t (id INT PRIMARY KEY, v INT)"])
        .await;
    let mut stream = fixture.stream().await;
    fixture
        .run(["ALTER TABLE t MODIFY v BIGINT DEFAULT 5"])
        .await;
    stream.until(|events| events.len() == 1).await;
    assert_eq!(stream.told(), ["alter t(id,v)"]);
    fixture.run(["ALTER TABLE t ALTER v SET DEFAULT 6"]).await;
    stream.until(|events| events.len() == 1).await;
    let ChangeEvent::Schema(SchemaChange::Alter(schema)) = &stream.events[0] else {
        panic!("{:?}", stream.events);
    };
    assert_eq!(
        schema.columns[1].default,
        Some(ColumnDefault::Literal("6".into()))
    );
    stream.told();
    fixture.run(["CREATE TABLE u (id INT PRIMARY KEY)"]).await;
    stream.until(|events| events.len() == 1).await;
    assert_eq!(stream.told(), ["create u(id)"]);
    fixture.end().await;
}

#[tokio::test]
async fn an_index_or_a_comment_is_no_news() {
    let mut fixture = Fixture::start().await;
    fixture
        .run(["CREATE TABLE t (id INT PRIMARY KEY, v INT)"])
        .await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "CREATE INDEX i ON t (v)",
            "ALTER TABLE t COMMENT 'x'",
            "INSERT INTO t VALUES (1, 1)",
            "DROP INDEX i ON t",
        ])
        .await;
    stream.catch_up().await;
    assert_eq!(stream.told(), ["t+1,1"]);
    fixture.end().await;
}

#[tokio::test]
async fn renamed_columns_are_said_to_be_renamed() {
    let mut fixture = Fixture::start().await;
    fixture
        .run(["CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, c INT)"])
        .await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "INSERT INTO t VALUES (1, 1, 1, 1)",
            "ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a",
            "INSERT INTO t VALUES (2, 2, 2, 2)",
            "ALTER TABLE t CHANGE `C` `d e` BIGINT",
            "INSERT INTO t VALUES (3, 3, 3, 3)",
        ])
        .await;
    stream.catch_up().await;
    assert_eq!(
        stream.told(),
        [
            "t+1,1,1,1",
            "rename t: a>b,b>a",
            "t+2,2,2,2",
            "rename t: c>d e",
            "alter t(id,b,a,d e)",
            "t+3,3,3,3"
        ]
    );
    fixture.end().await;
}

#[tokio::test]
async fn tables_are_created_truncated_and_dropped_in_order() {
    let mut fixture = Fixture::start().await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY)",
            "INSERT INTO t VALUES (1)",
            "TRUNCATE TABLE t",
            "INSERT INTO t VALUES (2)",
            "CREATE TABLE IF NOT EXISTS t (x INT)",
            "CREATE TABLE u LIKE t",
            "INSERT INTO u VALUES (5)",
            "CREATE TABLE w (PRIMARY KEY (id)) AS SELECT id FROM t",
            "DROP TABLE t, u",
            "INSERT INTO w VALUES (6)",
        ])
        .await;
    stream.catch_up().await;
    assert_eq!(
        stream.told(),
        [
            "create t(id)",
            "t+1",
            "truncate t",
            "t+2",
            "create u(id)",
            "u+5",
            "create w(id)",
            "w+2",
            "drop t",
            "drop u",
            "w+6"
        ]
    );
    fixture.end().await;
}

#[tokio::test]
async fn tables_that_swap_names_are_followed() {
    let mut fixture = Fixture::start().await;
    fixture.run(["CREATE TABLE t (id INT PRIMARY KEY)"]).await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "CREATE TABLE _t_gho (id INT PRIMARY KEY, v INT)",
            "INSERT INTO _t_gho VALUES (1, 1)",
            "RENAME TABLE t TO _t_del, _t_gho TO t",
            "INSERT INTO t VALUES (2, 2)",
            "DROP TABLE _t_del",
        ])
        .await;
    stream.catch_up().await;
    assert_eq!(
        stream.told(),
        [
            "create _t_gho(id,v)",
            "_t_gho+1,1",
            "rename t to _t_del",
            "rename _t_gho to t",
            "t+2,2",
            "drop _t_del"
        ]
    );
    fixture.end().await;
}

#[tokio::test]
async fn renames_across_the_selection_come_and_go() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY)",
            "INSERT INTO t VALUES (1)",
        ])
        .await;
    let mut stream = Stream::open(fixture.source_of(&["*"], &["_*"]), None).await;
    fixture
        .run([
            "CREATE TABLE _t_gho (id INT PRIMARY KEY, v INT)",
            "INSERT INTO _t_gho VALUES (1, 1)",
            "RENAME TABLE t TO _t_del, _t_gho TO t",
            "ALTER TABLE t RENAME TO u",
        ])
        .await;
    stream.catch_up().await;
    stream.until(|events| events.len() == 2).await;
    assert_eq!(stream.told(), ["drop t", "create u(id,v)"]);
    fixture.end().await;
}

#[tokio::test]
async fn a_dropped_database_drops_its_tables() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE a (id INT PRIMARY KEY)",
            "CREATE TABLE b (id INT PRIMARY KEY)",
        ])
        .await;
    let mut stream = fixture.stream().await;
    fixture.end().await;
    stream.catch_up().await;
    assert_eq!(stream.told(), ["drop a", "drop b"]);
}

#[tokio::test]
async fn rows_that_partitions_took_along_make_the_table_new() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY) PARTITION BY RANGE (id) \
            (PARTITION p VALUES LESS THAN (10), PARTITION q VALUES LESS THAN (20))",
        ])
        .await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "INSERT INTO t VALUES (1), (11)",
            "ALTER TABLE t DROP PARTITION p",
        ])
        .await;
    stream.until(|events| events.len() == 4).await;
    assert_eq!(stream.told(), ["t+1", "t+11", "drop t", "create t(id)"]);
    fixture.end().await;
}

#[tokio::test]
async fn a_stream_from_the_past_shows_every_shape_in_turn() {
    let mut fixture = Fixture::start().await;
    fixture.run(["CREATE TABLE t (id INT PRIMARY KEY)"]).await;
    let mut stream = fixture.stream().await;
    stream.catch_up().await;
    let position = stream.position.clone().unwrap();
    fixture
        .run([
            "INSERT INTO t VALUES (1)",
            "ALTER TABLE t ADD a INT DEFAULT 1",
            "INSERT INTO t VALUES (2, 2)",
            "ALTER TABLE t ADD b INT FIRST",
            "INSERT INTO t VALUES (3, 3, 3)",
            "ALTER TABLE t DROP a",
            "INSERT INTO t VALUES (4, 4)",
        ])
        .await;
    let mut past = Stream::open(fixture.source(), Some(&position)).await;
    past.catch_up().await;
    assert_eq!(
        past.told(),
        [
            "alter t(id)",
            "t+1",
            "alter t(id,a)",
            "t+2,2",
            "alter t(b,id,a)",
            "t+3,3,3",
            "alter t(b,id)",
            "t+4,4"
        ]
    );
    fixture.end().await;
}

#[tokio::test]
async fn rows_of_one_shape_share_one_definition() {
    let mut fixture = Fixture::start().await;
    fixture
        .run(["CREATE TABLE t (id INT PRIMARY KEY, v INT DEFAULT 3)"])
        .await;
    let mut stream = fixture.stream().await;
    fixture
        .run([
            "INSERT INTO t VALUES (1, 1)",
            "FLUSH TABLES t",
            "INSERT INTO t VALUES (2, 2)",
        ])
        .await;
    stream.catch_up().await;
    let tables: Vec<_> = stream
        .events
        .iter()
        .map(|event| match event {
            ChangeEvent::Row(change) => &change.table,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(std::sync::Arc::ptr_eq(tables[0], tables[1]));
    assert!(tables[0].columns[1].default.is_some());
    fixture.end().await;
}

#[tokio::test]
async fn what_happened_while_nobody_watched_is_announced_in_order() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY, a INT)",
            "CREATE TABLE quiet (id INT PRIMARY KEY)",
            "CREATE TABLE old (id INT PRIMARY KEY)",
            "CREATE TABLE gone (id INT PRIMARY KEY)",
        ])
        .await;
    let mut stream = fixture.stream().await;
    stream.catch_up().await;
    let position = stream.position.clone().unwrap();
    drop(stream);
    fixture
        .run([
            "ALTER TABLE t RENAME COLUMN a TO b",
            "INSERT INTO t VALUES (1, 1)",
            "ALTER TABLE t ADD c INT DEFAULT 7",
            "ALTER TABLE quiet ADD d INT DEFAULT 8",
            "RENAME TABLE old TO new",
            "INSERT INTO gone VALUES (1)",
            "DROP TABLE gone",
        ])
        .await;
    let mut stream = Stream::open(fixture.source(), Some(&position)).await;
    stream.catch_up().await;
    stream.until(|events| events.len() == 10).await;
    let told = stream.told();
    let (middle, end) = told.split_at(7);
    assert_eq!(
        middle,
        [
            "rename t: a>b",
            "alter t(id,b)",
            "t+1,1",
            "rename old to new",
            "alter gone(id)",
            "gone+1",
            "drop gone"
        ]
    );
    let mut end = end.to_vec();
    end.sort_unstable();
    assert_eq!(
        end,
        ["alter new(id)", "alter quiet(id,d)", "alter t(id,b,c)"]
    );
    fixture.end().await;
}

#[tokio::test]
async fn a_change_whose_announcement_was_missed_is_made_up_for() {
    let mut fixture = Fixture::start().await;
    fixture
        .run([
            "CREATE TABLE t (id INT PRIMARY KEY)",
            "ALTER TABLE t ADD v INT DEFAULT 7",
        ])
        .await;
    // The position is behind the statement, what followed the stream has never heard of it.
    let mut stream = fixture.stream().await;
    stream.catch_up().await;
    let position = stream.position.clone().unwrap();
    let mut stream = Stream::open(fixture.source(), Some(&position)).await;
    stream.until(|events| !events.is_empty()).await;
    let ChangeEvent::Schema(SchemaChange::Alter(schema)) = &stream.events[0] else {
        panic!("{:?}", stream.events);
    };
    assert_eq!(
        schema.columns[1].default,
        Some(ColumnDefault::Literal("7".into()))
    );
    fixture.end().await;
}

#[tokio::test]
async fn statements_in_the_clients_character_set_are_understood() {
    let mut fixture = Fixture::start().await;
    fixture
        .run(["CREATE TABLE t (id INT PRIMARY KEY, `größe` INT)"])
        .await;
    let mut stream = fixture.stream().await;
    // The client says that its text is latin1; the driver sends UTF-8, so that it is sent as bytes.
    fixture
        .run([
            "SET NAMES latin1",
            "SET @s = CONCAT('ALTER TABLE t RENAME COLUMN `gr', CONVERT(0xF6DF USING latin1), 'e` TO `h', CONVERT(0xF6 USING latin1), 'he`')",
            "PREPARE s FROM @s",
            "EXECUTE s",
            "SET NAMES utf8mb4",
        ])
        .await;
    stream.until(|events| !events.is_empty()).await;
    assert_eq!(stream.told(), ["rename t: größe>höhe"]);
    fixture.end().await;
}
