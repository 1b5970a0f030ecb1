//! Letters that go elsewhere, too, and records that can't be decoded.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use sluice_agent_api::config::OnBadRecord;
use sluice_core::{
    ChangeEvent, Error, Letter, Origin, Place, RawRecord, Reason, Result, Sink, SnapshotChunk,
    TableId, Unreadable, event::ChunkMode,
};
use sluice_postgres::PostgresSink;

use super::*;

/// Keeps letters in memory, or refuses to.
#[derive(Default)]
struct Kept {
    letters: Mutex<Vec<Letter>>,
    is_down: AtomicBool,
}

#[async_trait]
impl sluice_core::DeadLetters for Kept {
    async fn open(&self) -> Result<()> {
        Ok(())
    }

    async fn keep(&self, letters: Vec<Letter>) -> Result<()> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(Error::new(Reason::Unreachable, "the brokers are down"));
        }
        self.letters.lock().unwrap().extend(letters);
        Ok(())
    }
}

impl Kept {
    fn told(&self) -> Vec<String> {
        let letters = self.letters.lock().unwrap();
        let told = letters.iter().map(|letter| {
            let at_hand = letter.record.as_ref().map_or(0, RawRecord::size_bytes);
            format!(
                "{} {:?} {} {at_hand}",
                letter.origin, letter.stage, letter.message
            )
        });
        told.collect()
    }
}

fn origin(offset: i64) -> Origin {
    Origin {
        place: Place::of("shop.orders", 3),
        offset,
    }
}

fn from(offset: i64, event: ChangeEvent) -> ChangeEvent {
    match event {
        ChangeEvent::Row(mut change) => {
            change.origin = Some(origin(offset));
            ChangeEvent::Row(change)
        }
        other => other,
    }
}

fn unreadable(offset: i64, table: Option<&TableId>) -> ChangeEvent {
    ChangeEvent::Unreadable(Arc::new(Unreadable {
        table: table.cloned(),
        origin: origin(offset),
        record: RawRecord {
            key: Some(b"key".to_vec()),
            value: Some(b"\x01poison".to_vec()),
            headers: vec![("h".into(), Some(b"1".to_vec()))],
            timestamp_millis: None,
        },
        message: "topic shop.orders: a record's value can't be decoded".into(),
        hint: Some("look at it".into()),
    }))
}

impl Database {
    async fn sink_beside(&self, kept: &Arc<Kept>) -> Target {
        let secrets = Arc::new(self.secrets());
        let kept: Arc<dyn sluice_core::DeadLetters> = Arc::clone(kept) as _;
        let mut sink = PostgresSink::new("test".into(), &self.config(), self.postgres(), secrets)
            .with_dead_letters(Some(kept));
        let position = sink.open().await.unwrap();
        Target {
            sink,
            position: position.unwrap_or_else(|| at(0)),
        }
    }
}

#[tokio::test]
async fn letters_go_elsewhere_ahead_of_the_commit_that_goes_on_without_them() {
    let (database, target, orders) = refusing().await;
    drop(target);
    let kept = Arc::new(Kept::default());
    let mut target = database.sink_beside(&kept).await;
    let events = || {
        vec![
            from(5, insert(&orders, row(2, &["bad", "b"]))),
            from(6, insert(&orders, row(3, &["good", "c"]))),
            unreadable(7, Some(&orders.id)),
        ]
    };
    kept.is_down.store(true, Ordering::Relaxed);
    let outcome = target.sink.write(&batch(events())).await.unwrap();
    assert_eq!(outcome.dead_letters, 2);
    let position = target.position.clone();
    let refused = target.sink.commit(&position).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::Unreachable);
    assert_eq!(
        database.orders().await,
        ["1|x|y"],
        "committed without its letters"
    );

    kept.is_down.store(false, Ordering::Relaxed);
    target.sink.open().await.unwrap();
    target.apply(events()).await;
    assert_eq!(database.orders().await, ["1|x|y", "3|good|c"]);
    assert_eq!(
        kept.told(),
        [
            "shop.orders/3@5 Apply table shop.orders: constraint good (SQLSTATE 23514) 0",
            "shop.orders/3@7 Decode topic shop.orders: a record's value can't be decoded 12",
        ]
    );
    // The book by which a later change takes the letter along says where each came from, and leaves the
    // bytes to the topic.
    let book =
        "SELECT operation, origin, record_value IS NULL FROM sluice.dead_letters ORDER BY id";
    assert_eq!(
        database.lines(book).await,
        ["insert|shop.orders/3@5|t", "unreadable|shop.orders/3@7|t"]
    );
    target
        .apply(vec![from(
            8,
            update(&orders, row(2, &["bad", "b"]), row(2, &["fine", "b"])),
        )])
        .await;
    assert_eq!(count(&database.letters().await).await, 1);
    assert_eq!(kept.told().len(), 2);
    database.drop_now().await;
}

#[tokio::test]
async fn copied_rows_say_which_record_they_were_read_from() {
    let (database, target, orders) = refusing().await;
    drop(target);
    let kept = Arc::new(Kept::default());
    let mut target = database.sink_beside(&kept).await;
    for (mode, first) in [(ChunkMode::Append, 10), (ChunkMode::Upsert, 20)] {
        let ids = first..first + 4;
        let values = ["good", "bad", "good", "bad"];
        let rows = ids.clone().zip(values);
        target
            .apply(vec![ChangeEvent::Chunk(SnapshotChunk {
                table: Arc::clone(&orders),
                rows: rows.map(|(id, value)| row(id, &[value, "-"])).collect(),
                origins: ids.map(|id| origin(100 + id)).collect(),
                mode,
            })])
            .await;
    }
    let told = kept.told();
    let places: Vec<_> = told
        .iter()
        .map(|letter| letter.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        places,
        [111, 113, 121, 123].map(|offset| format!("shop.orders/3@{offset}")),
    );
    database.drop_now().await;
}

#[tokio::test]
async fn a_record_that_can_not_be_decoded_is_kept_as_bytes_and_never_applied() {
    let (database, mut target, orders) = refusing().await;
    let outcome = target
        .apply(vec![
            unreadable(7, None),
            insert(&orders, row(2, &["x", "y"])),
            unreadable(9, Some(&orders.id)),
        ])
        .await;
    assert_eq!(outcome.dead_letters, 2);
    assert_eq!(database.orders().await, ["1|x|y", "2|x|y"]);
    let raw = "SELECT source_table, origin, record_key, record_value, record_headers
               FROM sluice.dead_letters ORDER BY id";
    assert_eq!(
        database.lines(raw).await,
        [
            r#"|shop.orders/3@7|\x6b6579|\x01706f69736f6e|{"h": "31"}"#,
            r#"shop.orders|shop.orders/3@9|\x6b6579|\x01706f69736f6e|{"h": "31"}"#,
        ]
    );
    let mut letters = database.letters().await;
    let all = Filter::default();
    let listed = letters.list(&all, 0, 10, false).await.unwrap();
    let text = serde_json::to_string(&listed).unwrap();
    assert!(!text.contains("poison"), "{text}");
    assert!(
        text.contains(r#""origin":"shop.orders/3@7","retryable":false"#),
        "{text}"
    );
    let listed = letters.list(&all, 0, 10, true).await.unwrap();
    assert!(serde_json::to_string(&listed).unwrap().contains("poison"));
    let (applied, kept) = retry_all(&mut letters).await;
    assert_eq!(applied, 0);
    assert!(
        kept.len() == 2 && kept[0].contains("can't be decoded"),
        "{kept:?}"
    );
    assert_eq!(letters.drop(&all).await.unwrap(), 2);
    database.drop_now().await;
}

#[tokio::test]
async fn with_stop_a_record_that_can_not_be_decoded_stops_its_table_alone() {
    let (database, target, orders) = refusing().await;
    drop(target);
    let mut target = database
        .sink_with(|config, _| config.on_bad_record = OnBadRecord::Stop)
        .await;
    let outcome = target
        .apply(vec![
            insert(&orders, row(2, &["x", "y"])),
            unreadable(9, Some(&orders.id)),
            insert(&orders, row(3, &["x", "y"])),
        ])
        .await;
    let [(table, error)] = outcome.stopped.as_slice() else {
        panic!("{:?}", outcome.stopped);
    };
    assert_eq!((table, error.reason()), (&orders.id, Reason::DecodeFailed));
    assert!(error.hint().unwrap().contains("onBadRecord"), "{error:?}");
    assert_eq!(outcome.dead_letters, 0);
    assert_eq!(database.orders().await, ["1|x|y", "2|x|y"]);

    let unknown = batch(vec![unreadable(10, None)]);
    let refused = target.sink.write(&unknown).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::DecodeFailed);
    database.drop_now().await;
}
