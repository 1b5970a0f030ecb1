//! The pipeline between a simulated database and a simulated target, under faults.
//!
//! Everything random comes from one seed, the clock is virtual. At every commit the target is held
//! against the database's own history: each table must show exactly the rows that the source had
//! at the committed position, up to the table's frontier. `SLUICE_SEED=n` replays one schedule,
//! `SLUICE_SEEDS=n` sets how many are drawn.

#![allow(clippy::panic, reason = "an oracle fails by panicking")]

mod database;
mod source;
mod target;
mod topics;

use std::{
    env,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use sluice_core::{Sink, SnapshotState, Source, TableState};
use sluice_pipeline::{
    Finish, FinishWhen, PipelineConfig, Progress, ResnapshotRequest, SnapshotMode, route::Router,
    run,
};
use tokio::sync::watch;

use crate::{
    database::Database,
    source::SimulatedSource,
    target::{SimulatedTarget, Stored},
    topics::{Log, TopicSink, TopicSource, Topics},
};

const SEEDS_DEFAULT: u64 = 300;

#[test]
fn the_target_equals_the_source_at_every_commit_whatever_fails() {
    for_every_seed(schedule);
}

#[test]
fn the_target_equals_the_source_through_topics_whatever_fails() {
    for_every_seed(through_topics);
}

fn for_every_seed<F: Future<Output = ()>>(schedule: fn(u64) -> F) {
    if let Ok(seed) = env::var("SLUICE_SEED") {
        simulate(schedule(seed.parse().expect("SLUICE_SEED is a number")));
        return;
    }
    let seeds = env::var("SLUICE_SEEDS").map_or(SEEDS_DEFAULT, |text| {
        text.parse().expect("SLUICE_SEEDS is a number")
    });
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(|| simulate(schedule(seed)));
        assert!(outcome.is_ok(), "replay with SLUICE_SEED={seed}");
    }
}

fn simulate(schedule: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(schedule);
}

async fn schedule(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let database = Arc::new(Mutex::new(Database::new(random.fork())));
    let target = SimulatedTarget::new(random.fork(), Arc::clone(&database));
    let state = target.state();
    run_until_synced(&mut random, &database, target, None).await;
    {
        let database = database.lock().expect("no holder panicked");
        assert_eq!(
            database.transactions_left(),
            0,
            "the run ended before the workload"
        );
    }
    assert_complete(&state, &database);
    if seed.is_multiple_of(3) {
        copy_again(&mut random, &database, &state).await;
    }
}

/// One pipeline writes topics, another one applies them, at the same time: the second one is in sync
/// only once the first one is.
async fn through_topics(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let database = Arc::new(Mutex::new(Database::new(random.fork())));
    let topics = Topics::new(Mutex::new(Log::default()));
    let target = SimulatedTarget::behind_topics(random.fork(), Arc::clone(&database));
    let state = target.state();
    let (captured, applied) = (progress(), progress());
    applied.hold_sync();
    let source = SimulatedSource::new(random.fork(), Arc::clone(&database));
    let sink = TopicSink::new(random.fork(), Arc::clone(&topics));
    let capture = pipeline(&mut random, source, sink, &captured, None);
    let source = TopicSource::new(random.fork(), Arc::clone(&topics));
    let apply = pipeline(&mut random, source, target, &applied, None);
    let capture = async {
        capture.await;
        applied.count_sync();
    };
    tokio::join!(capture, apply);
    let (state, database) = (
        state.lock().expect("no holder panicked"),
        database.lock().expect("no holder panicked"),
    );
    assert_eq!(database.transactions_left(), 0, "the workload is not done");
    state.assert_equals_now(&database);
    let tables = &state.position.as_ref().expect("a position").tables;
    assert_eq!(tables.len(), database.tables().count());
    let streams = |state: &TableState| *state == TableState::Streaming;
    assert!(tables.values().all(streams), "{tables:?}");
    assert_eq!(
        applied.report().lag_bytes,
        None,
        "a stopped pipeline has none"
    );
}

/// Whatever fails, and however often the agent starts with the same request in its configuration:
/// each table that it names is copied again once.
async fn copy_again(
    random: &mut fastrand::Rng,
    database: &Arc<Mutex<Database>>,
    state: &Arc<Mutex<Stored>>,
) {
    state.lock().expect("no holder panicked").begun_anew.clear();
    let request = ResnapshotRequest {
        id: "again".into(),
        tables: vec![["*", "*.*"][random.usize(0..2)].into()],
    };
    for _ in 0..2 {
        let target = SimulatedTarget::on(random.fork(), Arc::clone(database), Arc::clone(state));
        run_until_synced(random, database, target, Some(request.clone())).await;
        assert_complete(state, database);
    }
    let state = state.lock().expect("no holder panicked");
    let position = state.position.as_ref().expect("a position is stored");
    assert!(position.requests.contains("again"));
    for table in position.tables.keys() {
        assert_eq!(state.begun_anew.get(table), Some(&1), "{table}");
    }
}

async fn run_until_synced(
    random: &mut fastrand::Rng,
    database: &Arc<Mutex<Database>>,
    target: SimulatedTarget,
    request: Option<ResnapshotRequest>,
) {
    let source = SimulatedSource::new(random.fork(), Arc::clone(database));
    pipeline(random, source, target, &progress(), request).await;
}

fn progress() -> Arc<Progress> {
    Arc::new(Progress::new("simulated"))
}

/// Runs a pipeline with random limits until it is in sync.
fn pipeline(
    random: &mut fastrand::Rng,
    source: impl Source + 'static,
    target: impl Sink + 'static,
    progress: &Arc<Progress>,
    request: Option<ResnapshotRequest>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    let config = PipelineConfig {
        name: "simulated".into(),
        snapshot_mode: SnapshotMode::Initial,
        chunk_rows: random.u64(1..20),
        parallelism: random.usize(1..5),
        resnapshot_when_lost: true,
        rows_max: random.usize(1..40),
        size_bytes_max: random.usize(1000..100_000),
        delay_max: Duration::from_millis(1),
        router: Router::new(Vec::new()).expect("no route is a valid router"),
        resnapshot: Vec::new(),
        request,
        finish: FinishWhen::Synced,
    };
    let progress = Arc::clone(progress);
    Box::pin(async move {
        let (_stop, stopped) = watch::channel(false);
        let work = run(
            Box::new(source),
            Box::new(target),
            config,
            progress,
            stopped,
        );
        let finish = tokio::time::timeout(Duration::from_secs(100_000), work)
            .await
            .expect("the pipeline converges")
            .expect("no error is left for a person");
        assert_eq!(finish, Finish::Synced);
    })
}

fn assert_complete(state: &Arc<Mutex<Stored>>, database: &Arc<Mutex<Database>>) {
    let state = state.lock().expect("no holder panicked");
    let database = database.lock().expect("no holder panicked");
    let tables: &SnapshotState = &state
        .position
        .as_ref()
        .expect("a position is stored")
        .tables;
    assert_eq!(
        tables.len(),
        database.tables().count(),
        "every table is followed"
    );
    state.assert_equals_history(&database);
}
