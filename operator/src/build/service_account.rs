//! The identity of an agent, which may do nothing.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::{build::agent_metadata, model::ValidatedAgent};

/// An account of its own for each agent, bound to no role and without a token in the pod.
pub(super) fn build(agent: &ValidatedAgent) -> ServiceAccount {
    ServiceAccount {
        metadata: agent_metadata(agent),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
