//! A replica that is fed by Kafka is no better than the capture that feeds it: its agent sees the
//! topics alone, and these say nothing of what did not come into them.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sluice_agent_api::AgentStatus;
use sluice_crds::{ReplicationSourceStatus, status::Phase};

use crate::{
    model::Upstream,
    status::{
        condition::{State, Truth, find},
        verdict::{Trouble, Verdict, sentence},
    },
};

/// The reason of a replica whose source is not ready.
const REASON: &str = "SourceNotReady";
/// A capture that is late makes its replicas late, for whom that may be soon enough.
const LATE: &str = "LagTooHigh";

/// What an agent says, with the lag of the capture before it: that of the topics behind the database,
/// and that of the replica behind the topics.
pub(super) fn complete<'a>(
    report: &'a AgentStatus,
    upstream: Option<&Upstream>,
) -> Cow<'a, AgentStatus> {
    let Some(upstream) = upstream else {
        return Cow::Borrowed(report);
    };
    let status = upstream.status.as_deref();
    let before = status.and_then(|status| status.lag.as_ref());
    let seconds = before.and_then(|lag| lag.seconds);
    let mut report = report.clone();
    let own = report.lag.seconds;
    report.lag.seconds = own.zip(seconds).map(|(own, before)| own + before);
    let bytes = before.and_then(|lag| lag.bytes);
    report.lag.bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok());
    let copy = status.and_then(|status| status.snapshot.as_ref());
    if let Some(copy) = copy.filter(|copy| copy.percent < 100) {
        let snapshot = &mut report.snapshot;
        snapshot.tables_total = copy.tables_total.max(0).cast_unsigned();
        snapshot.tables_done = copy.tables_done.max(0).cast_unsigned();
        let percent = u8::try_from(copy.percent).unwrap_or(0);
        snapshot.percent = snapshot.percent.min(percent);
    }
    Cow::Owned(report)
}

/// Whether the source is followed: not where what follows it does not.
pub(super) fn streaming(own: State, upstream: Option<&Upstream>) -> State {
    let Some(upstream) = upstream.filter(|_| own.truth == Truth::True) else {
        return own;
    };
    let status = upstream.status.as_deref();
    let before = status.and_then(|status| find(&status.conditions, "Streaming"));
    let truth = match before.map(|before| before.status.as_str()) {
        Some("True") => return own,
        Some("False") => Truth::False,
        _ => Truth::Unknown,
    };
    let reason = before.map_or(REASON, |before| before.reason.as_str());
    let message = before.map_or("nothing is known yet.", |before| before.message.as_str());
    State::new(truth, reason, format!("{}: {message}", upstream.name))
}

/// What is thought of a replica of which its agent alone lets think `told`.
pub(super) fn weigh(told: Verdict, upstream: Option<&Upstream>) -> Verdict {
    let flows = told.truth == Truth::True;
    // What is unknown or too large of the lag may be the capture's part.
    let may_be_its_part = matches!(told.reason.as_str(), LATE | "CatchingUp");
    if !flows && !may_be_its_part {
        return told;
    }
    let waits = upstream.and_then(|upstream| not_ready(upstream, told.phase));
    waits.unwrap_or(told)
}

fn not_ready(upstream: &Upstream, phase: Phase) -> Option<Verdict> {
    let name = &upstream.name;
    let Some((status, ready)) = known(upstream) else {
        let text = format!(
            "Nothing is known yet of ReplicationSource {name}, whose agent writes the topics that \
             this replica is made of."
        );
        return Some(Verdict::calm(Truth::Unknown, REASON, phase, text));
    };
    if ready.status == "True" || ready.reason == LATE {
        return None;
    }
    let truth = if ready.status == "Unknown" {
        Truth::Unknown
    } else {
        Truth::False
    };
    let error = status.last_error.as_ref();
    let why = error.map_or(&ready.message, |error| &error.message);
    let message = format!(
        "What is in Kafka is applied, but ReplicationSource {name}, whose agent writes it there, is \
         not ready ({}): {}",
        ready.reason,
        sentence(why)
    );
    let trouble = error.map(|error| Trouble {
        message: message.clone(),
        hint: error.hint.clone(),
        at: error.at.clone(),
    });
    Some(Verdict {
        trouble,
        ..Verdict::calm(truth, REASON, phase, message)
    })
}

fn known(upstream: &Upstream) -> Option<(&ReplicationSourceStatus, &Condition)> {
    let status = upstream.status.as_deref()?;
    Some((status, find(&status.conditions, "Ready")?))
}
