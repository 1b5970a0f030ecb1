//! What the server does for the sink's session, asked over a connection of its own.
//!
//! A call that takes long may be at work, may wait for somebody's lock, or may have lost its connection;
//! only the server knows. It is asked seldom, so that the connection is made anew each time.

use std::sync::Arc;

use async_trait::async_trait;
use sluice_agent_api::{SecretStore, config::ConnectionConfig};
use sluice_core::{
    Result,
    sink::{Activity, SinkObserver},
};
use tokio::sync::Mutex;
use tokio_postgres::{Row, types::ToSql};

use crate::{
    connect::{Session, connect},
    settings::Settings,
};

/// Who holds what the session waits for; the first of them is enough to go on from.
const BLOCKER: &str = "\
    SELECT b.pid, b.usename::text, b.application_name, b.state,
           to_char(b.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
           (SELECT min(l.relation::regclass::text)
            FROM pg_locks AS l WHERE l.pid = $1 AND NOT l.granted AND l.locktype = 'relation')
    FROM unnest(pg_blocking_pids($1)) AS p JOIN pg_stat_activity AS b ON b.pid = p LIMIT 1";

/// Looks at one session of the server.
pub(crate) struct Observer {
    connection: ConnectionConfig,
    secrets: Arc<dyn SecretStore>,
    application_name: String,
    backend_pid: i32,
    /// How many bytes a COPY had taken when it was looked at last.
    copied: Mutex<Option<i64>>,
}

impl Observer {
    /// Remembers whom to look at.
    pub(crate) fn new(
        settings: &Settings,
        secrets: Arc<dyn SecretStore>,
        backend_pid: i32,
    ) -> Self {
        Self {
            connection: settings.postgres.connection.clone(),
            secrets,
            application_name: format!("sluice-observer/{}", settings.pipeline),
            backend_pid,
            copied: Mutex::new(None),
        }
    }

    async fn blocker(&self, session: &Session) -> Result<Activity> {
        let parameters: [&(dyn ToSql + Sync); 1] = [&self.backend_pid];
        let found = session.client.query_opt(BLOCKER, &parameters).await;
        let found = found.map_err(|error| session.error(error))?;
        // It may have let go in between.
        Ok(found.map_or(Activity::Working, |row| blocked(&row)))
    }

    /// Whether a COPY has come further since it was looked at last.
    async fn moves(&self, session: &Session) -> Result<bool> {
        const MIN: i32 = 140_000;
        if session.version < MIN {
            return Ok(false);
        }
        let sql = "SELECT bytes_processed FROM pg_stat_progress_copy WHERE pid = $1";
        let parameters: [&(dyn ToSql + Sync); 1] = [&self.backend_pid];
        let found = session.client.query_opt(sql, &parameters).await;
        let found = found.map_err(|error| session.error(error))?;
        let copied: Option<i64> = found.map(|row| row.get(0));
        let before = std::mem::replace(&mut *self.copied.lock().await, copied);
        Ok(copied.is_some() && copied != before)
    }
}

#[async_trait]
impl SinkObserver for Observer {
    async fn observe(&self) -> Result<Activity> {
        let session = connect(&self.connection, &*self.secrets, &self.application_name).await?;
        let sql = "SELECT state, wait_event_type FROM pg_stat_activity WHERE pid = $1";
        let parameters: [&(dyn ToSql + Sync); 1] = [&self.backend_pid];
        let found = session.client.query_opt(sql, &parameters).await;
        let found = found.map_err(|error| session.error(error))?;
        let Some(row) = found else {
            return Ok(Activity::Gone);
        };
        let (state, waits): (Option<String>, Option<String>) = (row.get(0), row.get(1));
        let is_active = state.as_deref() == Some("active");
        match waits.as_deref() {
            Some("Lock") => self.blocker(&session).await,
            // Inside a statement only a COPY waits for its client.
            Some("Client") if is_active => Ok(if self.moves(&session).await? {
                Activity::Working
            } else {
                Activity::Idle
            }),
            _ if is_active => Ok(Activity::Working),
            _ => Ok(Activity::Idle),
        }
    }
}

/// Names who blocks and since when, but not what he runs: that may hold values.
fn blocked(row: &Row) -> Activity {
    let pid: i32 = row.get(0);
    let user: Option<String> = row.get(1);
    let application: Option<String> = row.get(2);
    let state: Option<String> = row.get(3);
    let began: Option<String> = row.get(4);
    let table: Option<String> = row.get(5);
    let on = table.map_or(String::new(), |table| format!(" on {table}"));
    let application = application.filter(|name| !name.is_empty());
    let user = user.unwrap_or_default();
    let named = application.map_or(user.clone(), |name| format!("{name} of {user}"));
    let state = state.unwrap_or_default();
    let open = began.map_or(String::new(), |at| format!(", in a transaction since {at}"));
    Activity::Blocked {
        cause: format!("a lock{on} is held by process {pid} ({named}, {state}{open})"),
        hint: Some(format!(
            "end that transaction; if nobody can: SELECT pg_terminate_backend({pid})"
        )),
    }
}
