//! `/metrics`: what [`AgentStatus`] says, in the text format of Prometheus. METRICS.md describes
//! each metric for those who read dashboards.

use std::collections::BTreeMap;

use sluice_agent_api::{
    AgentStatus,
    status::{Phase, StalledOn},
};

const LAG_SECONDS: &str = "sluice_lag_seconds";
const LAG_BYTES: &str = "sluice_lag_bytes";
const LAG_RECORDS: &str = "sluice_lag_records";
const CONSUMER_LAG: &str = "sluice_kafka_consumer_lag_records";
const PARTITIONS: &str = "sluice_kafka_partitions";
const ROWS_APPLIED: &str = "sluice_rows_applied_total";
const SNAPSHOT_PERCENT: &str = "sluice_snapshot_percent";
const TABLES: &str = "sluice_tables";
const DEAD_LETTERS: &str = "sluice_dead_letters_total";
const NULLED_VALUES: &str = "sluice_nulled_values_total";
const READY: &str = "sluice_pipeline_ready";
const PHASE: &str = "sluice_phase";
const ERROR: &str = "sluice_pipeline_error";
const STALLED: &str = "sluice_stalled_seconds";
const STALLS: &str = "sluice_stalls_total";
const RESNAPSHOTS: &str = "sluice_resnapshots_total";
const RETENTION: &str = "sluice_log_retention_seconds";
const BUILD: &str = "sluice_build_info";

/// The most columns that get a series of their own; the rest are counted together.
const NULLED_COLUMNS_MAX: usize = 100;
/// The same of topics.
const TOPICS_MAX: usize = 1_000;

const PHASES: [Phase; 5] = [
    Phase::Pending,
    Phase::Snapshotting,
    Phase::Streaming,
    Phase::Stopped,
    Phase::Failed,
];
const TABLE_PHASES: [&str; 4] = ["Snapshotting", "Streaming", "Paused", "Failed"];

/// The metrics of all pipelines.
#[expect(clippy::too_many_lines, reason = "one call for each metric")]
pub(crate) fn render(pipelines: &[AgentStatus]) -> String {
    let mut page = Page {
        text: String::new(),
        pipelines,
    };
    page.each(
        LAG_SECONDS,
        "gauge",
        "Age of the newest change that is not applied.",
        |status| status.lag.seconds,
    );
    page.each(
        LAG_BYTES,
        "gauge",
        "Bytes of the source's log that are not applied.",
        |status| status.lag.bytes.map(|bytes| bytes as f64),
    );
    page.each(
        LAG_RECORDS,
        "gauge",
        "Records of the source's topics that are not applied.",
        |status| status.lag.records.map(|records| records as f64),
    );
    kafka(&mut page);
    page.each(
        ROWS_APPLIED,
        "counter",
        "Rows applied since the agent started.",
        |status| Some(status.rows_total as f64),
    );
    page.each(
        SNAPSHOT_PERCENT,
        "gauge",
        "Progress of the copy of present rows.",
        |status| Some(f64::from(status.snapshot.percent)),
    );
    page.labelled(
        TABLES,
        "gauge",
        "Tables by what they do.",
        "phase",
        |status| {
            let count = |phase: &str| {
                let tables = status.tables.values();
                tables.filter(|table| table.phase == phase).count() as f64
            };
            TABLE_PHASES
                .map(|phase| (phase.to_owned(), count(phase)))
                .into()
        },
    );
    page.each(
        DEAD_LETTERS,
        "counter",
        "Records kept aside because the target refused them.",
        |status| Some(status.dead_letters as f64),
    );
    page.labelled(
        NULLED_VALUES,
        "counter",
        "Values written as NULL because the target can't hold them.",
        "column",
        nulled,
    );
    page.each(
        READY,
        "gauge",
        "Whether rows flow or there is provably nothing to send.",
        |status| Some(f64::from(u8::from(status.ready))),
    );
    page.labelled(
        PHASE,
        "gauge",
        "What the pipeline does: 1 for the present phase.",
        "phase",
        |status| {
            let phases = PHASES.iter();
            phases
                .map(|phase| {
                    (
                        format!("{phase:?}"),
                        f64::from(u8::from(*phase == status.phase)),
                    )
                })
                .collect()
        },
    );
    page.labelled(
        ERROR,
        "gauge",
        "The error that the pipeline waits for or stopped at: 1 while there is one.",
        "reason",
        |status| {
            let error = status.last_error.iter();
            error.map(|error| (error.reason.clone(), 1.0)).collect()
        },
    );
    stalls(&mut page);
    page.each(
        RETENTION,
        "gauge",
        "Time until the log's oldest unread part may be purged.",
        |status| status.retention_seconds.map(|seconds| seconds as f64),
    );
    page.head(BUILD, "gauge", "The agent's version.");
    page.sample(BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    page.text
}

/// Topics that are read or written.
fn kafka(page: &mut Page<'_>) {
    page.labelled(
        PARTITIONS,
        "gauge",
        "Partitions that the agent reads or writes.",
        "topic",
        |status| {
            let topics = status.topics.iter();
            by_topic(topics.map(|(name, topic)| (name, u64::from(topic.partitions))))
        },
    );
    page.labelled(
        CONSUMER_LAG,
        "gauge",
        "Records of a topic that are not applied.",
        "topic",
        |status| {
            let topics = status.topics.iter();
            by_topic(topics.filter_map(|(name, topic)| Some((name, topic.lag_records?))))
        },
    );
}

/// Counts by topic, as far as there is room for topics.
fn by_topic<'a>(topics: impl Iterator<Item = (&'a String, u64)>) -> Vec<(String, f64)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (index, (topic, count)) in topics.enumerate() {
        let label = if index < TOPICS_MAX { topic } else { "other" };
        *counts.entry(label).or_default() += count;
    }
    let named = counts.into_iter();
    named
        .map(|(topic, count)| (topic.to_owned(), count as f64))
        .collect()
}

/// Ends that give no answer, and copies that were asked for.
fn stalls(page: &mut Page<'_>) {
    page.labelled(
        STALLED,
        "gauge",
        "For how long an end has given no answer; 0 while it does.",
        "on",
        stalled,
    );
    page.labelled(
        STALLS,
        "counter",
        "How often an end began to give no answer since the agent started.",
        "on",
        |status| {
            let counts = status.stalls;
            vec![
                ("Source".to_owned(), counts.source as f64),
                ("Target".to_owned(), counts.target as f64),
            ]
        },
    );
    page.each(
        RESNAPSHOTS,
        "counter",
        "Requests to copy tables again that were taken on since the agent started.",
        |status| Some(status.resnapshots_total as f64),
    );
}

/// How long each end has been silent.
fn stalled(status: &AgentStatus) -> Vec<(String, f64)> {
    let seconds = |on: StalledOn| {
        let stall = status.stalled.as_ref().filter(|stall| stall.on == on);
        stall.map_or(0.0, |stall| stall.seconds as f64)
    };
    [StalledOn::Source, StalledOn::Target]
        .map(|on| (format!("{on:?}"), seconds(on)))
        .into()
}

/// Nulled values by column, as far as there is room for columns.
fn nulled(status: &AgentStatus) -> Vec<(String, f64)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (index, (column, count)) in status.nulled_values.iter().enumerate() {
        let label = if index < NULLED_COLUMNS_MAX {
            column
        } else {
            "other"
        };
        *counts.entry(label).or_default() += count;
    }
    counts
        .into_iter()
        .map(|(column, count)| (column.to_owned(), count as f64))
        .collect()
}

struct Page<'a> {
    text: String,
    pipelines: &'a [AgentStatus],
}

impl Page<'_> {
    /// One sample per pipeline, where its value is known.
    fn each(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        value: impl Fn(&AgentStatus) -> Option<f64>,
    ) {
        self.head(name, kind, help);
        for status in self.pipelines {
            if let Some(value) = value(status) {
                self.sample(name, &labels(status), value);
            }
        }
    }

    /// One sample per pipeline and value of a label.
    fn labelled(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        values: impl Fn(&AgentStatus) -> Vec<(String, f64)>,
    ) {
        self.head(name, kind, help);
        for status in self.pipelines {
            for (text, value) in values(status) {
                let [pipeline, source, sink] = labels(status);
                self.sample(name, &[pipeline, source, sink, (label, &text)], value);
            }
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.text.extend([
            "# HELP ",
            name,
            " ",
            help,
            "\n# TYPE ",
            name,
            " ",
            kind,
            "\n",
        ]);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { "{" } else { "," };
            self.text
                .extend([before, label, "=\"", &escaped(text), "\""]);
        }
        self.text.extend(["} ", &value.to_string(), "\n"]);
    }
}

fn labels(status: &AgentStatus) -> [(&'static str, &str); 3] {
    [
        ("pipeline", &status.pipeline),
        ("source", &status.source),
        ("sink", &status.sink),
    ]
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use sluice_agent_api::status::{Lag, LastError, Stall, TableStatus, TopicStatus};

    use super::*;

    fn topic(partitions: u32, lag_records: Option<u64>) -> TopicStatus {
        TopicStatus {
            partitions,
            lag_records,
        }
    }

    fn status() -> AgentStatus {
        let table = |phase: &str| TableStatus {
            phase: phase.to_owned(),
            rows_copied: None,
            error: None,
        };
        AgentStatus {
            pipeline: "prod/shop-pg".into(),
            source: "shop".into(),
            sink: "shop-pg".into(),
            phase: Phase::Streaming,
            lag: Lag {
                seconds: Some(0.25),
                bytes: None,
                records: None,
            },
            topics: BTreeMap::from([
                ("shop.a".into(), topic(6, Some(12))),
                ("shop.b".into(), topic(2, None)),
            ]),
            rows_total: 7,
            tables: BTreeMap::from([
                ("a.b".into(), table("Streaming")),
                ("a.c".into(), table("Failed")),
            ]),
            nulled_values: (0..150)
                .map(|index| (format!("a.b.c{index:03}"), 2))
                .collect(),
            last_error: Some(LastError {
                reason: "Unreachable".into(),
                ..LastError::default()
            }),
            stalled: Some(Stall {
                on: StalledOn::Target,
                seconds: 9,
                message: "x".into(),
                hint: None,
            }),
            ..AgentStatus::default()
        }
    }

    #[test]
    fn every_sample_has_the_pipeline_and_its_value() {
        let page = render(&[status()]);
        let labels = r#"pipeline="prod/shop-pg",source="shop",sink="shop-pg""#;
        for line in [
            format!("sluice_lag_seconds{{{labels}}} 0.25"),
            format!("sluice_kafka_partitions{{{labels},topic=\"shop.b\"}} 2"),
            format!("sluice_kafka_consumer_lag_records{{{labels},topic=\"shop.a\"}} 12"),
            format!("sluice_rows_applied_total{{{labels}}} 7"),
            format!("sluice_tables{{{labels},phase=\"Failed\"}} 1"),
            format!("sluice_tables{{{labels},phase=\"Paused\"}} 0"),
            format!("sluice_phase{{{labels},phase=\"Streaming\"}} 1"),
            format!("sluice_phase{{{labels},phase=\"Failed\"}} 0"),
            format!("sluice_pipeline_error{{{labels},reason=\"Unreachable\"}} 1"),
            format!("sluice_stalled_seconds{{{labels},on=\"Target\"}} 9"),
            format!("sluice_stalled_seconds{{{labels},on=\"Source\"}} 0"),
            format!("sluice_nulled_values_total{{{labels},column=\"other\"}} 100"),
        ] {
            assert!(
                page.lines().any(|found| found == line),
                "no line {line} in\n{page}"
            );
        }
        assert!(
            !page.contains("lag_records{topic=\"shop.b\""),
            "it is written"
        );
        assert!(
            !page.contains("sluice_lag_bytes{"),
            "what is unknown has no sample"
        );
    }

    #[test]
    fn every_metric_is_documented() {
        let documentation = include_str!("../METRICS.md");
        for line in render(&[status()])
            .lines()
            .filter(|line| line.starts_with("# TYPE "))
        {
            let name = line.split(' ').nth(2).unwrap();
            assert!(
                documentation.contains(&format!("`{name}`")),
                "{name} is not in METRICS.md"
            );
        }
    }
}
