//! Several agents of one pipeline, and how their number changes.

use std::{sync::Arc, time::Duration};

use sluice_agent_api::config::Replicas;
use sluice_core::{ChangeEvent, Position, Reason, SchemaChange, Sink, event::ChunkMode};
use sluice_postgres::PostgresSink;
use tokio::time::Instant;

use crate::support::*;

/// The replica `index` of `count` in a layout; not open yet.
fn replica(database: &Database, index: u32, count: u32, generation: Option<i64>) -> PostgresSink {
    named(database, "test", index, count, generation)
}

fn named(
    database: &Database,
    pipeline: &str,
    index: u32,
    count: u32,
    generation: Option<i64>,
) -> PostgresSink {
    let (config, postgres) = (database.config(), database.postgres());
    let secrets = Arc::new(database.secrets());
    let replicas = Replicas {
        count,
        generation,
        index,
    };
    PostgresSink::new(pipeline.into(), &config, postgres, secrets).with_replicas(Some(replicas))
}

fn place(offsets: &str) -> Position {
    Position {
        log: format!("kafka:{offsets}").parse().unwrap(),
        ..at(0)
    }
}

async fn open(sink: &mut PostgresSink) -> String {
    let position = sink.open().await.unwrap();
    position.map_or_else(|| "none".into(), |position| position.log.to_string())
}

async fn is_fenced(sink: &mut PostgresSink) -> bool {
    let outcome = sink.commit(&place("t/0=999")).await;
    outcome.is_err_and(|error| error.reason() == Reason::Fenced)
}

async fn names(database: &Database) -> Vec<String> {
    let sql = "SELECT sink FROM sluice.positions ORDER BY sink";
    database.lines(sql).await
}

#[tokio::test]
async fn every_number_of_agents_goes_on_where_those_before_were() {
    let database = Database::new().await;
    let mut alone = replica(&database, 0, 1, Some(1));
    assert_eq!(open(&mut alone).await, "none");
    alone
        .commit(&place("t/0=5,t/1=5,t/2=5,t/3=5"))
        .await
        .unwrap();

    let mut four: Vec<_> = (0..4)
        .map(|index| replica(&database, index, 4, Some(2)))
        .collect();
    for sink in &mut four {
        assert_eq!(open(sink).await, "kafka:t/0=5,t/1=5,t/2=5,t/3=5");
    }
    assert!(is_fenced(&mut alone).await);
    assert_eq!(
        names(&database).await,
        ["test", "test:0", "test:1", "test:2", "test:3"]
    );
    // Each knows its own partition, and the others' as they were at the beginning.
    for (index, sink) in four.iter_mut().enumerate() {
        let mut offsets = [5; 4];
        offsets[index] = 10 + index;
        let [a, b, c, d] = offsets;
        let position = place(&format!("t/0={a},t/1={b},t/2={c},t/3={d}"));
        sink.commit(&position).await.unwrap();
    }

    let mut two = [
        replica(&database, 0, 2, Some(3)),
        replica(&database, 1, 2, Some(3)),
    ];
    // Whoever comes first begins the layout.
    assert_eq!(open(&mut two[1]).await, "kafka:t/0=10,t/1=11,t/2=12,t/3=13");
    for sink in &mut four {
        assert!(is_fenced(sink).await);
    }
    assert_eq!(names(&database).await, ["test", "test:1"]);
    two[1]
        .commit(&place("t/0=10,t/1=21,t/2=12,t/3=23"))
        .await
        .unwrap();
    assert_eq!(open(&mut two[0]).await, "kafka:t/0=10,t/1=11,t/2=12,t/3=13");

    let mut alone = replica(&database, 0, 1, Some(4));
    assert_eq!(open(&mut alone).await, "kafka:t/0=10,t/1=21,t/2=12,t/3=23");
    for sink in &mut two {
        assert!(is_fenced(sink).await);
    }
    assert_eq!(names(&database).await, ["test"]);
    alone.commit(&place("t/0=30")).await.unwrap();
    database.drop_now().await;
}

#[tokio::test]
async fn an_agent_of_an_older_layout_can_not_start_and_disturbs_nobody() {
    let database = Database::new().await;
    let mut newer = replica(&database, 0, 2, Some(7));
    open(&mut newer).await;
    let orders = texts("orders", &["a"]);
    newer.prepare(&orders).await.unwrap();
    let first = batch(vec![insert(&orders, row(1, &["x"]))]);
    newer.write(&first).await.unwrap();
    for (index, count) in [(0, 2), (1, 2), (0, 1), (3, 4)] {
        let mut older = replica(&database, index, count, Some(6));
        let error = older.open().await.unwrap_err();
        assert_eq!(error.reason(), Reason::Fenced);
        assert!(
            error.message().contains("newer layout"),
            "{}",
            error.message()
        );
    }
    newer.commit(&place("t/0=1")).await.unwrap();
    database.drop_now().await;
}

#[tokio::test]
async fn open_transactions_of_an_older_layout_are_ended() {
    let database = Database::new().await;
    let mut older = [
        replica(&database, 0, 2, Some(1)),
        replica(&database, 1, 2, Some(1)),
    ];
    let orders = texts("orders", &["a"]);
    for (sink, id) in older.iter_mut().zip(1..) {
        open(sink).await;
        sink.prepare(&orders).await.unwrap();
        let rows = batch(vec![insert(&orders, row(id, &["x"]))]);
        sink.write(&rows).await.unwrap();
    }
    let begun = Instant::now();
    let mut newer = replica(&database, 2, 3, Some(2));
    assert_eq!(open(&mut newer).await, "none");
    assert!(begun.elapsed() < Duration::from_secs(15));
    for sink in &mut older {
        assert!(sink.commit(&place("t/0=1")).await.is_err());
        assert_eq!(sink.open().await.unwrap_err().reason(), Reason::Fenced);
    }
    assert_eq!(
        database.value("SELECT count(*) FROM shop.orders").await,
        "0"
    );
    newer.commit(&place("t/0=0")).await.unwrap();
    database.drop_now().await;
}

#[tokio::test]
async fn an_agent_that_starts_again_puts_out_only_the_one_before() {
    let database = Database::new().await;
    let mut sinks: Vec<_> = (0..3)
        .map(|index| replica(&database, index, 3, Some(1)))
        .collect();
    let orders = texts("orders", &["a"]);
    for (sink, id) in sinks.iter_mut().zip(1..) {
        open(sink).await;
        sink.prepare(&orders).await.unwrap();
        sink.commit(&place(&format!("t/{}=1", id - 1)))
            .await
            .unwrap();
        let rows = batch(vec![insert(&orders, row(id, &["x"]))]);
        sink.write(&rows).await.unwrap();
    }
    let mut again = replica(&database, 1, 3, Some(1));
    assert_eq!(open(&mut again).await, "kafka:t/1=1");
    assert!(sinks[1].commit(&place("t/1=2")).await.is_err());
    assert_eq!(sinks[1].open().await.unwrap_err().reason(), Reason::Fenced);
    sinks[0].commit(&place("t/0=2")).await.unwrap();
    sinks[2].commit(&place("t/2=2")).await.unwrap();
    let found = database
        .lines("SELECT id FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(found, ["1", "3"]);
    database.drop_now().await;
}

#[tokio::test]
async fn all_agents_of_a_layout_may_start_at_once() {
    let database = Database::new().await;
    let mut alone = replica(&database, 0, 1, Some(1));
    open(&mut alone).await;
    alone.commit(&place("t/0=5")).await.unwrap();
    let mut sinks: Vec<_> = (0..6)
        .map(|index| replica(&database, index, 6, Some(2)))
        .collect();
    let opened = futures_util::future::join_all(sinks.iter_mut().map(open)).await;
    assert_eq!(opened, ["kafka:t/0=5"; 6]);
    for sink in &mut sinks {
        sink.commit(&place("t/0=6")).await.unwrap();
    }
    database.drop_now().await;
}

#[tokio::test]
async fn without_a_generation_another_count_begins_a_layout() {
    let database = Database::new().await;
    let mut alone = replica(&database, 0, 1, None);
    open(&mut alone).await;
    alone.commit(&place("t/0=5,t/1=5")).await.unwrap();
    let mut two = [
        replica(&database, 0, 2, None),
        replica(&database, 1, 2, None),
    ];
    for sink in &mut two {
        assert_eq!(open(sink).await, "kafka:t/0=5,t/1=5");
    }
    assert!(is_fenced(&mut alone).await);
    // One that runs does not begin a layout of its own.
    assert_eq!(alone.open().await.unwrap_err().reason(), Reason::Fenced);
    two[0].commit(&place("t/0=6,t/1=5")).await.unwrap();
    two[1].commit(&place("t/0=5,t/1=7")).await.unwrap();
    let mut alone = replica(&database, 0, 1, None);
    assert_eq!(open(&mut alone).await, "kafka:t/0=6,t/1=7");
    assert!(is_fenced(&mut two[0]).await);
    let mut two = replica(&database, 1, 2, None);
    assert_eq!(open(&mut two).await, "kafka:t/0=6,t/1=7");
    database.drop_now().await;
}

#[tokio::test]
async fn the_number_of_a_row_that_is_made_again_was_never_given_before() {
    let database = Database::new().await;
    let mut first = replica(&database, 1, 2, Some(1));
    open(&mut first).await;
    for generation in 2..6 {
        let mut alone = replica(&database, 0, 1, Some(generation * 2));
        open(&mut alone).await;
        let mut second = replica(&database, 1, 2, Some(generation * 2 + 1));
        open(&mut second).await;
        assert!(is_fenced(&mut first).await);
        second.commit(&place("t/0=1")).await.unwrap();
        first = second;
    }
    database.drop_now().await;
}

#[tokio::test]
async fn agents_see_how_far_all_of_them_are_and_nobody_else() {
    let database = Database::new().await;
    let mut two = [
        replica(&database, 0, 2, Some(1)),
        replica(&database, 1, 2, Some(1)),
    ];
    for sink in &mut two {
        open(sink).await;
    }
    for (pipeline, index, count) in [
        ("test:x", 0, 2),
        ("tes", 0, 1),
        ("tes_", 1, 2),
        ("test:", 0, 1),
    ] {
        let mut other = named(&database, pipeline, index, count, Some(1));
        open(&mut other).await;
        other.commit(&place("t/0=77,t/1=77")).await.unwrap();
    }
    let peers = two[0].peers().expect("there are others");
    assert_eq!(peers.progress().await.unwrap().to_string(), "kafka:");
    two[0].commit(&place("t/0=3,t/1=1")).await.unwrap();
    two[1].commit(&place("t/0=1,t/1=4")).await.unwrap();
    assert_eq!(
        peers.progress().await.unwrap().to_string(),
        "kafka:t/0=3,t/1=4"
    );
    // Its session may end at any time.
    let ended = database
        .value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE application_name = 'sluice-peers/test:0' AND datname = current_database()",
        )
        .await;
    assert_eq!(ended, "1");
    let deadline = Instant::now() + Duration::from_secs(10);
    while peers.progress().await.is_err() {
        assert!(Instant::now() < deadline, "the peers are never seen again");
    }
    assert!(replica(&database, 0, 1, Some(1)).peers().is_none());
    // A new layout of this pipeline leaves the others alone.
    let before = names(&database).await.len();
    open(&mut replica(&database, 0, 1, Some(2))).await;
    assert_eq!(names(&database).await.len(), before - 2);
    database.drop_now().await;
}

#[tokio::test]
async fn only_the_leader_changes_tables_and_the_others_see_what_it_did() {
    let database = Database::new().await;
    let mut leader = replica(&database, 0, 2, Some(1));
    let mut follower = replica(&database, 1, 2, Some(1));
    open(&mut leader).await;
    open(&mut follower).await;
    let orders = texts("orders", &["a"]);
    let create = ChangeEvent::Schema(SchemaChange::Create(Arc::clone(&orders)));
    let apply = async |sink: &mut PostgresSink, events: Vec<ChangeEvent>| {
        let outcome = sink.write(&batch(events)).await.unwrap();
        sink.commit(&place("t/0=1")).await.unwrap();
        outcome
    };
    apply(
        &mut leader,
        vec![create.clone(), insert(&orders, row(1, &["x"]))],
    )
    .await;
    apply(&mut follower, vec![create, insert(&orders, row(2, &["y"]))]).await;

    let wider = changed(&orders, |table| {
        let mut column = table.columns[1].clone();
        column.name = "b".into();
        table.columns.push(column);
    });
    apply(&mut leader, vec![alter(&wider)]).await;
    apply(
        &mut follower,
        vec![alter(&wider), insert(&wider, row(3, &["z", "b"]))],
    )
    .await;
    let ids = || database.lines("SELECT id, b FROM shop.orders ORDER BY id");
    assert_eq!(ids().await, ["1|-", "2|-", "3|b"]);

    // What empties tables is never done by a follower.
    let truncate = ChangeEvent::Schema(SchemaChange::Truncate(wider.id.clone()));
    let all = ChunkMode::ReplaceAll;
    let range = ChunkMode::ReplaceRange {
        after: None,
        until: None,
    };
    let events = vec![
        truncate.clone(),
        chunk(&wider, all, Vec::new()),
        chunk(&wider, range, Vec::new()),
    ];
    apply(&mut follower, events).await;
    assert_eq!(ids().await, ["1|-", "2|-", "3|b"]);
    apply(&mut leader, vec![truncate]).await;
    apply(&mut follower, vec![insert(&wider, row(4, &["z", "c"]))]).await;
    assert_eq!(ids().await, ["4|c"]);

    // A table of which the leader made nothing stops.
    let unknown = texts("unknown", &["a"]);
    let outcome = apply(&mut follower, vec![insert(&unknown, row(1, &["x"]))]).await;
    assert_eq!(outcome.stopped.len(), 1);
    assert_eq!(outcome.stopped[0].1.reason(), Reason::TargetIncompatible);
    database.drop_now().await;
}
