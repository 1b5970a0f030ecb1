//! The stream: events of the log in, batches of changes out.
//!
//! [`Capture::next`] reads what the server has sent ([`Reader`]), interprets it
//! ([`interpret`], [`statement`]) against what is known about tables ([`catalog`]), and hands out
//! a batch ([`pending`]) when it is full or when nothing more is there right now. All state is in
//! the capture itself: a dropped call loses nothing.

pub(crate) mod catalog;
pub(crate) mod defaults;
pub(crate) mod interpret;
pub(crate) mod pending;
pub(crate) mod place;
mod statement;

use std::time::Duration;

use futures_util::FutureExt as _;
use sluice_core::{Error, Reason, Result, SourceBatch};
use tokio::time::timeout;

use crate::{
    binlog::reader::Reader,
    stream::interpret::{Interpreter, Step},
};

/// A running stream.
pub(crate) struct Capture {
    reader: Reader,
    interpreter: Interpreter,
    /// How long the server may stay silent, heartbeats included.
    silence_max: Duration,
}

impl Capture {
    pub(crate) fn new(reader: Reader, interpreter: Interpreter, silence_max: Duration) -> Self {
        Self {
            reader,
            interpreter,
            silence_max,
        }
    }

    /// The next batch. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<SourceBatch> {
        loop {
            self.announce_refreshed();
            if self.interpreter.pending.is_full() {
                return Ok(self.take_batch());
            }
            if self.reader.advance()? {
                if let Some(event) = self.reader.event() {
                    match self.interpreter.interpret(event)? {
                        Step::Done => self.reader.consume(),
                        // What came before this event need not wait with it.
                        Step::Wait if !self.interpreter.pending.is_empty() => {
                            return Ok(self.take_batch());
                        }
                        Step::Wait => self.interpreter.catalog.answered().await,
                    }
                }
                continue;
            }
            // Looks once whether there is more right now; if not, what is here goes out.
            if let Some(filled) = self.reader.fill().now_or_never() {
                filled?;
            } else if !self.interpreter.pending.is_empty() {
                return Ok(self.take_batch());
            } else {
                self.wait().await?;
            }
        }
    }

    async fn wait(&mut self) -> Result<()> {
        let catalog = &mut self.interpreter.catalog;
        let is_refreshing = catalog.is_refreshing();
        let wake = async {
            tokio::select! {
                filled = self.reader.fill() => filled,
                () = catalog.answered(), if is_refreshing => Ok(()),
            }
        };
        match timeout(self.silence_max, wake).await {
            Ok(done) => done,
            Err(_) => Err(Error::new(
                Reason::Unreachable,
                format!(
                    "MySQL at {} has sent nothing for {} s, not even a heartbeat",
                    self.reader.address(),
                    self.silence_max.as_secs()
                ),
            )
            .with_hint("nothing to do: the stream is opened again")),
        }
    }

    /// Announces definitions that were read beside the stream and are in force here.
    fn announce_refreshed(&mut self) {
        let interpreter = &mut self.interpreter;
        interpreter.catalog.take_answers();
        if !interpreter.is_between_transactions() {
            return;
        }
        if let Some(here) = interpreter.place.watermark() {
            for change in interpreter.catalog.pass(&here) {
                interpreter.pending.push_schema(change);
            }
        }
    }

    fn take_batch(&mut self) -> SourceBatch {
        let mut batch = self.interpreter.pending.take();
        if self.interpreter.is_between_transactions() {
            batch.position = Some(self.interpreter.position());
            batch.watermark = self.interpreter.place.watermark();
        }
        batch
    }
}
