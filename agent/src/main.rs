//! The agent's binary: reads pipeline files, connects sources with targets, and runs or checks them.
//!
//! The way of the data is: [`mod@file`] (text to configuration) → [`connectors`] (configuration to
//! source and sink) → `sluice_pipeline::run`, started and stopped by [`run`], or by [`mod@agent`] in a
//! pod, where [`configuration`] comes from the operator. [`mod@dead_letters`] looks after what a target
//! refused. What it does is seen
//! by [`display`] (terminal), [`http`] (probes, metrics, status) and [`logging`].
//! Exit codes: 0 done, 1 a pipeline or a check failed, 2 the command line or a file is wrong.

mod agent;
mod arguments;
mod check;
mod configuration;
mod connectors;
mod dead_letters;
mod display;
mod file;
mod http;
mod logging;
mod metrics;
mod run;
mod screen;
mod signals;
mod status;
mod termination;
mod translate;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use sluice_agent_api::{SecretStore, secret::MountedSecrets};

use arguments::{AgentArguments, Arguments, CheckArguments, Command, LoggingArguments};
use file::{Loaded, LoneSource, Pipeline};
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
    let logging = &arguments.logging;
    match &arguments.command {
        Command::Run(run) => {
            let screen = Screen::of_terminal();
            if let Err(problem) = logging::start(logging, &screen) {
                return Ok(invalid(&problem));
            }
            let loaded = match load(&run.files.files) {
                Ok(loaded) => loaded,
                Err(mistakes) => return Ok(refused(&mistakes)),
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
            if let Err(problem) = logging::start(logging, &screen) {
                return Ok(invalid(&problem));
            }
            match to_check(check) {
                Ok(loaded) => complete(check::check(&loaded, check)),
                Err(problems) => {
                    if let Some(path) = &check.termination_message {
                        let report = termination::invalid_report(&problems.join("\n"));
                        termination::write_report(path, &report)
                            .with_context(|| format!("{} can't be written", path.display()))?;
                    }
                    Ok(refused(&problems))
                }
            }
        }
        Command::DeadLetters(letters) => {
            if let Err(problem) = logging::start(logging, &Screen::plain()) {
                return Ok(invalid(&problem));
            }
            let selection = dead_letters::selection(&letters.action);
            match load(&selection.files.files)
                .and_then(|loaded| dead_letters::sinks(loaded, selection))
            {
                Ok(sinks) => complete(dead_letters::dead_letters(sinks, &letters.action)),
                Err(problems) => Ok(refused(&problems)),
            }
        }
        Command::Agent(arguments) => run_agent(logging, arguments),
        Command::Version => {
            println!("sluice {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_agent(logging: &LoggingArguments, arguments: &AgentArguments) -> anyhow::Result<ExitCode> {
    if let Err(problem) = logging::start(logging, &Screen::plain()) {
        return Ok(invalid(&problem));
    }
    let read = configuration::read_agent(&arguments.config).and_then(|mut config| {
        configuration::place(&mut config, arguments.pod.as_deref())?;
        Ok(config)
    });
    match read {
        Ok(config) => complete(agent::agent(arguments, config)),
        Err(problem) => {
            let path = &arguments.termination_message;
            if let Err(error) = termination::write_message(path, &problem) {
                eprintln!("warning: {} can't be written: {error}", path.display());
            }
            Ok(invalid(&problem))
        }
    }
}

/// What a check is about, or everything that is wrong with how it is described.
fn to_check(arguments: &CheckArguments) -> Result<Loaded, Vec<String>> {
    let subject = &arguments.subject;
    let secrets = || -> Arc<dyn SecretStore> {
        Arc::new(MountedSecrets {
            root: arguments.secrets.clone().unwrap_or_default(),
        })
    };
    let mut loaded = Loaded::default();
    if let Some(path) = &subject.config {
        loaded.pipelines.push(Pipeline {
            config: configuration::read_agent(path).map_err(|problem| vec![problem])?,
            secrets: secrets(),
            paused: false,
            upstream: None,
        });
    } else if let Some(path) = &subject.source_config {
        loaded.lone_sources.push(LoneSource {
            config: configuration::read(path).map_err(|problem| vec![problem])?,
            secrets: secrets(),
        });
    } else {
        loaded = load(&subject.files)?;
    }
    if loaded.pipelines.is_empty() && loaded.lone_sources.is_empty() {
        let problem = "no ReplicationSource in the files: there is nothing to check";
        return Err(vec![problem.to_owned()]);
    }
    Ok(loaded)
}

/// Reads the files, or says everything that is wrong with them.
fn load(files: &[PathBuf]) -> Result<Loaded, Vec<String>> {
    match file::load(files) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            Ok(loaded)
        }
        Err(mistakes) => Err(mistakes.iter().map(ToString::to_string).collect()),
    }
}

fn refused(problems: &[String]) -> ExitCode {
    for problem in problems {
        eprintln!("error: {problem}");
    }
    ExitCode::from(INVALID)
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
