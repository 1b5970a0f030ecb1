//! The identity of an agent, which may do nothing.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::{build::agent_metadata, model::ValidatedSink};

/// An account of its own for each agent, bound to no role and without a token in the pod.
pub(super) fn build(sink: &ValidatedSink) -> ServiceAccount {
    ServiceAccount {
        metadata: agent_metadata(sink),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
