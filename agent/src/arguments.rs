//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Keeps replicas of a live database in step.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, propagate_version = false)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) logging: LoggingArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is logged to standard error, and how.
#[derive(Debug, Args)]
pub(crate) struct LoggingArguments {
    /// How much is logged: error, warn, info, debug, trace, or directives such as
    /// `info,sluice_mysql=debug`. Without it, `error` above a live table and `info` otherwise.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// How a log line looks.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs every pipeline of the files in this process, until it is stopped.
    Run(RunArguments),
    /// Checks every prerequisite of sources and targets, and says how to mend what is missing.
    Check(CheckArguments),
    /// Prints the version.
    Version,
}

/// Where objects come from.
#[derive(Debug, Args)]
pub(crate) struct FileArguments {
    /// A file with ReplicationSource, ReplicaSink and Secret documents; `-` is standard input. May
    /// be given several times.
    #[arg(short = 'f', long = "file", required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// How to run.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) files: FileArguments,
    /// Ends with exit code 0 once every table is copied and the lag is zero.
    #[arg(long)]
    pub(crate) until_synced: bool,
    /// Serves /healthz, /readyz, /metrics and /v1/status on this address, such as 127.0.0.1:8080.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Copies tables again, whatever their state: `schema.table`, with `*` and `?`. May be given
    /// several times. `*` alone starts over: every table is copied, and the source's log is
    /// followed from its present end, whatever was wrong with it before.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) resnapshot: Vec<String>,
}

/// How to check.
#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) files: FileArguments,
    /// How the outcome is printed.
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// How an outcome is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For machines.
    Json,
}
