//! How far the other agents of a pipeline are, asked over a connection of its own.

use std::sync::Arc;

use async_trait::async_trait;
use sluice_agent_api::{SecretStore, config::ConnectionConfig};
use sluice_core::{LogPosition, Peers, Result};
use tokio::sync::Mutex;

use crate::{
    connect::{Session, connect},
    layout::others,
    settings::Settings,
    sql::literal,
};

/// Reads the positions of a pipeline's agents.
pub(crate) struct PeerRows {
    connection: ConnectionConfig,
    secrets: Arc<dyn SecretStore>,
    application_name: String,
    question: String,
    /// Made with the first question, and again after one that failed or was given up.
    session: Mutex<Option<Session>>,
}

impl PeerRows {
    /// Remembers whom to look at.
    pub(crate) fn new(settings: &Settings, secrets: Arc<dyn SecretStore>) -> Self {
        Self {
            connection: settings.postgres.connection.clone(),
            secrets,
            application_name: format!("sluice-peers/{}", settings.row),
            question: format!(
                "SELECT position FROM sluice.positions
                 WHERE position IS NOT NULL AND (sink = {} OR {})",
                literal(&settings.pipeline),
                others(&settings.pipeline)
            ),
            session: Mutex::new(None),
        }
    }
}

#[async_trait]
impl Peers for PeerRows {
    async fn progress(&self) -> Result<LogPosition> {
        let mut kept = self.session.lock().await;
        let session = match kept.take() {
            Some(session) => session,
            None => connect(&self.connection, &*self.secrets, &self.application_name).await?,
        };
        let rows = session.client.query(&self.question, &[]).await;
        let rows = rows.map_err(|error| session.error(error))?;
        *kept = Some(session);
        let mut all = LogPosition::Offsets(std::collections::BTreeMap::new());
        for row in rows {
            let text: String = row.get(0);
            if let Ok(place) = text.parse() {
                all.add(&place);
            }
        }
        Ok(all)
    }
}
