//! Topics: made as declared where they are missing, checked where they are there.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig,
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigResource, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    config::FromClientConfigAndContext,
    types::RDKafkaErrorCode as Code,
};
use sluice_agent_api::kafka::OwnTopics;
use sluice_core::{Error, Reason, Result, TableId, TableSchema};
use tracing::{info, warn};

use crate::{connect::Context, error::classify_code, lookup::Lookup};

const REQUEST_MAX: Duration = Duration::from_secs(20);
/// A week: how far a reader may fall behind before compaction takes changes from under it.
const WEEK_MS: &str = "604800000";
/// The largest record that a topic made by Sluice takes; brokers refuse requests of 100 MiB.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// What brokers take when nobody says otherwise.
const MESSAGE_BYTES_DEFAULT: usize = 1_048_588;

/// What a topic is for, which decides its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Rows of a table with a key: the newest of each key is kept.
    Keyed,
    /// Rows of a table without a key: all are kept.
    Keyless,
    /// What is no row; all of it is kept.
    Control,
    /// Bounds of transactions: kept as long as every change is.
    Bounds,
    /// Shapes or positions: the newest of each key is kept.
    Newest,
    /// Records that could not be applied; all of them are kept.
    Letters,
}

impl Purpose {
    /// The purpose of a table's topic.
    pub(crate) fn of(table: &TableSchema) -> Self {
        if table.has_key() {
            Self::Keyed
        } else {
            Self::Keyless
        }
    }

    fn settings(self) -> Vec<(&'static str, String)> {
        let size = ("max.message.bytes", MESSAGE_BYTES_MAX.to_string());
        let own = |name, value: &str| (name, value.to_owned());
        match self {
            Self::Keyed => vec![
                own("cleanup.policy", "compact"),
                own("min.compaction.lag.ms", WEEK_MS),
                own("delete.retention.ms", WEEK_MS),
                size,
            ],
            Self::Keyless | Self::Control | Self::Letters => vec![
                own("cleanup.policy", "delete"),
                own("retention.ms", "-1"),
                own("retention.bytes", "-1"),
                size,
            ],
            Self::Bounds => vec![
                own("cleanup.policy", "delete"),
                own("retention.ms", WEEK_MS),
                own("retention.bytes", "-1"),
                size,
            ],
            // Small segments, so that what is read at every start stays short.
            Self::Newest => vec![
                own("cleanup.policy", "compact"),
                own("segment.bytes", "8388608"),
                own("min.cleanable.dirty.ratio", "0.1"),
                own("delete.retention.ms", WEEK_MS),
                size,
            ],
        }
    }
}

/// What a topic is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Topic {
    pub(crate) partitions: i32,
    /// The largest record that it takes.
    pub(crate) message_bytes_max: usize,
}

/// What the configuration says about a topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declared {
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i32,
    pub(crate) purpose: Purpose,
}

/// Makes and describes topics.
pub(crate) struct Topics {
    admin: AdminClient<Context>,
    brokers: String,
}

impl Topics {
    /// A client of the cluster.
    pub(crate) fn new(config: &ClientConfig, brokers: &str) -> Result<Self> {
        let admin = AdminClient::from_config_and_context(config, Context::new(brokers))
            .map_err(|error| Context::new(brokers).error("making an admin client", error))?;
        Ok(Self {
            admin,
            brokers: brokers.to_owned(),
        })
    }

    /// Makes a topic, or checks the one that is there.
    pub(crate) async fn ensure(
        &self,
        lookup: &Lookup,
        name: &str,
        declared: Declared,
    ) -> Result<Topic> {
        check_name(name)?;
        if let Some(partitions) = lookup.partitions(name).await? {
            return self.check(name, partitions, declared).await;
        }
        let created = self.create(name, declared).await?;
        let partitions = match created {
            Created::New => declared.partitions,
            // Somebody else was faster.
            Created::Exists => lookup
                .partitions(name)
                .await?
                .unwrap_or(declared.partitions),
        };
        Ok(Topic {
            partitions,
            message_bytes_max: MESSAGE_BYTES_MAX,
        })
    }

    /// Asks whether a topic could be made.
    pub(crate) async fn validate(&self, name: &str, declared: Declared) -> Result<()> {
        check_name(name)?;
        self.request(name, declared, true).await.map(|_| ())
    }

    async fn create(&self, name: &str, declared: Declared) -> Result<Created> {
        let created = self.request(name, declared, false).await?;
        if matches!(created, Created::New) {
            info!(
                topic = name,
                partitions = declared.partitions,
                "topic created"
            );
        }
        Ok(created)
    }

    async fn request(&self, name: &str, declared: Declared, only_asked: bool) -> Result<Created> {
        let settings = declared.purpose.settings();
        let replication = TopicReplication::Fixed(declared.replication_factor);
        let mut topic = NewTopic::new(name, declared.partitions, replication);
        for (name, value) in &settings {
            topic = topic.set(name, value);
        }
        let doing = format!("creating topic {name}");
        let options = AdminOptions::new()
            .request_timeout(Some(REQUEST_MAX))
            .operation_timeout(Some(REQUEST_MAX))
            .validate_only(only_asked);
        let answer = self.admin.create_topics([&topic], &options).await;
        let answer = answer.map_err(|error| self.admin.inner().context().error(&doing, error))?;
        match answer.into_iter().next() {
            Some(Err((_, Code::TopicAlreadyExists))) => Ok(Created::Exists),
            Some(Err((_, Code::InvalidReplicationFactor))) => Err(Error::new(
                Reason::InvalidConfig,
                format!(
                    "{doing}: there are fewer brokers than the {} copies that are declared",
                    declared.replication_factor
                ),
            )
            .with_hint("lower spec.kafka.replicationFactor, or add brokers")),
            Some(Err((_, code))) => Err(classify_code(&self.brokers, &doing, code)),
            _ => Ok(Created::New),
        }
    }

    async fn check(&self, name: &str, partitions: i32, declared: Declared) -> Result<Topic> {
        let mut settings = self.describe(name).await?;
        if declared.purpose == Purpose::Keyless && is_made_for_keys(&settings) {
            self.keep_everything(name).await?;
            settings = self.describe(name).await?;
        }
        for finding in findings(name, partitions, declared, &settings) {
            match finding {
                Finding::Wrong(error) => return Err(error),
                Finding::Odd(message, hint) => warn!(topic = name, hint, "{message}"),
            }
        }
        let size = settings.get("max.message.bytes");
        Ok(Topic {
            partitions,
            message_bytes_max: size
                .and_then(|size| size.parse().ok())
                .unwrap_or(MESSAGE_BYTES_DEFAULT),
        })
    }

    /// Lets a topic that was made for a table with a key keep records without one: the table has lost its
    /// key. It stays so when the table gets a key again, for compaction would drop what has none.
    async fn keep_everything(&self, name: &str) -> Result<()> {
        let doing = format!("ending the compaction of topic {name}");
        let settings = Purpose::Keyless.settings();
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(name));
        for (name, value) in &settings {
            change = change.set(name, value);
        }
        let options = AdminOptions::new().request_timeout(Some(REQUEST_MAX));
        let answer = self.admin.alter_configs([&change], &options).await;
        let answer = answer.map_err(|error| self.admin.inner().context().error(&doing, error))?;
        if let Some(Err((_, code))) = answer.into_iter().next() {
            return Err(classify_code(&self.brokers, &doing, code));
        }
        info!(
            topic = name,
            "the topic is not compacted any more, since its table has no key"
        );
        Ok(())
    }

    /// A topic's settings; none where the user may not see them.
    pub(crate) async fn describe(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let doing = format!("describing topic {name}");
        let options = AdminOptions::new().request_timeout(Some(REQUEST_MAX));
        let specifier = ResourceSpecifier::Topic(name);
        let answer = self.admin.describe_configs([&specifier], &options).await;
        let answer = answer.map_err(|error| self.admin.inner().context().error(&doing, error))?;
        let Some(Ok(ConfigResource { entries, .. })) = answer.into_iter().next() else {
            return Ok(BTreeMap::new());
        };
        let known = entries.into_iter();
        Ok(known
            .filter_map(|entry| Some((entry.name, entry.value?)))
            .collect())
    }
}

/// Whether a topic has the settings that it gets here for a table with a key: nobody has set others.
fn is_made_for_keys(settings: &BTreeMap<String, String>) -> bool {
    let own = Purpose::Keyed.settings();
    own.iter()
        .all(|(name, value)| settings.get(*name) == Some(value))
}

enum Created {
    New,
    Exists,
}

/// What is to be said about a topic that is there.
pub(crate) enum Finding {
    /// It can't be used.
    Wrong(Error),
    /// It can, with a drawback: what, and the remedy.
    Odd(String, String),
}

/// Compares a topic with what is declared.
pub(crate) fn findings(
    name: &str,
    partitions: i32,
    declared: Declared,
    settings: &BTreeMap<String, String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let alter = |setting: &str| {
        format!(
            "kafka-configs --alter --entity-type topics --entity-name {name} --add-config {setting}"
        )
    };
    let is_own = matches!(
        declared.purpose,
        Purpose::Control | Purpose::Bounds | Purpose::Newest
    );
    if is_own && partitions != 1 {
        let message = format!("topic {name} has {partitions} partitions and must have one");
        let error = Error::new(Reason::InvalidConfig, message);
        findings.push(Finding::Wrong(
            error.with_hint("delete the topic, so that it is made anew"),
        ));
    } else if partitions != declared.partitions && declared.purpose != Purpose::Letters {
        findings.push(Finding::Odd(
            format!(
                "topic {name} has {partitions} partitions instead of {}",
                declared.partitions
            ),
            "set spec.kafka.partitions to what the topic has".to_owned(),
        ));
    }
    let Some(policy) = settings.get("cleanup.policy") else {
        return findings;
    };
    let compacted = policy.contains("compact");
    if compacted && !matches!(declared.purpose, Purpose::Keyed | Purpose::Newest) {
        let message = format!("topic {name} is compacted, but every record of it counts");
        let error = Error::new(Reason::TargetIncompatible, message);
        findings.push(Finding::Wrong(
            error.with_hint(alter("cleanup.policy=delete")),
        ));
    }
    let deletes = policy.contains("delete");
    let retention = settings.get("retention.ms").map(String::as_str);
    if deletes && retention != Some("-1") && declared.purpose != Purpose::Bounds {
        let until = retention.unwrap_or("the broker's");
        findings.push(Finding::Odd(
            format!("topic {name} loses records after {until} ms"),
            alter("retention.ms=-1"),
        ));
    }
    findings
}

/// Kafka's rules for names.
fn check_name(name: &str) -> Result<()> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let fits = (1..=249).contains(&name.len()) && name != "." && name != "..";
    if fits && name.bytes().all(legal) {
        return Ok(());
    }
    Err(Error::new(
        Reason::TargetIncompatible,
        format!("{name:?} can't be the name of a topic"),
    )
    .with_hint(
        "leave the table out, or give it a target name of letters, digits, '.', '_' and '-'",
    ))
}

/// The topics beside the tables', and what each is for.
pub(crate) fn beside(own: &OwnTopics) -> Vec<(String, Purpose)> {
    let mut topics = vec![
        (own.schemas(), Purpose::Newest),
        (own.control(), Purpose::Control),
        (own.positions(), Purpose::Newest),
    ];
    if own.transactions {
        topics.push((own.transaction(), Purpose::Bounds));
    }
    topics
}

/// The topic of a table, in which characters that topics can't have are replaced by `_`, as
/// Debezium does.
pub(crate) fn topic_of(topics: &OwnTopics, table: &TableId) -> String {
    let name = topics.table(&table.schema, &table.name);
    let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    let letters = name.chars();
    letters
        .map(|letter| if legal(letter) { letter } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(purpose: Purpose) -> Declared {
        Declared {
            partitions: 3,
            replication_factor: 1,
            purpose,
        }
    }

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        owned.collect()
    }

    #[test]
    fn a_compacted_topic_can_not_take_records_without_a_key() {
        let found = findings(
            "t",
            3,
            declared(Purpose::Keyless),
            &settings(&[("cleanup.policy", "compact")]),
        );
        assert!(
            matches!(&found[..], [Finding::Wrong(error)] if error.hint().unwrap().contains("cleanup.policy=delete"))
        );
    }

    #[test]
    fn retention_and_partitions_that_differ_are_told() {
        let found = findings(
            "t",
            2,
            declared(Purpose::Keyed),
            &settings(&[("cleanup.policy", "delete"), ("retention.ms", "1000")]),
        );
        assert_eq!(found.len(), 2);
        assert!(
            findings(
                "t",
                3,
                declared(Purpose::Keyed),
                &settings(&[("cleanup.policy", "compact")])
            )
            .is_empty()
        );
    }

    #[test]
    fn names_that_kafka_refuses_are_refused_before() {
        assert!(check_name("shop.db.orders").is_ok());
        assert!(check_name("größe").is_err() && check_name(&"a".repeat(250)).is_err());
    }
}
