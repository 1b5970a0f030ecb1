//! Table shapes by fingerprint: what the topic `<source>.sluice.schemas` holds.

use std::{collections::HashMap, fmt, sync::Arc};

use sha2::{Digest, Sha256};
use sluice_core::{Error, Reason, Result, TableSchema};

/// Tells one shape of a table from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a shape and its text form, which is what the topic holds.
    pub(crate) fn of(table: &TableSchema) -> Result<(Self, Vec<u8>)> {
        let text = serde_json::to_vec(table).map_err(|error| {
            Error::new(Reason::Internal, "a table's shape has no text form").with_source(error)
        })?;
        let digest = Sha256::digest(&text);
        let first = digest.iter().take(8);
        let number = first.fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        Ok((Self(number), text))
    }

    /// Reads sixteen hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        (text.len() == 16).then_some(())?;
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// The shapes that are known.
#[derive(Debug, Default)]
pub(crate) struct Shapes(HashMap<Fingerprint, Arc<TableSchema>>);

impl Shapes {
    /// Takes a record of the topic; what is damaged or foreign is left out.
    pub(crate) fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let fingerprint = key
            .and_then(|key| std::str::from_utf8(key).ok())
            .and_then(Fingerprint::parse);
        let table = value.and_then(|value| serde_json::from_slice::<TableSchema>(value).ok());
        if let (Some(fingerprint), Some(table)) = (fingerprint, table) {
            self.insert(fingerprint, Arc::new(table));
        }
    }

    pub(crate) fn insert(&mut self, fingerprint: Fingerprint, table: Arc<TableSchema>) {
        self.0.entry(fingerprint).or_insert(table);
    }

    pub(crate) fn get(&self, fingerprint: Fingerprint) -> Option<&Arc<TableSchema>> {
        self.0.get(&fingerprint)
    }
}
