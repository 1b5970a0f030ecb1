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
    model::{AGENT, ObjectKey, ValidatedSink, ValidatedSource},
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

/// The objects of a ReplicaSink's agent.
pub(crate) fn agent(sink: &ValidatedSink, extras: Extras) -> Result<AgentResources, BuildError> {
    let config = json_of(&sink.config)?;
    let mut resources = AgentResources {
        service_account: service_account::build(sink),
        config_map: config_map::agent(sink, &config),
        service: service::build(sink),
        pod_disruption_budget: pod_disruption_budget::build(sink),
        network_policy: extras.network_policy.then(|| network_policy::build(sink)),
        pod_monitor: extras.pod_monitor.then(|| pod_monitor::build(sink)),
        stateful_set: stateful_set::build(sink, &config),
    };
    let hash = resources.hash()?;
    stateful_set::seal(&mut resources.stateful_set, &hash, extras);
    Ok(resources)
}

/// The objects of a ReplicaSink's check.
pub(crate) fn sink_check(sink: &ValidatedSink) -> Result<CheckResources, BuildError> {
    // What is copied again has no prerequisites of its own.
    let config = json_of(&AgentConfig {
        resnapshot: None,
        ..sink.config.clone()
    })?;
    let owner = Owner::sink(sink);
    let labels = names::sink_check_labels(&sink.key.name);
    let check = check_job::Check {
        owner,
        labels,
        config: &config,
        config_flag: "--config",
        pod: &sink.pod,
        secrets: &sink.secrets,
    };
    let content = check.content()?;
    Ok(check.build(&names::sink_check(&sink.key.name, &content)))
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
    fn sink(sink: &ValidatedSink) -> Self {
        Self::new::<ReplicaSink>(&sink.key, &sink.uid)
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
fn agent_metadata(sink: &ValidatedSink) -> ObjectMeta {
    let labels = names::agent_labels(&sink.key.name);
    Owner::sink(sink).metadata(&names::agent(&sink.key.name), labels)
}

/// Finds an agent's pods.
fn agent_selector(sink: &ValidatedSink) -> LabelSelector {
    LabelSelector {
        match_labels: Some(names::sink_selector(&sink.key.name, AGENT)),
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
