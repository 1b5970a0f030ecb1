//! `/metrics`: what the operator does, and how the pipelines are, in the text format of Prometheus.
//! METRICS.md describes each metric for those who read dashboards.
//!
//! Labels come from fixed sets, pipelines' names aside: there is one series per ReplicaSink and
//! metric, and they go when the ReplicaSink goes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sluice_crds::{ReplicaSinkStatus, status::Phase};

use crate::model::{ObjectKey, phase_name};

const RECONCILES: &str = "sluice_operator_reconciles_total";
const DURATION: &str = "sluice_operator_reconcile_duration_seconds";
const API_WRITES: &str = "sluice_operator_api_writes_total";
const STATUS_PATCHES: &str = "sluice_operator_status_patches_total";
const UPGRADES_STUCK: &str = "sluice_operator_upgrades_stuck";
const LEADER: &str = "sluice_operator_leader";
const AGENTS: &str = "sluice_operator_agents";
const OBJECTS: &str = "sluice_operator_objects";
const READY: &str = "sluice_operator_pipeline_ready";
const LAG: &str = "sluice_operator_pipeline_lag_seconds";
const PHASE: &str = "sluice_operator_pipeline_phase";
const BUILD: &str = "sluice_operator_build_info";

/// Upper bounds of the histogram's buckets, in seconds.
const BOUNDS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const PHASES: [Phase; 6] = [
    Phase::Pending,
    Phase::Idle,
    Phase::Snapshotting,
    Phase::Streaming,
    Phase::Paused,
    Phase::Failed,
];

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// By kind and outcome.
    reconciles: BTreeMap<(&'static str, &'static str), u64>,
    /// By kind.
    durations: BTreeMap<&'static str, Histogram>,
    /// By kind.
    api_writes: BTreeMap<&'static str, u64>,
    /// By kind.
    status_patches: BTreeMap<&'static str, u64>,
    upgrades_stuck: u64,
}

#[derive(Debug, Default)]
struct Histogram {
    /// Observations per bucket; the last one is above all bounds.
    buckets: [u64; BOUNDS.len() + 1],
    sum: f64,
}

/// What is true at the moment of a scrape.
#[derive(Debug, Default)]
pub(crate) struct Gauges<'a> {
    /// Whether this operator holds the Lease.
    pub(crate) is_leader: bool,
    /// Agents that answered when they were asked last, and all that were asked.
    pub(crate) agents: (usize, usize),
    /// How many ReplicationSources there are.
    pub(crate) source_count: usize,
    /// Every ReplicaSink that has a status.
    pub(crate) sinks: Vec<(&'a ObjectKey, &'a ReplicaSinkStatus)>,
}

impl Metrics {
    /// A reconcile has ended: `success`, or the name of the step that failed.
    pub(crate) fn reconciled(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        let mut counts = self.lock();
        *counts.reconciles.entry((kind, outcome)).or_default() += 1;
        let seconds = took.as_secs_f64();
        let histogram = counts.durations.entry(kind).or_default();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
        histogram.buckets[bucket.unwrap_or(BOUNDS.len())] += 1;
        histogram.sum += seconds;
    }

    /// An object of this kind is being created, applied or deleted.
    pub(crate) fn api_write(&self, kind: &'static str) {
        *self.lock().api_writes.entry(kind).or_default() += 1;
    }

    /// The status of an object of this kind is being written.
    pub(crate) fn status_patched(&self, kind: &'static str) {
        *self.lock().status_patches.entry(kind).or_default() += 1;
    }

    /// So many agents did not get ready with a new image.
    pub(crate) fn set_upgrades_stuck(&self, count: u64) {
        self.lock().upgrades_stuck = count;
    }

    /// The page for Prometheus.
    pub(crate) fn render(&self, gauges: &Gauges<'_>) -> String {
        let mut text = Text::default();
        self.render_counts(&mut text);
        render_gauges(gauges, &mut text);
        render_pipelines(&gauges.sinks, &mut text);
        text.head(BUILD, "gauge", "The operator's version.");
        text.sample(BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        text.0
    }

    fn render_counts(&self, text: &mut Text) {
        let counts = self.lock();
        text.head(
            RECONCILES,
            "counter",
            "Reconciles by kind and outcome: success, or the step that failed.",
        );
        for ((kind, outcome), count) in &counts.reconciles {
            let labels = [("kind", *kind), ("outcome", *outcome)];
            text.sample(RECONCILES, &labels, *count as f64);
        }
        text.head(DURATION, "histogram", "How long a reconcile takes.");
        for (kind, histogram) in &counts.durations {
            text.histogram(kind, histogram);
        }
        text.head(
            API_WRITES,
            "counter",
            "Objects created, applied or deleted, by kind; status aside.",
        );
        for (kind, count) in &counts.api_writes {
            text.sample(API_WRITES, &[("kind", kind)], *count as f64);
        }
        text.head(STATUS_PATCHES, "counter", "Writes of status, by kind.");
        for (kind, count) in &counts.status_patches {
            text.sample(STATUS_PATCHES, &[("kind", kind)], *count as f64);
        }
        text.head(
            UPGRADES_STUCK,
            "gauge",
            "Agents that did not get ready with a new image and hold up the others.",
        );
        text.sample(UPGRADES_STUCK, &[], counts.upgrades_stuck as f64);
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counts are whole whenever a holder may panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn render_gauges(gauges: &Gauges<'_>, text: &mut Text) {
    text.head(LEADER, "gauge", "Whether this operator holds the Lease.");
    text.sample(LEADER, &[], truth(gauges.is_leader));
    let (answering, asked) = gauges.agents;
    text.head(
        AGENTS,
        "gauge",
        "Agents by whether they answered when they were asked last.",
    );
    text.sample(AGENTS, &[("answers", "true")], answering as f64);
    let silent = asked.saturating_sub(answering);
    text.sample(AGENTS, &[("answers", "false")], silent as f64);
    text.head(OBJECTS, "gauge", "Custom resources that are reconciled.");
    let sinks = gauges.sinks.len() as f64;
    text.sample(OBJECTS, &[("kind", "ReplicaSink")], sinks);
    let sources = gauges.source_count as f64;
    text.sample(OBJECTS, &[("kind", "ReplicationSource")], sources);
}

fn render_pipelines(sinks: &[(&ObjectKey, &ReplicaSinkStatus)], text: &mut Text) {
    text.head(READY, "gauge", "Whether a ReplicaSink's Ready is True.");
    for (key, status) in sinks {
        let ready = status
            .conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        text.sample(READY, &labels(key), truth(ready));
    }
    text.head(
        LAG,
        "gauge",
        "Age of the newest change that has not arrived.",
    );
    for (key, status) in sinks {
        if let Some(seconds) = status.lag.as_ref().and_then(|lag| lag.seconds) {
            text.sample(LAG, &labels(key), seconds);
        }
    }
    text.head(
        PHASE,
        "gauge",
        "What a ReplicaSink's pipeline does: 1 for the present phase.",
    );
    for (key, status) in sinks {
        for phase in PHASES {
            let [namespace, sink] = labels(key);
            let labels = [namespace, sink, ("phase", phase_name(phase))];
            text.sample(PHASE, &labels, truth(status.phase == Some(phase)));
        }
    }
}

fn labels(key: &ObjectKey) -> [(&'static str, &str); 2] {
    [("namespace", &key.namespace), ("sink", &key.name)]
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// The text format.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.0.extend([
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
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { "{" } else { "," };
            self.0.extend([before, label, "=\"", &escaped(text), "\""]);
        }
        let after = if labels.is_empty() { " " } else { "} " };
        self.0.extend([after, &value.to_string(), "\n"]);
    }

    fn histogram(&mut self, kind: &str, histogram: &Histogram) {
        let mut count = 0;
        let bounds = BOUNDS.iter().map(ToString::to_string);
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (bound, in_bucket) in bounds.zip(histogram.buckets) {
            count += in_bucket;
            let labels = [("kind", kind), ("le", bound.as_str())];
            self.sample(&format!("{DURATION}_bucket"), &labels, count as f64);
        }
        let labels = [("kind", kind)];
        self.sample(&format!("{DURATION}_sum"), &labels, histogram.sum);
        self.sample(&format!("{DURATION}_count"), &labels, count as f64);
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use sluice_crds::status::Lag;

    use super::*;

    fn page() -> String {
        let metrics = Metrics::default();
        metrics.reconciled("ReplicaSink", "success", Duration::from_millis(7));
        metrics.reconciled("ReplicaSink", "success", Duration::from_millis(70));
        metrics.reconciled("ReplicaSink", "apply", Duration::from_secs(9));
        metrics.api_write("StatefulSet");
        metrics.status_patched("ReplicaSink");
        metrics.status_patched("ReplicaSink");
        let key = ObjectKey {
            namespace: "prod".to_owned(),
            name: "shop-pg".to_owned(),
        };
        let status = ReplicaSinkStatus {
            phase: Some(Phase::Streaming),
            lag: Some(Lag {
                seconds: Some(0.25),
                bytes: None,
                records: None,
            }),
            ..ReplicaSinkStatus::default()
        };
        metrics.render(&Gauges {
            is_leader: true,
            agents: (1, 3),
            source_count: 2,
            sinks: vec![(&key, &status)],
        })
    }

    #[test]
    fn everything_that_was_counted_is_on_the_page() {
        let page = page();
        let pipeline = r#"namespace="prod",sink="shop-pg""#;
        let duration = DURATION;
        for line in [
            r#"sluice_operator_reconciles_total{kind="ReplicaSink",outcome="apply"} 1"#.to_owned(),
            r#"sluice_operator_reconciles_total{kind="ReplicaSink",outcome="success"} 2"#
                .to_owned(),
            format!(r#"{duration}_bucket{{kind="ReplicaSink",le="0.01"}} 1"#),
            format!(r#"{duration}_bucket{{kind="ReplicaSink",le="0.1"}} 2"#),
            format!(r#"{duration}_bucket{{kind="ReplicaSink",le="+Inf"}} 3"#),
            format!(r#"{duration}_count{{kind="ReplicaSink"}} 3"#),
            r#"sluice_operator_api_writes_total{kind="StatefulSet"} 1"#.to_owned(),
            r#"sluice_operator_status_patches_total{kind="ReplicaSink"} 2"#.to_owned(),
            "sluice_operator_leader 1".to_owned(),
            r#"sluice_operator_agents{answers="true"} 1"#.to_owned(),
            r#"sluice_operator_agents{answers="false"} 2"#.to_owned(),
            r#"sluice_operator_objects{kind="ReplicationSource"} 2"#.to_owned(),
            format!("sluice_operator_pipeline_ready{{{pipeline}}} 0"),
            format!("sluice_operator_pipeline_lag_seconds{{{pipeline}}} 0.25"),
            format!("sluice_operator_pipeline_phase{{{pipeline},phase=\"Streaming\"}} 1"),
            format!("sluice_operator_pipeline_phase{{{pipeline},phase=\"Paused\"}} 0"),
        ] {
            assert!(
                page.lines().any(|found| found == line),
                "no line {line} in\n{page}"
            );
        }
    }

    #[test]
    fn every_metric_is_documented() {
        let documentation = include_str!("../METRICS.md");
        for line in page().lines().filter(|line| line.starts_with("# TYPE ")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(
                documentation.contains(&format!("`{name}`")),
                "{name} is not in METRICS.md"
            );
        }
    }
}
