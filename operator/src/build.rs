//! Makes the Kubernetes objects of an agent and of a check. Pure: one file for each kind.
//!
//! Everything belongs to the custom resource by an owner reference, so that it goes with it.

mod check_job;
mod config_map;
mod network_policy;
mod pod;
mod pod_disruption_budget;
mod pod_monitor;
mod service;
mod service_account;
mod stateful_set;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        batch::v1::Job,
        core::v1::{ConfigMap, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
};
use kube::{Resource, api::DynamicObject};
use serde::Serialize;
use sluice_agent_api::config::{AgentConfig, SourceConfig};
use sluice_crds::{ReplicaSink, ReplicationSource};

use crate::{
    model::{ObjectKey, Role, ValidatedAgent, ValidatedSource},
    names,
};

pub(crate) use pod_monitor::resource as pod_monitor_resource;
pub(crate) use stateful_set::{APPLIED_ANNOTATION, extras};

/// Why an object can't be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The configuration can't be written as JSON.
    #[error("the configuration can't be written as JSON: {0}")]
    Config(#[source] serde_json::Error),
}

/// What is optional about an agent's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extras {
    /// Whether there is a NetworkPolicy.
    pub(crate) network_policy: bool,
    /// Whether there is a PodMonitor.
    pub(crate) pod_monitor: bool,
}

/// Every object of an agent.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentResources {
    pub(crate) service_account: ServiceAccount,
    pub(crate) config_map: ConfigMap,
    pub(crate) service: Service,
    pub(crate) pod_disruption_budget: PodDisruptionBudget,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network_policy: Option<NetworkPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod_monitor: Option<DynamicObject>,
    pub(crate) stateful_set: StatefulSet,
}

impl AgentResources {
    /// SHA-256 of all of it: equal means that nothing is to be applied.
    pub(crate) fn hash(&self) -> Result<String, BuildError> {
        hash_of(self)
    }
}

/// Every object of a check.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckResources {
    pub(crate) config_map: ConfigMap,
    pub(crate) job: Job,
}

impl CheckResources {
    /// The name of both objects.
    pub(crate) fn name(&self) -> &str {
        self.job.metadata.name.as_deref().unwrap_or_default()
    }
}

/// The objects of an agent.
pub(crate) fn agent(agent: &ValidatedAgent, extras: Extras) -> Result<AgentResources, BuildError> {
    let config = json_of(&agent.config)?;
    let mut resources = AgentResources {
        service_account: service_account::build(agent),
        config_map: config_map::agent(agent, &config),
        service: service::build(agent),
        pod_disruption_budget: pod_disruption_budget::build(agent),
        network_policy: extras.network_policy.then(|| network_policy::build(agent)),
        pod_monitor: extras.pod_monitor.then(|| pod_monitor::build(agent)),
        stateful_set: stateful_set::build(agent, &config),
    };
    let hash = resources.hash()?;
    stateful_set::seal(&mut resources.stateful_set, &hash, extras);
    Ok(resources)
}

/// The objects of the check of an agent's prerequisites.
pub(crate) fn agent_check(agent: &ValidatedAgent) -> Result<CheckResources, BuildError> {
    // What is copied again, and how work is shared, has no prerequisites of its own.
    let config = json_of(&AgentConfig {
        resnapshot: None,
        replicas: None,
        ..agent.config.clone()
    })?;
    let name = &agent.key.name;
    let check = check_job::Check {
        owner: Owner::agent(agent),
        labels: match agent.role {
            Role::Replica => names::sink_check_labels(name),
            Role::Capture => names::source_check_labels(name),
        },
        config: &config,
        config_flag: "--config",
        pod: &agent.pod,
        secrets: &agent.secrets,
    };
    let content = check.content()?;
    Ok(check.build(&match agent.role {
        Role::Replica => names::sink_check(name, &content),
        Role::Capture => names::source_check(name, &content),
    }))
}

/// The objects of a ReplicationSource's check.
pub(crate) fn source_check(source: &ValidatedSource) -> Result<CheckResources, BuildError> {
    let config: &SourceConfig = &source.config;
    let config = json_of(config)?;
    let check = check_job::Check {
        owner: Owner::source(source),
        labels: names::source_check_labels(&source.key.name),
        config: &config,
        config_flag: "--source-config",
        pod: &source.pod,
        secrets: &source.secrets,
    };
    let content = check.content()?;
    Ok(check.build(&names::source_check(&source.key.name, &content)))
}

/// The custom resource that an object belongs to.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Owner {
    namespace: String,
    #[serde(skip)]
    reference: OwnerReference,
}

impl Owner {
    fn agent(agent: &ValidatedAgent) -> Self {
        match agent.role {
            Role::Replica => Self::new::<ReplicaSink>(&agent.key, &agent.uid),
            Role::Capture => Self::new::<ReplicationSource>(&agent.key, &agent.uid),
        }
    }

    fn source(source: &ValidatedSource) -> Self {
        Self::new::<ReplicationSource>(&source.key, &source.uid)
    }

    fn new<K: Resource<DynamicType = ()>>(key: &ObjectKey, uid: &str) -> Self {
        Self {
            namespace: key.namespace.clone(),
            reference: OwnerReference {
                api_version: K::api_version(&()).into_owned(),
                kind: K::kind(&()).into_owned(),
                name: key.name.clone(),
                uid: uid.to_owned(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            },
        }
    }

    fn metadata(&self, name: &str, labels: BTreeMap<String, String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            owner_references: Some(vec![self.reference.clone()]),
            ..ObjectMeta::default()
        }
    }
}

/// The metadata that all objects of an agent share.
fn agent_metadata(agent: &ValidatedAgent) -> ObjectMeta {
    let (role, name) = (agent.role, &agent.key.name);
    let labels = names::agent_labels(role, name);
    Owner::agent(agent).metadata(&names::of_role(role, name), labels)
}

/// Finds an agent's pods.
fn agent_selector(agent: &ValidatedAgent) -> LabelSelector {
    LabelSelector {
        match_labels: Some(names::agent_selector(agent.role, &agent.key.name)),
        ..LabelSelector::default()
    }
}

fn json_of<T: Serialize>(config: &T) -> Result<String, BuildError> {
    serde_json::to_string_pretty(config).map_err(BuildError::Config)
}

fn hash_of<T: Serialize>(content: &T) -> Result<String, BuildError> {
    let content = serde_json::to_vec(content).map_err(BuildError::Config)?;
    Ok(names::hash(&content))
}

#[cfg(test)]
mod tests;
