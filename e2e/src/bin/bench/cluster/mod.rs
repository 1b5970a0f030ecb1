//! The operator with hundreds of pairs of resources, on the real API server.
//!
//! The operator is the packaged chart's, in a pod. Everything around it is real but the agents: their
//! pods are scheduled to a node that has no kubelet ([`node`]), and what answers for them is this
//! process ([`agents`]), with figures that change as those of busy agents do. Checks before the first
//! start are off, for there is no database behind these pairs.

mod agents;
mod node;
mod operator;
mod pairs;

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::Result;
use sluice_e2e::Cluster;
use tokio::time::sleep;

use crate::{
    Settings,
    report::{Report, mebibytes, percentile},
};
use agents::Agents;
use node::Node;
use operator::{ApiServer, Measured};
use pairs::Pairs;

/// From the last pair's readiness to what is called the steady state: the writes that drifting
/// figures cause are then spread as they will be for ever.
const SETTLING: Duration = Duration::from_secs(40);
/// How long the steady state is watched.
const WATCHED: Duration = Duration::from_secs(60);
/// How many specs are changed.
const CHANGES: usize = 20;

pub(crate) async fn run(settings: &Settings, report: &mut Report) -> Result<()> {
    let cluster = Cluster::alone().await?;
    let operator = Measured::install(&cluster).await?;
    let agents = Agents::start(settings.pairs).await?;
    let node = Node::start(&cluster.client, settings.pairs).await?;
    let pairs = Pairs::new(&cluster, settings.pairs);
    pairs.remove().await?;
    let bench = Bench {
        report,
        operator: &operator,
        agents: &agents,
        pairs: &pairs,
    };
    let measured = bench.run().await;
    let removed = pairs.remove().await;
    operator.uninstall().await?;
    node.remove().await?;
    agents.stop().await?;
    measured.and(removed)
}

struct Bench<'a> {
    report: &'a mut Report,
    operator: &'a Measured,
    agents: &'a Agents,
    pairs: &'a Pairs,
}

impl Bench<'_> {
    async fn run(mut self) -> Result<()> {
        self.create().await?;
        sleep(SETTLING).await;
        self.watch().await?;
        self.change().await?;
        self.restart().await
    }

    /// From nothing to every pair ready.
    async fn create(&mut self) -> Result<()> {
        self.pairs.prepare().await?;
        let cpu_before = self.operator.process().await?.cpu_seconds()?;
        let began = Instant::now();
        self.pairs.create().await?;
        let created = began.elapsed().as_secs_f64();
        self.pairs.wait_applied().await?;
        let applied = began.elapsed().as_secs_f64();
        self.pairs.wait_ready().await?;
        let ready = began.elapsed().as_secs_f64();
        let process = self.operator.process().await?;
        let cpu = process.cpu_seconds()? - cpu_before;
        let count = self.pairs.count;
        self.report.bar(
            &format!("operator: {count} new pairs"),
            format!("{ready:.0} s until all are Ready ({applied:.0} s until applied)"),
            &format!("{created:.0} s to create them; CPU of the operator {cpu:.1} s"),
            ("< 120 s", ready < 120.0),
        );
        Ok(())
    }

    /// The steady state.
    async fn watch(&mut self) -> Result<()> {
        let process = self.operator.process().await?;
        let api = ApiServer::read(self.pairs).await?;
        let own = self.operator.writes().await?;
        let (asked, cpu) = (self.agents.answered(), process.cpu_seconds()?);
        let began = Instant::now();
        sleep(WATCHED).await;
        let seconds = began.elapsed().as_secs_f64();
        let cpu = (process.cpu_seconds()? - cpu) / seconds * 100.0;
        let asked = (self.agents.answered() - asked) as f64 / seconds;
        let own = self.operator.writes().await? - own;
        let api = ApiServer::read(self.pairs).await?.writes - api.writes;
        let (rss, peak) = (
            mebibytes(process.rss_bytes()?),
            mebibytes(process.peak_bytes()?),
        );
        let count = self.pairs.count;
        self.report.bar(
            &format!("operator: memory, {count} pairs"),
            format!("{rss:.0} MiB"),
            &format!("{peak:.0} MiB at most since its start"),
            ("< 100 MiB", rss < 100.0),
        );
        self.report.bar(
            &format!("operator: CPU, {count} pairs"),
            format!("{cpu:.1} % of a core over {seconds:.0} s"),
            &format!("{asked:.0} busy agents asked per second"),
            ("< 5 %", cpu < 5.0),
        );
        let per_minute = |writes: f64| writes / (2 * count) as f64 / (seconds / 60.0);
        self.report.bar(
            "operator: writes per resource and minute",
            format!("{:.2}", per_minute(own)),
            &format!("{:.2} as the API server counts them", per_minute(api)),
            ("< 4", per_minute(own) < 4.0),
        );
        Ok(())
    }

    /// From the change of a spec to its pod template.
    async fn change(&mut self) -> Result<()> {
        let mut times = Vec::new();
        for index in 0..CHANGES.min(self.pairs.count) {
            times.push(self.pairs.change(index).await?.as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let (median, worst) = (percentile(&times, 0.5), percentile(&times, 1.0));
        self.report.bar(
            "operator: spec to pod template",
            format!("{:.0} ms, at most {:.0} ms", median * 1e3, worst * 1e3),
            &format!("{} changes", times.len()),
            ("< 1 s", worst < 1.0),
        );
        Ok(())
    }

    /// From no operator to one that leads and has gone through every resource.
    async fn restart(&mut self) -> Result<()> {
        self.pairs.wait_ready().await?;
        let scaled = self.operator.scaled_from_zero(self.pairs.count).await?;
        let killed = self.operator.killed(self.pairs.count).await?;
        let mut what = String::new();
        write!(what, "operator: start, {} pairs", self.pairs.count)?;
        for (how, took) in [("scaled from 0 to 1", scaled), ("after kill -9", killed)] {
            let seconds = took.as_secs_f64();
            self.report.bar(
                &what,
                format!("{seconds:.1} s until all are reconciled"),
                &format!("{how}, its pod's start included"),
                ("< 15 s", seconds < 15.0),
            );
        }
        Ok(())
    }
}
