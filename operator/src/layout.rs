//! How the agents of a pipeline are told from those before them, where they share topics.
//!
//! The generation of their layout rises with that of the resource. It is part of the configuration, so
//! a new one restarts them; they get one only where something else of what they do is new, too.

use serde_json::Error;
use sluice_agent_api::{AgentConfig, config::Replicas};

use crate::names;

/// What a StatefulSet was made for: the generation, and the hash of the rest of the configuration.
pub(crate) const ANNOTATION: &str = "sluice.dev/layout";

/// The annotation's value; none for an agent that reads no topics.
pub(crate) fn of(config: &AgentConfig) -> Option<String> {
    let generation = config.replicas?.generation?;
    let rest = rest(config).ok()?;
    Some(format!("{generation} {rest}"))
}

/// Gives agents that are to do just what they do the generation that they have.
pub(crate) fn keep(config: &mut AgentConfig, present: Option<&str>) {
    let Some((generation, present)) = present.and_then(|text| text.split_once(' ')) else {
        return;
    };
    let same = rest(config).is_ok_and(|rest| rest == present);
    if let Some(replicas) = &mut config.replicas
        && let Ok(generation) = generation.parse()
        && same
    {
        replicas.generation = Some(generation);
    }
}

fn rest(config: &AgentConfig) -> Result<String, Error> {
    let unnumbered = |replicas| Replicas {
        generation: None,
        ..replicas
    };
    let config = AgentConfig {
        replicas: config.replicas.map(unnumbered),
        ..config.clone()
    };
    Ok(names::hash(&serde_json::to_vec(&config)?))
}

#[cfg(test)]
mod tests {
    use sluice_crds::{ReplicaSink, ReplicationSource};

    use super::*;

    fn config(generation: i64, replicas: u32, rows: u32) -> AgentConfig {
        let source: ReplicationSource = serde_json::from_value(serde_json::json!({
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "ReplicationSource",
            "metadata": {"name": "shop"},
            "spec": {
                "mysql": {"host": "db", "credentials": {"secretRef": {"name": "a"}}},
                "tables": {"include": ["shop.*"]},
                "kafka": {"bootstrapServers": "kafka:9092", "format": {"json": {}}},
            },
        }))
        .unwrap();
        let sink: ReplicaSink = serde_json::from_value(serde_json::json!({
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "ReplicaSink",
            "metadata": {
                "name": "shop-pg",
                "generation": generation,
                "creationTimestamp": "2026-01-01T12:00:00Z",
            },
            "spec": {
                "sourceRef": {"name": "shop"},
                "postgres": {
                    "host": "pg",
                    "database": "shop",
                    "credentials": {"secretRef": {"name": "b"}},
                },
                "apply": {"batchRows": rows},
                "replicas": replicas,
            },
        }))
        .unwrap();
        sluice_convert::agent_config(&source, &sink).unwrap()
    }

    #[test]
    fn a_generation_stays_while_the_rest_does() {
        let before = config(1, 3, 100);
        let present = of(&before).unwrap();
        let kept = |mut config: AgentConfig, present: Option<&str>| {
            keep(&mut config, present);
            config
        };
        assert_eq!(kept(config(2, 3, 100), Some(&present)), before);
        for other in [config(2, 2, 100), config(2, 3, 200)] {
            assert_eq!(kept(other.clone(), Some(&present)), other);
            let number = |config: &AgentConfig| config.replicas.unwrap().generation;
            assert!(number(&other) > number(&before));
        }
        let first = config(2, 3, 100);
        for nothing in [None, Some(""), Some("x y")] {
            assert_eq!(kept(first.clone(), nothing), first);
        }
    }
}
