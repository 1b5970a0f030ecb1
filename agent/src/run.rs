//! `sluice run`: one pipeline per sink, and one per source that is captured into Kafka, side by side in
//! this process, until all of them end or somebody asks for the end.
//!
//! A pipeline that fails does not take the others along; the process answers for it at the end.

use std::{
    collections::BTreeMap,
    future,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use sluice_agent_api::{AgentConfig, AgentStatus};
use sluice_core::Error;
use sluice_pipeline::{Finish, FinishWhen, Progress};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    FAILED,
    arguments::RunArguments,
    connectors,
    display::Display,
    file::{Loaded, Pipeline},
    http,
    screen::Screen,
    signals::Signals,
    status,
    translate::{self, RunOptions},
};

/// How long pipelines may take to reach a transaction boundary and commit.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(9);
const REDRAW_EVERY: Duration = Duration::from_millis(250);

/// A pipeline as those see it who only look.
pub(crate) struct Watched {
    /// What it is to do.
    pub(crate) config: AgentConfig,
    /// What it has done.
    pub(crate) progress: Arc<Progress>,
    started_at: SystemTime,
    /// The place of the pipeline that writes the topics which this one reads, if it is among these.
    capture: Option<usize>,
}

impl Watched {
    /// A pipeline that has not started.
    pub(crate) fn new(config: AgentConfig) -> Self {
        let progress = Arc::new(Progress::new(config.agent_name()));
        Self {
            config,
            progress,
            started_at: SystemTime::now(),
            capture: None,
        }
    }

    /// How it is doing, whatever feeds it.
    pub(crate) fn status(&self) -> AgentStatus {
        status::agent_status(&self.config, &self.progress.report(), self.started_at)
    }
}

/// How all of them are doing: one that is fed by another is as late as both together.
pub(crate) fn statuses(pipelines: &[Watched]) -> Vec<AgentStatus> {
    let own: Vec<AgentStatus> = pipelines.iter().map(Watched::status).collect();
    let mut all = own.clone();
    for (status, watched) in all.iter_mut().zip(pipelines) {
        if let Some(capture) = watched.capture.and_then(|place| own.get(place)) {
            status::add_capture(status, capture);
        }
    }
    all
}

/// The pipelines before their start.
fn observed(running: &[Pipeline]) -> Arc<[Watched]> {
    let place_of = |name: &String| {
        let mut all = running.iter();
        all.position(|one| one.config.is_capture() && one.config.pipeline == *name)
    };
    let watched = running.iter().map(|pipeline| Watched {
        capture: pipeline.upstream.as_ref().and_then(place_of),
        ..Watched::new(pipeline.config.clone())
    });
    watched.collect()
}

/// Runs the pipelines and answers with the exit code.
pub(crate) async fn run(
    arguments: &RunArguments,
    loaded: Loaded,
    screen: Screen,
) -> anyhow::Result<ExitCode> {
    let finish = if arguments.until_synced {
        FinishWhen::Synced
    } else {
        FinishWhen::Never
    };
    let (paused, running): (Vec<Pipeline>, Vec<Pipeline>) = loaded
        .pipelines
        .into_iter()
        .partition(|pipeline| pipeline.paused);
    for pipeline in paused {
        screen.print(&format!(
            "{} is paused (spec.paused) and left alone\n",
            pipeline.config.pipeline
        ));
    }
    let running: Vec<Pipeline> = running.into_iter().flat_map(Pipeline::replicas).collect();
    let watched = observed(&running);
    if let Some(address) = arguments.listen {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("--listen {address}: can't listen there"))?;
        tokio::spawn(http::serve(listener, Arc::clone(&watched)));
    }
    let (stop, _) = watch::channel(false);
    let mut crew = Crew {
        tasks: JoinSet::new(),
        failed: false,
        downstream: BTreeMap::new(),
    };
    for (pipeline, watched) in running.into_iter().zip(&*watched) {
        if let Some(capture) = pipeline
            .upstream
            .as_ref()
            .filter(|_| watched.capture.is_some())
        {
            watched.progress.hold_sync();
            let downstream = crew.downstream.entry(capture.clone()).or_default();
            downstream.push(Arc::clone(&watched.progress));
        }
        let options = RunOptions {
            finish,
            // Of topics, the capture copies the tables into them once more, and the sinks let go of
            // stopped tables that are gone.
            resnapshot: arguments.resnapshot.clone(),
        };
        crew.start(pipeline, watched, &options, stop.subscribe())?;
    }
    let mut display = Display::new(screen, watched);
    let ended = attend(&mut crew, &stop, &mut display).await?;
    display.finish();
    if !ended {
        let text = "error: not every pipeline could stop in time; nothing is lost: what is missing is \
                    read again at the next start\n";
        display.print(text);
    }
    Ok(if crew.failed || !ended {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    })
}

/// Waits until every pipeline has ended, and draws meanwhile. Answers whether they all did when
/// they were asked to.
async fn attend(
    crew: &mut Crew,
    stop: &watch::Sender<bool>,
    display: &mut Display,
) -> anyhow::Result<bool> {
    let mut signals = Signals::new().context("signals can't be received")?;
    let mut redraw = tokio::time::interval(REDRAW_EVERY);
    let mut deadline: Option<Instant> = None;
    loop {
        tokio::select! {
            ended = crew.tasks.join_next() => match ended {
                None => return Ok(true),
                Some(ended) => crew.ended(ended, display),
            },
            _ = redraw.tick() => display.update(),
            () = signals.next() => {
                if deadline.is_some() {
                    return Ok(false);
                }
                display.print("stopping: finishing what is under way\n");
                stop.send_replace(true);
                deadline = Some(Instant::now() + DRAIN_MAX);
            }
            () = passed(deadline) => return Ok(false),
        }
    }
}

/// Waits for a deadline, if there is one.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => future::pending().await,
    }
}

/// The running pipelines.
struct Crew {
    tasks: JoinSet<(String, Result<Finish, Error>)>,
    failed: bool,
    /// Pipelines by the capture whose topics they read: they are in sync only once it is done.
    downstream: BTreeMap<String, Vec<Arc<Progress>>>,
}

impl Crew {
    fn start(
        &mut self,
        pipeline: Pipeline,
        watched: &Watched,
        options: &RunOptions,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let Pipeline {
            config, secrets, ..
        } = pipeline;
        let name = config.agent_name();
        let pipeline_config =
            translate::pipeline_config(&config, options).with_context(|| name.clone())?;
        let source = connectors::source(&config, &secrets);
        let sink = connectors::sink(&config, &secrets);
        let progress = Arc::clone(&watched.progress);
        self.tasks.spawn(async move {
            let ran = sluice_pipeline::run(source, sink, pipeline_config, progress, stop);
            (name, Box::pin(ran).await)
        });
        Ok(())
    }

    fn ended(
        &mut self,
        ended: Result<(String, Result<Finish, Error>), tokio::task::JoinError>,
        display: &mut Display,
    ) {
        let name = ended.as_ref().ok().map(|(name, _)| name);
        let downstream = name.and_then(|name| self.downstream.remove(name));
        for progress in downstream.into_iter().flatten() {
            progress.count_sync();
        }
        match ended {
            Ok((name, Ok(finish))) => self.failed |= !display.ended(&name, finish),
            Ok((name, Err(error))) => {
                self.failed = true;
                display.failed(&name, &error);
            }
            Err(error) => {
                self.failed = true;
                display.print(&format!("error: a pipeline broke off: {error}\n"));
            }
        }
    }
}
