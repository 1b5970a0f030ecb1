//! What several agents of one pipeline say together. Pure.
//!
//! As long as all of them answer, their answers become one: the worst state of each table, the largest
//! lag, the sum of what is counted. Otherwise the pod that is worst off stands for all, and with it what
//! Kubernetes says about it: figures of some agents are not those of the pipeline.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::jiff::Timestamp;
use sluice_agent_api::{
    AgentStatus,
    status::{LastError, Phase, TableStatus},
};

use crate::model::{AgentAnswer, PodState};

/// What is seen of the pods of one pipeline. None of them stands for all while one is not even there.
pub(super) fn together(
    pipeline: &str,
    mut seen: Vec<(PodState, AgentAnswer)>,
    expected: usize,
) -> (Option<PodState>, AgentAnswer) {
    if seen.len() <= 1 && expected <= 1 {
        let one = seen.pop();
        return one.map_or((None, AgentAnswer::NotAsked), |(pod, agent)| {
            (Some(pod), agent)
        });
    }
    if let Some(worst) = worst(&seen) {
        let (pod, agent) = seen.swap_remove(worst);
        return (Some(pod), agent);
    }
    if seen.len() < expected {
        return (None, AgentAnswer::NotAsked);
    }
    let mut silent: Option<(Timestamp, String)> = None;
    let mut silent_pod = None;
    let mut reports = Vec::new();
    for (pod, answer) in &seen {
        match answer {
            AgentAnswer::Answered(report) => reports.push((pod.name.as_str(), Arc::clone(report))),
            AgentAnswer::Silent { since, error, last } => {
                reports.extend(
                    last.iter()
                        .map(|last| (pod.name.as_str(), Arc::clone(last))),
                );
                if silent.as_ref().is_none_or(|(earliest, _)| since < earliest) {
                    silent = Some((*since, error.clone()));
                    silent_pod = Some(pod.clone());
                }
            }
            AgentAnswer::NotAsked => {}
        }
    }
    let all = (reports.len() == seen.len()).then(|| Arc::new(merged(pipeline, &reports)));
    let answer = match (silent, all) {
        (Some((since, error)), last) => AgentAnswer::Silent { since, error, last },
        (None, Some(all)) => AgentAnswer::Answered(all),
        (None, None) => AgentAnswer::NotAsked,
    };
    let pod = silent_pod.or_else(|| seen.into_iter().next().map(|(pod, _)| pod));
    (pod, answer)
}

/// How many agents run, answer, and have nothing in their way.
pub(super) fn ready(seen: &[(PodState, AgentAnswer)]) -> i32 {
    let is_ready = |(pod, answer): &&(PodState, AgentAnswer)| {
        let says_so = matches!(answer, AgentAnswer::Answered(report) if report.ready);
        pod.running && !pod.terminating && says_so
    };
    i32::try_from(seen.iter().filter(is_ready).count()).unwrap_or(i32::MAX)
}

/// The place of a pod that does not run as it should.
fn worst(seen: &[(PodState, AgentAnswer)]) -> Option<usize> {
    let rank = |pod: &PodState| match pod {
        pod if pod.trouble.is_some() => 3,
        pod if pod.terminating => 2,
        pod if !pod.running || pod.address.is_none() => 1,
        _ => 0,
    };
    let ranked = seen
        .iter()
        .enumerate()
        .map(|(at, (pod, _))| (rank(pod), at));
    // The first of those that are equally bad, so that a message stays as it is.
    let worst = ranked.max_by_key(|&(rank, at)| (rank, usize::MAX - at));
    worst.filter(|(rank, _)| *rank > 0).map(|(_, at)| at)
}

/// One status out of those of all agents, by pod.
fn merged(pipeline: &str, reports: &[(&str, Arc<AgentStatus>)]) -> AgentStatus {
    let Some((_, first)) = reports.first() else {
        return AgentStatus::default();
    };
    let mut all = AgentStatus::clone(first);
    pipeline.clone_into(&mut all.pipeline);
    all.position = position(reports);
    all.last_error = None;
    all.stalled = None;
    for (pod, report) in reports {
        if all.last_error.is_none() {
            all.last_error = report.last_error.as_ref().map(|error| LastError {
                message: format!("{pod}: {}", error.message),
                ..error.clone()
            });
        }
        if let Some(stall) = &report.stalled
            && all
                .stalled
                .as_ref()
                .is_none_or(|known| known.seconds < stall.seconds)
        {
            all.stalled = Some(stall.clone());
        }
    }
    for (_, report) in &reports[1..] {
        add(&mut all, report);
    }
    all
}

fn add(all: &mut AgentStatus, other: &AgentStatus) {
    if badness(other.phase) > badness(all.phase) {
        all.phase = other.phase;
    }
    all.ready &= other.ready;
    all.lag.seconds = both(all.lag.seconds, other.lag.seconds, f64::max);
    all.lag.bytes = both(all.lag.bytes, other.lag.bytes, u64::saturating_add);
    all.lag.records = both(all.lag.records, other.lag.records, u64::saturating_add);
    let (snapshot, others) = (&mut all.snapshot, &other.snapshot);
    // Every agent counts every table, of which it copies its own rows.
    snapshot.tables_total = snapshot.tables_total.max(others.tables_total);
    snapshot.tables_done = snapshot.tables_done.min(others.tables_done);
    snapshot.rows_copied += others.rows_copied;
    snapshot.rows_estimated += others.rows_estimated;
    snapshot.percent = snapshot.percent.min(others.percent);
    all.rows_per_second += other.rows_per_second;
    all.rows_total += other.rows_total;
    for (name, table) in &other.tables {
        let known = all
            .tables
            .entry(name.clone())
            .or_insert_with(|| table.clone());
        if weight(table) > weight(known) {
            known.clone_from(table);
        }
    }
    for (name, topic) in &other.topics {
        let known = all.topics.entry(name.clone()).or_default();
        known.partitions += topic.partitions;
        let lags = [known.lag_records, topic.lag_records];
        known.lag_records = lags.into_iter().flatten().reduce(u64::saturating_add);
    }
    all.dead_letters += other.dead_letters;
    for (column, count) in &other.nulled_values {
        *all.nulled_values.entry(column.clone()).or_default() += count;
    }
    let known = [all.retention_seconds, other.retention_seconds];
    all.retention_seconds = known.into_iter().flatten().min();
    all.stalls.source += other.stalls.source;
    all.stalls.target += other.stalls.target;
}

/// Known only if both are.
fn both<T>(one: Option<T>, other: Option<T>, join: impl Fn(T, T) -> T) -> Option<T> {
    Some(join(one?, other?))
}

fn badness(phase: Phase) -> u8 {
    match phase {
        Phase::Stopped => 0,
        Phase::Streaming => 1,
        Phase::Snapshotting => 2,
        Phase::Pending => 3,
        Phase::Failed => 4,
    }
}

fn weight(table: &TableStatus) -> u8 {
    match table.phase.as_str() {
        "Failed" => 3,
        "Paused" => 2,
        "Snapshotting" => 1,
        _ => 0,
    }
}

/// Of each partition the furthest offset: every agent knows its own, and of the others' where they
/// began.
fn position(reports: &[(&str, Arc<AgentStatus>)]) -> Option<String> {
    let mut furthest: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    for (_, report) in reports {
        for place in report
            .position
            .as_deref()?
            .strip_prefix("kafka:")?
            .split(',')
        {
            let (partition, offset) = place.rsplit_once('=')?;
            let (topic, number) = partition.rsplit_once('/')?;
            let (number, offset) = (number.parse().ok()?, offset.parse().ok()?);
            let known = furthest.entry((topic, number)).or_insert(offset);
            *known = offset.max(*known);
        }
    }
    let places = furthest.iter();
    let places: Vec<String> = places
        .map(|((topic, number), offset)| format!("{topic}/{number}={offset}"))
        .collect();
    Some(format!("kafka:{}", places.join(",")))
}

#[cfg(test)]
mod tests;
