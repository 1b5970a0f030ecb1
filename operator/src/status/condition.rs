//! Conditions, and since when they are as they are.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// The API server refuses longer ones.
const MESSAGE_LENGTH_MAX: usize = 4_000;

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) truth: Truth,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl State {
    /// A condition's content.
    pub(crate) fn new(truth: Truth, reason: &str, message: impl Into<String>) -> Self {
        Self {
            truth,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    /// The status as Kubernetes spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// The condition of a type.
pub(crate) fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition of a type is True.
pub(crate) fn holds(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

/// A time as `2026-01-31T23:59:59Z`.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The conditions of one status in the making.
pub(crate) struct Conditions<'a> {
    previous: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    list: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// None yet; `previous` says since when the same is true.
    pub(crate) fn new(previous: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self {
            previous,
            generation,
            now,
            list: Vec::new(),
        }
    }

    /// The condition of a type as it was before.
    pub(crate) fn previous(&self, kind: &str) -> Option<&'a Condition> {
        find(self.previous, kind)
    }

    /// Adds a condition. Its time of transition stays while its status is the same.
    pub(crate) fn add(&mut self, kind: &str, state: State) {
        let status = state.truth.as_str();
        let since = self
            .previous(kind)
            .filter(|condition| condition.status == status)
            .map(|condition| condition.last_transition_time.clone());
        self.list.push(Condition {
            last_transition_time: since.unwrap_or(Time(self.now)),
            message: cut(state.message),
            observed_generation: self.generation,
            reason: state.reason,
            status: status.to_owned(),
            type_: kind.to_owned(),
        });
    }

    /// Adds a condition just as it was.
    pub(crate) fn keep(&mut self, condition: &Condition) {
        self.list.push(condition.clone());
    }

    /// The conditions, in the order in which they were added.
    pub(crate) fn into_list(self) -> Vec<Condition> {
        self.list
    }
}

fn cut(message: String) -> String {
    if message.chars().count() <= MESSAGE_LENGTH_MAX {
        return message;
    }
    let start: String = message.chars().take(MESSAGE_LENGTH_MAX).collect();
    format!("{start}…")
}
