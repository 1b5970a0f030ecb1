//! Logs, to standard error: lines for people or for machines, never with a row or a secret.

use std::io;

use anyhow::Context as _;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::arguments::{LogFormat, RunArguments};

/// Starts logging.
pub(crate) fn start(arguments: &RunArguments) -> anyhow::Result<()> {
    let level = &arguments.log_level;
    let filter =
        EnvFilter::try_new(directives(level)).with_context(|| format!("--log-level {level}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(io::stderr).with_target(false);
    match arguments.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(false)).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Ok(())
}

/// `debug` is about what the operator does; what its libraries do with every request is for `trace`.
fn directives(level: &str) -> &str {
    match level {
        "debug" => "info,sluice_operator=debug",
        level => level,
    }
}
