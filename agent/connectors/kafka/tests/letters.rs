//! Dead letters in a topic, and records that can't be decoded.

use std::{collections::BTreeSet, time::Duration};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{Header, Headers, OwnedHeaders, OwnedMessage},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use sluice_core::{
    ChangeEvent, DeadLetters, Letter, Origin, Place, RawRecord, Reason, Row, RowOperation, Sink,
    Source, Stage, Value, event::ChunkMode,
};
use sluice_kafka::LetterTopic;

use crate::support::{Events, PATIENCE, Stand, formats, notes, position, row, secrets};

impl Stand {
    fn topic(&self) -> String {
        self.kafka.topics.table("shop", "notes")
    }

    fn letters(&self) -> (LetterTopic, String) {
        let topic = format!("{}.refused", self.kafka.topics.name);
        let cluster = self.kafka.cluster.clone();
        let letters = LetterTopic::new(topic.clone(), cluster, "prod/pg".into(), None, secrets());
        (letters, topic)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka.cluster.bootstrap_servers);
        config
    }

    async fn create(&self, topic: &str) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = admin.create_topics([&new], &options).await.unwrap();
        assert!(made[0].is_ok(), "{made:?}");
    }

    /// Writes records as somebody who knows nothing of Sluice.
    fn produce(&self, topic: &str, values: &[&[u8]]) {
        let producer: ThreadedProducer<DefaultProducerContext> = self.client().create().unwrap();
        for &value in values {
            let headers = OwnedHeaders::new().insert(Header {
                key: "who",
                value: Some("somebody"),
            });
            let record = BaseRecord::to(topic).partition(0).key(&b"k"[..]);
            let record = record.payload(value).headers(headers).timestamp(1_234_567);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// All records of a topic's partition.
    fn records(&self, topic: &str, partition: i32) -> Vec<OwnedMessage> {
        let mut config = self.client();
        config
            .set("group.id", "test")
            .set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut place = TopicPartitionList::new();
        place
            .add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
        consumer.assign(&place).unwrap();
        let mut records = Vec::new();
        loop {
            match consumer.poll(PATIENCE) {
                Some(Ok(message)) => records.push(message.detach()),
                Some(Err(KafkaError::PartitionEOF(_))) => return records,
                other => panic!("neither a record nor the end of {topic}: {other:?}"),
            }
        }
    }
}

fn header(message: &OwnedMessage, name: &str) -> Option<String> {
    let headers = message.headers()?;
    let found = headers.iter().find(|header| header.key == name)?;
    Some(String::from_utf8(found.value?.to_vec()).unwrap())
}

fn letter(topic: &str, offset: i64) -> Letter {
    Letter {
        origin: Origin {
            place: Place::of(topic, 0),
            offset,
        },
        record: None,
        stage: Stage::Apply,
        reason: Reason::RowRefused,
        message: format!("constraint {offset}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_the_records_themselves_with_the_headers_of_kafka_connect() {
    let stand = Stand::new();
    let (letters, topic) = stand.letters();
    letters.open().await.unwrap();
    let source = format!("{}.src", stand.kafka.topics.name);
    stand.create(&source).await;
    stand.produce(&source, &[b"zero", b"one", b"two", b"three"]);
    let mut own = letter(&source, 3);
    own.stage = Stage::Decode;
    own.record = Some(RawRecord {
        value: Some(b"at hand".to_vec()),
        ..RawRecord::default()
    });
    // One that never was stands for one that is gone.
    let all = vec![
        letter(&source, 2),
        letter(&source, 0),
        own,
        letter(&source, 77),
    ];
    letters.keep(all).await.unwrap();
    // The same client goes on, and another one may follow.
    letters.keep(vec![letter(&source, 1)]).await.unwrap();

    let kept = stand.records(&topic, 0);
    let values: Vec<_> = kept.iter().map(Message::payload).collect();
    let expected: [Option<&[u8]>; 5] = [
        Some(&b"two"[..]),
        Some(b"zero"),
        Some(b"at hand"),
        None,
        Some(b"one"),
    ];
    assert_eq!(values, expected);
    let first = &kept[0];
    assert_eq!(first.key(), Some(&b"k"[..]));
    assert_eq!(first.timestamp().to_millis(), Some(1_234_567));
    for (name, value) in [
        ("who", "somebody"),
        ("__connect.errors.topic", source.as_str()),
        ("__connect.errors.partition", "0"),
        ("__connect.errors.offset", "2"),
        ("__connect.errors.connector.name", "prod/pg"),
        ("__connect.errors.task.id", "0"),
        ("__connect.errors.stage", "TASK_PUT"),
        ("__connect.errors.class.name", "sluice.apply"),
        ("__connect.errors.exception.class.name", "sluice.RowRefused"),
        ("__connect.errors.exception.message", "constraint 2"),
        (
            "__connect.errors.exception.stacktrace",
            "sluice.RowRefused: constraint 2",
        ),
    ] {
        assert_eq!(header(first, name).as_deref(), Some(value), "{name}");
    }
    let stage = header(&kept[2], "__connect.errors.stage");
    assert_eq!(stage.as_deref(), Some("VALUE_CONVERTER"));
    let gone = header(&kept[3], "__connect.errors.exception.message").unwrap();
    assert!(gone.contains("is gone from its topic"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_says_which_record_it_was_read_from() {
    let stand = Stand::new();
    let table = notes();
    let mut sink = stand.ready(&table).await;
    let rows = (1..=20).map(|id| row(id, "copied")).collect();
    let written = Events::default()
        .chunk(&table, ChunkMode::Append, rows)
        .end(1);
    sink.write(&written.0).await.unwrap();
    sink.commit(&position(1, &table)).await.unwrap();
    let changes = (0..10).fold(Events::default(), |events, ordinal| {
        let after = row(21 + ordinal as i64, "new");
        events.change(&table, 2, ordinal, RowOperation::Insert { after })
    });
    sink.write(&changes.end(2).0).await.unwrap();
    sink.commit(&position(2, &table)).await.unwrap();

    let mut source = stand.source().with_origins();
    source.open(None).await.unwrap();
    let mut told = BTreeSet::new();
    let mut take = |origin: Origin, note: &str, id: i64| {
        told.insert((
            origin.place.partition,
            origin.offset,
            format!("{note} {id}"),
        ));
        assert_eq!(*origin.place.topic, stand.topic());
    };
    let mut count = 0;
    while count < 30 {
        let batch = tokio::time::timeout(PATIENCE, source.next()).await.unwrap();
        for event in batch.unwrap().events {
            let mut one = |row: &Row, origin: Origin| {
                let (Value::Int(id), Value::Text(note)) = (row.get(0), row.get(1)) else {
                    panic!("another row")
                };
                take(origin, note, id);
                count += 1;
            };
            match event {
                ChangeEvent::Chunk(chunk) => {
                    assert_eq!(chunk.rows.len(), chunk.origins.len());
                    for (row, origin) in chunk.rows.iter().zip(&chunk.origins) {
                        one(row, *origin);
                    }
                }
                ChangeEvent::Row(change) => match &change.operation {
                    RowOperation::Insert { after } => {
                        one(after, change.origin.unwrap());
                    }
                    other => panic!("{other:?}"),
                },
                _ => {}
            }
        }
    }
    let mut found = BTreeSet::new();
    for partition in 0..4 {
        for record in stand.records(&stand.topic(), partition) {
            let json: serde_json::Value =
                serde_json::from_slice(record.payload().unwrap()).unwrap();
            let after = &json["after"];
            let text = format!("{} {}", after["note"].as_str().unwrap(), after["id"]);
            found.insert((partition, record.offset(), text));
        }
    }
    assert_eq!(told, found);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_record_passes_in_its_place_and_the_stream_goes_on() {
    let whole = [false, true];
    let cases = formats().into_iter();
    let cases = cases.flat_map(|format| whole.map(|whole| (format.clone(), whole)));
    for (format, transactions) in cases {
        let mut stand = Stand::with(format);
        stand.kafka.topics.transactions = transactions;
        let table = notes();
        let mut sink = stand.ready(&table).await;
        let first = Events::default().insert(&table, 1, row(1, "one")).end(1);
        sink.write(&first.0).await.unwrap();
        sink.commit(&position(1, &table)).await.unwrap();
        stand.produce(&stand.topic(), &[b"\x01poison", b"\x02poison"]);
        let second = Events::default().insert(&table, 2, row(2, "two")).end(2);
        sink.write(&second.0).await.unwrap();
        sink.commit(&position(2, &table)).await.unwrap();

        let mut source = stand.source();
        source.open(None).await.unwrap();
        let (mut rows, mut poison, mut resume) = (0, Vec::new(), None);
        while rows < 2 || poison.len() < 2 {
            let batch = tokio::time::timeout(PATIENCE, source.next()).await.unwrap();
            let batch = batch.unwrap();
            for event in batch.events {
                match event {
                    ChangeEvent::Row(_) => rows += 1,
                    ChangeEvent::Unreadable(record) => poison.push(record),
                    _ => {}
                }
            }
            resume = batch.position;
        }
        assert_eq!(poison[0].record.value.as_deref(), Some(&b"\x01poison"[..]));
        let who = ("who".to_owned(), Some(b"somebody".to_vec()));
        assert_eq!(poison[0].record.headers, [who]);
        let place = format!("topic {}, partition 0, offset", stand.topic());
        assert!(poison[0].message.contains(&place), "{}", poison[0].message);
        assert!(
            !poison[0].message.contains("poison"),
            "{}",
            poison[0].message
        );

        // They are passed, and don't come again.
        let mut source = stand.source();
        source.open(resume.as_ref()).await.unwrap();
        let again = tokio::time::timeout(Duration::from_secs(3), source.next()).await;
        let again = again.unwrap().unwrap();
        assert!(again.events.is_empty(), "{:?}", again.events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_begins_with_nothing_but_poison_is_in_another_format() {
    let stand = Stand::new();
    let table = notes();
    let _sink = stand.ready(&table).await;
    let poison = vec![&b"\x01poison"[..]; 150];
    stand.produce(&stand.topic(), &poison);
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let error = loop {
        match tokio::time::timeout(PATIENCE, source.next()).await.unwrap() {
            Ok(batch) => {
                let letters = batch.events.iter();
                let letters = letters.filter(|event| matches!(event, ChangeEvent::Unreadable(_)));
                assert!(letters.count() < 100);
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Reason::InvalidConfig);
    assert!(
        error.message().contains("none of the first 100 records"),
        "{error}"
    );
}
