//! Logs, to standard error: lines for people or for machines, never with a row or a secret.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    arguments::{LogFormat, LoggingArguments},
    screen::Screen,
};

/// Starts logging, or says what is wrong with the level.
///
/// A live table shows what a pipeline waits for, so that above it only errors are logged unless
/// more is asked for.
pub(crate) fn start(arguments: &LoggingArguments, screen: &Screen) -> Result<(), String> {
    let default = if screen.is_live() { "error" } else { "info" };
    let level = arguments.log_level.as_deref().unwrap_or(default);
    let filter =
        EnvFilter::try_new(level).map_err(|error| format!("--log-level {level}: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(screen.clone()).with_target(false);
    match arguments.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(screen.is_live())).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Ok(())
}
