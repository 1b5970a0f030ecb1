//! `sluice agent`: the one pipeline of a configuration file, as the operator's pods run it.
//!
//! The process ends only when it is asked to. A pipeline that waits for a person is tried again every
//! now and then, so that a mended grant or setting takes effect without a restart; meanwhile status
//! and probes say what it waits for. A pipeline that was put out by a newer agent stays out: taking
//! the sink back would put out the newer one. One that is complete (`snapshot.mode: Only`) idles.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use sluice_agent_api::{AgentConfig, SecretStore, secret::MountedSecrets};
use sluice_core::{Error, Reason};
use sluice_pipeline::{Finish, FinishWhen, Progress};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{error, info};

use crate::{
    FAILED,
    arguments::AgentArguments,
    connectors, http,
    run::{DRAIN_MAX, Watched},
    signals::Signals,
    translate::{self, RunOptions},
};

/// Runs the pipeline until the process is asked to end.
pub(crate) async fn agent(
    arguments: &AgentArguments,
    config: AgentConfig,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("signals can't be received")?;
    let address = arguments.listen;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("--listen {address}: can't listen there"))?;
    let secrets: Arc<dyn SecretStore> = Arc::new(MountedSecrets {
        root: arguments.secrets.clone(),
    });
    let watched: Arc<[Watched]> = Arc::new([Watched::new(config.clone())]);
    tokio::spawn(http::serve(listener, Arc::clone(&watched)));
    let supervisor = Supervisor {
        config,
        secrets,
        progress: Arc::clone(&watched[0].progress),
        retry_after: Duration::from_secs(arguments.retry_seconds.max(1)),
    };
    let (stop, stopped) = watch::channel(false);
    let mut running = tokio::spawn(supervisor.run(stopped));
    tokio::select! {
        ended = &mut running => {
            // Nobody asked for the end, so that this can only be a panic: a restart is due.
            ended.context("the pipeline broke off")?;
            return Ok(ExitCode::from(FAILED));
        }
        () = signals.next() => info!("stopping: finishing what is under way"),
    }
    stop.send_replace(true);
    tokio::select! {
        ended = timeout(DRAIN_MAX, running) => if let Ok(ended) = ended {
            ended.context("the pipeline broke off")?;
        } else {
            info!("the pipeline did not stop in time; what is missing is read again at the next start");
        },
        () = signals.next() => info!("stopped at once; what is missing is read again at the next start"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Keeps a pipeline going.
struct Supervisor {
    config: AgentConfig,
    secrets: Arc<dyn SecretStore>,
    progress: Arc<Progress>,
    retry_after: Duration,
}

/// What happens after a pipeline has ended without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It is tried again after a while.
    Retry,
    /// It stays as it is.
    Idle,
}

impl Supervisor {
    /// Runs the pipeline again and again, until it is asked to stop.
    async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            let next = match self.attempt(stop.clone()).await {
                Ok(Finish::Stopped) => return,
                Ok(Finish::Synced | Finish::SnapshotDone) => Next::Idle,
                Err(error) => {
                    let next = after(&error);
                    error!(
                        pipeline = self.config.pipeline,
                        reason = %error.reason(),
                        error = error.report(),
                        hint = error.hint(),
                        retry = next == Next::Retry,
                        "the pipeline waits for a person"
                    );
                    next
                }
            };
            let pause = async {
                match next {
                    Next::Retry => sleep(self.retry_after).await,
                    Next::Idle => std::future::pending().await,
                }
            };
            tokio::select! {
                () = pause => {}
                // An error means that nobody is left who could ask for anything.
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn attempt(&self, stop: watch::Receiver<bool>) -> Result<Finish, Error> {
        let options = RunOptions {
            finish: FinishWhen::Never,
            resnapshot: Vec::new(),
        };
        let config = translate::pipeline_config(&self.config, &options)?;
        let source = connectors::source(&self.config, &self.secrets);
        let sink = connectors::sink(&self.config, &self.secrets);
        let progress = Arc::clone(&self.progress);
        Box::pin(sluice_pipeline::run(source, sink, config, progress, stop)).await
    }
}

fn after(error: &Error) -> Next {
    match error.reason() {
        Reason::Fenced => Next::Idle,
        _ => Next::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_was_put_out_does_not_come_back_by_itself() {
        let error = |reason| Error::new(reason, "x");
        assert_eq!(after(&error(Reason::Fenced)), Next::Idle);
        assert_eq!(after(&error(Reason::PositionLost)), Next::Retry);
        assert_eq!(after(&error(Reason::Internal)), Next::Retry);
    }
}
