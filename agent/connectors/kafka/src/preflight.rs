//! Whether topics can be written or read, asked before anything is changed.
//!
//! Nothing is written: topics that are missing are only asked to be validated, and the transactional
//! id that is tried is one of its own. Each answer is a [`Check`] with what mends it; what can't be
//! asked because something before it failed is `Skipped`.

use std::{collections::BTreeMap, sync::Arc};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use sluice_agent_api::{
    SecretStore,
    kafka::{KafkaConfig, KafkaSourceConfig, KafkaTopics, OwnTopics},
    status::{Check, CheckOutcome},
};
use sluice_core::{Error, Reason, Result, selection::matches};

use crate::{
    connect::{Context, client_config},
    lookup::{Lookup, blocking, consumer},
    producer::Producer,
    settings::Settings,
    topics::{Declared, Finding, Purpose, Topics, beside, findings},
};

/// Values of this size are common; a topic that takes less is worth a word.
const MESSAGE_BYTES_COMMON: usize = 8 << 20;

/// Checks every prerequisite of topics that are to be written. `subject` names the resource, such as
/// `ReplicationSource/shop`.
pub async fn check_sink(
    subject: &str,
    kafka: &KafkaConfig,
    secrets: &Arc<dyn SecretStore>,
) -> Vec<Check> {
    let mut report = Report::new(subject, "Target");
    let later = ["Replication", "Topics", "MessageSize", "Transactions"];
    if let Err(error) = written(&mut report, kafka, secrets).await {
        report.failed_connection(&error, &later);
    }
    report.checks
}

/// Checks every prerequisite of topics that are to be read.
pub async fn check_source(
    subject: &str,
    kafka: &KafkaSourceConfig,
    secrets: &Arc<dyn SecretStore>,
) -> Vec<Check> {
    let mut report = Report::new(subject, "Source");
    if let Err(error) = read(&mut report, kafka, secrets).await {
        report.failed_connection(&error, &["Topics", "Group"]);
    }
    report.checks
}

async fn written(
    report: &mut Report<'_>,
    kafka: &KafkaConfig,
    secrets: &Arc<dyn SecretStore>,
) -> Result<()> {
    let settings = Settings::new("check".to_owned(), kafka.clone());
    let config = client_config(&kafka.cluster, &**secrets, "sluice-check")?;
    let lookup = Lookup::new(config.clone(), settings.brokers())?;
    let brokers = lookup.brokers().await?;
    report.passed("Reachable", reached(settings.brokers(), brokers));
    let copies = kafka.replication_factor as usize;
    if copies <= brokers {
        report.passed(
            "Replication",
            format!("{copies} copies on {brokers} brokers"),
        );
    } else {
        let message = format!("{copies} copies are declared, and there are {brokers} brokers");
        report.failed(
            "Replication",
            message,
            Some("lower spec.kafka.replicationFactor, or add brokers"),
        );
    }
    let topics = Topics::new(&config, settings.brokers())?;
    if let Err(error) = check_topics(report, kafka, &lookup, &topics).await {
        report.error("Topics", &error);
    }
    match Producer::open(config, &settings).await {
        Ok(_) => report.passed(
            "Transactions",
            format!(
                "transactions of up to {} s are allowed",
                settings.transaction_timeout().as_secs()
            ),
        ),
        Err(error) => report.error("Transactions", &error),
    }
    Ok(())
}

async fn check_topics(
    report: &mut Report<'_>,
    kafka: &KafkaConfig,
    lookup: &Lookup,
    topics: &Topics,
) -> Result<()> {
    let present = lookup.topics().await?;
    let own = &kafka.topics;
    let copies = kafka.replication_factor.cast_signed();
    let mut wrong = 0;
    let mut smallest: Option<(usize, &str)> = None;
    let mut missing = Vec::new();
    for (name, purpose) in beside(own) {
        let declared = Declared {
            partitions: 1,
            replication_factor: copies,
            purpose,
        };
        match present.get(&name) {
            Some(&partitions) => {
                let settings = topics.describe(&name).await?;
                wrong += report.findings(&findings(&name, partitions, declared, &settings));
            }
            None => missing.push((name, declared)),
        }
    }
    for (name, &partitions) in tables_topics(own, &present) {
        let settings = topics.describe(name).await?;
        let declared = Declared {
            partitions: kafka.partitions.cast_signed(),
            replication_factor: copies,
            purpose: Purpose::Keyed,
        };
        wrong += report.findings(&findings(name, partitions, declared, &settings));
        let size = settings.get("max.message.bytes");
        if let Some(size) = size.and_then(|size| size.parse().ok())
            && smallest.is_none_or(|(known, _)| size < known)
        {
            smallest = Some((size, name));
        }
    }
    for (name, declared) in &missing {
        topics.validate(name, *declared).await?;
    }
    if wrong == 0 {
        let made = missing.len();
        let message = format!("the topics beside the tables' are there, or can be made ({made})");
        report.passed("Topics", message);
    }
    match smallest {
        Some((size, name)) if size < MESSAGE_BYTES_COMMON => report.warning(
            "MessageSize",
            format!(
                "topic {name} takes records of up to {size} bytes: a larger row stops its table"
            ),
            &format!(
                "kafka-configs --alter --entity-type topics --entity-name {name} --add-config \
                 max.message.bytes={}",
                crate::topics::MESSAGE_BYTES_MAX
            ),
        ),
        _ => report.passed("MessageSize", "large rows fit".to_owned()),
    }
    Ok(())
}

/// The topics that tables are written to, as far as they are there.
fn tables_topics<'a>(
    own: &OwnTopics,
    present: &'a BTreeMap<String, i32>,
) -> impl Iterator<Item = (&'a String, &'a i32)> {
    let pattern = own.table("*", "*");
    let beside = format!("{}.sluice.", own.name);
    present
        .iter()
        .filter(move |(name, _)| matches(&pattern, name) && !name.starts_with(&beside))
}

async fn read(
    report: &mut Report<'_>,
    kafka: &KafkaSourceConfig,
    secrets: &Arc<dyn SecretStore>,
) -> Result<()> {
    let brokers = &kafka.cluster.bootstrap_servers;
    let mut config = client_config(&kafka.cluster, &**secrets, "sluice-check")?;
    let lookup = Lookup::committed(config.clone(), brokers)?;
    let count = lookup.brokers().await?;
    report.passed("Reachable", reached(brokers, count));
    let present = lookup.topics().await?;
    let found: Vec<String> = match &kafka.topics {
        KafkaTopics::Own(own) => [own.control(), own.schemas()]
            .into_iter()
            .filter(|name| present.contains_key(name))
            .collect(),
        KafkaTopics::Foreign(patterns) => present
            .keys()
            .filter(|name| patterns.iter().any(|pattern| matches(pattern, name)))
            .cloned()
            .collect(),
    };
    if found.is_empty() {
        report.warning(
            "Topics",
            "none of the topics is there yet".to_owned(),
            "start what writes them; they are read as soon as they are there",
        );
    } else {
        let places = found.iter().map(|name| (name.clone(), 0)).collect();
        match lookup.ends_of(places).await {
            Ok(_) => report.passed("Topics", format!("{} topics can be read", found.len())),
            Err(error) => report.error("Topics", &error),
        }
    }
    config.set("group.id", &kafka.group_id);
    config.set("enable.auto.commit", "false");
    let group = group_offsets(consumer(&config, brokers)?, found).await;
    match group {
        Ok(()) => report.passed("Group", format!("group {} can be used", kafka.group_id)),
        Err(error) => report.error("Group", &error),
    }
    Ok(())
}

async fn group_offsets(consumer: BaseConsumer<Context>, topics: Vec<String>) -> Result<()> {
    blocking(move || {
        let mut list = TopicPartitionList::new();
        for topic in &topics {
            list.add_partition(topic, 0);
        }
        if list.count() == 0 {
            return Ok(());
        }
        let asked = consumer.committed_offsets(list, std::time::Duration::from_secs(10));
        let error = |error| {
            consumer
                .context()
                .error("asking for the group's offsets", error)
        };
        let asked = asked.map_err(error)?;
        asked
            .elements()
            .iter()
            .try_for_each(|element| element.error().map_err(error))
    })
    .await
}

fn reached(brokers: &str, count: usize) -> String {
    format!("connected to kafka at {brokers}, {count} brokers")
}

struct Report<'a> {
    subject: &'a str,
    side: &'a str,
    checks: Vec<Check>,
}

impl<'a> Report<'a> {
    fn new(subject: &'a str, side: &'a str) -> Self {
        Self {
            subject,
            side,
            checks: Vec::new(),
        }
    }

    fn passed(&mut self, name: &str, message: String) {
        self.add(name, CheckOutcome::Passed, message, None);
    }

    fn warning(&mut self, name: &str, message: String, remedy: &str) {
        self.add(name, CheckOutcome::Warning, message, Some(remedy));
    }

    fn failed(&mut self, name: &str, message: String, remedy: Option<&str>) {
        self.add(name, CheckOutcome::Failed, message, remedy);
    }

    fn error(&mut self, name: &str, error: &Error) {
        self.failed(name, error.report(), error.hint());
    }

    /// Reports what was found about a topic; answers how much of it is in the way.
    fn findings(&mut self, findings: &[Finding]) -> usize {
        let mut wrong = 0;
        for finding in findings {
            match finding {
                Finding::Wrong(error) => {
                    wrong += 1;
                    self.error("Topics", error);
                }
                Finding::Odd(message, remedy) => {
                    self.warning("TopicSettings", message.clone(), remedy);
                }
            }
        }
        wrong
    }

    fn add(&mut self, name: &str, outcome: CheckOutcome, message: String, remedy: Option<&str>) {
        self.checks.push(Check {
            subject: self.subject.to_owned(),
            name: format!("{}{name}", self.side),
            outcome,
            message,
            remedy: remedy.map(ToOwned::to_owned),
        });
    }

    /// Names the step at which the connection failed.
    fn failed_connection(&mut self, error: &Error, later: &[&str]) {
        let name = match error.reason() {
            Reason::TlsFailed => "Tls",
            Reason::AccessDenied => "Credentials",
            Reason::InvalidConfig => "Config",
            _ => "Reachable",
        };
        self.error(name, error);
        for name in later {
            let message = "not checked: there is no connection".to_owned();
            self.add(name, CheckOutcome::Skipped, message, None);
        }
    }
}
