//! The agent's binary: reads pipeline files, connects sources with targets, and runs or checks them.
//!
//! The way of the data is: [`mod@file`] (text to configuration) → [`connectors`] (configuration to
//! source and sink) → `sluice_pipeline::run`, started and stopped by [`run`]. What it does is seen
//! by [`display`] (terminal), [`http`] (probes, metrics, status) and [`logging`].
//! Exit codes: 0 done, 1 a pipeline or a check failed, 2 the command line or a file is wrong.

mod arguments;
mod check;
mod connectors;
mod display;
mod file;
mod http;
mod logging;
mod metrics;
mod run;
mod screen;
mod status;
mod translate;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;

use arguments::{Arguments, Command, FileArguments};
use file::Loaded;
use screen::Screen;

/// What a process that failed answers with.
pub(crate) const FAILED: u8 = 1;
/// How long threads may take to end once the command is done.
const SHUTDOWN_MAX: Duration = Duration::from_millis(500);
/// What a process answers with that was asked for something that makes no sense.
pub(crate) const INVALID: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn dispatch(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Run(run) => {
            let screen = Screen::of_terminal();
            if let Err(problem) = logging::start(&arguments.logging, &screen) {
                return Ok(invalid(&problem));
            }
            let Some(loaded) = load(&run.files) else {
                return Ok(ExitCode::from(INVALID));
            };
            if loaded.pipelines.is_empty() {
                return Ok(invalid(
                    "no ReplicaSink in the files: there is nothing to run",
                ));
            }
            complete(run::run(run, loaded, screen))
        }
        Command::Check(check) => {
            let screen = Screen::plain();
            if let Err(problem) = logging::start(&arguments.logging, &screen) {
                return Ok(invalid(&problem));
            }
            let Some(loaded) = load(&check.files) else {
                return Ok(ExitCode::from(INVALID));
            };
            if loaded.pipelines.is_empty() && loaded.lone_sources.is_empty() {
                return Ok(invalid(
                    "no ReplicationSource in the files: there is nothing to check",
                ));
            }
            complete(check::check(&loaded, check.output))
        }
        Command::Version => {
            println!("sluice {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Reads the files, or says everything that is wrong with them.
fn load(arguments: &FileArguments) -> Option<Loaded> {
    match file::load(&arguments.files) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            Some(loaded)
        }
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("error: {mistake}");
            }
            None
        }
    }
}

fn invalid(problem: &str) -> ExitCode {
    eprintln!("error: {problem}");
    ExitCode::from(INVALID)
}

/// Runs a command to its end.
fn complete(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    // Both connectors use the same cryptography; a second installation changes nothing.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    let outcome = runtime.block_on(command);
    // A look-up of a host name may still hang, and nobody waits for it any more.
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    outcome
}
