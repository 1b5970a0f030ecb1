//! What is wrong with an object, and where.

use std::fmt;

/// One thing that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which of the objects.
    pub object: ObjectKind,
    /// The field, such as `spec.tables.include[0]`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// A `ReplicationSource`.
    Source,
    /// A `ReplicaSink`.
    Sink,
}

impl ObjectKind {
    /// The kind as YAML has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "ReplicationSource",
            Self::Sink => "ReplicaSink",
        }
    }
}

/// Objects that no agent can work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(.problems))]
pub struct ConvertError {
    /// Everything that is wrong; never empty.
    pub problems: Vec<Problem>,
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("{} {problem}", problem.object.as_str()))
        .collect();
    lines.join("; ")
}

/// Collects problems of one object after the other.
pub(crate) struct Checks {
    object: ObjectKind,
    problems: Vec<Problem>,
}

impl Checks {
    pub(crate) fn new(object: ObjectKind) -> Self {
        Self {
            object,
            problems: Vec::new(),
        }
    }

    /// Problems from now on are those of another object.
    pub(crate) fn turn_to(&mut self, object: ObjectKind) {
        self.object = object;
    }

    pub(crate) fn refuse(&mut self, path: impl Into<String>, message: &str) {
        self.problems.push(Problem {
            object: self.object,
            path: path.into(),
            message: message.to_owned(),
        });
    }

    pub(crate) fn require(&mut self, holds: bool, path: impl Into<String>, message: &str) {
        if !holds {
            self.refuse(path, message);
        }
    }

    /// Refuses a field that is valid but that this version does nothing with.
    pub(crate) fn not_supported(&mut self, given: bool, path: &str) {
        self.require(!given, path, "not supported by this version");
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
