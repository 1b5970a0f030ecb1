//! Servers that can't be reached, logins that are refused, certificates that do not fit.

use std::{io, time::Duration};

use anyhow::Result;
use serde_json::json;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice, servers::free_port};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::Fault;

/// Reaches this machine by an address that no certificate holds.
const OTHER_ADDRESS: &str = "0.0.0.0";

fn fault(
    what: &'static str,
    file: PipelineFile,
    (check, reason): (&'static str, &'static str),
    names: &[&str],
    remedy: &str,
) -> Fault {
    Fault {
        what,
        file,
        check,
        reason,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        remedy: remedy.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_and_logins_that_are_wrong_are_named_with_a_remedy() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "reach").await?;
    let postgres = PgDatabase::create(&servers, "reach").await?;
    mysql.exec("CREATE TABLE t (id INT PRIMARY KEY)").await?;
    let file = || PipelineFile::new(&mysql, &postgres);
    let (source, target) = (servers.mysql.address(), servers.postgres.address());
    let (closed, host) = (free_port()?, "no-such-host.invalid");
    let faults = [
        fault(
            "a wrong password of MySQL",
            file().mysql_login("root", "wrong"),
            ("Credentials", "AccessDenied"),
            &[&source],
            "Secret",
        ),
        fault(
            "an unknown user of MySQL",
            file().mysql_login("nobody", "wrong"),
            ("Credentials", "AccessDenied"),
            &[&source, "nobody"],
            "Secret",
        ),
        fault(
            "a port on which no MySQL listens",
            file().mysql_address("127.0.0.1", closed),
            ("Reachable", "Unreachable"),
            &[&format!("127.0.0.1:{closed}")],
            "host and port",
        ),
        fault(
            "an unknown host of MySQL",
            file().mysql_address(host, 3306),
            ("Reachable", "Unreachable"),
            &[host],
            "host",
        ),
        fault(
            "a wrong password of PostgreSQL",
            file().postgres_login("postgres", "wrong"),
            ("TargetCredentials", "AccessDenied"),
            &[&target],
            "Secret",
        ),
        fault(
            "a port on which no PostgreSQL listens",
            file().postgres_address("127.0.0.1", closed),
            ("TargetReachable", "Unreachable"),
            &[&format!("127.0.0.1:{closed}")],
            "host, port",
        ),
        fault(
            "an unknown host of PostgreSQL",
            file().postgres_address(host, 5432),
            ("TargetReachable", "Unreachable"),
            &[host],
            "host",
        ),
        fault(
            "MySQL where PostgreSQL should be",
            file().postgres_address(&servers.mysql.host, servers.mysql.port),
            ("TargetReachable", "Unreachable"),
            &[&source],
            "host, port",
        ),
        fault(
            "a database that is not there",
            file().sink_spec(|spec| spec["postgres"]["database"] = json!("not_there")),
            ("TargetDatabase", "DatabaseMissing"),
            &["not_there"],
            "CREATE DATABASE",
        ),
        fault(
            "a table that is not there",
            file().source_spec(|spec| {
                spec["tables"]["include"] = json!([format!("{}.not_there", mysql.name)]);
            }),
            ("SelectedTables", "NoTables"),
            &[&format!("{}.not_there", mysql.name)],
            "SELECT",
        ),
    ];
    for fault in faults {
        fault.expect().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_fit_are_refused_and_those_that_do_are_taken() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "tls").await?;
    let postgres = PgDatabase::create(&servers, "tls").await?;
    mysql
        .exec("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)")
        .await?;
    let read = |variable: &str, name: &str| -> Result<String> {
        let folder = std::env::var(variable)?;
        Ok(std::fs::read_to_string(
            std::path::Path::new(&folder).join(name),
        )?)
    };
    let mysql_authority = read("SLUICE_MYSQL_DATA_DIR", "ca.pem")?;
    let postgres_authority = read("SLUICE_PG_DATA_DIR", "server.crt")?;
    let file = |source: &str, target: &str| {
        let tls = |mode: &str, secret: &str| match mode {
            "Disable" | "Require" => json!({"mode": mode}),
            _ => json!({"mode": mode, "caSecretRef": {"name": secret}}),
        };
        PipelineFile::new(&mysql, &postgres)
            .secret("mysql-ca", &[("ca.crt", &mysql_authority)])
            .secret("postgres-ca", &[("ca.crt", &postgres_authority)])
            .source_spec(|spec| {
                let (mode, secret) = source.split_once(' ').unwrap_or((source, ""));
                spec["mysql"]["tls"] = tls(mode, secret);
            })
            .sink_spec(|spec| {
                let (mode, secret) = target.split_once(' ').unwrap_or((target, ""));
                spec["postgres"]["tls"] = tls(mode, secret);
            })
    };
    let (source, target) = (servers.mysql.address(), servers.postgres.address());
    let plain_mysql = PlainServer::mysql(&source).await?;
    let plain_postgres = PlainServer::postgres().await?;
    let faults = [
        fault(
            "another authority for MySQL",
            file("VerifyCa postgres-ca", "Disable"),
            ("Tls", "TlsFailed"),
            &[&source],
            "tls.ca",
        ),
        fault(
            "another name of MySQL",
            file("VerifyFull mysql-ca", "Disable").mysql_address(OTHER_ADDRESS, servers.mysql.port),
            ("Tls", "TlsFailed"),
            &[OTHER_ADDRESS],
            "VerifyCa",
        ),
        fault(
            "MySQL without TLS",
            file("Require", "Disable").mysql_address("127.0.0.1", plain_mysql.port),
            ("Tls", "TlsFailed"),
            &[&format!("127.0.0.1:{}", plain_mysql.port)],
            "Disable",
        ),
        fault(
            "another authority for PostgreSQL",
            file("Disable", "VerifyCa mysql-ca"),
            ("TargetTls", "TlsFailed"),
            &[&target],
            "caSecretRef",
        ),
        fault(
            "another name of PostgreSQL",
            file("Disable", "VerifyFull postgres-ca")
                .postgres_address(OTHER_ADDRESS, servers.postgres.port),
            ("TargetTls", "TlsFailed"),
            &[OTHER_ADDRESS],
            "VerifyCa",
        ),
        fault(
            "PostgreSQL without TLS",
            file("Disable", "Require").postgres_address("127.0.0.1", plain_postgres.port),
            ("TargetTls", "TlsFailed"),
            &[&format!("127.0.0.1:{}", plain_postgres.port)],
            "Disable",
        ),
    ];
    for fault in faults {
        fault.expect().await?;
    }

    // MySQL makes its certificate for no name in particular, hence no VerifyFull.
    for (source, target) in [
        ("Require", "Require"),
        ("VerifyCa mysql-ca", "VerifyCa postgres-ca"),
        ("VerifyCa mysql-ca", "VerifyFull postgres-ca"),
    ] {
        let written = file(source, target).write()?;
        let mut sluice = Sluice::run(&written, &["--until-synced"])?;
        let (status, stderr) = sluice.exit_within(Duration::from_secs(30)).await?;
        assert!(status.success(), "{source}, {target}: {status} {stderr}");
    }
    Ok(())
}

/// Something that listens and knows no TLS.
struct PlainServer {
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl PlainServer {
    /// A MySQL that does not offer TLS: the real one, with one bit of its greeting cleared.
    async fn mysql(real: &str) -> Result<Self> {
        let real = real.to_owned();
        Self::start(move |mut client| {
            let real = real.clone();
            async move {
                let mut server = TcpStream::connect(&real).await?;
                let mut greeting = vec![0; 4];
                server.read_exact(&mut greeting).await?;
                let length = usize::from(greeting[0]) | usize::from(greeting[1]) << 8;
                greeting.resize(4 + length, 0);
                server.read_exact(&mut greeting[4..]).await?;
                // Behind the version come the connection's number, eight bytes and a zero.
                let version_end = greeting[5..]
                    .iter()
                    .position(|&byte| byte == 0)
                    .unwrap_or(0)
                    + 5;
                let capabilities = version_end + 1 + 4 + 8 + 1;
                greeting[capabilities + 1] &= !0x08;
                client.write_all(&greeting).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await?;
                Ok(())
            }
        })
        .await
    }

    /// A PostgreSQL that answers a request for TLS with no.
    async fn postgres() -> Result<Self> {
        Self::start(|mut client| async move {
            let mut request = [0; 8];
            client.read_exact(&mut request).await?;
            client.write_all(b"N").await?;
            client.read_to_end(&mut Vec::new()).await?;
            Ok(())
        })
        .await
    }

    async fn start<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> Result<Self>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(answer(client));
            }
        });
        Ok(Self { port, task })
    }
}

impl Drop for PlainServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
