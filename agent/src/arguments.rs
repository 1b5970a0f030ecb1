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
    #[arg(long, global = true, value_name = "LEVEL", env = "SLUICE_LOG")]
    pub(crate) log_level: Option<String>,
    /// How a log line looks.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "SLUICE_LOG_FORMAT")]
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
    /// Runs the one pipeline of a configuration file, as the operator's pods do: stays up and says so
    /// when the pipeline waits for a person or is complete.
    Agent(AgentArguments),
    /// Checks every prerequisite of sources and targets, and says how to mend what is missing.
    Check(CheckArguments),
    /// Looks after the records that a target refused.
    DeadLetters(DeadLettersArguments),
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

/// How to run as an agent.
#[derive(Debug, Args)]
pub(crate) struct AgentArguments {
    /// The agent's configuration, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// A folder with a folder per Secret and a file per key. Read at every connect.
    #[arg(long, value_name = "DIR")]
    pub(crate) secrets: PathBuf,
    /// Serves /healthz, /readyz, /metrics and /v1/status on this address.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,
    /// The pod's name: the number at its end says which of several agents of the pipeline this is.
    #[arg(long, value_name = "NAME", env = "SLUICE_POD")]
    pub(crate) pod: Option<String>,
    /// How long a pipeline that stopped for a person waits before it looks whether it can go on.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) retry_seconds: u64,
    /// Where the reason is written when the configuration can't be used. Kubernetes shows it; where
    /// there is no such file, none is made.
    #[arg(long, value_name = "PATH", default_value = "/dev/termination-log")]
    pub(crate) termination_message: PathBuf,
}

/// How to check.
#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) subject: CheckSubject,
    /// With `--config` or `--source-config`: a folder with a folder per Secret and a file per key.
    #[arg(long, value_name = "DIR", conflicts_with = "files")]
    pub(crate) secrets: Option<PathBuf>,
    /// How the outcome is printed.
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Writes the outcome there, too: one JSON object of 4096 bytes at most, what failed first.
    #[arg(long, value_name = "PATH")]
    pub(crate) termination_message: Option<PathBuf>,
}

/// What to do with dead letters.
#[derive(Debug, Args)]
pub(crate) struct DeadLettersArguments {
    #[command(subcommand)]
    pub(crate) action: DeadLettersAction,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersAction {
    /// Lists them: number, time, table, operation, key and reason.
    List(ListArguments),
    /// Applies them again, one transaction each, and removes those that the target takes. Safe
    /// beside a running agent, and never goes back behind a later change of the row.
    Retry(LettersArguments),
    /// Removes them for good.
    Drop(DropArguments),
}

/// Which dead letters are meant.
#[derive(Debug, Args)]
pub(crate) struct LettersArguments {
    #[command(flatten)]
    pub(crate) files: FileArguments,
    /// Those of one ReplicaSink; of every one in the files without.
    #[arg(long, value_name = "NAME")]
    pub(crate) sink: Option<String>,
    /// Those of one table, as the list names it.
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,
    /// Those with these numbers. With several sinks in the files, together with `--sink`.
    #[arg(long = "id", value_name = "ID", num_args = 1..)]
    pub(crate) ids: Vec<i64>,
}

/// How to list dead letters.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    pub(crate) letters: LettersArguments,
    /// How they are printed.
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Prints the rows, and the reasons as the target says them, which may quote rows.
    #[arg(long)]
    pub(crate) values: bool,
    /// Lists so many of each sink at most, the oldest ones.
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) limit: i64,
}

/// How to drop dead letters.
#[derive(Debug, Args)]
pub(crate) struct DropArguments {
    #[command(flatten)]
    pub(crate) letters: LettersArguments,
    /// Drops whatever there is; without, `--id` or `--table` says what.
    #[arg(long, required_unless_present_any = ["ids", "table"])]
    pub(crate) all: bool,
}

/// What to check.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct CheckSubject {
    /// A file with ReplicationSource, ReplicaSink and Secret documents; `-` is standard input. May
    /// be given several times.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// An agent's configuration, as JSON.
    #[arg(long, value_name = "FILE", requires = "secrets")]
    pub(crate) config: Option<PathBuf>,
    /// A source's part of such a configuration alone.
    #[arg(long, value_name = "FILE", requires = "secrets")]
    pub(crate) source_config: Option<PathBuf>,
}

/// How an outcome is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For machines.
    Json,
}
