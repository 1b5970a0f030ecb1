//! What every reconcile has at hand.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::Client;

use crate::{arguments::RunArguments, cache::Caches};

/// What every reconcile has at hand.
pub(crate) struct Context {
    /// Talks to the API server.
    pub(crate) client: Client,
    /// How the operator was installed.
    pub(crate) settings: Settings,
    /// What the API server has.
    pub(crate) caches: Caches,
}

/// A context that many reconciles share.
pub(crate) type SharedContext = Arc<Context>;

/// How the operator was installed.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The flags.
    pub(crate) arguments: RunArguments,
    /// `--agent-resources`.
    pub(crate) agent_resources: ResourceRequirements,
}
