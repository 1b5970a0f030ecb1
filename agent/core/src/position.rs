//! Where a pipeline stands: how far the log is applied, and how far each table's snapshot is.
//!
//! A position is what a sink stores in the transaction that applied it, and all that a source
//! needs to go on from there.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    str::FromStr,
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    error::Reason,
    gtid::GtidSet,
    row::{FORMAT, Row},
    schema::TableId,
};

/// Where to resume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Everything up to here in the source's log is applied.
    pub log: LogPosition,
    /// Which rows of which tables are.
    pub tables: Arc<SnapshotState>,
    /// Which requests to copy tables again are in `tables` already.
    #[serde(default, skip_serializing_if = "Requests::is_empty")]
    pub requests: Requests,
}

/// The ids of requests that were taken on, so that each is done once. Only the newest are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Requests(Arc<[String]>);

/// How many ids are kept: a rolled-back configuration may bring an older request again.
const REQUESTS_MAX: usize = 16;

impl Requests {
    /// Whether the request is taken on.
    pub fn contains(&self, id: &str) -> bool {
        self.0.iter().any(|known| known == id)
    }

    /// Adds a request that is taken on with the position that it is stored with.
    pub fn insert(&mut self, id: &str) {
        if self.contains(id) {
            return;
        }
        let start = (self.0.len() + 1).saturating_sub(REQUESTS_MAX);
        let kept = self.0.iter().skip(start).cloned();
        self.0 = kept.chain([id.to_owned()]).collect();
    }

    /// The newest request.
    pub fn newest(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A place in a source's log, always between two transactions.
///
/// Text forms: a GTID set (`uuid:1-77,…`, empty for none), `file:offset`, `lsn:X/Y`,
/// `kafka:topic/partition=offset,…`.
#[derive(Debug, Clone, PartialEq)]
pub enum LogPosition {
    /// MySQL with GTIDs: the transactions that are applied.
    Gtid(GtidSet),
    /// MySQL without: a binlog file and the offset of the next event.
    File {
        /// The file's name.
        file: String,
        /// The byte offset.
        offset: u64,
    },
    /// PostgreSQL: the log sequence number of the end of the last applied transaction.
    Lsn(u64),
    /// Kafka: the next offset of each topic's partition.
    Offsets(BTreeMap<(String, i32), i64>),
}

impl LogPosition {
    /// Adds what others have applied who read the same topics: of each partition the furthest offset
    /// counts. A place of another kind can't be added and changes nothing.
    pub fn add(&mut self, other: &Self) {
        if let (Self::Offsets(offsets), Self::Offsets(others)) = (self, other) {
            for (partition, &offset) in others {
                let known = offsets.entry(partition.clone()).or_insert(offset);
                *known = offset.max(*known);
            }
        }
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gtid(set) => set.fmt(formatter),
            Self::File { file, offset } => write!(formatter, "{file}:{offset}"),
            Self::Lsn(lsn) => write!(formatter, "lsn:{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff),
            Self::Offsets(offsets) => {
                formatter.write_str("kafka:")?;
                for (index, ((topic, partition), offset)) in offsets.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(formatter, "{comma}{topic}/{partition}={offset}")?;
                }
                Ok(())
            }
        }
    }
}

/// A text that is not a log position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a log position")]
pub struct InvalidLogPosition(pub String);

impl FromStr for LogPosition {
    type Err = InvalidLogPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InvalidLogPosition(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<LogPosition> {
    if let Some(lsn) = text.strip_prefix("lsn:") {
        let (high, low) = lsn.split_once('/')?;
        let half = |digits: &str| u32::from_str_radix(digits, 16).ok().map(u64::from);
        return Some(LogPosition::Lsn(half(high)? << 32 | half(low)?));
    }
    if let Some(offsets) = text.strip_prefix("kafka:") {
        let pieces = offsets.split(',').filter(|piece| !piece.is_empty());
        let parsed = pieces.map(|piece| {
            let (place, offset) = piece.rsplit_once('=')?;
            let (topic, partition) = place.rsplit_once('/')?;
            Some((
                (topic.to_owned(), partition.parse().ok()?),
                offset.parse().ok()?,
            ))
        });
        return parsed.collect::<Option<_>>().map(LogPosition::Offsets);
    }
    if let Ok(set) = text.parse::<GtidSet>() {
        return Some(LogPosition::Gtid(set));
    }
    let (file, offset) = text.rsplit_once(':')?;
    (!file.is_empty() && !file.contains(':')).then_some(())?;
    Some(LogPosition::File {
        file: file.to_owned(),
        offset: offset.parse().ok()?,
    })
}

impl Serialize for LogPosition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A place in the log of one server, by that server's own count.
///
/// Used to bracket a snapshot chunk: the chunk is complete once the stream has passed it. Places
/// of two servers do not compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// Which server counts (a UUID or system identifier).
    pub server: Arc<str>,
    /// The place: for MySQL the binlog file's number in the high 64 bits and the offset below, for
    /// PostgreSQL the LSN.
    pub offset: u128,
}

impl Watermark {
    /// Whether the stream, being here, has passed the other place; `None` when another server
    /// counts here.
    pub fn has_reached(&self, other: &Self) -> Option<bool> {
        (self.server == other.server).then_some(self.offset >= other.offset)
    }
}

/// How far each captured table is.
pub type SnapshotState = BTreeMap<TableId, TableState>;

/// How far a table is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "phase")]
pub enum TableState {
    /// Rows are being copied; those up to the frontier are in the target.
    #[serde(rename_all = "camelCase")]
    Snapshotting {
        /// The key up to which rows are copied, in the source's key order; none yet without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        frontier: Option<Frontier>,
        /// How many rows are copied.
        #[serde(default)]
        rows_copied: u64,
        /// Whether the target may hold rows from before, so that ranges are replaced.
        #[serde(default)]
        replace: bool,
    },
    /// The table follows the stream.
    Streaming,
    /// The table waits for a person; it keeps its last consistent state.
    Stopped {
        /// Why, by name ([`Reason::as_str`]).
        reason: String,
        /// Why, in words.
        message: String,
        /// What to do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

impl TableState {
    /// A table of which nothing is copied yet.
    pub fn fresh(replace: bool) -> Self {
        Self::Snapshotting {
            frontier: None,
            rows_copied: 0,
            replace,
        }
    }

    /// Whether the table waits because a schema-change policy says `Pause`.
    pub fn is_paused(&self) -> bool {
        matches!(self, Self::Stopped { reason, .. } if reason == Reason::SchemaChangePaused.as_str())
    }
}

/// The last key that a snapshot copied. Persisted as hexadecimal digits of the packed key behind
/// the layout's version.
#[derive(Debug, Clone, PartialEq)]
pub struct Frontier(pub Row);

impl Serialize for Frontier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digits = format!("{FORMAT:02x}");
        for byte in self.0.as_bytes() {
            write!(digits, "{byte:02x}").map_err(serde::ser::Error::custom)?;
        }
        serializer.serialize_str(&digits)
    }
}

impl<'de> Deserialize<'de> for Frontier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let bytes: Option<Vec<u8>> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let row = match bytes.as_deref() {
            Some([FORMAT, packed @ ..]) => Row::from_packed(Bytes::copy_from_slice(packed)),
            _ => None,
        };
        row.map(Frontier).ok_or_else(|| {
            serde::de::Error::custom("a snapshot frontier of another version or damaged")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_form_survives_the_round_trip() {
        for text in [
            "",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77",
            "binlog.000003:4711",
            "lsn:16/B374D848",
            "kafka:shop.orders/0=12,shop.orders/1=7",
            "kafka:",
        ] {
            assert_eq!(text.parse::<LogPosition>().unwrap().to_string(), text);
        }
        for text in ["binlog", ":4", "lsn:zz", "kafka:a"] {
            assert!(text.parse::<LogPosition>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_places_of_several_readers_add_up_to_the_furthest_of_each_partition() {
        let mut all: LogPosition = "kafka:a/0=3,a/1=9".parse().unwrap();
        all.add(&"kafka:a/0=7,a/1=2,b/0=1".parse().unwrap());
        assert_eq!(all.to_string(), "kafka:a/0=7,a/1=9,b/0=1");
        all.add(&"binlog.000003:4711".parse().unwrap());
        assert_eq!(all.to_string(), "kafka:a/0=7,a/1=9,b/0=1");
    }

    #[test]
    fn a_request_is_remembered_until_many_newer_ones_have_come() {
        let mut requests = Requests::default();
        for id in 0..REQUESTS_MAX {
            requests.insert(&id.to_string());
        }
        requests.insert("0");
        assert!(requests.contains("0") && requests.contains("15"));
        assert_eq!(requests.newest(), Some("15"), "a known one is not newer");
        requests.insert("16");
        assert!(!requests.contains("0") && requests.contains("1"));
    }
}
