//! How the Prometheus operator finds an agent's metrics.

use kube::{
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
};
use serde_json::json;

use crate::{
    build::{agent_metadata, agent_selector, pod::HTTP_PORT_NAME},
    model::ValidatedAgent,
};

/// The kind, which is not part of Kubernetes.
pub(crate) fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("monitoring.coreos.com", "v1", "PodMonitor");
    ApiResource::from_gvk_with_plural(&kind, "podmonitors")
}

/// The agent's `/metrics`, at the interval that Prometheus was installed with.
pub(super) fn build(agent: &ValidatedAgent) -> DynamicObject {
    let spec = json!({
        "selector": agent_selector(agent),
        "podMetricsEndpoints": [{"port": HTTP_PORT_NAME, "path": "/metrics"}],
    });
    let metadata = agent_metadata(agent);
    let name = metadata.name.clone().unwrap_or_default();
    let mut monitor = DynamicObject::new(&name, &resource()).data(json!({"spec": spec}));
    monitor.metadata = metadata;
    monitor
}
