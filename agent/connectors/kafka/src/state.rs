//! What the capture keeps in `<source>.sluice.positions`, beside the rows and in one transaction with them.
//!
//! Three records per pipeline, so that what changes with every commit stays small: its place in the
//! log (`<pipeline>`), what is known of the tables (`<pipeline>/tables`), and which agent writes
//! (`<pipeline>/owner`).

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sluice_core::{
    Error, LogPosition, Position, Reason, Requests, Result, SnapshotState, TableId, TableState,
};

use crate::{control::is_zero, lookup::Kept, resume::Written};

/// The newest place in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Place {
    /// Everything up to here is written.
    pub(crate) log: LogPosition,
    /// What is written behind it.
    #[serde(default, skip_serializing_if = "Written::is_empty")]
    pub(crate) written: Written,
    /// How many transactions have ended, where they have bounds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) ended: u64,
}

/// What is known of the tables.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Known {
    /// How far each table's copy is.
    pub(crate) tables: Arc<SnapshotState>,
    /// Requests that are done.
    #[serde(default, skip_serializing_if = "Requests::is_empty")]
    pub(crate) requests: Requests,
    /// Each table's shape, by fingerprint.
    #[serde(default)]
    pub(crate) shapes: BTreeMap<TableId, String>,
    /// The number of each topic's last control event.
    #[serde(default)]
    pub(crate) controls: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    agent: String,
}

/// All that is kept of a pipeline.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) place: Option<Place>,
    pub(crate) known: Known,
    pub(crate) owner: Option<String>,
}

impl State {
    /// Puts the records of the topic together, the last of each key.
    pub(crate) fn read(pipeline: &str, records: &[Kept]) -> Result<Self> {
        let newest = |key: &str| {
            let found = records
                .iter()
                .rfind(|record| record.key.as_deref() == Some(key.as_bytes()));
            found.and_then(|record| record.value.as_deref())
        };
        let owner: Option<Owner> = parsed(pipeline, newest(&owner_key(pipeline)))?;
        Ok(Self {
            place: parsed(pipeline, newest(pipeline))?,
            known: parsed(pipeline, newest(&tables_key(pipeline)))?.unwrap_or_default(),
            owner: owner.map(|owner| owner.agent),
        })
    }

    /// The position to resume from.
    pub(crate) fn position(&self) -> Option<Position> {
        let place = self.place.as_ref()?;
        Some(Position {
            log: place.log.clone(),
            tables: Arc::clone(&self.known.tables),
            requests: self.known.requests.clone(),
        })
    }
}

/// Another pipeline that writes, or wrote, by the same topics: neither would know of the other's rows.
pub(crate) fn stranger(pipeline: &str, records: &[Kept]) -> Option<String> {
    let own = owner_key(pipeline);
    let written = records.iter().filter(|record| record.value.is_some());
    let keys = written.filter_map(|record| std::str::from_utf8(record.key.as_deref()?).ok());
    let mut others = keys.filter(|key| *key != own);
    others.find_map(|key| key.strip_suffix("/owner").map(str::to_owned))
}

impl Known {
    /// Marks tables of which rows are written that the position does not say: a copy that begins
    /// there again replaces them.
    pub(crate) fn with_replaced<'a>(&self, tables: impl Iterator<Item = &'a TableId>) -> Self {
        let mut known = self.clone();
        for table in tables {
            let states = Arc::make_mut(&mut known.tables);
            let state = states
                .entry(table.clone())
                .or_insert_with(|| TableState::fresh(true));
            match state {
                TableState::Snapshotting { replace, .. } => *replace = true,
                TableState::Streaming => *state = TableState::fresh(true),
                TableState::Stopped { .. } => {}
            }
        }
        known
    }
}

/// The key of what is known of the tables.
pub(crate) fn tables_key(pipeline: &str) -> String {
    format!("{pipeline}/tables")
}

/// The key of the agent that writes.
pub(crate) fn owner_key(pipeline: &str) -> String {
    format!("{pipeline}/owner")
}

/// The record that names the agent that writes.
pub(crate) fn owner_record(agent: &str) -> Result<Vec<u8>> {
    json(&Owner {
        agent: agent.to_owned(),
    })
}

/// A record's value.
pub(crate) fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| {
        Error::new(Reason::Internal, "a position has no text form").with_source(error)
    })
}

fn parsed<T: DeserializeOwned>(pipeline: &str, value: Option<&[u8]>) -> Result<Option<T>> {
    let parse = |value| {
        serde_json::from_slice(value).map_err(|error| {
            let message = format!("the position of pipeline {pipeline} can't be read");
            Error::new(Reason::PositionLost, message)
                .with_hint("it was written by another version, or by somebody else")
                .with_source(error)
        })
    };
    value.map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(key: &str, value: Option<&str>) -> Kept {
        Kept {
            offset: 0,
            header: None,
            key: Some(key.as_bytes().to_vec()),
            value: value.map(|value| value.as_bytes().to_vec()),
        }
    }

    #[test]
    fn another_pipeline_is_known_by_the_agent_that_it_named() {
        let own = [
            kept("a/shop:capture", Some("{}")),
            kept("a/shop:capture/owner", Some("{}")),
        ];
        assert_eq!(stranger("a/shop:capture", &own), None);
        assert_eq!(
            stranger("b/shop:capture", &own).as_deref(),
            Some("a/shop:capture")
        );
        assert_eq!(
            stranger("b/shop:capture", &[kept("a/shop:capture/owner", None)]),
            None,
            "somebody deleted it"
        );
    }
}
