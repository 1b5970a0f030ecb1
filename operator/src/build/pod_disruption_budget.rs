//! What may happen to an agent when its node is drained.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{
    build::{agent_metadata, agent_selector},
    model::ValidatedAgent,
};

/// One agent at a time may be moved; never none, or its node could not be drained. An agent that is
/// not Ready is in nobody's way.
pub(super) fn build(agent: &ValidatedAgent) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: agent_metadata(agent),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(agent_selector(agent)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
