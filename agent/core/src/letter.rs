//! What becomes of single records that can't be applied: where they came from, and who keeps them
//! outside of the target.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::{
    error::{Error, Reason, Result},
    schema::TableId,
};

/// A partition of a topic. There is one for each, kept as long as the process runs, so that an
/// [`Origin`] costs nothing to copy.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
}

/// Where a record lies in its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The partition.
    pub place: &'static Place,
    /// The record's offset there.
    pub offset: i64,
}

impl Place {
    /// The place of a partition. To be asked for once, and not per record.
    pub fn of(topic: &str, partition: i32) -> &'static Self {
        type Places = HashMap<(Arc<str>, i32), &'static Place>;
        static KNOWN: Mutex<Option<Places>> = Mutex::new(None);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_with(HashMap::new);
        let topic: Arc<str> = Arc::from(topic);
        let place = known.entry((Arc::clone(&topic), partition));
        place.or_insert_with(|| Box::leak(Box::new(Self { topic, partition })))
    }
}

/// `topic/partition@offset`.
impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { topic, partition } = self.place;
        write!(formatter, "{topic}/{partition}@{}", self.offset)
    }
}

/// A record as it lies in its topic.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawRecord {
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes.
    pub value: Option<Vec<u8>>,
    /// The headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The record's time, in milliseconds since 1970 UTC.
    pub timestamp_millis: Option<i64>,
}

impl RawRecord {
    /// How many bytes the record has.
    pub fn size_bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter();
        let headers: usize = headers
            .map(|(name, value)| name.len() + length(value))
            .sum();
        length(&self.key) + length(&self.value) + headers
    }
}

/// Sizes only: the bytes hold a row's values.
impl fmt::Debug for RawRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RawRecord({} bytes)", self.size_bytes())
    }
}

/// A record that can't be decoded.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// The table that it is about, where that is known.
    pub table: Option<TableId>,
    /// Where it lies.
    pub origin: Origin,
    /// Its bytes.
    pub record: RawRecord,
    /// Why, without values.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Unreadable {
    /// The record as an error, for those who go no further.
    pub fn to_error(&self) -> Error {
        let mut error = Error::new(Reason::DecodeFailed, self.message.as_str());
        if let Some(hint) = &self.hint {
            error = error.with_hint(hint.as_str());
        }
        match &self.table {
            Some(table) => error.with_table(table.clone()),
            None => error,
        }
    }
}

/// A record that goes to those who keep dead letters outside of the target.
#[derive(Debug)]
pub struct Letter {
    /// Where the record lies.
    pub origin: Origin,
    /// The record, if it is at hand; else it is read again.
    pub record: Option<RawRecord>,
    /// What could not be done with it.
    pub stage: Stage,
    /// The reason's name in status and metrics.
    pub reason: Reason,
    /// Why, without values.
    pub message: String,
}

/// What could not be done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Decoding it.
    Decode,
    /// Applying it to the target.
    Apply,
}

/// Keeps records outside of the target.
///
/// The sink hands them over ahead of the commit that goes on without them, so that a crash in between
/// may keep a record twice and never loses one.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Connects, and sees whether letters can be kept.
    async fn open(&self) -> Result<()>;

    /// Keeps letters. When it has returned they are as safe as their place is.
    async fn keep(&self, letters: Vec<Letter>) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_one_place() {
        let place = Place::of("shop.orders", 3);
        assert!(std::ptr::eq(place, Place::of("shop.orders", 3)));
        assert!(!std::ptr::eq(place, Place::of("shop.orders", 4)));
        let origin = Origin { place, offset: 17 };
        assert_eq!(origin.to_string(), "shop.orders/3@17");
    }

    #[test]
    fn a_record_shows_nothing_of_its_values() {
        let record = RawRecord {
            value: Some(b"secret".to_vec()),
            headers: vec![("h".into(), Some(b"secret".to_vec()))],
            ..RawRecord::default()
        };
        assert_eq!(format!("{record:?}"), "RawRecord(13 bytes)");
    }
}
