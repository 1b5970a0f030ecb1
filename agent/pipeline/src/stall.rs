//! What the loops wait for, so that a silent end is told from an idle one.
//!
//! Each loop notes a call that takes long, with what it is about, and takes the note away when the
//! call is back. The first loop also notes since when it listens to the stream. `Waits` makes of both
//! what the outside sees as stalled. Where the sink has an observer it is asked what the target
//! does: a call that is being worked on is no stall, however long it takes, and one whose session
//! is gone is given up.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use sluice_core::{
    Error, Reason, Result,
    sink::{Activity, SinkObserver},
};
use tokio::time::{Instant, sleep, timeout};

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

/// A moment by both clocks: one to count from, one to tell.
#[derive(Debug, Clone, Copy)]
struct Moment {
    instant: Instant,
    time: SystemTime,
}

impl Moment {
    fn now() -> Self {
        Self {
            instant: Instant::now(),
            time: SystemTime::now(),
        }
    }
}

/// A call that takes long.
#[derive(Debug)]
struct Wait {
    on: Awaited,
    what: String,
    since: Moment,
    /// When the target was seen working on it.
    worked_at: Option<Moment>,
    cause: Option<String>,
    hint: Option<String>,
}

/// What the loops wait for.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    intake: Option<Wait>,
    apply: Option<Wait>,
    /// Since when the stream is listened to and silent.
    listening: Option<Moment>,
}

impl Waits {
    /// Nobody waits any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Begins to count the stream's silence, if that has not begun.
    pub(crate) fn listen(&mut self) {
        self.listening.get_or_insert_with(Moment::now);
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
            let duration = since.instant.elapsed();
            (duration >= SILENT_AFTER).then(|| StallReport {
                on: StalledOn::Source,
                since: since.time,
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
        let duration = since.instant.elapsed();
        (duration >= STALLED_AFTER).then(|| StallReport {
            on,
            since: since.time,
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
    fn new(progress: &'a Progress, waiter: Waiter, call: (Awaited, String, Moment)) -> Self {
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
    let since = Moment::now();
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
        let since = Moment::now();
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
                    wait.worked_at = Some(Moment::now());
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use sluice_core::{LogPosition, Position, Requests, Watermark, source::LogEnd};

    use super::*;

    /// A target that does what it is told to.
    struct Told(Activity);

    #[async_trait]
    impl SinkObserver for Told {
        async fn observe(&self) -> Result<Activity> {
            Ok(self.0.clone())
        }
    }

    fn streaming() -> Arc<Progress> {
        let progress = Arc::new(Progress::new("x"));
        progress.streaming(&Position {
            log: LogPosition::Lsn(1),
            tables: Arc::default(),
            requests: Requests::default(),
        });
        progress
    }

    fn watch(progress: &Arc<Progress>, activity: Option<Activity>) -> TargetWatch {
        TargetWatch {
            progress: Arc::clone(progress),
            observer: activity.map(|activity| Arc::new(Told(activity)) as Arc<dyn SinkObserver>),
        }
    }

    async fn takes(seconds: u64) -> Result<()> {
        sleep(Duration::from_secs(seconds)).await;
        Ok(())
    }

    /// What stalls after so many seconds of a call of the sink that takes a minute.
    async fn stall_during(activity: Option<Activity>, seconds: u64) -> Option<StallReport> {
        let progress = streaming();
        let watch = watch(&progress, activity);
        let call = watch.call(|| "writing".to_owned(), takes(60));
        assert!(timeout(Duration::from_secs(seconds), call).await.is_err());
        // The call is dropped by now, and its note with it.
        assert_eq!(progress.report().stall, None);
        let call = watch.call(|| "writing".to_owned(), takes(60));
        let seen = async {
            sleep(Duration::from_secs(seconds)).await;
            progress.report().stall
        };
        tokio::select! {
            _ = call => None,
            stall = seen => stall,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_is_a_stall_after_five_seconds() {
        assert_eq!(stall_during(None, 4).await, None);
        let stall = stall_during(None, 6).await.expect("a stall");
        assert_eq!(
            (stall.on, stall.what.as_str()),
            (StalledOn::Target, "writing")
        );
        assert!(stall.duration >= Duration::from_secs(6));
        let blocked = Activity::Blocked {
            cause: "a lock".to_owned(),
            hint: None,
        };
        let stall = stall_during(Some(blocked), 6).await.expect("a stall");
        assert_eq!(stall.cause.as_deref(), Some("a lock"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_worked_on_is_no_stall_however_long_it_takes() {
        assert_eq!(stall_during(Some(Activity::Working), 50).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_will_never_come_back_is_given_up() {
        for activity in [Activity::Gone, Activity::Idle] {
            let watch = watch(&streaming(), Some(activity));
            let call = watch.call(|| "writing".to_owned(), takes(3_600));
            let ended = timeout(Duration::from_secs(60), call).await;
            let error = ended.expect("it ends").expect_err("it is lost");
            assert_eq!(error.reason(), Reason::Unreachable);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_is_a_stall_and_a_heartbeat_ends_it() {
        let progress = streaming();
        progress.waits(Waits::listen);
        sleep(Duration::from_secs(5)).await;
        progress.waits(Waits::listen);
        assert_eq!(progress.report().stall, None);
        sleep(Duration::from_secs(2)).await;
        let report = progress.report();
        assert_eq!(report.stall.map(|stall| stall.on), Some(StalledOn::Source));
        assert_eq!((report.ready, report.stalls.source), (false, 1));
        progress.waits(Waits::heard);
        assert_eq!(progress.report().stall, None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_loop_that_waits_for_nothing_is_stuck() {
        let (long, longer) = (Duration::from_secs(120), Duration::from_secs(121));
        let progress = streaming();
        sleep(longer).await;
        assert!(progress.is_stuck(long));
        progress.beat_intake();
        progress.beat_apply();
        assert!(!progress.is_stuck(long));

        let watch = watch(&progress, None);
        let target = watch.call(|| "writing".to_owned(), takes(3_600));
        let queue = for_queue(&progress, takes(3_600));
        let seen = async {
            sleep(longer).await;
            progress.is_stuck(long)
        };
        let stuck = tokio::select! {
            _ = target => None,
            _ = queue => None,
            stuck = seen => Some(stuck),
        };
        assert_eq!(stuck, Some(false), "both wait");
        assert!(progress.is_stuck(long), "neither does any more");
    }

    #[tokio::test(start_paused = true)]
    async fn the_lag_is_never_zero_by_old_news() {
        let progress = streaming();
        let watermark = |offset| Watermark {
            server: "s".into(),
            offset,
        };
        let end = |offset| LogEnd {
            watermark: watermark(offset),
            log_files: Vec::new(),
            partitions: Vec::new(),
            retention_seconds: None,
        };
        progress.applied(Some(&watermark(5)), None);
        progress.log_end(Instant::now(), end(5));
        let report = progress.report();
        assert_eq!((report.lag_seconds, report.lag_bytes), (Some(0.0), Some(0)));
        sleep(Duration::from_secs(4)).await;
        let report = progress.report();
        assert_eq!(report.lag_bytes, None);
        assert!(
            report.lag_seconds.is_some_and(|lag| lag > 0.0),
            "{report:?}"
        );
        progress.connecting();
        let lag = progress.report().lag_seconds;
        assert!(
            lag.is_some_and(|lag| lag > 0.0),
            "what was applied still is: {lag:?}"
        );
    }
}
