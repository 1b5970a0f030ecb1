//! What the loops wait for, so that a silent end is told from an idle one.
//!
//! Each loop notes a call that takes long, with what it is about, and takes the note away when the
//! call is back. The first loop also notes since when it listens to the stream. [`Waits`] makes of both
//! what the outside sees as stalled. Where the sink has an observer it is asked what the target
//! does: a call that is being worked on is no stall, however long it takes, and one whose session
//! is gone is given up.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use sluice_core::{
    Error, Reason, Result,
    sink::{Activity, SinkObserver},
};
use tokio::time::{sleep, timeout};

use crate::progress::Progress;

/// A call that takes longer than this is noted.
const NOTED_AFTER: Duration = Duration::from_secs(1);
/// A call that takes longer than this is a stall.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// A stream that is silent for longer than this is a stall; heartbeats come every two seconds.
const SILENT_AFTER: Duration = Duration::from_secs(6);
/// How often the target is observed during a call that takes long.
const OBSERVED_EVERY: Duration = Duration::from_secs(2);
/// How long an observation may take.
const OBSERVATION_MAX: Duration = Duration::from_secs(2);
/// How many observations in a row find a target that waits for us before we stop waiting for it.
const IDLE_OBSERVATIONS_MAX: u32 = 9;

/// An end of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StalledOn {
    /// The source.
    Source,
    /// The target.
    Target,
}

/// An end that gives no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StallReport {
    /// Which end.
    pub on: StalledOn,
    /// Since when.
    pub since: SystemTime,
    /// For how long.
    pub duration: Duration,
    /// What is waited for.
    pub what: String,
    /// Why, where the target says so.
    pub cause: Option<String>,
    /// What to do, where the target says so.
    pub hint: Option<String>,
}

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// The first loop, and what opens the source.
    Intake,
    /// The second loop, and what opens the sink.
    Apply,
}

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// For the source.
    Source,
    /// For the target.
    Target,
    /// For the other loop.
    Queue,
}

/// A call that takes long.
#[derive(Debug)]
struct Wait {
    on: Awaited,
    what: String,
    since: Instant,
    /// When the target was seen working on it.
    worked_at: Option<Instant>,
    cause: Option<String>,
    hint: Option<String>,
}

/// What the loops wait for.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    intake: Option<Wait>,
    apply: Option<Wait>,
    /// Since when the stream is listened to and silent.
    listening: Option<Instant>,
}

impl Waits {
    /// Nobody waits any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Begins to count the stream's silence, if that has not begun.
    pub(crate) fn listen(&mut self) {
        self.listening.get_or_insert_with(Instant::now);
    }

    /// The stream has said something, or is not listened to.
    pub(crate) fn heard(&mut self) {
        self.listening = None;
    }

    /// Whether this loop is known to wait for something.
    pub(crate) fn is_waiting(&self, waiter: Waiter) -> bool {
        match waiter {
            Waiter::Intake => self.intake.is_some(),
            Waiter::Apply => self.apply.is_some(),
        }
    }

    /// The end that gives no answer, if there is one. A target that stands still makes the first
    /// loop wait, too, so it is named first.
    pub(crate) fn stall(&self) -> Option<StallReport> {
        let mut waits = [&self.apply, &self.intake].into_iter().flatten();
        let stalled = waits.find_map(Wait::stall);
        stalled.or_else(|| {
            let since = self.listening?;
            let duration = since.elapsed();
            (duration >= SILENT_AFTER).then(|| StallReport {
                on: StalledOn::Source,
                since: SystemTime::now() - duration,
                duration,
                what: "nothing has come from the log, not even a heartbeat".to_owned(),
                cause: None,
                hint: None,
            })
        })
    }

    fn slot(&mut self, waiter: Waiter) -> &mut Option<Wait> {
        match waiter {
            Waiter::Intake => &mut self.intake,
            Waiter::Apply => &mut self.apply,
        }
    }
}

impl Wait {
    fn stall(&self) -> Option<StallReport> {
        let on = match self.on {
            Awaited::Source => StalledOn::Source,
            Awaited::Target => StalledOn::Target,
            Awaited::Queue => return None,
        };
        let since = self.worked_at.unwrap_or(self.since);
        let duration = since.elapsed();
        (duration >= STALLED_AFTER).then(|| StallReport {
            on,
            since: SystemTime::now() - duration,
            duration,
            what: self.what.clone(),
            cause: self.cause.clone(),
            hint: self.hint.clone(),
        })
    }
}

/// Takes the note of a call away when it is back, or dropped.
struct Noted<'a> {
    progress: &'a Progress,
    waiter: Waiter,
}

impl<'a> Noted<'a> {
    fn new(progress: &'a Progress, waiter: Waiter, call: (Awaited, String, Instant)) -> Self {
        let (on, what, since) = call;
        let wait = Wait {
            on,
            what,
            since,
            worked_at: None,
            cause: None,
            hint: None,
        };
        progress.waits(|waits| *waits.slot(waiter) = Some(wait));
        Self { progress, waiter }
    }

    fn update(&self, change: impl FnOnce(&mut Wait)) {
        self.progress
            .waits(|waits| waits.slot(self.waiter).as_mut().map(change));
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.progress.waits(|waits| *waits.slot(self.waiter) = None);
    }
}

/// Waits for the source.
pub(crate) async fn for_source<T>(
    progress: &Progress,
    what: impl FnOnce() -> String,
    call: impl Future<Output = T>,
) -> T {
    noted(progress, Awaited::Source, what, call).await
}

/// Waits for the second loop to make room.
pub(crate) async fn for_queue<T>(progress: &Progress, call: impl Future<Output = T>) -> T {
    noted(progress, Awaited::Queue, String::new, call).await
}

async fn noted<T>(
    progress: &Progress,
    on: Awaited,
    what: impl FnOnce() -> String,
    call: impl Future<Output = T>,
) -> T {
    let since = Instant::now();
    tokio::pin!(call);
    if let Ok(done) = timeout(NOTED_AFTER, &mut call).await {
        return done;
    }
    let _noted = Noted::new(progress, Waiter::Intake, (on, what(), since));
    call.await
}

/// Waits for the target, and observes what it does where that is possible.
pub(crate) struct TargetWatch {
    pub(crate) progress: Arc<Progress>,
    pub(crate) observer: Option<Arc<dyn SinkObserver>>,
}

impl TargetWatch {
    /// Waits for a call of the sink. One whose session is gone, or whose target has nothing to do for
    /// it, will never come back and ends with an error.
    pub(crate) async fn call<T>(
        &self,
        what: impl FnOnce() -> String,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let since = Instant::now();
        tokio::pin!(call);
        if let Ok(done) = timeout(NOTED_AFTER, &mut call).await {
            return done;
        }
        let noted = Noted::new(
            &self.progress,
            Waiter::Apply,
            (Awaited::Target, what(), since),
        );
        let mut idle = 0;
        loop {
            let observed = tokio::select! {
                done = &mut call => return done,
                observed = self.observe() => observed,
            };
            match observed {
                Some(Activity::Working) => noted.update(|wait| {
                    wait.worked_at = Some(Instant::now());
                    (wait.cause, wait.hint) = (None, None);
                }),
                Some(Activity::Blocked { cause, hint }) => {
                    noted.update(|wait| (wait.cause, wait.hint) = (Some(cause), hint));
                }
                Some(Activity::Gone) => return Err(lost("the target has ended the session")),
                Some(Activity::Idle) if idle >= IDLE_OBSERVATIONS_MAX => {
                    return Err(lost("the target waits for the next command of the session"));
                }
                Some(Activity::Idle) => {
                    idle += 1;
                    continue;
                }
                None => {}
            }
            idle = 0;
        }
    }

    /// What the target does, after a while; nothing when it can't be told.
    async fn observe(&self) -> Option<Activity> {
        let Some(observer) = &self.observer else {
            return std::future::pending().await;
        };
        sleep(OBSERVED_EVERY).await;
        let answer = timeout(OBSERVATION_MAX, observer.observe()).await;
        answer.ok().and_then(Result::ok)
    }
}

fn lost(found: &str) -> Error {
    Error::new(
        Reason::Unreachable,
        format!("an answer of the target was lost: {found}"),
    )
    .with_hint("nothing to do: the target is opened again, and what is missing is written again")
}
