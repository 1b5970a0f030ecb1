//! Where transactions of the source begin and end: what the topic `<source>.transaction` holds.
//!
//! Records are those of Debezium's `provide.transaction.metadata` (debezium/debezium,
//! `io.debezium.pipeline.txmetadata.TransactionMonitor`): `BEGIN` ahead of a transaction's first record,
//! `END` with the number of its records in all and by table; a change of key counts twice, being two
//! records, and tombstones don't count. A transaction of which nothing is written has no bounds.
//!
//! Transactions are numbered in the order in which they are written. The number is in the header of both
//! bounds and of every row, so that a reader of many partitions can tell what comes first. Of a
//! transaction that is committed in pieces, what the source brings anew is counted, not written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluice_avro::{Boundary, Codec, TransactionWriter};
use sluice_core::{Error, Reason, Result, TableId, Transaction};

use crate::producer::{Outgoing, Producer};

/// What the header of a bound says to Sluice's own readers, whatever the record's format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// The transaction's number, from one.
    pub(crate) number: u64,
    /// Where it ends; of its beginning nothing else is to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<End>,
}

/// The end of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    /// The source's name for the transaction.
    pub(crate) id: String,
    /// The sum over all topics of the number of the last control event that was written before.
    pub(crate) controls: u64,
    /// How many records each topic has of the transaction.
    pub(crate) records: BTreeMap<String, u64>,
}

impl Bound {
    pub(crate) fn parse(header: &[u8]) -> Option<Self> {
        serde_json::from_slice(header).ok()
    }

    fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| {
            Error::new(
                Reason::Internal,
                "the bound of a transaction has no text form",
            )
            .with_source(error)
        })
    }
}

/// Writes the bounds of transactions.
pub(crate) struct Bounds {
    topic: String,
    writer: TransactionWriter,
    /// The number of the last transaction that has ended.
    ended: u64,
    open: Option<Open>,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// The transaction that is being written.
struct Open {
    id: String,
    millis: i64,
    /// Its beginning is written.
    has_begun: bool,
    records: u64,
    tables: Vec<Counted>,
    /// The table of the last record.
    last: usize,
}

struct Counted {
    table: TableId,
    topic: String,
    records: u64,
}

/// The place of a record in its transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ordinals {
    /// The how manieth record of the transaction it is, from zero.
    pub(crate) total: u64,
    /// The how manieth of its table's.
    pub(crate) table: u64,
}

impl Open {
    fn new(transaction: &Transaction) -> Self {
        Self {
            id: transaction.id.clone(),
            millis: transaction.commit_time_micros.div_euclid(1_000),
            has_begun: false,
            records: 0,
            tables: Vec::new(),
            last: 0,
        }
    }

    fn table(&mut self, table: &TableId, topic: &str) -> &mut Counted {
        let is_it = |counted: &Counted| counted.table == *table;
        if !self.tables.get(self.last).is_some_and(is_it) {
            let found = self.tables.iter().position(is_it);
            self.last = found.unwrap_or(self.tables.len());
            if found.is_none() {
                self.tables.push(Counted {
                    table: table.clone(),
                    topic: topic.to_owned(),
                    records: 0,
                });
            }
        }
        &mut self.tables[self.last]
    }
}

impl Bounds {
    /// `ended` transactions have been written whole before.
    pub(crate) async fn new(codec: &Codec, topic: String, ended: u64) -> Result<Self> {
        Ok(Self {
            writer: codec.transaction_writer(&topic).await?,
            topic,
            ended,
            open: None,
            key: Vec::new(),
            value: Vec::new(),
        })
    }

    /// How many transactions have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    /// The number of the transaction that is open, or else of the next: what is written now lies behind
    /// the end of the one before.
    pub(crate) fn number(&self) -> u64 {
        self.ended + 1
    }

    /// Whether another transaction is open than this one.
    pub(crate) fn is_inside_other(&self, id: &str) -> bool {
        self.open.as_ref().is_some_and(|open| open.id != id)
    }

    fn open(&mut self, transaction: &Transaction) -> &mut Open {
        self.open.get_or_insert_with(|| Open::new(transaction))
    }

    /// Counts records that were written before this session.
    pub(crate) fn count_written(
        &mut self,
        transaction: &Transaction,
        table: &TableId,
        topic: &str,
        records: u64,
    ) {
        let open = self.open(transaction);
        open.has_begun = true;
        open.records += records;
        open.table(table, topic).records += records;
    }

    /// Writes the beginning of the transaction, unless that is done.
    pub(crate) async fn begin(
        &mut self,
        producer: &Producer,
        transaction: &Transaction,
    ) -> Result<()> {
        let open = self.open(transaction);
        if std::mem::replace(&mut open.has_begun, true) {
            return Ok(());
        }
        let millis = open.millis;
        let bound = Bound {
            number: self.number(),
            end: None,
        };
        self.send(producer, &transaction.id, millis, &bound, Boundary::Begin)
            .await
    }

    /// The place of the next record of a table.
    pub(crate) fn ordinals(&mut self, table: &TableId, topic: &str) -> Ordinals {
        let Some(open) = &mut self.open else {
            return Ordinals { total: 0, table: 0 };
        };
        Ordinals {
            total: open.records,
            table: open.table(table, topic).records,
        }
    }

    /// Counts the record that was just written.
    pub(crate) fn count(&mut self) {
        if let Some(open) = &mut self.open {
            open.records += 1;
            if let Some(counted) = open.tables.get_mut(open.last) {
                counted.records += 1;
            }
        }
    }

    /// Writes the end of the transaction that is open. `controls` is the sum of the topics' control
    /// numbers.
    pub(crate) async fn end(&mut self, producer: &Producer, controls: u64) -> Result<()> {
        let Some(open) = self.open.take().filter(|open| open.has_begun) else {
            return Ok(());
        };
        let mut records = BTreeMap::new();
        let mut tables = Vec::with_capacity(open.tables.len());
        for counted in open.tables.into_iter().filter(|table| table.records > 0) {
            tables.push((counted.table.to_string(), counted.records));
            records.insert(counted.topic, counted.records);
        }
        let bound = Bound {
            number: self.number(),
            end: Some(End {
                id: open.id.clone(),
                controls,
                records,
            }),
        };
        let boundary = Boundary::End {
            events: open.records,
            tables: &tables,
        };
        self.send(producer, &open.id, open.millis, &bound, boundary)
            .await?;
        self.ended += 1;
        Ok(())
    }

    async fn send(
        &mut self,
        producer: &Producer,
        id: &str,
        millis: i64,
        bound: &Bound,
        boundary: Boundary<'_>,
    ) -> Result<()> {
        self.key.clear();
        self.value.clear();
        self.writer.key(id, &mut self.key);
        self.writer.value(id, boundary, millis, &mut self.value);
        let header = bound.text()?;
        let outgoing = Outgoing {
            topic: &self.topic,
            partition: 0,
            key: Some(&self.key),
            value: Some(&self.value),
            header: Some(&header),
            lost: None,
        };
        producer.send(&outgoing).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_survive_the_header() {
        let begin = Bound {
            number: 7,
            end: None,
        };
        let end = Bound {
            number: 7,
            end: Some(End {
                id: "u:7".to_owned(),
                controls: 3,
                records: [("shop.shop.a b".to_owned(), 2)].into(),
            }),
        };
        for bound in [begin, end] {
            let text = bound.text().unwrap();
            assert_eq!(Bound::parse(text.as_bytes()), Some(bound));
        }
        assert_eq!(Bound::parse(b"c 0 0"), None);
    }

    #[test]
    fn records_are_numbered_in_all_and_by_table() {
        let transaction = Transaction {
            id: "u:7".to_owned(),
            commit_time_micros: 0,
            start_offset: 0,
        };
        let mut open = Open::new(&transaction);
        let (a, b) = (TableId::new("shop", "a"), TableId::new("shop", "b"));
        for (table, place) in [(&a, 0), (&b, 0), (&a, 1), (&a, 2), (&b, 1)] {
            let counted = open.table(table, &table.name);
            assert_eq!(counted.records, place);
            counted.records += 1;
        }
        assert_eq!(open.tables.len(), 2);
    }
}
