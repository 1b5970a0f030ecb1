//! The operator's binary: custom resources in, agents out, and an honest status back.
//!
//! The way of a change: [`watching`] keeps the [`cache`]s and wakes a [`controller`], which goes
//! through [`dereference`], [`validate`], [`build`] and [`apply`], then [`observe`] and [`status`].
//! [`mod@run`] starts and ends it all. Exit codes: 0 asked to stop, 1 failed or not the leader any more.

mod applied;
mod apply;
mod arguments;
mod build;
mod cache;
mod checks;
mod context;
mod controller;
mod dereference;
mod events;
mod http;
mod layout;
mod leader;
mod logging;
mod memory;
mod metrics;
mod model;
mod names;
mod observe;
mod page;
mod preflight;
mod relations;
mod resnapshot;
mod restart;
mod run;
mod secrets;
mod server_id;
mod status;
mod unreadable;
mod upgrade;
mod validate;
mod wake;
mod watch;
mod watching;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;

use arguments::{Arguments, Command, RunArguments};
use run::Ended;

/// How long threads may take to end.
const SHUTDOWN_MAX: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Crds => crds(),
        Command::Run(arguments) => run(*arguments),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn crds() -> anyhow::Result<ExitCode> {
    for definition in sluice_crds::definitions() {
        let yaml = serde_yaml::to_string(&definition).context("a definition as YAML")?;
        print!("---\n{yaml}");
    }
    Ok(ExitCode::SUCCESS)
}

fn run(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    logging::start(&arguments)?;
    // Several crates bring cryptography; a second installation changes nothing.
    drop(rustls::crypto::ring::default_provider().install_default());
    // One thread: hundreds of pipelines keep it busy for a few percent, and tasks that wake each
    // other across threads cost more than what they do.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    let ended = runtime.block_on(run::run(arguments));
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    Ok(match ended? {
        Ended::Asked => ExitCode::SUCCESS,
        Ended::LeaseLost | Ended::Broken => ExitCode::FAILURE,
    })
}
