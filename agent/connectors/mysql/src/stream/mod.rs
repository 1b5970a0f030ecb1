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
use tokio::time::{Instant, timeout_at};

use crate::{
    binlog::reader::Reader,
    stream::interpret::{Interpreter, Step},
};

/// How long a call waits at least before it believes in silence: what arrived while nobody asked
/// must be seen first. Shorter than the time after which a caller may drop its call and ask again.
const LISTENING_MIN: Duration = Duration::from_millis(200);

/// A running stream.
pub(crate) struct Capture {
    reader: Reader,
    interpreter: Interpreter,
    /// How long the server may stay silent, heartbeats included.
    silence_max: Duration,
    /// When the server last sent something, whichever call waited for it.
    heard_at: Instant,
}

impl Capture {
    pub(crate) fn new(reader: Reader, interpreter: Interpreter, silence_max: Duration) -> Self {
        Self {
            reader,
            interpreter,
            silence_max,
            heard_at: Instant::now(),
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
                self.heard_at = Instant::now();
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
                filled = self.reader.fill() => filled.map(|()| true),
                () = catalog.answered(), if is_refreshing => Ok(false),
            }
        };
        let patience = self.heard_at + self.silence_max;
        match timeout_at(patience.max(Instant::now() + LISTENING_MIN), wake).await {
            Ok(woken) => {
                if woken? {
                    self.heard_at = Instant::now();
                }
                Ok(())
            }
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
