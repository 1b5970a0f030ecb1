//! Configuration files as the operator mounts them: JSON of the types in `sluice-agent-api`.

use std::{fs, path::Path};

use serde::de::DeserializeOwned;
use sluice_agent_api::AgentConfig;

use crate::translate;

/// Reads a file, or says what is wrong with it.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let name = path.display();
    let text =
        fs::read_to_string(path).map_err(|error| format!("{name} can't be read: {error}"))?;
    serde_json::from_str(&text)
        .map_err(|error| format!("{name} is not a configuration of this agent: {error}"))
}

/// Reads an agent's configuration and makes sure that its routes can be used.
pub(crate) fn read_agent(path: &Path) -> Result<AgentConfig, String> {
    let config: AgentConfig = read(path)?;
    match translate::router(&config.tables) {
        Ok(_) => Ok(config),
        Err(error) => {
            let hint = error
                .hint()
                .map_or(String::new(), |hint| format!("; {hint}"));
            Err(format!("{}: {}{hint}", path.display(), error.report()))
        }
    }
}
