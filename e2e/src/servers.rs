//! The servers of `e2e/servers`: the shared ones that the environment names, and throw-away ones
//! that a test may kill, restart and configure.

use std::{
    env,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{self, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};
use mysql_async::Opts;
use tempfile::TempDir;
use tokio::process::Command;

use crate::kafka::KafkaServers;

/// Below the range that the kernel gives to outgoing connections, so that a server that restarts
/// finds its port free.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Where a server listens and who may do everything there.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The administrator's name.
    pub user: String,
    /// The administrator's password.
    pub password: String,
}

impl Endpoint {
    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn of_mysql(url: &str) -> Result<Self> {
        let options = Opts::from_url(url).context("SLUICE_MYSQL_URL")?;
        Ok(Self {
            host: options.ip_or_hostname().to_owned(),
            port: options.tcp_port(),
            user: options.user().unwrap_or_default().to_owned(),
            password: options.pass().unwrap_or_default().to_owned(),
        })
    }

    fn of_postgres(url: &str) -> Result<Self> {
        let config: tokio_postgres::Config = url.parse().context("SLUICE_PG_URL")?;
        let Some(tokio_postgres::config::Host::Tcp(host)) = config.get_hosts().first() else {
            bail!("SLUICE_PG_URL names no host");
        };
        let password = config.get_password().unwrap_or_default();
        Ok(Self {
            host: host.clone(),
            port: config.get_ports().first().copied().unwrap_or(5432),
            user: config.get_user().unwrap_or_default().to_owned(),
            password: String::from_utf8_lossy(password).into_owned(),
        })
    }
}

/// A MySQL and a PostgreSQL server.
#[derive(Debug, Clone)]
pub struct Servers {
    /// The source.
    pub mysql: Endpoint,
    /// The target.
    pub postgres: Endpoint,
    /// The `mysql` command line client, with the administrator's login.
    pub mysql_client: PathBuf,
    /// The folder of PostgreSQL's programs (`psql`, …).
    pub postgres_programs: PathBuf,
}

impl Servers {
    /// The shared servers, which no test may stop or configure.
    ///
    /// # Panics
    /// When the environment does not name them.
    pub fn from_env() -> Self {
        let variable =
            |name: &str| env::var(name).expect("run: eval \"$(e2e/servers up)\" (SLUICE_… unset)");
        Self::from_variables(variable).expect("e2e/servers prints valid URLs")
    }

    /// The servers of `e2e/cluster databases`, by an address that pods reach too.
    pub fn for_pods() -> Result<Self> {
        if env::var_os("SLUICE_CLUSTER_MYSQL_URL").is_none() {
            bail!("SLUICE_CLUSTER_… unset; run: eval \"$(e2e/cluster databases)\"");
        }
        Self::from_variables(|name| {
            let name = name.replacen("SLUICE_", "SLUICE_CLUSTER_", 1);
            env::var(name).unwrap_or_default()
        })
    }

    fn from_variables(variable: impl Fn(&str) -> String) -> Result<Self> {
        Ok(Self {
            mysql: Endpoint::of_mysql(&variable("SLUICE_MYSQL_URL"))?,
            postgres: Endpoint::of_postgres(&variable("SLUICE_PG_URL"))?,
            mysql_client: variable("SLUICE_MYSQL_CLIENT").into(),
            postgres_programs: variable("SLUICE_PG_BIN").into(),
        })
    }
}

/// Runs `e2e/servers` with these arguments on the shared servers, or on others that the variables
/// choose (`SLUICE_STATE`, ports, options).
pub async fn servers_command(arguments: &[&str], variables: &[(String, String)]) -> Result<Output> {
    let mut command = Command::new(script());
    command.args(arguments).envs(variables.iter().cloned());
    let output = command.stdin(Stdio::null()).output().await?;
    if !output.status.success() {
        bail!(
            "e2e/servers {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output)
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers")
}

/// Which servers a [`ThrowAway`] has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// MySQL.
    Mysql,
    /// PostgreSQL.
    Postgres,
    /// Kafka's only broker.
    Kafka,
    /// The schema registry.
    Registry,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Postgres => "postgres",
            Self::Kafka => "kafka",
            Self::Registry => "registry",
        }
    }
}

/// Servers of a test's own, with a state folder and ports of their own; stopped and removed when
/// dropped.
pub struct ThrowAway {
    servers: Servers,
    /// What the script printed for these servers.
    exports: String,
    kinds: Vec<Kind>,
    variables: Vec<(String, String)>,
    _state: TempDir,
}

impl ThrowAway {
    /// A MySQL server with further options such as `--gtid-mode=OFF`; PostgreSQL is the shared one.
    pub async fn mysql(options: &[&str]) -> Result<Self> {
        Self::start_new(&[Kind::Mysql], options, &[], None).await
    }

    /// A PostgreSQL server with further options such as `-c`, `max_connections=20`; MySQL is the
    /// shared one.
    pub async fn postgres(options: &[&str]) -> Result<Self> {
        Self::start_new(&[Kind::Postgres], &[], options, None).await
    }

    /// Both.
    pub async fn both() -> Result<Self> {
        Self::start_new(&[Kind::Mysql, Kind::Postgres], &[], &[], None).await
    }

    /// All four: databases, Kafka and the schema registry.
    pub async fn with_kafka() -> Result<Self> {
        let kinds = [Kind::Mysql, Kind::Postgres, Kind::Kafka, Kind::Registry];
        Self::start_new(&kinds, &[], &[], None).await
    }

    /// Servers that listen on this address besides loopback and are known by it: that of the cluster's
    /// host, so that pods reach them. Those that are not named are the ones of `e2e/cluster databases`.
    pub async fn for_pods(address: &str, kinds: &[Kind]) -> Result<Self> {
        Self::start_new(kinds, &[], &[], Some(address)).await
    }

    /// Both, with further options.
    pub async fn both_with(mysql: &[&str], postgres: &[&str]) -> Result<Self> {
        Self::start_new(&[Kind::Mysql, Kind::Postgres], mysql, postgres, None).await
    }

    async fn start_new(
        kinds: &[Kind],
        mysql: &[&str],
        postgres: &[&str],
        address: Option<&str>,
    ) -> Result<Self> {
        let state = tempfile::Builder::new().prefix("sluice-e2e-").tempdir()?;
        // The servers run as users of their own.
        std::fs::set_permissions(
            state.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        let pair = |name: &str, value: String| (name.to_owned(), value);
        let variables = vec![
            pair("SLUICE_STATE", state.path().display().to_string()),
            pair("SLUICE_MYSQL_PORT", free_port()?.to_string()),
            pair("SLUICE_PG_PORT", free_port()?.to_string()),
            pair("SLUICE_KAFKA_PORT", free_port()?.to_string()),
            pair("SLUICE_KAFKA_CONTROLLER_PORT", free_port()?.to_string()),
            pair("SLUICE_KAFKA_PODS_PORT", free_port()?.to_string()),
            pair("SLUICE_KAFKA_SECURE_PORT", free_port()?.to_string()),
            pair("SLUICE_REGISTRY_PORT", free_port()?.to_string()),
            pair("SLUICE_REGISTRY_MANAGEMENT_PORT", free_port()?.to_string()),
            pair("SLUICE_MYSQL_OPTIONS", mysql.join(" ")),
            pair("SLUICE_PG_OPTIONS", postgres.join(" ")),
            pair("SLUICE_BIND_EXTRA", address.unwrap_or_default().to_owned()),
        ];
        let prefix = match address {
            None => "SLUICE_",
            Some(_) => "SLUICE_CLUSTER_",
        };
        let mut new = Self {
            servers: address.map_or_else(|| Ok(Servers::from_env()), |_| Servers::for_pods())?,
            exports: String::new(),
            kinds: kinds.to_vec(),
            variables,
            _state: state,
        };
        let mut arguments = vec!["up"];
        arguments.extend(kinds.iter().map(|kind| kind.name()));
        let output = new.command(&arguments).await?;
        new.exports = String::from_utf8(output.stdout)?;
        new.servers = Servers::from_variables(|name| {
            new.export(name)
                .or_else(|| env::var(name.replacen("SLUICE_", prefix, 1)).ok())
                .unwrap_or_default()
        })?;
        for kind in kinds {
            if let Some(address) = address {
                let endpoint = match kind {
                    Kind::Mysql => &mut new.servers.mysql,
                    Kind::Postgres => &mut new.servers.postgres,
                    Kind::Kafka | Kind::Registry => continue,
                };
                address.clone_into(&mut endpoint.host);
            }
        }
        Ok(new)
    }

    /// How to reach them.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// How to reach Kafka and the registry, when they are among them.
    pub fn kafka(&self) -> Result<KafkaServers> {
        if self.export("SLUICE_KAFKA_BOOTSTRAP_PODS").is_some() {
            return KafkaServers::for_pods_or(|name| self.export(name));
        }
        KafkaServers::from_variables(|name| self.export(name))
    }

    fn export(&self, name: &str) -> Option<String> {
        self.exports.lines().find_map(|line| {
            let value = line.strip_prefix("export ")?.strip_prefix(name)?;
            value.strip_prefix('=').map(|value| value.replace('\\', ""))
        })
    }

    /// Stops a server cleanly and starts it again.
    pub async fn restart(&self, kind: Kind) -> Result<()> {
        self.command(&["restart", kind.name()]).await.map(drop)
    }

    /// Stops a server cleanly and starts it again with other options.
    pub async fn restart_with(&mut self, kind: Kind, options: &[&str]) -> Result<()> {
        let name = match kind {
            Kind::Mysql => "SLUICE_MYSQL_OPTIONS",
            Kind::Postgres => "SLUICE_PG_OPTIONS",
            Kind::Kafka | Kind::Registry => bail!("{} takes no options", kind.name()),
        };
        for (variable, value) in &mut self.variables {
            if variable == name {
                *value = options.join(" ");
            }
        }
        self.restart(kind).await
    }

    /// Kills a server with signal 9.
    pub async fn kill(&self, kind: Kind) -> Result<()> {
        self.command(&["kill", kind.name()]).await.map(drop)
    }

    /// Stops a server cleanly.
    pub async fn stop(&self, kind: Kind) -> Result<()> {
        self.command(&["down", kind.name()]).await.map(drop)
    }

    /// Starts a server that is down.
    pub async fn start(&self, kind: Kind) -> Result<()> {
        self.command(&["start", kind.name()]).await.map(drop)
    }

    async fn command(&self, arguments: &[&str]) -> Result<Output> {
        servers_command(arguments, &self.variables).await
    }
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        let mut command = process::Command::new(script());
        command.args(["down", "--purge"]);
        command.args(self.kinds.iter().map(|kind| kind.name()));
        command.envs(self.variables.iter().cloned());
        if let Err(error) = command.stderr(Stdio::null()).status() {
            eprintln!("throw-away servers could not be stopped: {error}");
        }
    }
}

/// A port of the loopback address on which nobody listens, and that this process gives out once.
pub fn free_port() -> Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Processes that run side by side begin at different places.
    let first = process::id().wrapping_mul(7_919);
    for _ in 0..count {
        let next = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % count;
        let port = PORTS.start + next as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {} and {}", PORTS.start, PORTS.end)
}
