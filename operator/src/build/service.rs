//! Where an agent's metrics and status are found.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{
    build::{
        agent_metadata,
        pod::{HTTP_PORT, HTTP_PORT_NAME},
    },
    model::ValidatedAgent,
    names,
};

/// A headless Service, which a StatefulSet needs for its pods' names. It also has the pods that are
/// not Ready: their metrics are the interesting ones.
pub(super) fn build(agent: &ValidatedAgent) -> Service {
    Service {
        metadata: agent_metadata(agent),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::agent_selector(agent.role, &agent.key.name)),
            ports: Some(vec![ServicePort {
                name: Some(HTTP_PORT_NAME.to_owned()),
                port: HTTP_PORT,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(HTTP_PORT_NAME.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
