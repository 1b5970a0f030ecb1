//! Records that can't be applied, through Kafka: refused rows and poison go to a topic of their own (and
//! into the target's table), nothing is lost when agents die, and a wrong format is an error instead.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_e2e::{
    KafkaServers, MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice, assert_equal,
    compare::{Pair, wait_equal},
    kafka::{Format, Transport, registry, topics, topics::Record},
    wait::wait_for,
};

use crate::items::{CHANGES, Captured};

const PATIENCE: Duration = Duration::from_secs(90);
const ERRORS: &str = "__connect.errors.";

/// `sluice dead-letters ACTION -f FILE …`.
async fn dead_letters(action: &str, file: &Path, arguments: &[&str]) -> Result<String> {
    let file = file.to_str().context("a path of text")?;
    let mut all = vec!["dead-letters", action, "-f", file];
    all.extend(arguments);
    let output = Sluice::command(&all).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn listed(file: &Path) -> Result<Vec<Value>> {
    let text = dead_letters("list", file, &["-o", "json"]).await?;
    serde_json::from_str(&text).with_context(|| format!("not a list: {text}"))
}

async fn wait_letters(postgres: &PgDatabase, count: usize) -> Result<()> {
    let asked = "SELECT count(*) FROM sluice.dead_letters";
    let what = format!("{count} dead letters");
    wait_for(&what, PATIENCE, || async {
        let found = postgres.value(asked).await?;
        ensure!(found == count.to_string(), "there are {found}");
        Ok(Some(()))
    })
    .await
}

fn said<'a>(record: &'a Record, what: &str) -> &'a str {
    record
        .header(&format!("{ERRORS}{what}"))
        .unwrap_or_default()
}

/// The record that a letter is about, by its headers.
fn original<'r>(records: &'r [Record], letter: &Record) -> Result<&'r Record> {
    let found = records.iter().find(|record| {
        record.topic == said(letter, "topic")
            && record.partition.to_string() == said(letter, "partition")
            && record.offset.to_string() == said(letter, "offset")
    });
    found.with_context(|| format!("no such record: {:?}", letter.headers))
}

/// Each letter has the bytes and headers of the record that it names, and says why without its values.
fn point_to_their_records(
    kafka: &KafkaServers,
    transport: &Transport,
    topic: &str,
    count: usize,
) -> Result<()> {
    let letters = topics::read_committed(&kafka.bootstrap, &[topic])?;
    let rows = topics::read_committed(&kafka.bootstrap, &[&transport.topic("t")])?;
    ensure!(letters.len() == count, "{} letters", letters.len());
    for letter in &letters {
        let row = original(&rows, letter)?;
        ensure!(letter.key == row.key && letter.value == row.value);
        ensure!(letter.headers.starts_with(&row.headers), "{letter:?}");
        assert_eq!(said(letter, "stage"), "TASK_PUT");
        assert_eq!(said(letter, "task.id"), "0");
        let connector = said(letter, "connector.name");
        ensure!(
            connector.ends_with(&format!("{}-pg", transport.name)),
            "{connector}"
        );
        let message = said(letter, "exception.message");
        ensure!(
            message.contains("constraint small (SQLSTATE 23514)"),
            "{message}"
        );
        let told: Vec<_> = letter
            .headers
            .iter()
            .filter(|(key, _)| key.starts_with(ERRORS))
            .collect();
        ensure!(!format!("{told:?}").contains("zanzibar") && told.len() == 10);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_in_the_topic_as_they_were_whenever_the_agent_dies() -> Result<()> {
    let (servers, kafka) = (Servers::from_env(), KafkaServers::from_env()?);
    let mysql = MysqlDatabase::create(&servers, "refused").await?;
    let postgres = PgDatabase::create(&servers, "refused").await?;
    let schema = &mysql.name;
    mysql
        .exec(
            "CREATE TABLE t (id INT PRIMARY KEY, v INT, w VARCHAR(20)); \
             INSERT INTO t VALUES (1, 1, 'a'), (2, 20002, 'zanzibar'), (3, 3, 'c')",
        )
        .await?;
    postgres
        .exec(format!(
            "CREATE SCHEMA \"{schema}\"; CREATE TABLE \"{schema}\".t \
             (id int PRIMARY KEY, v int CONSTRAINT small CHECK (v < 100), w varchar(20))"
        ))
        .await?;
    let transport = Transport::new(&kafka, &mysql, Format::Avro);
    let topic = format!("{}.refused", transport.name);
    let errors = json!({"deadLetterTopic": topic});
    let folder = transport.apply(&postgres, "pg", |spec| spec["errors"] = errors.clone())?;
    let file = PipelineFile::new(&mysql, &postgres)
        .named(&transport.name, &format!("{}-pg", transport.name))
        .source_spec(|spec| *spec = transport.source.clone())
        .sink_spec(|spec| spec["errors"] = errors.clone())
        .write()?;
    let mut capture = Sluice::agent(&transport.capture()?, &[])?;
    let mut apply = Sluice::agent(&folder, &[])?;
    capture.wait_streaming().await?;
    wait_letters(&postgres, 1).await?;
    mysql
        .exec(
            "INSERT INTO t VALUES (4, 40004, 'd'), (5, 5, 'e'); UPDATE t SET v = 300 WHERE id = 3",
        )
        .await?;
    wait_letters(&postgres, 3).await?;
    apply
        .wait_until("the count in the status", PATIENCE, |status| {
            status.dead_letters == 3
        })
        .await?;

    point_to_their_records(&kafka, &transport, &topic, 3)?;

    // Agents die while letters are on their way.
    let mut id = 100;
    for round in 0..8 {
        let values: Vec<String> = (0..50)
            .map(|_| {
                id += 1;
                format!("({id}, {}, 'x')", if id % 5 == 0 { 1_000 } else { 1 })
            })
            .collect();
        mysql
            .exec(format!("INSERT INTO t VALUES {}", values.join(", ")))
            .await?;
        tokio::time::sleep(Duration::from_millis(150 * round)).await;
        apply.kill_nine().await?;
        apply = Sluice::agent(&folder, &[])?;
    }
    let refused = 3 + 8 * 10;
    wait_letters(&postgres, refused).await?;
    let wanted = mysql
        .rows("SELECT id FROM t WHERE v < 100 ORDER BY id")
        .await?
        .len();
    let here = format!("SELECT count(*) FROM \"{schema}\".t WHERE id <> 3");
    wait_for("the other rows", PATIENCE, || async {
        Ok((postgres.value(&here).await? == wanted.to_string()).then_some(()))
    })
    .await?;
    let letters = topics::read_committed(&kafka.bootstrap, &[&topic])?;
    let places: BTreeSet<_> = letters
        .iter()
        .map(|letter| (said(letter, "partition"), said(letter, "offset")))
        .collect();
    assert_eq!(places.len(), refused, "of {} letters", letters.len());

    // The table is the book: it says where each lies, and a retry goes by it.
    let book = listed(file.path()).await?;
    let origins: BTreeSet<_> = book
        .iter()
        .map(|letter| letter["origin"].to_string())
        .collect();
    assert_eq!(origins.len(), refused);
    postgres
        .exec(format!("ALTER TABLE \"{schema}\".t DROP CONSTRAINT small"))
        .await?;
    let text = dead_letters("retry", file.path(), &[]).await?;
    ensure!(text.contains(&format!("{refused} applied")), "{text}");
    assert_equal(&mysql, &postgres, &["t"]).await?;
    ensure!(apply.terminate().await?.success(), "{}", apply.stderr());
    ensure!(!apply.stderr().contains("zanzibar"));
    ensure!(capture.terminate().await?.success(), "{}", capture.stderr());
    topics::delete(&kafka.bootstrap, &transport.name).await?;
    registry::delete_subjects(&kafka.registry_url, &transport.name).await
}

/// Records that nobody can read, in a topic of the format.
fn poison(format: Format) -> Vec<Vec<u8>> {
    let mut all = vec![b"\x01poison".to_vec()];
    all.push(match format {
        // A schema that the registry does not have.
        Format::Avro => vec![0, 0x7f, 0xff, 0xff, 0xf0, 2, 2],
        _ => br#"{"schema": {"type": "struct", "poison"#.to_vec(),
    });
    all
}

async fn debezium_with_poison(format: Format, wrong: Format, label: &str) -> Result<()> {
    let Captured {
        kafka,
        mysql,
        postgres,
        prefix,
        topic,
        source,
    } = Captured::start(format, label).await?;
    let refused = format!("refused.{}", mysql.name);
    let transport = Transport::foreign(&kafka, &mysql, &topic, format);
    let with_topic = format == Format::Avro;
    let folder = transport.apply(&postgres, "pg", |spec| {
        if with_topic {
            spec["errors"] = json!({"deadLetterTopic": refused});
        }
    })?;
    let mut apply = Sluice::agent(&folder, &[])?;
    let pairs = [Pair::same(&mysql, "items")];
    wait_equal(&mysql, &postgres, &pairs, PATIENCE).await?;
    let poison = poison(format);
    for value in &poison {
        topics::produce(&kafka.bootstrap, &topic, value).await?;
    }
    mysql.exec(CHANGES).await?;
    wait_equal(&mysql, &postgres, &pairs, PATIENCE).await?;
    wait_letters(&postgres, poison.len()).await?;
    apply
        .wait_until("the count in the status", PATIENCE, |status| {
            status.dead_letters == poison.len() as u64
        })
        .await?;
    apply.kill_nine().await?;
    mysql.exec("DELETE FROM items WHERE id = 1").await?;
    let mut apply = Sluice::agent(&folder, &[])?;
    wait_equal(&mysql, &postgres, &pairs, PATIENCE).await?;
    wait_letters(&postgres, poison.len()).await?;
    let kept =
        "SELECT source_table, operation, encode(record_value, 'hex') FROM sluice.dead_letters
                ORDER BY id";
    let kept = postgres.rows(kept).await?;
    let table = format!("{}.items", mysql.name);
    for (row, value) in kept.iter().zip(&poison) {
        assert_eq!(row[0].as_deref(), Some(table.as_str()));
        assert_eq!(row[1].as_deref(), Some("unreadable"));
        let hex: String = value
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        assert_eq!(row[2], (!with_topic).then_some(hex));
    }
    if with_topic {
        let letters = topics::read_committed(&kafka.bootstrap, &[&refused])?;
        let records = topics::read_committed(&kafka.bootstrap, &[&topic])?;
        let mut by_value = BTreeMap::new();
        for letter in &letters {
            let row = original(&records, letter)?;
            ensure!(letter.value == row.value && letter.key == row.key);
            assert_eq!(said(letter, "stage"), "VALUE_CONVERTER");
            assert_eq!(said(letter, "exception.class.name"), "sluice.DecodeFailed");
            by_value.insert(letter.value.clone(), said(letter, "exception.message"));
        }
        let values: BTreeSet<_> = by_value.keys().flatten().cloned().collect();
        assert_eq!(values, poison.iter().cloned().collect::<BTreeSet<_>>());
        let messages = format!("{by_value:?}");
        ensure!(messages.contains("has no schema 2147483632"), "{messages}");
    }
    ensure!(apply.terminate().await?.success(), "{}", apply.stderr());

    declared_wrongly(&kafka, &Servers::from_env(), &mysql, &topic, wrong).await?;
    source.delete().await?;
    topics::delete(&kafka.bootstrap, &prefix).await?;
    topics::delete(&kafka.bootstrap, &refused).await?;
    registry::delete_subjects(&kafka.registry_url, &prefix).await
}

/// A sink whose source declares another format: the error says so, and nothing is a letter.
async fn declared_wrongly(
    kafka: &KafkaServers,
    servers: &Servers,
    mysql: &MysqlDatabase,
    topic: &str,
    wrong: Format,
) -> Result<()> {
    let postgres = PgDatabase::create(servers, "wrong").await?;
    let transport = Transport::foreign(kafka, mysql, topic, wrong);
    let mut apply = Sluice::agent(&transport.apply(&postgres, "wrong", |_| {})?, &[])?;
    let status = apply
        .wait_until("the error", PATIENCE, |status| status.last_error.is_some())
        .await?;
    let error = status.last_error.context("no error")?;
    assert_eq!(error.reason, "InvalidConfig", "{error:?}");
    ensure!(error.message.contains("it looks like"), "{error:?}");
    ensure!(error.message.contains("offset 0"), "{error:?}");
    let hint = error.hint.as_deref().unwrap_or_default();
    ensure!(hint.contains("spec.kafkaTopics"), "{error:?}");
    assert_eq!(status.dead_letters, 0);
    assert_eq!(
        postgres
            .value("SELECT count(*) FROM sluice.dead_letters")
            .await?,
        "0"
    );
    apply.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_in_debeziums_topic_in_avro_is_put_aside_and_a_wrong_format_is_not() -> Result<()> {
    debezium_with_poison(Format::Avro, Format::Json, "poison_avro").await
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_in_debeziums_topic_in_json_is_put_aside_and_a_wrong_format_is_not() -> Result<()> {
    debezium_with_poison(Format::JsonWithSchemas, Format::Avro, "poison_json").await
}
