//! The plain tools that the baselines are made of: `mysql` and `psql`.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use sluice_e2e::{PgDatabase, Servers};
use tokio::process::Command;

/// The columns of `orders` as both `mysql --batch` and COPY understand them.
pub(crate) const ORDER_COLUMNS: &str = "id, customer, status, amount, quantity, created, updated, \
     note, payload, LPAD(BIN(flags + 0), 8, '0'), rate, email";

/// `orders` as Sluice creates it.
pub(crate) const ORDERS_TABLE: &str = "(id bigint PRIMARY KEY, customer integer NOT NULL, \
     status text NOT NULL, amount numeric(12,2) NOT NULL, quantity integer NOT NULL, \
     created timestamp(6), updated timestamptz(6), note varchar(200), payload jsonb, \
     flags bit(8) NOT NULL, rate double precision, email varchar(120))";

/// A command line for `mysql` that writes a query's rows as tab-separated text.
pub(crate) fn mysql_export(servers: &Servers, database: &str, query: &str) -> String {
    let client = servers.mysql_client.display();
    format!(
        "'{client}' --init-command=\"SET time_zone = '+00:00'\" --quick --batch -N \
         --default-character-set=utf8mb4 {database} -e \"{query}\""
    )
}

/// A command line for `psql` in a database; the password comes from the environment.
pub(crate) fn psql(postgres: &PgDatabase) -> String {
    let (programs, endpoint) = ("\"$SLUICE_PG_BIN\"/psql", &postgres.endpoint);
    format!(
        "{programs} -h {} -p {} -U {} -d {} -XqAt -v ON_ERROR_STOP=1",
        endpoint.host, endpoint.port, endpoint.user, postgres.name
    )
}

/// Runs a shell script; how long it took.
pub(crate) async fn timed(postgres: &PgDatabase, script: &str) -> Result<Duration> {
    let started = Instant::now();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .env("PGPASSWORD", &postgres.endpoint.password)
        .env("PGOPTIONS", "-c timezone=UTC")
        .stdin(Stdio::null())
        .output()
        .await?;
    if !output.status.success() {
        bail!(
            "the baseline failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(started.elapsed())
}
