//! The command line and its environment.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Turns ReplicationSources and ReplicaSinks into agents, and agents' reports into status.
#[derive(Debug, Parser)]
#[command(name = "sluice-operator", version, propagate_version = false)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the operator until it is stopped or loses its lease.
    Run(Box<RunArguments>),
    /// Prints the custom resources' definitions as YAML.
    Crds,
}

/// How to run. Every flag can be given as an environment variable, too.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArguments {
    /// The image of agents and check Jobs, unless a resource names its own.
    #[arg(long, env = "SLUICE_AGENT_IMAGE", value_name = "IMAGE")]
    pub(crate) agent_image: String,
    /// A namespace to work in. May be given several times, or in the environment separated by
    /// commas; without it, all namespaces.
    #[arg(
        long = "namespace",
        env = "SLUICE_NAMESPACES",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(crate) namespaces: Vec<String>,
    /// Where /healthz, /readyz, /metrics and the page are served.
    #[arg(
        long,
        env = "SLUICE_LISTEN",
        value_name = "ADDR",
        default_value = "0.0.0.0:8080"
    )]
    pub(crate) listen: SocketAddr,
    /// The namespace of the Lease; by default the pod's own.
    #[arg(
        long,
        env = "SLUICE_LEADER_ELECTION_NAMESPACE",
        value_name = "NAME",
        default_value = "default"
    )]
    pub(crate) leader_election_namespace: String,
    /// The Lease's name.
    #[arg(
        long,
        env = "SLUICE_LEADER_ELECTION_NAME",
        value_name = "NAME",
        default_value = "sluice-operator"
    )]
    pub(crate) leader_election_name: String,
    /// What tells this process from others that want the Lease: the pod's name. Without it, host
    /// name and process id.
    #[arg(long, env = "SLUICE_IDENTITY", value_name = "NAME")]
    pub(crate) identity: Option<String>,
    /// Whether `sluice check` runs as a Job before an agent's first start and for each generation.
    #[arg(
        long,
        env = "SLUICE_PREFLIGHT",
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    pub(crate) preflight: bool,
    /// How many check Jobs run at once.
    #[arg(
        long,
        env = "SLUICE_CHECK_PARALLELISM",
        value_name = "COUNT",
        default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=64)
    )]
    pub(crate) check_parallelism: u32,
    /// How often each agent is asked how it is doing; one that does well, half as often.
    #[arg(
        long,
        env = "SLUICE_STATUS_INTERVAL_SECONDS",
        value_name = "SECONDS",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=60)
    )]
    pub(crate) status_interval_seconds: u32,
    /// Whether each agent gets a NetworkPolicy that lets only its HTTP port in.
    #[arg(
        long,
        env = "SLUICE_NETWORK_POLICIES",
        value_name = "BOOL",
        default_value_t = false,
        default_missing_value = "true",
        num_args = 0..=1,
        action = clap::ArgAction::Set
    )]
    pub(crate) network_policies: bool,
    /// Whether each agent gets a PodMonitor for the Prometheus operator.
    #[arg(
        long,
        env = "SLUICE_POD_MONITORS",
        value_name = "BOOL",
        default_value_t = false,
        default_missing_value = "true",
        num_args = 0..=1,
        action = clap::ArgAction::Set
    )]
    pub(crate) pod_monitors: bool,
    /// CPU and memory of agents whose resource says nothing about it, as the JSON of Kubernetes'
    /// ResourceRequirements.
    #[arg(
        long,
        env = "SLUICE_AGENT_RESOURCES",
        value_name = "JSON",
        default_value = r#"{"requests":{"cpu":"100m","memory":"128Mi"},"limits":{"memory":"512Mi"}}"#
    )]
    pub(crate) agent_resources: String,
    /// A Secret with which agents' images are pulled, in each namespace that has agents. May be given
    /// several times, or in the environment separated by commas.
    #[arg(
        long = "agent-image-pull-secret",
        env = "SLUICE_AGENT_IMAGE_PULL_SECRETS",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(crate) agent_image_pull_secrets: Vec<String>,
    /// How much is logged: error, warn, info, debug, trace, or directives.
    #[arg(
        long,
        env = "SLUICE_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub(crate) log_level: String,
    /// How a log line looks.
    #[arg(long, env = "SLUICE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
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
