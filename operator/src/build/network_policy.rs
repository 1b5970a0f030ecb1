//! Who may talk to an agent.

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{
    build::{agent_metadata, agent_selector, pod::HTTP_PORT},
    model::ValidatedAgent,
};

/// Only the HTTP port is open. What an agent may reach is not limited here: where databases are,
/// and how their names are looked up, is the cluster's own business.
pub(super) fn build(agent: &ValidatedAgent) -> NetworkPolicy {
    NetworkPolicy {
        metadata: agent_metadata(agent),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(agent_selector(agent)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                ports: Some(vec![NetworkPolicyPort {
                    port: Some(IntOrString::Int(HTTP_PORT)),
                    protocol: Some("TCP".to_owned()),
                    ..NetworkPolicyPort::default()
                }]),
                ..NetworkPolicyIngressRule::default()
            }]),
            ..NetworkPolicySpec::default()
        }),
    }
}
