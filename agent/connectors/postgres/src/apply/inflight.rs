//! Statements on their way: sent one after another without waiting, settled in the same order.
//!
//! The server works on one while the next is encoded. After an error the server refuses the rest of
//! the transaction; the first error is the one that counts.

use std::{collections::VecDeque, future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use bytes::Bytes;
use sluice_core::TableId;
use tokio_postgres::{
    Client, Statement,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use crate::{error::is_secondary, netting::Update, plan::Plan};

/// How much may be on its way before the oldest statement is waited for.
const BYTES_MAX: usize = 8 << 20;

/// A parameter that is encoded already.
pub(crate) struct Encoded(pub(crate) Bytes);

/// Values are data and never printed.
impl std::fmt::Debug for Encoded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} bytes", self.0.len())
    }
}

impl ToSql for Encoded {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

type Outcome = Result<u64, tokio_postgres::Error>;

struct Pending<'e> {
    table: TableId,
    bytes: usize,
    expected: Option<Expected<'e>>,
    first: Option<Outcome>,
    future: Pin<Box<dyn Future<Output = Outcome> + Send + 'e>>,
}

/// Rows that an UPDATE must have found.
pub(crate) struct Expected<'e> {
    pub(crate) plan: Arc<Plan>,
    pub(crate) updates: Vec<Update<'e>>,
}

/// Statements on their way.
pub(crate) struct InFlight<'e> {
    client: &'e Client,
    queue: VecDeque<Pending<'e>>,
    bytes: usize,
    /// Updates that found fewer rows than they should have.
    pub(crate) short: Vec<Expected<'e>>,
}

/// An error and the table it is about.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) table: TableId,
    pub(crate) error: tokio_postgres::Error,
}

impl<'e> InFlight<'e> {
    pub(crate) fn new(client: &'e Client) -> Self {
        Self {
            client,
            queue: VecDeque::new(),
            bytes: 0,
            short: Vec::new(),
        }
    }

    /// Sends a statement.
    pub(crate) async fn send(
        &mut self,
        table: &TableId,
        statement: Statement,
        parameters: Vec<Bytes>,
        expected: Option<Expected<'e>>,
    ) -> Result<(), Failed> {
        let bytes = parameters.iter().map(Bytes::len).sum();
        while self.bytes > 0 && self.bytes + bytes > BYTES_MAX {
            self.settle_one().await?;
        }
        let client = self.client;
        let parameters: Vec<_> = parameters.into_iter().map(Encoded).collect();
        let mut future: Pin<Box<dyn Future<Output = Outcome> + Send + 'e>> =
            Box::pin(async move { client.execute_raw(&statement, parameters).await });
        // The first poll encodes and queues the statement, so that the order is that of the calls.
        let first = poll_fn(|context| {
            Poll::Ready(match future.as_mut().poll(context) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            })
        })
        .await;
        self.bytes += bytes;
        self.queue.push_back(Pending {
            table: table.clone(),
            bytes,
            expected,
            first,
            future,
        });
        Ok(())
    }

    /// Waits for everything that is on its way.
    pub(crate) async fn settle(&mut self) -> Result<(), Failed> {
        while !self.queue.is_empty() {
            self.settle_one().await?;
        }
        Ok(())
    }

    /// The error that counts, after a statement outside of the queue failed.
    pub(crate) async fn blame(&mut self, table: &TableId, error: tokio_postgres::Error) -> Failed {
        if is_secondary(&error)
            && let Err(first) = self.settle().await
        {
            return first;
        }
        Failed {
            table: table.clone(),
            error,
        }
    }

    async fn settle_one(&mut self) -> Result<(), Failed> {
        let Some(mut pending) = self.queue.pop_front() else {
            return Ok(());
        };
        self.bytes -= pending.bytes;
        let outcome = match pending.first.take() {
            Some(outcome) => outcome,
            None => pending.future.as_mut().await,
        };
        let found = outcome.map_err(|error| Failed {
            table: pending.table,
            error,
        })?;
        if let Some(expected) = pending.expected
            && found < expected.updates.len() as u64
        {
            self.short.push(expected);
        }
        Ok(())
    }
}
