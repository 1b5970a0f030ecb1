//! Agents that are killed, agents that are replaced, and brokers that go.

use std::{
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use sluice_core::{Class, Reason, Sink, Source};

use crate::support::{Events, PATIENCE, Stand, ids, log, notes, position, read, row};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_committed_is_written_once_in_the_end() {
    let stand = Stand::new();
    let table = notes();
    let mut sink = stand.ready(&table).await;
    let batch = |number: u64| {
        let row = row(number as i64, "x");
        Events::default().insert(&table, number, row).end(number)
    };
    for number in 1..=10_u64 {
        sink.write(&batch(number).0).await.unwrap();
        if number % 3 == 0 {
            // The agent is gone before its commit; another one takes over and does it again.
            std::mem::forget(sink);
            sink = stand.sink();
            let found = sink.open().await.unwrap().unwrap();
            assert_eq!(found.log, log(number - 1));
            sink.write(&batch(number).0).await.unwrap();
        }
        sink.commit(&position(number, &table)).await.unwrap();
    }
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let (events, _) = read(&mut source, 10).await;
    let mut ids = ids(&events);
    ids.sort_unstable();
    assert_eq!(ids, (1..=10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_agent_is_fenced_and_does_not_come_back() {
    let stand = Stand::new();
    let table = notes();
    let mut older = stand.ready(&table).await;
    older
        .write(
            &Events::default()
                .insert(&table, 1, row(1, "older"))
                .end(1)
                .0,
        )
        .await
        .unwrap();
    let mut newer = stand.sink();
    assert_eq!(newer.open().await.unwrap().unwrap().log, log(0));
    // Whether librdkafka says so at once depends on which answer comes first; nothing is committed.
    let refused = older.commit(&position(1, &table)).await.unwrap_err();
    let is_expected = refused.reason() == Reason::Fenced || refused.class() == Class::Retry;
    assert!(is_expected, "{}", refused.report());
    let refused = older.open().await.unwrap_err();
    assert_eq!(refused.reason(), Reason::Fenced, "{}", refused.report());
    newer
        .write(
            &Events::default()
                .insert(&table, 1, row(1, "newer"))
                .end(1)
                .0,
        )
        .await
        .unwrap();
    newer.commit(&position(1, &table)).await.unwrap();
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let (events, _) = read(&mut source, 1).await;
    assert_eq!(ids(&events), vec![1]);
    assert!(
        events
            .iter()
            .any(|event| crate::support::told(event).contains("newer"))
    );
}

/// A broker of the test's own.
struct Broker {
    state: std::path::PathBuf,
    port: String,
}

/// How many offsets of a table's topic a reader of what is committed can get past.
fn stable(stand: &Stand) -> i64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &stand.kafka.cluster.bootstrap_servers);
    config.set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().unwrap();
    let topic = stand.kafka.topics.table("shop", "notes");
    let partitions = 0..stand.kafka.partitions.cast_signed();
    let ends = partitions.map(|number| consumer.fetch_watermarks(&topic, number, PATIENCE));
    ends.map(|ends| ends.unwrap().1).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_the_brokers_have_ended_is_done_again() {
    let mut stand = Stand::new();
    let properties = &mut stand.kafka.cluster.properties;
    properties.insert("transaction.timeout.ms".into(), "1000".into());
    let table = notes();
    let mut sink = stand.ready(&table).await;
    let batch = Events::default().insert(&table, 1, row(1, "x")).end(1);
    let before = stable(&stand);
    sink.write(&batch.0).await.unwrap();
    // As after an outage of the brokers: they end what was open for too long, for whoever wrote it.
    let deadline = Instant::now() + PATIENCE;
    while stable(&stand) == before {
        assert!(Instant::now() < deadline, "the transaction stays open");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let error = sink.commit(&position(1, &table)).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry, "{}", error.report());
    let found = sink.open().await.unwrap().unwrap();
    assert_eq!(found.log, log(0));
    sink.write(&batch.0).await.unwrap();
    sink.commit(&position(1, &table)).await.unwrap();
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let (events, _) = read(&mut source, 1).await;
    assert_eq!(ids(&events), vec![1]);
}

/// A port that was free a moment ago, with free ones behind it for the broker's other listeners.
fn free_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    // Below the ports that the system hands out for outgoing connections.
    let start = 20_000 + (std::process::id() % 10_000) as u16;
    let mut ports = (start..32_000).step_by(4);
    let free = |port: &u16| (*port..*port + 4).all(is_free);
    ports.find(free).unwrap()
}

impl Broker {
    fn run(&self, arguments: &[&str]) {
        let servers = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../e2e/servers");
        let output = Command::new(servers)
            .args(arguments)
            .env("SLUICE_STATE", &self.state)
            .env("SLUICE_KAFKA_PORT", &self.port)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "servers {arguments:?}: {told}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.run(&["down", "--purge", "kafka"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_inside_a_transaction_loses_and_doubles_nothing() {
    let state = std::env::temp_dir().join(format!("sluice-kafka-test-{}", std::process::id()));
    let port = free_port().to_string();
    let broker = Broker { state, port };
    broker.run(&["up", "kafka"]);
    let mut stand = Stand::new();
    stand.kafka.cluster.bootstrap_servers = format!("127.0.0.1:{}", broker.port);
    let properties = &mut stand.kafka.cluster.properties;
    properties.insert("transaction.timeout.ms".into(), "10000".into());
    let table = notes();
    let mut sink = stand.ready(&table).await;
    let batch = |number: u64| {
        let row = row(number as i64, "x");
        Events::default().insert(&table, number, row).end(number)
    };
    for number in 1..=3_u64 {
        sink.write(&batch(number).0).await.unwrap();
        broker.run(&["kill", "kafka"]);
        // The commit comes while the broker is down, or when it is back.
        let stays_down = number == 2;
        if !stays_down {
            broker.run(&["start", "kafka"]);
        }
        // Either outcome of the commit is right, as long as the sink knows it afterwards.
        let committed = sink.commit(&position(number, &table)).await;
        if stays_down {
            assert!(committed.is_err(), "there was no broker to commit to");
            broker.run(&["start", "kafka"]);
        }
        if let Err(error) = committed {
            assert_eq!(error.class(), Class::Retry, "{}", error.report());
            let deadline = Instant::now() + PATIENCE;
            let found = loop {
                match sink.open().await {
                    Ok(found) => break found.unwrap(),
                    Err(error) => {
                        assert_eq!(error.class(), Class::Retry, "{}", error.report());
                        assert!(Instant::now() < deadline, "{}", error.report());
                    }
                }
            };
            if found.log != log(number) {
                assert_eq!(found.log, log(number - 1));
                sink.write(&batch(number).0).await.unwrap();
                sink.commit(&position(number, &table)).await.unwrap();
            }
        }
    }
    let mut source = stand.source();
    source.open(None).await.unwrap();
    let (events, _) = read(&mut source, 3).await;
    let mut ids = ids(&events);
    ids.sort_unstable();
    assert_eq!(ids, vec![1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_not_there_are_tried_again() {
    let mut stand = Stand::new();
    stand.kafka.cluster.bootstrap_servers = "127.0.0.1:9".to_owned();
    let error = stand.sink().open().await.unwrap_err();
    assert_eq!(error.reason(), Reason::Unreachable, "{}", error.report());
    assert!(error.to_string().contains("127.0.0.1:9"));
    let error = stand.source().open(None).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry, "{}", error.report());
}
