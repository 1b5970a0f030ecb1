//! Configuration files as the operator mounts them: JSON of the types in `sluice-agent-api`.

use std::{fs, path::Path};

use serde::de::DeserializeOwned;
use sluice_agent_api::{AgentConfig, config::Replicas};

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

/// Finds out which of several agents of the pipeline this is, or says why that can't be told.
pub(crate) fn place(config: &mut AgentConfig, pod: Option<&str>) -> Result<(), String> {
    let Some(replicas) = &mut config.replicas else {
        return Ok(());
    };
    replicas.index = match pod {
        Some(pod) => {
            ordinal(pod).ok_or_else(|| format!("--pod {pod}: does not end in a number"))?
        }
        None if replicas.is_shared() => {
            return Err("--pod is needed: several agents share the pipeline".to_owned());
        }
        None => 0,
    };
    let Replicas { count, index, .. } = *replicas;
    if index < count {
        return Ok(());
    }
    Err(format!(
        "there are {count} agents of {} by now, and this one has the number {index}",
        config.pipeline
    ))
}

/// The number that a StatefulSet gave to a pod.
fn ordinal(pod: &str) -> Option<u32> {
    pod.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_pod_is_at_the_end_of_its_name() {
        assert_eq!(ordinal("shop-pg-3-12"), Some(12));
        assert_eq!(ordinal("shop-pg"), None);
        assert_eq!(ordinal("12"), None);
    }
}
