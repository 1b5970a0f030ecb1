//! Looks at status and replica all the time, and remembers when the status was not true.
//!
//! `Ready=True` while rows were written and none arrived for longer than [`UNTRUE_MAX`] is a lie; so
//! is, in the replica, a sum of all accounts that no moment of the source had.

use std::{
    fmt::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use kube::Api;
use sluice_crds::ReplicaSink;
use sluice_e2e::{cluster::condition, postgres, servers::Endpoint, workload::ACCOUNTS_SUM};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_postgres::Client;

use super::pulse;

/// How long `Ready=True` may stand while no rows arrive.
const UNTRUE_MAX: Duration = Duration::from_secs(15);
/// How often both sides are looked at.
const EVERY: Duration = Duration::from_millis(100);
/// How long one look may take.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// What is looked at.
pub(crate) struct Subject {
    pub(crate) sinks: Api<ReplicaSink>,
    pub(crate) postgres: Endpoint,
    pub(crate) database: String,
    pub(crate) schema: String,
    pub(crate) written: Arc<AtomicU64>,
}

/// A running observer; it ends when this is dropped.
pub(crate) struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

struct Seen {
    began: Instant,
    /// The last number of the pulse that the replica had, and since when it did.
    arrived: u64,
    arrived_at: Instant,
    /// The longest time without any.
    longest: Duration,
    /// Whether there is an operator that could tell.
    judged: bool,
    ready: String,
    timeline: String,
    looks: u64,
    untrue: Vec<String>,
}

impl Watch {
    /// Begins to look.
    pub(crate) fn start(subject: Subject) -> Self {
        let now = Instant::now();
        let seen = Arc::new(Mutex::new(Seen {
            began: now,
            arrived: 0,
            arrived_at: now,
            longest: Duration::ZERO,
            judged: true,
            ready: String::new(),
            timeline: String::new(),
            looks: 0,
            untrue: Vec::new(),
        }));
        let task = tokio::spawn(look(subject, Arc::clone(&seen)));
        Self { seen, task }
    }

    /// The last number of the pulse that the replica had when it was looked at.
    pub(crate) fn arrived(&self) -> u64 {
        lock(&self.seen).arrived
    }

    /// The status stays as it is while there is no operator: nothing is held against it until
    /// [`judge`](Self::judge).
    pub(crate) fn excuse(&self) {
        lock(&self.seen).judged = false;
    }

    /// From now on, the status has to be true within the usual time.
    pub(crate) fn judge(&self) {
        let mut seen = lock(&self.seen);
        seen.judged = true;
        seen.arrived_at = Instant::now();
    }

    /// What `Ready` said, and when, in a line for each change.
    pub(crate) fn timeline(&self) -> String {
        lock(&self.seen).timeline.clone()
    }

    /// Fails when anything was not true.
    pub(crate) fn end(&self) -> Result<()> {
        self.task.abort();
        let seen = lock(&self.seen);
        eprintln!(
            "faults: {} looks; the longest time without rows: {:.1} s",
            seen.looks,
            seen.longest.as_secs_f64()
        );
        ensure!(
            seen.untrue.is_empty(),
            "not true at some time:\n{}\nReady was:\n{}",
            seen.untrue.join("\n"),
            seen.timeline
        );
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn look(subject: Subject, seen: Arc<Mutex<Seen>>) {
    let mut client = None;
    loop {
        let replica = timeout(LOOK_MAX, read(&subject, &mut client)).await;
        match replica {
            Ok(Ok((arrived, sum))) => lock(&seen).replica(arrived, sum),
            _ => client = None,
        }
        // Without an answer of the API server nobody can be told anything untrue.
        let sink = timeout(LOOK_MAX, subject.sinks.get_opt("shop-pg")).await;
        if let Ok(Ok(Some(sink))) = sink {
            lock(&seen).status(&sink, subject.written.load(Ordering::Relaxed));
        }
        sleep(EVERY).await;
    }
}

/// The pulse and the sum of the accounts, as one moment of the replica has them.
async fn read(subject: &Subject, client: &mut Option<Client>) -> Result<(u64, Option<i64>)> {
    if client.is_none() {
        *client = Some(postgres::connect(&subject.postgres, &subject.database).await?);
    }
    let Some(connected) = client else {
        return Ok((0, None));
    };
    let schema = &subject.schema;
    let sql = format!(
        "SELECT (SELECT n FROM \"{schema}\".{}), (SELECT sum(balance) FROM \"{schema}\".accounts)",
        pulse::TABLE
    );
    let rows = postgres::rows_of(connected, &sql).await?;
    let cell = |index: usize| rows.first().and_then(|row| row[index].clone());
    let arrived = cell(0).and_then(|n| n.parse().ok()).unwrap_or_default();
    Ok((arrived, cell(1).and_then(|sum| sum.parse().ok())))
}

impl Seen {
    fn replica(&mut self, arrived: u64, sum: Option<i64>) {
        if let Some(sum) = sum.filter(|sum| *sum != ACCOUNTS_SUM) {
            self.untrue.push(format!(
                "{}: the replica's accounts hold {sum} together",
                self.time()
            ));
        }
        if arrived != self.arrived {
            if arrived < self.arrived {
                let (time, before) = (self.time(), self.arrived);
                self.untrue.push(format!(
                    "{time}: the replica went back from {before} to {arrived}"
                ));
            }
            self.longest = self.longest.max(self.arrived_at.elapsed());
            (self.arrived, self.arrived_at) = (arrived, Instant::now());
        }
    }

    fn status(&mut self, sink: &ReplicaSink, written: u64) {
        self.looks += 1;
        let Some(ready) = condition(sink, "Ready") else {
            return;
        };
        let now = format!("{} {}: {}", ready.status, ready.reason, ready.message);
        if now != self.ready {
            let time = self.time();
            writeln!(self.timeline, "  {time} Ready={now}").ok();
            self.ready = now;
        }
        let still = self.arrived_at.elapsed();
        let unsent = written > self.arrived + 5;
        if self.judged && ready.status == "True" && unsent && still > UNTRUE_MAX {
            let (time, arrived) = (self.time(), self.arrived);
            self.untrue.push(format!(
                "{time}: Ready=True, though nothing has arrived for {still:.1?}: {written} is \
                 written, {arrived} is here"
            ));
            // Once is enough.
            self.judged = false;
        }
    }

    fn time(&self) -> String {
        format!("{:6.1} s", self.began.elapsed().as_secs_f64())
    }
}
