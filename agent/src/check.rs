//! `sluice check`: every prerequisite of every source and sink, and how to mend what is missing.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use sluice_agent_api::{
    config::{SinkSystem, SourceConfig, SourceSystem},
    kafka::{KafkaSourceConfig, KafkaTopics},
    status::{Check, CheckOutcome, CheckReport},
};
use tokio::time::timeout;

use crate::{
    FAILED,
    arguments::{CheckArguments, Output},
    connectors,
    file::Loaded,
    termination,
};

/// How long the checks of one end may take; the operator gives a check two minutes.
const END_MAX: Duration = Duration::from_secs(45);

/// Checks and prints; fails when a check does.
pub(crate) async fn check(loaded: &Loaded, arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    let report = examine(loaded).await;
    match arguments.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Output::Table => print!("{}", table(&report)),
    }
    if let Some(path) = &arguments.termination_message {
        termination::write_report(path, &report)
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok(if report.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// Each source once, and each sink.
async fn examine(loaded: &Loaded) -> CheckReport {
    let mut report = CheckReport::default();
    let with_sinks = loaded
        .pipelines
        .iter()
        .map(|pipeline| (&pipeline.config.source, &pipeline.secrets));
    let alone = loaded
        .lone_sources
        .iter()
        .map(|source| (&source.config, &source.secrets));
    let mut seen: Vec<SourceConfig> = Vec::new();
    for (source, secrets) in with_sinks.chain(alone) {
        if seen.contains(&shared(source)) || is_written_here(source, loaded) {
            continue;
        }
        seen.push(shared(source));
        let subject = source.subject();
        let checks = connectors::check_source(source, secrets);
        report.checks.extend(within(&subject, checks).await);
    }
    for pipeline in &loaded.pipelines {
        let subject = pipeline.config.target_subject();
        let checks = connectors::check_sink(&pipeline.config, &pipeline.secrets);
        report.checks.extend(within(&subject, checks).await);
    }
    report
}

/// The checks of one end, or one that says that there is no answer.
async fn within(subject: &str, checks: impl Future<Output = Vec<Check>>) -> Vec<Check> {
    timeout(END_MAX, checks).await.unwrap_or_else(|_| {
        vec![Check {
            subject: subject.to_owned(),
            name: "Reachable".to_owned(),
            outcome: CheckOutcome::Failed,
            message: format!("the server gives no answer within {} s", END_MAX.as_secs()),
            remedy: Some("see what the server waits for, and what the network drops".to_owned()),
        }]
    })
}

/// Whether the topics of a source are what another of the pipelines writes: they are checked as its target.
fn is_written_here(source: &SourceConfig, loaded: &Loaded) -> bool {
    let SourceSystem::Kafka(KafkaSourceConfig {
        cluster,
        topics: KafkaTopics::Own(topics),
        ..
    }) = &source.system
    else {
        return false;
    };
    loaded.pipelines.iter().any(|pipeline| {
        matches!(&pipeline.config.sink.system, SinkSystem::Kafka(written)
            if written.cluster == *cluster && written.topics == *topics)
    })
}

/// The source without the replica id or the group, which each of its pipelines has for itself.
fn shared(source: &SourceConfig) -> SourceConfig {
    let mut shared = source.clone();
    match &mut shared.system {
        SourceSystem::Mysql(mysql) => mysql.server_id = 0,
        SourceSystem::Kafka(topics) => topics.group_id.clear(),
    }
    shared
}

/// The report for people: a mark and a line per check, the remedy below.
fn table(report: &CheckReport) -> String {
    let width = report
        .checks
        .iter()
        .map(|check| check.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    let mut subject = "";
    for check in &report.checks {
        if check.subject != subject {
            subject = &check.subject;
            text.extend([subject, "\n"]);
        }
        let mark = match check.outcome {
            CheckOutcome::Passed => '✓',
            CheckOutcome::Warning => '!',
            CheckOutcome::Failed => '✗',
            CheckOutcome::Skipped => '-',
        };
        let line = format!("  {mark} {:<width$}  {}", check.name, check.message);
        text.extend([line.trim_end(), "\n"]);
        for remedy in check.remedy.iter().flat_map(|remedy| remedy.lines()) {
            text.extend(["      → ", remedy, "\n"]);
        }
    }
    let count = |outcome| {
        report
            .checks
            .iter()
            .filter(|check| check.outcome == outcome)
            .count()
    };
    let (failed, warnings) = (count(CheckOutcome::Failed), count(CheckOutcome::Warning));
    let verdict = match failed {
        0 => "ready to run".to_owned(),
        _ => format!("{failed} of {} checks failed", report.checks.len()),
    };
    let noted = match warnings {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        _ => format!(", {warnings} warnings"),
    };
    text.extend([verdict.as_str(), noted.as_str(), "\n"]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_stand_below_what_fails() {
        let check = |name: &str, outcome, message: &str, remedy: Option<&str>| Check {
            subject: "ReplicationSource/shop".into(),
            name: name.into(),
            outcome,
            message: message.into(),
            remedy: remedy.map(str::to_owned),
        };
        let report = CheckReport {
            checks: vec![
                check(
                    "Reachable",
                    CheckOutcome::Passed,
                    "db:3306 is MySQL 9.7.4",
                    None,
                ),
                check(
                    "RowFormat",
                    CheckOutcome::Failed,
                    "binlog_format is STATEMENT",
                    Some("SET PERSIST binlog_format = ROW;"),
                ),
                check("Keys", CheckOutcome::Warning, "shop.log has no key", None),
            ],
        };
        assert_eq!(
            table(&report),
            "ReplicationSource/shop\n  ✓ Reachable  db:3306 is MySQL 9.7.4\n  ✗ RowFormat  binlog_format is STATEMENT\n      \
             → SET PERSIST binlog_format = ROW;\n  ! Keys       shop.log has no key\n1 of 3 checks failed, 1 warning\n"
        );
    }
}
