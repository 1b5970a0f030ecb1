//! What of a large source transaction is written already.
//!
//! A transaction of the source that would outlive Kafka's transaction is committed in pieces. Each
//! piece is committed together with a [`Written`]: the source starts again where the last whole
//! transaction ended and brings everything anew, and exactly what is written is left out.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The transactions behind the stored position that are written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Written {
    /// Those that are written whole.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) whole: BTreeSet<String>,
    /// The one that is written in part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) part: Option<Part>,
}

/// A transaction that is written in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Part {
    /// Its id.
    pub(crate) transaction: String,
    /// Changes with a lower ordinal are written.
    pub(crate) next: u64,
}

impl Written {
    /// Whether nothing is.
    pub(crate) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.part.is_none()
    }

    /// Notes a change.
    pub(crate) fn change(&mut self, transaction: &str, ordinal: u64) {
        match &mut self.part {
            Some(part) if part.transaction == transaction => part.next = part.next.max(ordinal + 1),
            part => {
                let other = part.replace(Part {
                    transaction: transaction.to_owned(),
                    next: ordinal + 1,
                });
                // Its end was not shown, but another one began.
                self.whole.extend(other.map(|part| part.transaction));
            }
        }
    }

    /// Notes the end of a transaction.
    pub(crate) fn end(&mut self, transaction: &str) {
        let is_it = |part: &Part| part.transaction == transaction;
        if self.part.as_ref().is_some_and(is_it) {
            self.part = None;
        }
        self.whole.insert(transaction.to_owned());
    }

    /// Whether a change is written.
    pub(crate) fn has_change(&self, transaction: &str, ordinal: u64) -> bool {
        let has = |part: &Part| part.transaction == transaction && ordinal < part.next;
        self.part.as_ref().is_some_and(has) || self.whole.contains(transaction)
    }

    /// Whether a transaction is written whole.
    pub(crate) fn has_whole(&self, transaction: &str) -> bool {
        self.whole.contains(transaction)
    }

    /// Whether anything of a transaction is written.
    pub(crate) fn knows(&self, transaction: &str) -> bool {
        let is_it = |part: &Part| part.transaction == transaction;
        self.part.as_ref().is_some_and(is_it) || self.whole.contains(transaction)
    }

    /// Both together; `self` is the older.
    #[must_use]
    pub(crate) fn and(mut self, newer: &Self) -> Self {
        self.whole.extend(newer.whole.iter().cloned());
        if let Some(part) = &newer.part {
            match &mut self.part {
                Some(old) if old.transaction == part.transaction => {
                    old.next = old.next.max(part.next);
                }
                old => {
                    let other = old.replace(part.clone());
                    self.whole.extend(other.map(|part| part.transaction));
                }
            }
        }
        let whole = &self.whole;
        self.part = self.part.filter(|part| !whole.contains(&part.transaction));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_known_and_nothing_else() {
        let mut written = Written::default();
        written.change("a:1", 0);
        written.end("a:1");
        written.change("a:2", 0);
        written.change("a:2", 1);
        assert!(written.has_change("a:1", 7) && written.has_whole("a:1"));
        assert!(written.has_change("a:2", 1) && !written.has_change("a:2", 2));
        assert!(!written.has_change("a:3", 0) && !written.knows("a:3"));
    }

    #[test]
    fn a_second_piece_adds_to_the_first() {
        let mut first = Written::default();
        first.end("a:1");
        first.change("a:2", 4);
        let mut second = Written::default();
        second.end("a:1");
        second.change("a:2", 9);
        let both = first.clone().and(&second);
        assert!(both.has_change("a:2", 9) && !both.has_change("a:2", 10));
        second.end("a:2");
        let both = first.and(&second);
        assert!(both.has_whole("a:2") && both.part.is_none());
    }
}
