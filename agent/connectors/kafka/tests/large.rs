//! Source transactions that are larger than a Kafka transaction may be, and rows that are too large.

use std::time::Duration;

use sluice_core::{Reason, RowOperation, Sink, Source, TableState, event::ChunkMode};

use crate::support::{Events, Stand, ids, log, notes, position, read, row};

const PIECE: u64 = 2_500;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_goes_on_after_the_piece_that_is_committed() {
    let stand = Stand::new();
    let table = notes();
    let mut sink = stand
        .ready(&table)
        .await
        .with_transaction_age_max(Duration::ZERO);
    // The session took its settings when it was opened.
    sink.open().await.unwrap();
    let piece = |from: u64| {
        let mut events = Events::default();
        for ordinal in from..from + PIECE {
            let after = row(ordinal as i64, "x");
            events = events.change(&table, 2, ordinal, RowOperation::Insert { after });
        }
        events
    };
    let before = Events::default()
        .insert(&table, 1, row(-1, "before"))
        .end(1);
    sink.write(&before.0).await.unwrap();
    sink.write(&piece(0).0).await.unwrap();
    // The agent is gone with two thousand rows committed in pieces and some not.
    std::mem::forget(sink);
    let mut sink = stand.sink().with_transaction_age_max(Duration::ZERO);
    assert_eq!(sink.open().await.unwrap().unwrap().log, log(0));
    // As the pipeline does first.
    sink.commit(&position(0, &table)).await.unwrap();
    sink.write(&before.0).await.unwrap();
    sink.write(&piece(0).0).await.unwrap();
    std::mem::forget(sink);
    let mut sink = stand.sink();
    sink.open().await.unwrap();
    sink.write(&before.0).await.unwrap();
    sink.write(&piece(0).0).await.unwrap();
    sink.write(&piece(PIECE).end(2).0).await.unwrap();
    let after = Events::default().insert(&table, 3, row(-2, "after")).end(3);
    sink.write(&after.0).await.unwrap();
    sink.commit(&position(3, &table)).await.unwrap();

    let mut source = stand.source();
    source.open(None).await.unwrap();
    let (events, _) = read(&mut source, 2 * PIECE as usize + 2).await;
    let mut ids = ids(&events);
    ids.sort_unstable();
    assert_eq!(ids, (-2..2 * PIECE as i64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_committed_in_pieces_replaces_what_it_wrote() {
    let stand = Stand::new();
    let table = notes();
    let mut sink = stand.sink().with_transaction_age_max(Duration::ZERO);
    sink.open().await.unwrap();
    sink.prepare(&table).await.unwrap();
    let mut fresh = position(0, &table);
    let states = [(table.id.clone(), TableState::fresh(false))].into();
    fresh.tables = std::sync::Arc::new(states);
    sink.commit(&fresh).await.unwrap();
    let rows = (0..1_500).map(|id| row(id, "x")).collect();
    let events = Events::default().chunk(&table, ChunkMode::Append, rows);
    sink.write(&events.0).await.unwrap();
    std::mem::forget(sink);
    let mut sink = stand.sink();
    let found = sink.open().await.unwrap().unwrap();
    let state = found.tables.get(&table.id);
    assert!(
        matches!(state, Some(TableState::Snapshotting { replace: true, .. })),
        "{state:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_too_large_stops_its_table_and_names_the_setting() {
    let stand = Stand::new();
    let table = notes();
    let mut sink = stand.ready(&table).await;
    let large = "x".repeat(70 << 20);
    let events = Events::default()
        .insert(&table, 1, row(1, "fits"))
        .end(1)
        .insert(&table, 2, row(2, &large))
        .end(2);
    let outcome = sink.write(&events.0).await.unwrap();
    let [(stopped, error)] = &outcome.stopped[..] else {
        panic!("{:?}", outcome.stopped);
    };
    assert_eq!((stopped, error.reason()), (&table.id, Reason::RowRefused));
    assert!(error.hint().unwrap().contains("max.message.bytes="));
    sink.commit(&position(2, &table)).await.unwrap();
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let (events, _) = read(&mut source, 1).await;
    assert_eq!(ids(&events), vec![1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_go_through() {
    let stand = Stand::new();
    let table = notes();
    let mut sink = stand.ready(&table).await;
    // Text that does not compress, larger than what the producer lets wait.
    let mut state = 1_u64;
    let large: String = (0..40 << 20)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(b'0' + (state >> 57) as u8 % 64)
        })
        .collect();
    let events = Events::default()
        .insert(&table, 1, row(1, "before"))
        .insert(&table, 1, row(2, &large))
        .insert(&table, 1, row(3, "behind"))
        .end(1);
    sink.write(&events.0).await.unwrap();
    sink.commit(&position(1, &table)).await.unwrap();
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let (events, _) = read(&mut source, 3).await;
    let mut ids = ids(&events);
    ids.sort_unstable();
    assert_eq!(ids, vec![1, 2, 3]);
}
