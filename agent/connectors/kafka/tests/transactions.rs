//! Bounds of transactions, and a reader that goes from one to the next.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use serde_json::{Value as Json, json};
use sluice_core::{
    ChangeEvent, LogPosition, Row, RowOperation, SchemaChange, Sink, Source, TableId, TableSchema,
    event::ChunkMode,
};
use sluice_kafka::{KafkaSink, KafkaSource};

use crate::support::{Events, PATIENCE, Stand, avro, notes, position, row};

/// Less than one would wait for what never comes.
const MOMENT: Duration = Duration::from_millis(1_500);

fn stand() -> Stand {
    let mut stand = Stand::new();
    stand.kafka.topics.transactions = true;
    stand
}

fn orders() -> Arc<TableSchema> {
    let mut table = TableSchema::clone(&notes());
    table.id = TableId::new("shop", "orders");
    Arc::new(table)
}

/// An open sink with both tables ready.
async fn ready(stand: &Stand) -> KafkaSink {
    let mut sink = stand.ready(&notes()).await;
    sink.prepare(&orders()).await.unwrap();
    sink
}

/// A transaction of so many new rows, by turns in both tables.
fn transfer(number: u64, rows: u64) -> Events {
    let tables = [notes(), orders()];
    let mut events = Events::default();
    for ordinal in 0..rows {
        let after = row((number * 1_000_000 + ordinal) as i64, "x");
        let table = &tables[(ordinal % 2) as usize];
        events = events.change(table, number, ordinal, RowOperation::Insert { after });
    }
    events.end(number)
}

/// What a reader was given.
#[derive(Default)]
struct Taken {
    /// How many rows of each transaction.
    rows: BTreeMap<u64, u64>,
    copied: u64,
    /// In words, what is no row of a transaction, and the first row of each.
    story: Vec<String>,
    /// How many batches ended inside of a transaction.
    pieces: usize,
    last: Option<LogPosition>,
}

impl Taken {
    fn take(&mut self, event: &ChangeEvent) {
        match event {
            ChangeEvent::Row(change) => {
                let (_, number) = change.transaction.id.rsplit_once(':').unwrap();
                let number = number.parse().unwrap();
                let rows = self.rows.entry(number).or_default();
                *rows += 1;
                if *rows == 1 {
                    self.story.push(format!("transaction {number}"));
                }
            }
            ChangeEvent::Chunk(chunk) => {
                if self.copied == 0 {
                    self.story.push("copy".to_owned());
                }
                self.copied += chunk.rows.len() as u64;
            }
            ChangeEvent::Schema(SchemaChange::Create(table)) => {
                self.story.push(format!("create {}", table.id.name));
            }
            ChangeEvent::Schema(change) => {
                self.story.push(format!("{} changes", change.table().name));
            }
            ChangeEvent::Unreadable(unreadable) => panic!("{:?}", unreadable.table),
            ChangeEvent::TransactionEnd(_) => {}
        }
    }

    fn all(&self) -> u64 {
        self.rows.values().sum()
    }

    fn place(&self, what: &str) -> usize {
        let found = self.story.iter().position(|told| told == what);
        found.unwrap_or_else(|| panic!("{what} is not in {:?}", self.story))
    }
}

/// Reads as the pipeline does. At each position all transactions up to one must be there whole, and
/// none of those behind.
async fn read_whole(
    source: &mut KafkaSource,
    sizes: &dyn Fn(u64) -> u64,
    patience: Duration,
    until: &dyn Fn(&Taken) -> bool,
) -> Taken {
    let mut taken = Taken::default();
    let deadline = Instant::now() + patience;
    let mut asked = Instant::now();
    while Instant::now() < deadline {
        if asked.elapsed() > Duration::from_millis(300) {
            source.log_end().await.unwrap();
            asked = Instant::now();
        }
        let batch = source.next().await.unwrap();
        for event in &batch.events {
            taken.take(event);
        }
        let Some(position) = batch.position else {
            assert!(batch.watermark.is_none());
            taken.pieces += usize::from(!batch.events.is_empty());
            continue;
        };
        for (number, rows) in &taken.rows {
            assert_eq!(*rows, sizes(*number), "transaction {number} is not whole");
        }
        if let (Some(first), Some(last)) = (taken.rows.keys().next(), taken.rows.keys().last()) {
            assert_eq!(
                last - first + 1,
                taken.rows.len() as u64,
                "one was passed over"
            );
        }
        taken.last = Some(position);
        if until(&taken) {
            break;
        }
    }
    taken
}

/// The committed records of a topic of one partition, as JSON: key and value, which tombstones lack.
fn committed(stand: &Stand, topic: &str) -> Vec<(Json, Json)> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &stand.kafka.cluster.bootstrap_servers)
        .set("group.id", "test")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut places = TopicPartitionList::new();
    places
        .add_partition_offset(topic, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&places).unwrap();
    let parse = |bytes: Option<&[u8]>| {
        bytes.map_or(Json::Null, |bytes| serde_json::from_slice(bytes).unwrap())
    };
    let mut records = Vec::new();
    loop {
        match consumer.poll(PATIENCE).expect("the topic ends") {
            Ok(message) => records.push((parse(message.key()), parse(message.payload()))),
            Err(KafkaError::PartitionEOF(_)) => return records,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_say_what_debezium_says() {
    let mut stand = stand();
    stand.kafka.partitions = 1;
    let mut sink = ready(&stand).await;
    let (notes, orders) = (notes(), orders());
    let moved = RowOperation::Update {
        before: row(1, "one"),
        after: row(2, "one"),
    };
    let gone = RowOperation::Delete {
        before: row(2, "one"),
    };
    let events = Events::default()
        .insert(&notes, 1, row(1, "one"))
        .change(&orders, 1, 1, RowOperation::Insert { after: row(1, "") })
        .change(&notes, 1, 2, moved)
        .end(1)
        .end(2)
        .change(&notes, 3, 0, gone)
        .end(3);
    sink.write(&events.0).await.unwrap();
    sink.commit(&position(3, &notes)).await.unwrap();

    let name = &stand.kafka.topics.name;
    let bounds = committed(&stand, &format!("{name}.transaction"));
    let id = |number: u64| format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{number}");
    let begin = |number: u64| {
        json!({"status": "BEGIN", "id": id(number), "event_count": null, "data_collections": null,
            "ts_ms": 1_700_000_000_000_u64 + number})
    };
    let end = |number: u64, count: u64, tables: Json| {
        json!({"status": "END", "id": id(number), "event_count": count, "data_collections": tables,
            "ts_ms": 1_700_000_000_000_u64 + number})
    };
    let both = json!([
        {"data_collection": "shop.notes", "event_count": 3},
        {"data_collection": "shop.orders", "event_count": 1},
    ]);
    let one = json!([{"data_collection": "shop.notes", "event_count": 1}]);
    let expected = [begin(1), end(1, 4, both), begin(3), end(3, 1, one)];
    for ((key, value), expected) in bounds.iter().zip(&expected) {
        assert_eq!((key, value), (&json!({"id": expected["id"]}), expected));
    }
    assert_eq!(bounds.len(), expected.len(), "{bounds:?}");

    let mut consumed = Vec::new();
    for table in ["notes", "orders"] {
        let records = committed(&stand, &format!("{name}.shop.{table}"));
        let values = records.into_iter().map(|(_, value)| value);
        consumed.extend(values.filter(|value| !value.is_null()).map(|value| {
            let transaction = &value["transaction"];
            (
                transaction["total_order"].as_u64().unwrap(),
                transaction["data_collection_order"].as_u64().unwrap(),
                value["op"].as_str().unwrap().to_owned(),
            )
        }));
    }
    let told = |total, own, op: &str| (total, own, op.to_owned());
    assert_eq!(
        consumed,
        [
            told(1, 1, "c"),
            told(3, 2, "d"),
            told(4, 3, "c"),
            told(1, 1, "d"),
            told(2, 1, "c"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_come_whole_and_in_order_whatever_partition_is_read_first() {
    let mut stand = stand();
    stand.kafka.format = avro();
    let mut sink = ready(&stand).await;
    let sizes = |number: u64| 1 + number * 7 % 23;
    for number in 1..=1_520 {
        sink.write(&transfer(number, sizes(number)).0)
            .await
            .unwrap();
        if number % 40 == 0 {
            sink.commit(&position(number, &notes())).await.unwrap();
        }
    }
    let mut source = stand.source();
    source.open(None).await.unwrap();
    // A target that stores a position here and there goes on from it.
    let half = read_whole(&mut source, &sizes, PATIENCE, &|taken| {
        taken.rows.len() >= 100
    })
    .await;
    let mut source = stand.source();
    source.open(half.last.as_ref()).await.unwrap();
    let rest = read_whole(&mut source, &sizes, PATIENCE, &|taken| {
        half.rows.len() + taken.rows.len() >= 1_520
    })
    .await;
    assert_eq!(half.rows.len() + rest.rows.len(), 1_520);
    assert_eq!(
        half.rows.keys().last().unwrap() + 1,
        *rest.rows.keys().next().unwrap_or(&1_521)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_is_passed_on_in_pieces_before_its_position() {
    const ROWS: u64 = 60_000;
    let stand = stand();
    let mut sink = ready(&stand).await;
    let sizes = |number: u64| if number == 2 { ROWS } else { 3 };
    for number in 1..=3 {
        sink.write(&transfer(number, sizes(number)).0)
            .await
            .unwrap();
    }
    sink.commit(&position(3, &notes())).await.unwrap();
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let is_all = |taken: &Taken| taken.all() >= ROWS + 6;
    let taken = read_whole(&mut source, &sizes, PATIENCE, &is_all).await;
    assert!(is_all(&taken) && taken.pieces > 0, "{}", taken.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_of_a_transaction_waits_until_its_end_is() {
    const ROWS: u64 = 2_500;
    let stand = stand();
    ready(&stand).await;
    let mut sink = stand.sink().with_transaction_age_max(Duration::ZERO);
    sink.open().await.unwrap();
    let sizes = |number: u64| if number == 2 { ROWS } else { 3 };
    let whole = transfer(2, ROWS);
    let mut piece = Events::default();
    for event in &whole.0.events[..ROWS as usize - 200] {
        piece.0.push(event.clone());
    }
    sink.write(&transfer(1, 3).0).await.unwrap();
    sink.write(&piece.0).await.unwrap();
    // The agent is gone with two thousand rows committed in pieces and some not.
    std::mem::forget(sink);

    let mut source = stand.source();
    source.open(None).await.unwrap();
    let taken = read_whole(&mut source, &sizes, MOMENT * 2, &|_| false).await;
    assert_eq!(taken.all(), 3, "nothing of a transaction that may not end");

    let mut sink = stand.sink();
    sink.open().await.unwrap();
    sink.write(&transfer(1, 3).0).await.unwrap();
    sink.write(&whole.0).await.unwrap();
    sink.write(&transfer(3, 3).0).await.unwrap();
    sink.commit(&position(3, &notes())).await.unwrap();
    let is_all = |taken: &Taken| taken.all() >= ROWS + 3;
    let rest = read_whole(&mut source, &sizes, PATIENCE, &is_all).await;
    assert!(is_all(&rest), "{:?}", rest.rows);

    let bounds = committed(&stand, &format!("{}.transaction", stand.kafka.topics.name));
    let told: Vec<_> = bounds
        .iter()
        .map(|(_, value)| (value["status"].clone(), value["event_count"].clone()))
        .collect();
    let (begin, end) = (json!("BEGIN"), |count: u64| (json!("END"), json!(count)));
    let begin = || (begin.clone(), Json::Null);
    assert_eq!(told, [begin(), end(3), begin(), end(ROWS), begin(), end(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_row_and_what_is_copied_keep_their_place_among_transactions() {
    let stand = stand();
    let mut sink = ready(&stand).await;
    let rows: Vec<Row> = (0..500).map(|id| row(id, "copied")).collect();
    let notes = notes();
    sink.write(&transfer(1, 40).0).await.unwrap();
    let truncate = Events::default()
        .schema(SchemaChange::Truncate(notes.id.clone()))
        .end(2);
    sink.write(&truncate.0).await.unwrap();
    sink.write(&transfer(3, 40).0).await.unwrap();
    let copy = Events::default().chunk(&orders(), ChunkMode::Upsert, rows);
    sink.write(&copy.0).await.unwrap();
    sink.write(&transfer(4, 40).0).await.unwrap();
    // A table that readers meet in the midst of a transaction.
    let mut fresh = TableSchema::clone(&notes);
    fresh.id = TableId::new("shop", "fresh");
    let fresh = Arc::new(fresh);
    let mut events = Events::default();
    for ordinal in 0..40 {
        let after = row(9_000_000 + ordinal as i64, "x");
        let table = if ordinal < 20 { &notes } else { &fresh };
        events = events.change(table, 5, ordinal, RowOperation::Insert { after });
    }
    sink.write(&events.end(5).0).await.unwrap();
    sink.commit(&position(5, &notes)).await.unwrap();

    let mut source = stand.source();
    source.open(None).await.unwrap();
    let mut taken = Taken::default();
    let deadline = Instant::now() + PATIENCE;
    while taken.all() < 160 || taken.copied < 500 {
        assert!(Instant::now() < deadline, "{:?}", taken.story);
        let batch = source.next().await.unwrap();
        for event in &batch.events {
            taken.take(event);
        }
        if batch.position.is_some() {
            for (number, rows) in &taken.rows {
                assert_eq!(*rows, 40, "transaction {number} is not whole");
            }
            // A boundary never lies between a change of a table and the rows behind it.
            for (number, before) in [(3, "notes changes"), (5, "create fresh"), (5, "copy")] {
                let is_there = taken.story.iter().any(|told| told == before);
                assert!(
                    is_there || !taken.rows.contains_key(&number),
                    "{:?}",
                    taken.story
                );
            }
        }
    }
    for line in [
        ["transaction 1", "notes changes", "transaction 4"],
        ["transaction 1", "transaction 3", "transaction 4"],
        ["transaction 3", "copy", "transaction 5"],
        ["transaction 3", "transaction 4", "create fresh"],
    ] {
        let places: Vec<usize> = line.iter().map(|what| taken.place(what)).collect();
        assert!(places.is_sorted(), "{line:?}: {:?}", taken.story);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_gone_hold_nobody_up() {
    let stand = stand();
    let mut sink = ready(&stand).await;
    for number in 1..=3 {
        sink.write(&transfer(number, 40).0).await.unwrap();
        sink.commit(&position(number, &notes())).await.unwrap();
    }
    // Retention takes what partitions hold of the first transaction, and in one of them everything.
    let topic = format!("{}.shop.notes", stand.kafka.topics.name);
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset(&topic, 0, Offset::Offset(1))
        .unwrap();
    cut.add_partition_offset(&topic, 1, Offset::End).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &stand.kafka.cluster.bootstrap_servers);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    // Brokers refuse to cut a topic that is only compacted.
    let policy = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("cleanup.policy", "delete");
    let altered = admin.alter_configs([&policy], &AdminOptions::new()).await;
    altered.unwrap().pop().unwrap().unwrap();
    let done = admin
        .delete_records(&cut, &AdminOptions::new())
        .await
        .unwrap();
    for place in done.elements() {
        place.error().unwrap();
    }
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let mut taken = Taken::default();
    let deadline = Instant::now() + PATIENCE;
    let mut asked = Instant::now();
    while taken.rows.get(&3).copied().unwrap_or(0) < 20 || taken.last.is_none() {
        assert!(Instant::now() < deadline, "{:?}", taken.rows);
        if asked.elapsed() > Duration::from_millis(300) {
            source.log_end().await.unwrap();
            asked = Instant::now();
        }
        let batch = source.next().await.unwrap();
        batch.events.iter().for_each(|event| taken.take(event));
        if taken.rows.contains_key(&3) {
            taken.last = batch.position;
        }
    }
    assert!(
        taken.rows[&1] < 40 && taken.rows[&2] < 40,
        "{:?}",
        taken.rows
    );
    let order: Vec<usize> = (1..=3)
        .map(|number| taken.place(&format!("transaction {number}")))
        .collect();
    assert!(order.is_sorted(), "{:?}", taken.story);
    // The next whole transaction is passed on as ever.
    sink.write(&transfer(4, 40).0).await.unwrap();
    sink.commit(&position(4, &notes())).await.unwrap();
    let next = read_whole(&mut source, &|_| 40, PATIENCE, &|taken| {
        taken.rows.contains_key(&4)
    });
    assert_eq!(next.await.rows, BTreeMap::from([(4, 40)]));
}
