//! What goes through the topics comes out as it went in.

use sluice_agent_api::kafka::KafkaEnvelope;
use sluice_core::{ChangeEvent, RowOperation, Sink, Source, event::ChunkMode};

use crate::support::{Events, Stand, formats, keyless, log, notes, position, read, row, told};

/// The events of one key come in order, those of several in any: sorted by table and key.
fn by_key(events: &[ChangeEvent], id: i64) -> Vec<String> {
    let needle = format!("[Int({id})");
    let rows = events
        .iter()
        .filter(|event| matches!(event, ChangeEvent::Row(_)));
    rows.map(told)
        .filter(|text| text.contains(&needle))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_gives_the_events_back() {
    for format in formats() {
        let stand = Stand::with(format);
        let table = notes();
        let mut sink = stand.ready(&table).await;
        let written = Events::default()
            .insert(&table, 1, row(1, "one"))
            .end(1)
            .change(
                &table,
                2,
                0,
                RowOperation::Update {
                    before: row(1, "one"),
                    after: row(1, "größer"),
                },
            )
            .change(&table, 2, 1, RowOperation::Insert { after: row(2, "") })
            .end(2)
            .change(
                &table,
                3,
                0,
                RowOperation::Delete {
                    before: row(1, "größer"),
                },
            )
            .end(3);
        let outcome = sink.write(&written.0).await.unwrap();
        assert!(outcome.stopped.is_empty(), "{:?}", outcome.stopped);
        sink.commit(&position(3, &table)).await.unwrap();

        let mut source = stand.source();
        source.open(None).await.unwrap();
        let (events, _) = read(&mut source, 4).await;
        for id in [1, 2] {
            assert_eq!(by_key(&events, id), by_key(&written.0.events, id));
        }
        let shapes = events.iter().filter_map(|event| match event {
            ChangeEvent::Row(change) => Some(&change.table),
            _ => None,
        });
        assert!(shapes.into_iter().all(|shape| *shape == table));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flat_records_give_new_images_and_keys_back() {
    for format in formats() {
        let mut stand = Stand::with(format);
        stand.kafka.envelope = KafkaEnvelope::Flat;
        let table = notes();
        let mut sink = stand.ready(&table).await;
        let written = Events::default()
            .insert(&table, 1, row(1, "one"))
            .change(
                &table,
                1,
                1,
                RowOperation::Delete {
                    before: row(1, "one"),
                },
            )
            .end(1);
        let outcome = sink.write(&written.0).await.unwrap();
        assert!(outcome.stopped.is_empty(), "{:?}", outcome.stopped);
        sink.commit(&position(1, &table)).await.unwrap();
        let mut source = stand.source();
        source.open(None).await.unwrap();
        let (events, _) = read(&mut source, 2).await;
        let changes = by_key(&events, 1);
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert!(
            changes[0].contains("insert [Int(1), Text(\"one\")]"),
            "{changes:?}"
        );
        assert!(changes[1].contains("delete [Int(1)"), "{changes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_a_delete_and_an_insert() {
    let stand = Stand::new();
    let table = notes();
    let mut sink = stand.ready(&table).await;
    let update = RowOperation::Update {
        before: row(1, "a"),
        after: row(2, "a"),
    };
    let written = Events::default()
        .insert(&table, 1, row(1, "a"))
        .end(1)
        .change(&table, 2, 0, update)
        .end(2);
    sink.write(&written.0).await.unwrap();
    sink.commit(&position(2, &table)).await.unwrap();
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let (events, _) = read(&mut source, 3).await;
    assert!(by_key(&events, 1)[1].contains("delete"));
    assert!(by_key(&events, 2)[0].contains("insert"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_a_key_keep_their_order() {
    for format in formats() {
        let stand = Stand::with(format);
        let table = keyless();
        let mut sink = stand.ready(&table).await;
        let mut written = Events::default().chunk(
            &table,
            ChunkMode::Append,
            vec![row(0, "copied"), row(0, "copied")],
        );
        for number in 1..20 {
            written = written
                .insert(&table, number, row(number as i64, "x"))
                .end(number);
        }
        let delete = RowOperation::Delete {
            before: row(7, "x"),
        };
        written = written.change(&table, 20, 0, delete).end(20);
        sink.write(&written.0).await.unwrap();
        sink.commit(&position(20, &table)).await.unwrap();
        let mut source = stand.source();
        source.open(None).await.unwrap();
        let (events, _) = read(&mut source, 22).await;
        let plain = |events: &[ChangeEvent]| -> Vec<String> {
            let rows = events
                .iter()
                .filter(|event| matches!(event, ChangeEvent::Row(_) | ChangeEvent::Chunk(_)));
            rows.map(told).collect()
        };
        assert_eq!(plain(&events), plain(&written.0.events));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_on_where_it_stood() {
    let stand = Stand::new();
    let table = notes();
    let mut sink = stand.ready(&table).await;
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let mut expected = Vec::new();
    let mut at = None;
    for round in 0..3_u64 {
        let mut events = Events::default();
        for number in 1..=10 {
            let number = round * 10 + number;
            events = events
                .insert(&table, number, row(number as i64, "x"))
                .end(number);
        }
        sink.write(&events.0).await.unwrap();
        sink.commit(&position(round * 10 + 10, &table))
            .await
            .unwrap();
        expected.push(events);
        let mut source = stand.source();
        source.open(at.as_ref()).await.unwrap();
        let known = source.tables().await.unwrap();
        assert_eq!(known.len(), usize::from(round > 0));
        let (events, position) = read(&mut source, 10).await;
        let mut ids = crate::support::ids(&events);
        ids.sort_unstable();
        let first = round as i64 * 10;
        assert_eq!(ids, (first + 1..=first + 10).collect::<Vec<_>>());
        source.confirm(&position).await.unwrap();
        at = Some(position.to_string().parse().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_reader_reaches_the_end_of_the_log() {
    let stand = Stand::new();
    let table = notes();
    let mut sink = stand.ready(&table).await;
    for number in 1..=5 {
        let events = Events::default()
            .insert(&table, number, row(number as i64, "x"))
            .end(number);
        sink.write(&events.0).await.unwrap();
        sink.commit(&position(number, &table)).await.unwrap();
    }
    let mut source = stand.source();
    source.open(None).await.unwrap();
    read(&mut source, 5).await;
    // The ends lie behind marks of transactions, which no reader sees.
    let end = source.log_end().await.unwrap();
    let reached = async {
        loop {
            let batch = source.next().await.unwrap();
            if batch.watermark.unwrap().has_reached(&end.watermark) == Some(true) {
                return;
            }
        }
    };
    let deadline = std::time::Duration::from_secs(30);
    let reached = tokio::time::timeout(deadline, reached).await;
    assert!(reached.is_ok(), "the end is never reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_survives_the_round_trip() {
    let stand = Stand::new();
    let table = notes();
    let mut sink = stand.ready(&table).await;
    let mut stored = position(7, &table);
    stored.requests.insert("again");
    sink.commit(&stored).await.unwrap();
    assert_eq!(sink.durable().await.unwrap(), Some(stored.clone()));
    let mut again = stand.sink();
    assert_eq!(again.open().await.unwrap(), Some(stored.clone()));
    assert_eq!(again.applied_schemas().await.unwrap(), vec![table]);
    let mut later = stored;
    later.log = log(9);
    again.commit(&later).await.unwrap();
    assert_eq!(again.open().await.unwrap(), Some(later));
}
