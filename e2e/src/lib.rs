//! What the end-to-end tests, the demo and the benchmarks share: real servers, databases of their
//! own, pipelines as a user would write them, the agent as a process, and a full comparison of both
//! sides.
//!
//! Data passes as in production: [`workload`] writes to MySQL ([`mysql`]), the agent ([`process`])
//! follows the YAML that [`pipeline`] wrote and fills PostgreSQL ([`postgres`]), and [`mod@compare`]
//! reads both. [`proxy`] stands in for a bad network, [`servers`] for servers that die, [`cluster`] is a
//! Kubernetes cluster with real pods, [`kafka`] a broker with a schema registry and Debezium.
//! Every wait has a deadline and says what it waited for; nothing here ever skips.
//!
//! Environment: the variables of `e2e/servers up`, `SLUICE_BIN` (another agent than the one that was
//! built beside the test), `SLUICE_KEEP=1` (leave the databases there), `SLUICE_SEED` (repeat a crash
//! test's choices).

pub mod agent;
pub mod cluster;
pub mod compare;
pub mod kafka;
pub mod mysql;
pub mod pipeline;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod servers;
pub mod wait;
pub mod workload;

pub use agent::AgentFolder;
pub use cluster::{Cluster, Component, Namespace};
pub use compare::assert_equal;
pub use kafka::KafkaServers;
pub use mysql::MysqlDatabase;
pub use pipeline::{PipelineFile, WrittenPipeline};
pub use postgres::PgDatabase;
pub use process::Sluice;
pub use proxy::TcpProxy;
pub use servers::{Servers, ThrowAway};
pub use workload::{Shop, WriterOptions, Writers};
