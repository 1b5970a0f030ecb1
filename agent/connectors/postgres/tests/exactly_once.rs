//! Position, fence and durability.

use std::{sync::Arc, time::Duration};

use sluice_core::{LogPosition, Reason, Sink, TableState};
use tokio::time::{Instant, sleep};

use crate::support::*;

#[tokio::test]
async fn a_new_replica_has_no_position_and_a_committed_one_is_found_again() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    assert_eq!(target.sink.open().await.unwrap(), None);
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    target.streaming(&[&orders.id]);
    target.apply(vec![insert(&orders, row(1, &["x"]))]).await;
    // The position alone moves, too.
    target.commit().await;
    let found = target.sink.open().await.unwrap().unwrap();
    assert_eq!(found, target.position);
    assert_eq!(found.tables.get(&orders.id), Some(&TableState::Streaming));
    let applied = target.sink.applied_schemas().await.unwrap();
    assert_eq!(applied, [Arc::clone(&orders)]);
    database.drop_now().await;
}

#[tokio::test]
async fn what_was_not_committed_is_gone() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    target.apply(vec![insert(&orders, row(1, &["x"]))]).await;
    let before = target.position.clone();
    target
        .sink
        .write(&batch(vec![insert(&orders, row(2, &["y"]))]))
        .await
        .unwrap();
    target
        .sink
        .write(&batch(vec![insert(&orders, row(3, &["z"]))]))
        .await
        .unwrap();
    assert_eq!(target.sink.open().await.unwrap(), Some(before));
    assert_eq!(database.lines("SELECT id FROM shop.orders").await, ["1"]);
    database.drop_now().await;
}

#[tokio::test]
async fn the_older_of_two_agents_is_fenced() {
    let database = Database::new().await;
    let mut older = database.sink().await;
    let orders = texts("orders", &["a"]);
    older.prepare(&orders).await;
    older.apply(vec![insert(&orders, row(1, &["x"]))]).await;
    let mut newer = database.sink().await;
    assert_eq!(newer.position, older.position);
    let error = older
        .sink
        .write(&batch(vec![insert(&orders, row(2, &["y"]))]))
        .await;
    assert_eq!(error.unwrap_err().reason(), Reason::Fenced);
    let mut newest = database.sink().await;
    let error = newer.sink.commit(&at(99)).await;
    assert_eq!(error.unwrap_err().reason(), Reason::Fenced);
    assert!(newest.sink.prepare(&orders).await.is_ok());
    newest.apply(vec![insert(&orders, row(3, &["z"]))]).await;
    assert_eq!(
        database
            .lines("SELECT id FROM shop.orders ORDER BY id")
            .await,
        ["1", "3"]
    );
    database.drop_now().await;
}

#[tokio::test]
async fn an_older_agent_with_an_open_transaction_is_ended() {
    let database = Database::new().await;
    let mut older = database.sink().await;
    let orders = texts("orders", &["a"]);
    older.prepare(&orders).await;
    older
        .sink
        .write(&batch(vec![insert(&orders, row(2, &["y"]))]))
        .await
        .unwrap();
    let start = Instant::now();
    let mut newer = database.sink().await;
    assert!(start.elapsed() < Duration::from_secs(10));
    let error = older.sink.commit(&at(5)).await.unwrap_err();
    assert!(matches!(
        error.reason(),
        Reason::Unreachable | Reason::Unavailable | Reason::Fenced
    ));
    newer.apply(vec![insert(&orders, row(1, &["x"]))]).await;
    assert_eq!(database.lines("SELECT id FROM shop.orders").await, ["1"]);
    database.drop_now().await;
}

#[tokio::test]
async fn two_agents_that_start_at_once_on_a_new_target_both_start() {
    let database = Database::new().await;
    let (first, second) = tokio::join!(database.sink(), database.sink());
    drop((first, second));
    let epoch = database.value("SELECT epoch FROM sluice.positions").await;
    assert_eq!(epoch, "2");
    database.drop_now().await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error_to_try_again_and_nothing_is_kept() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    target.apply(vec![insert(&orders, row(1, &["x"]))]).await;
    let before = target.position.clone();
    let events = || {
        (2..5_000)
            .map(|id| insert(&orders, row(id, &["y"])))
            .collect()
    };
    target.sink.write(&batch(events())).await.unwrap();
    database
        .run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = 'sluice/test' AND datname = current_database()",
        )
        .await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let error = loop {
        match target.sink.write(&batch(events())).await {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < deadline, "the end is never noticed"),
        }
    };
    assert!(
        matches!(error.reason(), Reason::Unreachable | Reason::Unavailable),
        "{error:?}"
    );
    assert!(
        error.report().contains(&database.port.to_string()),
        "{}",
        error.report()
    );
    // Until it is opened again the sink refuses.
    assert_eq!(
        target.sink.commit(&at(9)).await.unwrap_err().reason(),
        Reason::Unavailable
    );
    assert_eq!(target.sink.open().await.unwrap(), Some(before));
    target.apply(events()).await;
    assert_eq!(
        database.value("SELECT count(*) FROM shop.orders").await,
        "4999"
    );
    database.drop_now().await;
}

#[tokio::test]
async fn a_dropped_call_counts_as_an_error() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    target.commit().await;
    let events = (0..20_000)
        .map(|id| insert(&orders, row(id, &["y"])))
        .collect();
    let batch = batch(events);
    {
        let write = target.sink.write(&batch);
        assert!(
            tokio::time::timeout(Duration::from_millis(1), write)
                .await
                .is_err()
        );
    }
    let error = target.sink.write(&batch).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Unavailable);
    assert_eq!(
        target.sink.open().await.unwrap(),
        Some(target.position.clone())
    );
    target.sink.write(&batch).await.unwrap();
    target.commit().await;
    assert_eq!(
        database.value("SELECT count(*) FROM shop.orders").await,
        "20000"
    );
    database.drop_now().await;
}

#[tokio::test]
async fn what_is_committed_becomes_durable_soon() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    assert_eq!(target.sink.durable().await.unwrap(), None);
    for id in 0..5 {
        target.apply(vec![insert(&orders, row(id, &["x"]))]).await;
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while target.sink.durable().await.unwrap() != Some(target.position.clone()) {
        assert!(
            Instant::now() < deadline,
            "the last position never becomes durable"
        );
        // The target flushes by itself within a second; asking is what is tested.
        sleep(Duration::from_millis(20)).await;
    }
    database.drop_now().await;
}

#[tokio::test]
async fn a_transaction_in_pieces_becomes_visible_at_once() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    for piece in 0..3 {
        let ids = piece * 1_000..(piece + 1) * 1_000;
        let events = ids.map(|id| insert(&orders, row(id, &["x"]))).collect();
        target.sink.write(&batch(events)).await.unwrap();
        assert_eq!(
            database.value("SELECT count(*) FROM shop.orders").await,
            "0"
        );
    }
    target.commit().await;
    assert_eq!(
        database.value("SELECT count(*) FROM shop.orders").await,
        "3000"
    );
    let LogPosition::File { offset, .. } = target.position.log else {
        panic!("tests use file positions");
    };
    let held = database
        .value("SELECT position FROM sluice.positions")
        .await;
    assert_eq!(held, format!("binlog.000001:{offset}"));
    database.drop_now().await;
}
