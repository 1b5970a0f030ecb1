//! Control events keep their place among rows of all partitions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sluice_core::{
    ChangeEvent, ColumnType, Row, RowOperation, SchemaChange, Sink, Source, TableId, TableSchema,
    Value, Watermark,
    event::ChunkMode,
    source::{LogEnd, PartitionEnd},
};
use sluice_kafka::KafkaSource;
use tokio::time::sleep;

use crate::support::{Events, PATIENCE, Stand, column, ids, notes, position, read, row};

fn wider() -> Arc<TableSchema> {
    let mut table = TableSchema::clone(&notes());
    table.columns.push(column("extra", ColumnType::Text));
    Arc::new(table)
}

/// The numbers of rows between the control events.
fn stretches(events: &[ChangeEvent]) -> Vec<(String, usize)> {
    let mut stretches = vec![("begin".to_owned(), 0)];
    for event in events {
        let name = match event {
            ChangeEvent::Row(_) => None,
            ChangeEvent::Chunk(chunk) if !chunk.rows.is_empty() => {
                stretches.last_mut().unwrap().1 += chunk.rows.len() - 1;
                None
            }
            ChangeEvent::Chunk(chunk) => Some(format!("{:?}", chunk.mode)),
            ChangeEvent::Schema(SchemaChange::Create(_)) => Some("create".to_owned()),
            ChangeEvent::Schema(SchemaChange::Alter(_)) => Some("alter".to_owned()),
            ChangeEvent::Schema(SchemaChange::Truncate(_)) => Some("truncate".to_owned()),
            ChangeEvent::Schema(SchemaChange::RenameTable { .. }) => Some("rename".to_owned()),
            ChangeEvent::Schema(SchemaChange::RenameColumns { .. }) => Some("columns".to_owned()),
            ChangeEvent::Schema(SchemaChange::Drop(_)) => Some("drop".to_owned()),
            other => panic!("unexpected {other:?}"),
        };
        match name {
            Some(name) => stretches.push((name, 0)),
            None => stretches.last_mut().unwrap().1 += 1,
        }
    }
    stretches
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_changes_come_between_the_rows_before_and_behind() {
    let stand = Stand::new();
    let (table, wide) = (notes(), wider());
    let mut sink = stand.ready(&table).await;
    let moved = TableId::new("shop", "moved");
    let mut renamed = TableSchema::clone(&wide);
    renamed.id = moved.clone();
    let renamed = Arc::new(renamed);
    let wide_row = |id: i64| Row::pack([Value::Int(id), Value::Text("w"), Value::Null]);

    let mut events = Events::default();
    for id in 0..50 {
        events = events.change(
            &table,
            1,
            id,
            RowOperation::Insert {
                after: row(id as i64, "x"),
            },
        );
    }
    events = events
        .end(1)
        .schema(SchemaChange::Alter(Arc::clone(&wide)))
        .end(2);
    for id in 50..90 {
        events = events.change(
            &wide,
            3,
            id,
            RowOperation::Insert {
                after: wide_row(id as i64),
            },
        );
    }
    events = events
        .end(3)
        .schema(SchemaChange::Truncate(wide.id.clone()))
        .end(4);
    sink.write(&events.0).await.unwrap();
    // The second half is another transaction of Kafka's.
    sink.commit(&position(4, &table)).await.unwrap();
    let mut events = Events::default();
    for id in 90..120 {
        events = events.change(
            &wide,
            5,
            id,
            RowOperation::Insert {
                after: wide_row(id as i64),
            },
        );
    }
    events = events
        .end(5)
        .schema(SchemaChange::RenameTable {
            from: wide.id.clone(),
            to: moved.clone(),
        })
        .end(6);
    for id in 120..125 {
        events = events.change(
            &renamed,
            7,
            id,
            RowOperation::Insert {
                after: wide_row(id as i64),
            },
        );
    }
    events = events.end(7).schema(SchemaChange::Drop(moved)).end(8);
    sink.write(&events.0).await.unwrap();
    sink.commit(&position(8, &table)).await.unwrap();

    let mut source = stand.source();
    source.open(None).await.unwrap();
    let (events, _) = read(&mut source, 125).await;
    let expected = [
        ("begin", 0),
        ("create", 50),
        ("alter", 40),
        ("truncate", 30),
        ("rename", 5),
        ("drop", 0),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(stretches(&events), expected);
    assert_eq!(source.tables().await.unwrap(), Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_is_copied_again_is_emptied_first() {
    let stand = Stand::new();
    let table = notes();
    let mut sink = stand.ready(&table).await;
    let key = |id: i64| Some(Row::pack([Value::Int(id)]));
    let events = Events::default()
        .chunk(
            &table,
            ChunkMode::Append,
            (0..40).map(|id| row(id, "a")).collect(),
        )
        .chunk(
            &table,
            ChunkMode::ReplaceRange {
                after: None,
                until: key(20),
            },
            (0..10).map(|id| row(id, "b")).collect(),
        );
    sink.write(&events.0).await.unwrap();
    sink.commit(&position(1, &table)).await.unwrap();
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let (events, _) = read(&mut source, 50).await;
    let found = stretches(&events);
    let counts: Vec<usize> = found.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [0, 40, 10], "{found:?}");
    assert_eq!(ids(&events).len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stopped_before_a_schema_change_finds_it() {
    let stand = Stand::new();
    let (table, wide) = (notes(), wider());
    let mut sink = stand.ready(&table).await;
    let first = Events::default().insert(&table, 1, row(1, "x")).end(1);
    sink.write(&first.0).await.unwrap();
    sink.commit(&position(1, &table)).await.unwrap();
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let (_, at) = read(&mut source, 1).await;
    let wide_row = Row::pack([Value::Int(2), Value::Text("w"), Value::Null]);
    let second = Events::default()
        .schema(SchemaChange::Alter(Arc::clone(&wide)))
        .end(2)
        .insert(&wide, 3, wide_row)
        .end(3);
    sink.write(&second.0).await.unwrap();
    sink.commit(&position(3, &table)).await.unwrap();
    let mut source = stand.source();
    source.open(Some(&at)).await.unwrap();
    assert_eq!(source.tables().await.unwrap(), vec![table]);
    let (events, _) = read(&mut source, 1).await;
    assert!(
        matches!(&events[0], ChangeEvent::Schema(SchemaChange::Alter(shape)) if *shape == wide)
    );
    assert_eq!(ids(&events), vec![2]);
    assert_eq!(source.tables().await.unwrap(), vec![wide]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_lies_behind_tables_whose_topics_are_not_read_yet() {
    let stand = Stand::new();
    let table = notes();
    let mut sink = stand.ready(&table).await;
    let first = Events::default().insert(&table, 1, row(1, "x")).end(1);
    sink.write(&first.0).await.unwrap();
    sink.commit(&position(1, &table)).await.unwrap();
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let (events, _) = read(&mut source, 1).await;
    assert_eq!(ids(&events), vec![1]);
    // Everything is read, marks of transactions included.
    let end = source.log_end().await.unwrap().watermark;
    let here = reached(&mut source, &end).await;

    let mut other = TableSchema::clone(&notes());
    other.id = TableId::new("shop", "other");
    let other = Arc::new(other);
    let second = Events::default()
        .schema(SchemaChange::Create(Arc::clone(&other)))
        .end(2)
        .insert(&other, 3, row(2, "y"))
        .end(3);
    sink.write(&second.0).await.unwrap();
    sink.commit(&position(3, &table)).await.unwrap();
    // Nothing of the new table is read, and the end says so.
    let end = end_beyond(&mut source, &here).await;
    assert!(end.partitions.iter().all(|one| &*one.topic != "shop.other"));
    let (events, _) = read(&mut source, 1).await;
    assert_eq!(ids(&events), vec![2]);
    let end = source.log_end().await.unwrap();
    assert_eq!(end.partitions.len(), 8, "two topics of four partitions");
    nothing_left(&mut source).await;
}

/// Reads until no partition has a record that is not read. Marks that the brokers write meanwhile
/// take offsets, too.
async fn nothing_left(source: &mut KafkaSource) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let end = source.log_end().await.unwrap();
        let left = |one: &PartitionEnd| one.records_after(one.next);
        if end.partitions.iter().map(left).sum::<u64>() == 0 {
            return;
        }
        reached(source, &end.watermark).await;
        assert!(Instant::now() < deadline, "records are left: {end:?}");
    }
}

/// Waits until the log ends beyond a place. A commit returns before the brokers have written its
/// marks into every partition, and the end of what is committed lies before them until then.
async fn end_beyond(source: &mut KafkaSource, here: &Watermark) -> LogEnd {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let end = source.log_end().await.unwrap();
        if here.has_reached(&end.watermark) == Some(false) {
            return end;
        }
        assert!(Instant::now() < deadline, "{end:?} is not beyond {here:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Reads until the stream has reached an end of the log.
async fn reached(source: &mut KafkaSource, end: &Watermark) -> Watermark {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let here = source.next().await.unwrap().watermark.unwrap();
        if here.has_reached(end) == Some(true) {
            return here;
        }
        assert!(Instant::now() < deadline, "{here:?} is before {end:?}");
    }
}
