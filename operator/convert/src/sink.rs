//! The sink's half of an agent's configuration.

use std::collections::BTreeMap;

use sluice_agent_api::config::{
    ConnectionConfig, Deletes, EnumAs, Mask, OnBadRecord, PostgresConfig, SchemaPolicies,
    SchemaPolicy, SetAs, SinkConfig, SinkSystem, TableRoute, Tinyint1, Unrepresentable,
};
use sluice_crds::{
    ReplicaSink, ReplicaSinkSpec,
    kafka::KafkaTransport,
    sink::{self as crd, Resolution},
    tables::{self, Columns},
    target::{self, PostgresSink},
};

use crate::{
    kafka,
    problem::Checks,
    secrets::{tls_config, user_and_password},
    source::{check_host, check_name, check_tls},
};

/// The longest that a change may wait for others.
const DELAY_MILLISECONDS_MAX: u64 = 60_000;

/// Refuses what contradicts itself or is not built yet.
pub(crate) fn check(sink: &ReplicaSink, checks: &mut Checks) {
    let spec = &sink.spec;
    check_name(sink.metadata.name.as_deref(), checks);
    check_target(spec, checks);
    for (index, route) in spec.tables.iter().flatten().enumerate() {
        check_route(&format!("spec.tables[{index}]"), route, checks);
    }
    check_routes_differ(spec.tables.as_deref().unwrap_or_default(), checks);
    match delay_milliseconds(&spec.apply.max_delay) {
        None => checks.refuse(
            "spec.apply.maxDelay",
            "must be a whole number and a unit (ms, s or m), such as 100ms",
        ),
        Some(delay) => checks.require(
            delay <= DELAY_MILLISECONDS_MAX,
            "spec.apply.maxDelay",
            "must be one minute at most",
        ),
    }
    let latest_wins = spec.conflicts.resolution == Resolution::LatestWins;
    checks.require(
        latest_wins == spec.conflicts.column.is_some(),
        "spec.conflicts",
        "column is needed with LatestWins, and only with it",
    );
    checks.not_supported(
        spec.conflicts.resolution != Resolution::SourceWins,
        "spec.conflicts.resolution",
    );
    checks.not_supported(spec.verify.is_some(), "spec.verify");
    let errors = &spec.errors;
    if let Some(topic) = &errors.dead_letter_topic {
        let path = "spec.errors.deadLetterTopic";
        checks.require(
            errors.on_bad_record == crd::OnBadRecord::DeadLetter,
            "spec.errors",
            "deadLetterTopic has no effect with onBadRecord: Stop",
        );
        checks.require(
            spec.kafka.is_none(),
            path,
            "has no effect with kafka: a topic refuses no row for its content",
        );
        checks.require(
            kafka::is_topic_name(topic),
            path,
            "must be a topic's name: letters, digits, ., _ and -",
        );
    }
}

fn check_target(spec: &ReplicaSinkSpec, checks: &mut Checks) {
    let others = [
        ("spec.mysql", spec.mysql.is_some()),
        ("spec.clickhouse", spec.clickhouse.is_some()),
        ("spec.parquet", spec.parquet.is_some()),
        ("spec.opensearch", spec.opensearch.is_some()),
    ];
    let other_count = others.iter().filter(|(_, given)| *given).count();
    let built = [spec.postgres.is_some(), spec.kafka.is_some()];
    checks.require(
        other_count + built.iter().filter(|given| **given).count() == 1,
        "spec",
        "exactly one of postgres, mysql, clickhouse, parquet, opensearch and kafka is needed",
    );
    for (path, given) in others {
        checks.not_supported(given, path);
    }
    if let Some(kafka) = &spec.kafka {
        kafka::check_transport(kafka, checks);
        // A topic holds what happened; what is a delete is for its readers to say.
        checks.require(
            spec.apply.deletes != crd::Deletes::Soft,
            "spec.apply.deletes",
            "can't be Soft with kafka: a topic has no column _sluice_deleted_at to set",
        );
    }
    if let Some(postgres) = &spec.postgres {
        check_host("spec.postgres", &postgres.host, checks);
        check_tls("spec.postgres", postgres.tls.as_ref(), checks);
        checks.require(
            !postgres.database.is_empty(),
            "spec.postgres.database",
            "must not be empty",
        );
    }
}

fn check_route(path: &str, route: &tables::TableRoute, checks: &mut Checks) {
    checks.require(
        route.target.is_none() || !route.source.contains(['*', '?']),
        path,
        "target needs a source without * and ?: several tables can't go into one",
    );
    if let Some(columns) = &route.columns {
        check_columns(&format!("{path}.columns"), columns, checks);
    }
}

fn check_columns(path: &str, columns: &Columns, checks: &mut Checks) {
    checks.require(
        columns.include.is_none() || columns.exclude.is_none(),
        path,
        "only one of include and exclude can be given",
    );
    let excluded = |column: &String| {
        let exclude = columns.exclude.as_deref().unwrap_or_default();
        exclude.contains(column)
    };
    let left_out = |column: &String| {
        let include = columns.include.as_deref();
        include.is_some_and(|include| !include.contains(column))
    };
    let (mask, rename) = (&columns.mask, &columns.rename);
    let table = [
        (
            mask.keys().any(excluded),
            "mask names a column that exclude leaves out",
        ),
        (
            mask.keys().any(left_out),
            "mask names a column that include leaves out",
        ),
        (
            rename.keys().any(excluded),
            "rename names a column that exclude leaves out",
        ),
        (
            rename.keys().any(left_out),
            "rename names a column that include leaves out",
        ),
    ];
    for (wrong, message) in table {
        checks.require(!wrong, path, message);
    }
    let mut names = BTreeMap::new();
    for (old, new) in &columns.rename {
        if let Some(other) = names.insert(&new.0, old) {
            checks.refuse(
                format!("{path}.rename"),
                &format!("{other} and {old} can't both become {}", new.0),
            );
        }
    }
}

fn check_routes_differ(routes: &[tables::TableRoute], checks: &mut Checks) {
    let (mut sources, mut targets) = (BTreeMap::new(), BTreeMap::new());
    for (index, route) in routes.iter().enumerate() {
        if let Some(first) = sources.insert(&route.source, index) {
            checks.refuse(
                format!("spec.tables[{index}].source"),
                &format!(
                    "{} is the source of spec.tables[{first}] already",
                    route.source
                ),
            );
        }
        let Some(target) = &route.target else {
            continue;
        };
        if let Some(first) = targets.insert(target, index) {
            checks.refuse(
                format!("spec.tables[{index}].target"),
                &format!("{target} is the target of spec.tables[{first}] already"),
            );
        }
    }
}

/// The sink's part; none where the kind of target is not supported.
pub(crate) fn sink_config(sink: &ReplicaSink, checks: &mut Checks) -> Option<SinkConfig> {
    check(sink, checks);
    let spec = &sink.spec;
    let name = sink.metadata.name.clone().unwrap_or_default();
    let system = match (&spec.postgres, &spec.kafka) {
        (Some(postgres), _) => SinkSystem::Postgres(postgres_config(postgres)),
        (None, Some(kafka)) => {
            let source = &spec.source_ref.name;
            SinkSystem::Kafka(kafka::target(kafka, &name, source, false))
        }
        (None, None) => return None,
    };
    Some(SinkConfig {
        name,
        schema_changes: schema_policies(&spec.schema_changes),
        deletes: match spec.apply.deletes {
            crd::Deletes::Apply => Deletes::Apply,
            crd::Deletes::Soft => Deletes::Soft,
            crd::Deletes::Ignore => Deletes::Ignore,
        },
        on_bad_record: match spec.errors.on_bad_record {
            crd::OnBadRecord::DeadLetter => OnBadRecord::DeadLetter,
            crd::OnBadRecord::Stop => OnBadRecord::Stop,
        },
        dead_letter_topic: spec.errors.dead_letter_topic.clone(),
        unrepresentable: match spec.unrepresentable {
            crd::Unrepresentable::Null => Unrepresentable::Null,
            crd::Unrepresentable::DeadLetter => Unrepresentable::DeadLetter,
            crd::Unrepresentable::Fail => Unrepresentable::Fail,
        },
        system,
    })
}

/// The topics of a source as a target: everything that happens is written down.
pub(crate) fn transport(kafka: &KafkaTransport, source: &str) -> SinkConfig {
    SinkConfig {
        name: source.to_owned(),
        schema_changes: SchemaPolicies {
            create_table: SchemaPolicy::Apply,
            add_column: SchemaPolicy::Apply,
            rename_column: SchemaPolicy::Apply,
            alter_column: SchemaPolicy::Apply,
            drop_column: SchemaPolicy::Apply,
            truncate: SchemaPolicy::Apply,
            drop_table: SchemaPolicy::Apply,
        },
        deletes: Deletes::Apply,
        on_bad_record: OnBadRecord::Stop,
        dead_letter_topic: None,
        unrepresentable: Unrepresentable::Fail,
        system: SinkSystem::Kafka(kafka::target(kafka, source, source, true)),
    }
}

fn postgres_config(postgres: &PostgresSink) -> PostgresConfig {
    let (username, password) = user_and_password(&postgres.credentials);
    PostgresConfig {
        connection: ConnectionConfig {
            host: postgres.host.clone(),
            port: postgres.port,
            database: Some(postgres.database.clone()),
            username,
            password,
            tls: tls_config(postgres.tls.as_ref()),
        },
        tinyint1: match postgres.tinyint1 {
            target::Tinyint1::Smallint => Tinyint1::Smallint,
            target::Tinyint1::Boolean => Tinyint1::Boolean,
        },
        enums: match postgres.enums {
            target::EnumAs::Text => EnumAs::Text,
            target::EnumAs::Native => EnumAs::Native,
        },
        sets: match postgres.sets {
            target::SetAs::Text => SetAs::Text,
            target::SetAs::TextArray => SetAs::TextArray,
        },
    }
}

fn schema_policies(changes: &crd::SchemaChanges) -> SchemaPolicies {
    let policy = |policy: crd::SchemaPolicy| match policy {
        crd::SchemaPolicy::Apply => SchemaPolicy::Apply,
        crd::SchemaPolicy::Ignore => SchemaPolicy::Ignore,
        crd::SchemaPolicy::Pause => SchemaPolicy::Pause,
        crd::SchemaPolicy::Fail => SchemaPolicy::Fail,
    };
    SchemaPolicies {
        create_table: policy(changes.create_table),
        add_column: policy(changes.add_column),
        rename_column: policy(changes.rename_column),
        alter_column: policy(changes.alter_column),
        drop_column: policy(changes.drop_column),
        truncate: policy(changes.truncate),
        drop_table: policy(changes.drop_table),
    }
}

pub(crate) fn routes(sink: &ReplicaSink) -> Vec<TableRoute> {
    sink.spec.tables.iter().flatten().map(table_route).collect()
}

fn table_route(route: &tables::TableRoute) -> TableRoute {
    let columns = route.columns.clone().unwrap_or_default();
    let renamed = columns.rename.into_iter().map(|(old, new)| (old, new.0));
    let masked = columns.mask.into_iter().map(|(column, mask)| {
        let mask = match mask {
            tables::Mask::Sha256 => Mask::Sha256,
            tables::Mask::SetNull => Mask::Null,
            tables::Mask::Redact => Mask::Redact,
        };
        (column, mask)
    });
    TableRoute {
        source: route.source.clone(),
        target: route.target.clone(),
        include_columns: columns.include,
        exclude_columns: columns.exclude.unwrap_or_default(),
        rename_columns: renamed.collect(),
        mask_columns: masked.collect(),
        row_filter: route.row_filter.clone(),
    }
}

/// The milliseconds that `100ms`, `2s` or `1m` stand for.
pub(crate) fn delay_milliseconds(text: &str) -> Option<u64> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(milliseconds)
}
