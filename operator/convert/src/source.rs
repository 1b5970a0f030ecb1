//! The source's half of an agent's configuration.

use sluice_agent_api::{
    config::{
        ConnectionConfig, MysqlConfig, OnPositionLost, SnapshotConfig, SnapshotMode, SourceConfig,
        SourceSystem,
    },
    kafka::KafkaTopics,
};
use sluice_crds::{
    ReplicationSource,
    connection::Tls,
    source::{self as crd, MysqlSource},
};

use crate::{
    kafka,
    problem::Checks,
    secrets::{tls_config, user_and_password},
};

/// Refuses what contradicts itself or is not built yet.
pub(crate) fn check(source: &ReplicationSource, checks: &mut Checks) {
    let spec = &source.spec;
    check_name(source.metadata.name.as_deref(), checks);
    let given = [
        spec.mysql.is_some(),
        spec.postgres.is_some(),
        spec.kafka_topics.is_some(),
    ];
    checks.require(
        given.iter().filter(|given| **given).count() == 1,
        "spec",
        "exactly one of mysql, postgres and kafkaTopics is needed",
    );
    checks.not_supported(spec.postgres.is_some(), "spec.postgres");
    if let Some(topics) = &spec.kafka_topics {
        kafka::check_foreign(topics, checks);
        checks.require(
            spec.kafka.is_none(),
            "spec.kafka",
            "kafka is only for mysql and postgres: kafkaTopics are in Kafka already",
        );
    } else {
        checks.require(
            spec.tables.is_some(),
            "spec.tables",
            "tables is needed with mysql and postgres",
        );
    }
    if let Some(kafka) = &spec.kafka {
        kafka::check_transport(kafka, checks);
    }
    if let Some(mysql) = &spec.mysql {
        check_host("spec.mysql", &mysql.host, checks);
        check_tls("spec.mysql", mysql.tls.as_ref(), checks);
    }
    if let Some(tables) = &spec.tables {
        check_tables(tables, checks);
    }
}

fn check_tables(tables: &sluice_crds::tables::Tables, checks: &mut Checks) {
    checks.require(
        !tables.include.is_empty(),
        "spec.tables.include",
        "must name at least one table or pattern",
    );
    checks.require(
        !tables
            .include
            .iter()
            .any(|pattern| tables.exclude.contains(pattern)),
        "spec.tables",
        "a pattern can't be both included and excluded",
    );
}

/// The name that pods are named after; both kinds have the same rule.
pub(crate) fn check_name(name: Option<&str>, checks: &mut Checks) {
    let name = name.unwrap_or_default();
    checks.require(!name.is_empty(), "metadata.name", "is missing");
    checks.require(
        name.len() <= 52,
        "metadata.name",
        "metadata.name can have 52 characters at most: names of pods are made of it",
    );
}

/// A host is a host alone.
pub(crate) fn check_host(path: &str, host: &str, checks: &mut Checks) {
    let alone = |character: char| !character.is_whitespace() && !matches!(character, '/' | '@');
    // An IPv6 address has more than one colon.
    let has_port = host.split_once(':').is_some_and(|(name, port)| {
        !name.is_empty() && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    });
    checks.require(
        !host.is_empty() && host.chars().all(alone) && !has_port,
        format!("{path}.host"),
        "must be a host name or address alone, without scheme, user, port or path",
    );
}

/// Certificates need a mode that looks at them.
pub(crate) fn check_tls(path: &str, tls: Option<&Tls>, checks: &mut Checks) {
    let Some(tls) = tls else { return };
    let certificates = tls.ca_secret_ref.is_some() || tls.client_secret_ref.is_some();
    checks.require(
        tls.mode != sluice_crds::connection::TlsMode::Disable || !certificates,
        format!("{path}.tls"),
        "caSecretRef and clientSecretRef have no effect with mode Disable: choose another mode",
    );
}

/// The database's part, for the agent with this identity that reads its log; none where the kind of
/// source is not supported.
pub(crate) fn database(source: &ReplicationSource, identity: &str) -> Option<SourceConfig> {
    let mysql = source.spec.mysql.as_ref()?;
    let system = SourceSystem::Mysql(mysql_config(mysql, identity));
    Some(with_selection(source, system))
}

/// The part of topics, for an agent that reads them in this consumer group; none where there are none.
pub(crate) fn topics(source: &ReplicationSource, group_id: String) -> Option<SourceConfig> {
    let spec = &source.spec;
    let name = source.metadata.name.as_deref().unwrap_or_default();
    let kafka = match (&spec.kafka, &spec.kafka_topics) {
        (Some(transport), _) => {
            let topics = KafkaTopics::Own(kafka::own_topics(transport, name, name));
            kafka::topics(transport.into(), topics, group_id)
        }
        (None, Some(foreign)) => {
            let topics = KafkaTopics::Foreign(foreign.topics.clone());
            kafka::topics(foreign.into(), topics, group_id)
        }
        (None, None) => return None,
    };
    Some(with_selection(source, SourceSystem::Kafka(kafka)))
}

fn with_selection(source: &ReplicationSource, system: SourceSystem) -> SourceConfig {
    let tables = source.spec.tables.as_ref();
    SourceConfig {
        name: source.metadata.name.clone().unwrap_or_default(),
        // Topics name the tables themselves.
        include: tables.map_or_else(|| vec!["*".to_owned()], |tables| tables.include.clone()),
        exclude: tables.map_or_else(Vec::new, |tables| tables.exclude.clone()),
        heartbeat_seconds: source.spec.heartbeat_seconds,
        system,
    }
}

fn mysql_config(mysql: &MysqlSource, identity: &str) -> MysqlConfig {
    let (username, password) = user_and_password(&mysql.credentials);
    MysqlConfig {
        connection: ConnectionConfig {
            host: mysql.host.clone(),
            port: mysql.port,
            database: None,
            username,
            password,
            tls: tls_config(mysql.tls.as_ref()),
        },
        server_id: server_id(identity),
    }
}

/// The replica id of a pipeline: the same at every start, another for every pipeline, and out of
/// the range that people give to servers by hand. MySQL disconnects the older of two replicas with
/// one id.
fn server_id(identity: &str) -> u32 {
    // FNV-1a: the standard library's hash may change between versions of Rust.
    let hash = identity
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    0x4000_0000 | ((hash ^ (hash >> 32)) as u32 & 0x3fff_ffff)
}

pub(crate) fn snapshot_config(snapshot: &crd::Snapshot) -> SnapshotConfig {
    SnapshotConfig {
        mode: match snapshot.mode {
            crd::SnapshotMode::Initial => SnapshotMode::Initial,
            crd::SnapshotMode::Never => SnapshotMode::Never,
            crd::SnapshotMode::Only => SnapshotMode::Only,
            crd::SnapshotMode::WhenNeeded => SnapshotMode::WhenNeeded,
        },
        chunk_rows: u64::from(snapshot.chunk_rows),
        parallelism: snapshot.parallelism,
    }
}

pub(crate) fn on_position_lost(policy: crd::OnPositionLost) -> OnPositionLost {
    match policy {
        crd::OnPositionLost::Fail => OnPositionLost::Fail,
        crd::OnPositionLost::Resnapshot => OnPositionLost::Resnapshot,
    }
}
