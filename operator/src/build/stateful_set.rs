//! The agent itself: at most one pod of each number, because a StatefulSet never starts the next before
//! the one before is gone.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy},
    core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, PodTemplateSpec},
};
use sluice_agent_api::config::SourceSystem;

use crate::{
    build::{
        Extras, agent_metadata, agent_selector,
        pod::{CONFIG_PATH, Pod, SECRETS_PATH, container, http_port, probe},
    },
    layout,
    model::ValidatedAgent,
    names, resnapshot, server_id, upgrade,
};

/// SHA-256 of all objects that were applied together with this StatefulSet. It is applied last, so
/// that the others were applied as well.
pub(crate) const APPLIED_ANNOTATION: &str = "sluice.dev/applied-hash";
/// The optional objects that were applied together with this StatefulSet.
const EXTRAS_ANNOTATION: &str = "sluice.dev/extras";

/// How long an agent may take to write what it has begun.
const GRACE_SECONDS: i64 = 30;

/// The StatefulSet of an agent.
pub(super) fn build(agent: &ValidatedAgent, config: &str) -> StatefulSet {
    let mut metadata = agent_metadata(agent);
    metadata.annotations = Some(annotations(agent));
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            replicas: Some(replicas(agent)),
            service_name: Some(names::of_role(agent.role, &agent.key.name)),
            selector: agent_selector(agent),
            template: template(agent, config),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            revision_history_limit: Some(2),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn replicas(agent: &ValidatedAgent) -> i32 {
    if agent.paused {
        return 0;
    }
    i32::try_from(agent.replicas).unwrap_or(i32::MAX)
}

/// Writes down what it was applied together with.
pub(super) fn seal(stateful_set: &mut StatefulSet, hash: &str, extras: Extras) {
    let annotations = stateful_set.metadata.annotations.get_or_insert_default();
    annotations.insert(APPLIED_ANNOTATION.to_owned(), hash.to_owned());
    let names = [
        (extras.network_policy, "NetworkPolicy"),
        (extras.pod_monitor, "PodMonitor"),
    ];
    let names: Vec<&str> = names
        .iter()
        .filter_map(|(present, name)| present.then_some(*name))
        .collect();
    if !names.is_empty() {
        annotations.insert(EXTRAS_ANNOTATION.to_owned(), names.join(","));
    }
}

/// The optional objects that a StatefulSet was applied together with.
pub(crate) fn extras(stateful_set: &StatefulSet) -> Extras {
    let annotations = stateful_set.metadata.annotations.as_ref();
    let names = annotations.and_then(|all| all.get(EXTRAS_ANNOTATION));
    let has = |kind: &str| names.is_some_and(|names| names.split(',').any(|name| name == kind));
    Extras {
        network_policy: has("NetworkPolicy"),
        pod_monitor: has("PodMonitor"),
    }
}

fn annotations(agent: &ValidatedAgent) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    if let SourceSystem::Mysql(mysql) = &agent.config.source.system {
        let id = mysql.server_id.to_string();
        annotations.insert(server_id::ANNOTATION.to_owned(), id);
    }
    if agent.pod.pinned {
        annotations.insert(upgrade::PINNED_ANNOTATION.to_owned(), "true".to_owned());
    }
    let layout = layout::of(&agent.config);
    annotations.extend(layout.map(|text| (layout::ANNOTATION.to_owned(), text)));
    let upgrade = agent.upgrade.as_ref();
    let upgrade = upgrade.and_then(|upgrade| serde_json::to_string(upgrade).ok());
    annotations.extend(upgrade.map(|text| (upgrade::ANNOTATION.to_owned(), text)));
    let request = agent.config.resnapshot.as_ref();
    let request = request.and_then(|request| serde_json::to_string(request).ok());
    annotations.extend(request.map(|text| (resnapshot::REQUEST_ANNOTATION.to_owned(), text)));
    annotations
}

/// Tells an agent which of the replicas it is.
fn pod_name() -> EnvVar {
    EnvVar {
        name: "SLUICE_POD".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: "metadata.name".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn template(agent: &ValidatedAgent, config: &str) -> PodTemplateSpec {
    let name = names::of_role(agent.role, &agent.key.name);
    let arguments = [
        "agent",
        "--config",
        CONFIG_PATH,
        "--secrets",
        SECRETS_PATH,
        "--listen",
        "0.0.0.0:8080",
    ];
    let mut container = container("agent", &arguments, &agent.pod);
    container.ports = Some(vec![http_port()]);
    container.startup_probe = Some(probe("/healthz", 1, 60));
    container.liveness_probe = Some(probe("/healthz", 10, 6));
    container.readiness_probe = Some(probe("/readyz", 3, 2));
    if agent.config.replicas.is_some() {
        container.env = Some(vec![pod_name()]);
    }
    if agent.replicas > 1 {
        // An agent of a new layout may have to wait for another one of it, which must not wait in turn
        // until this one is ready: a StatefulSet replaces them one after the other.
        container.readiness_probe = Some(probe("/healthz", 3, 2));
    }
    let pod = Pod {
        container,
        config_map: &name,
        secrets: &agent.secrets,
        template: &agent.pod,
    };
    let mut annotations = BTreeMap::from([
        (
            "sluice.dev/config-hash".to_owned(),
            names::hash(config.as_bytes()),
        ),
        (
            "sluice.dev/secret-hash".to_owned(),
            agent.secrets.hash.clone(),
        ),
    ]);
    let restarted_at = agent.pod.restarted_at.clone();
    annotations.extend(restarted_at.map(|at| ("sluice.dev/restarted-at".to_owned(), at)));
    let mut template = pod.build(
        names::agent_labels(agent.role, &agent.key.name),
        annotations,
    );
    if let Some(spec) = &mut template.spec {
        spec.service_account_name = Some(name);
        spec.termination_grace_period_seconds = Some(GRACE_SECONDS);
    }
    template
}
