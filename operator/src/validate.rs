//! Makes sure that an agent can be made, and brings together what it is made of. Pure.
//!
//! After this step nothing reads a raw spec any more.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::ResourceExt as _;
use sluice_agent_api::config::SourceSystem;
use sluice_convert::{ConvertError, SecretUse, sink_secrets, source_secrets, upstream_secrets};
use sluice_crds::{ReplicationSource, agent::AgentTemplate};

use crate::{
    context::Settings,
    dereference::{DereferencedCapture, DereferencedSink, SecretContents},
    layout,
    model::{ObjectKey, PodTemplate, Problem, Role, Secrets, ValidatedAgent, ValidatedSource},
    names, resnapshot, restart,
};

/// Why no agent can be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ValidateError {
    /// The objects contradict themselves or ask for what there is not.
    #[error("{0}")]
    Invalid(#[from] ConvertError),
    /// A Secret is not there.
    #[error("Secret {name} does not exist ({path}); {}", create(.name, .keys))]
    NoSecret {
        /// Its name.
        name: String,
        /// The field that names it.
        path: String,
        /// The keys that are needed.
        keys: Vec<String>,
    },
    /// A Secret has not all the keys that it should have.
    #[error(
        "Secret {name} has no key {key} ({path}); add it, for example with kubectl patch secret {name}"
    )]
    NoKey {
        /// Its name.
        name: String,
        /// The key.
        key: String,
        /// The field that names it.
        path: String,
    },
}

impl ValidateError {
    /// The reason for the condition `Ready`.
    pub(crate) fn problem(&self) -> Problem {
        let reason = match self {
            Self::Invalid(_) => "InvalidSpec",
            Self::NoSecret { .. } | Self::NoKey { .. } => "SecretNotFound",
        };
        Problem {
            reason,
            message: self.to_string(),
        }
    }
}

/// What an agent is made of.
pub(crate) fn sink(
    settings: &Settings,
    input: &DereferencedSink,
) -> Result<ValidatedAgent, ValidateError> {
    let (sink, source) = (&*input.sink, &*input.source);
    let mut config = sluice_convert::agent_config(source, sink)?;
    let mut uses = upstream_secrets(source);
    uses.extend(sink_secrets(sink));
    let secrets = secrets(&uses, &input.secrets)?;
    if let SourceSystem::Mysql(mysql) = &mut config.source.system {
        mysql.server_id = input.server_id.unwrap_or(mysql.server_id);
        config.resnapshot = resnapshot::request(sink);
    }
    layout::keep(&mut config, input.layout.as_deref());
    let template = sink.spec.agent.clone().unwrap_or_default();
    Ok(ValidatedAgent {
        role: Role::Replica,
        key: ObjectKey::of(sink),
        uid: sink.uid().unwrap_or_default(),
        replicas: sink.spec.replicas,
        config,
        pod: PodTemplate {
            image: input.turn.image.clone(),
            pinned: template.image.is_some(),
            image_pull_secrets: settings.arguments.agent_image_pull_secrets.clone(),
            resources: resources(settings, &template),
            template,
            restarted_at: restart::restarted_at(source, sink),
        },
        upgrade: input.turn.upgrade.clone(),
        paused: sluice_convert::is_paused(source, sink),
        secrets,
    })
}

/// What a source's check is made of.
pub(crate) fn source(
    settings: &Settings,
    source: &ReplicationSource,
    contents: &SecretContents,
) -> Result<ValidatedSource, ValidateError> {
    let config = sluice_convert::source_config(source)?;
    let secrets = secrets(&source_secrets(source), contents)?;
    let template = source.spec.agent.clone().unwrap_or_default();
    let image = template.image.clone();
    Ok(ValidatedSource {
        key: ObjectKey::of(source),
        uid: source.uid().unwrap_or_default(),
        config,
        pod: PodTemplate {
            pinned: image.is_some(),
            image: image.unwrap_or_else(|| settings.arguments.agent_image.clone()),
            image_pull_secrets: settings.arguments.agent_image_pull_secrets.clone(),
            resources: resources(settings, &template),
            template,
            restarted_at: None,
        },
        secrets,
    })
}

/// What the agent is made of that captures a source into Kafka.
pub(crate) fn capture(
    settings: &Settings,
    input: &DereferencedCapture,
) -> Result<ValidatedAgent, ValidateError> {
    let source = &*input.source;
    let mut config = input.config.clone();
    let secrets = secrets(&source_secrets(source), &input.secrets)?;
    if let SourceSystem::Mysql(mysql) = &mut config.source.system {
        mysql.server_id = input.server_id.unwrap_or(mysql.server_id);
    }
    config.resnapshot = resnapshot::request(source);
    let template = source.spec.agent.clone().unwrap_or_default();
    Ok(ValidatedAgent {
        role: Role::Capture,
        key: ObjectKey::of(source),
        uid: source.uid().unwrap_or_default(),
        replicas: 1,
        config,
        pod: PodTemplate {
            image: input.turn.image.clone(),
            pinned: template.image.is_some(),
            image_pull_secrets: settings.arguments.agent_image_pull_secrets.clone(),
            resources: resources(settings, &template),
            template,
            restarted_at: restart::of_source(source),
        },
        upgrade: input.turn.upgrade.clone(),
        paused: source.spec.paused,
        secrets,
    })
}

fn resources(settings: &Settings, template: &AgentTemplate) -> ResourceRequirements {
    let own = template.resources.clone();
    own.unwrap_or_else(|| settings.agent_resources.clone())
}

/// Everything that is mounted; refuses what is missing.
fn secrets(uses: &[SecretUse], contents: &SecretContents) -> Result<Secrets, ValidateError> {
    let mut secrets = Secrets::default();
    let mut hashes = BTreeMap::new();
    for used in uses {
        let (name, key) = (&used.key.name, &used.key.key);
        let content = contents.get(name).and_then(Option::as_ref);
        let path = format!("{} {}", used.object.as_str(), used.path);
        let Some(content) = content else {
            let keys = uses.iter().filter(|other| other.key.name == *name);
            let mut keys: Vec<String> = keys.map(|used| used.key.key.clone()).collect();
            keys.dedup();
            return Err(ValidateError::NoSecret {
                name: name.clone(),
                path,
                keys,
            });
        };
        let Some(hash) = content.keys.get(key) else {
            return Err(ValidateError::NoKey {
                name: name.clone(),
                key: key.clone(),
                path,
            });
        };
        hashes.insert(used.key.to_string(), hash.clone());
        secrets.insert(&used.key);
    }
    let text = hashes.iter().map(|(key, hash)| format!("{key} {hash}\n"));
    secrets.hash = names::hash(text.collect::<String>().as_bytes());
    Ok(secrets)
}

fn create(name: &str, keys: &[String]) -> String {
    let literals: Vec<String> = keys
        .iter()
        .map(|key| format!(" --from-literal={key}=..."))
        .collect();
    let literals = literals.concat();
    format!("create it: kubectl create secret generic {name}{literals}")
}
