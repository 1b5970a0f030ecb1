//! What every reconcile has at hand.

use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::Client;
use tokio::sync::Semaphore;

use crate::{
    applied::Applied,
    apply::ApplyError,
    arguments::RunArguments,
    build::Extras,
    cache::Caches,
    checks::Checks,
    events::Publisher,
    leader::Leadership,
    memory::{SinkMemories, SourceMemories},
    metrics::Metrics,
    observe::Observer,
    page::Board,
    secrets::SecretDigests,
    server_id::ServerIds,
    wake::Waker,
};

/// How many agents are asked at once. One that does not answer takes two seconds.
const QUESTIONS_MAX: usize = 64;

/// What every reconcile has at hand.
pub(crate) struct Context {
    /// Talks to the API server.
    pub(crate) client: Client,
    /// How the operator was installed.
    pub(crate) settings: Settings,
    /// What the API server has.
    pub(crate) caches: Caches,
    /// Whether this operator may write.
    pub(crate) leadership: Arc<Leadership>,
    /// Has other objects reconciled.
    pub(crate) waker: Waker,
    /// What is remembered of ReplicaSinks.
    pub(crate) sinks: SinkMemories,
    /// What is remembered of ReplicationSources.
    pub(crate) sources: SourceMemories,
    /// Hashes of Secrets.
    pub(crate) secrets: SecretDigests,
    /// Replica ids.
    pub(crate) server_ids: ServerIds,
    /// Slots for check Jobs.
    pub(crate) checks: Checks,
    /// What was applied lately.
    pub(crate) applied: Applied,
    /// Asks agents.
    pub(crate) observer: Observer,
    /// What the operator counts.
    pub(crate) metrics: Arc<Metrics>,
    /// What the page shows.
    pub(crate) board: Arc<Board>,
    /// Tells `kubectl describe` what happened.
    pub(crate) publisher: Publisher,
    /// Slots for questions to agents.
    pub(crate) questions: Arc<Semaphore>,
}

impl Context {
    /// The optional objects that agents are to have.
    pub(crate) fn extras(&self) -> Extras {
        Extras {
            network_policy: self.settings.arguments.network_policies,
            pod_monitor: self.settings.arguments.pod_monitors,
        }
    }

    /// Refuses to write when somebody else may be the leader.
    pub(crate) fn ensure_leader(&self) -> Result<(), ApplyError> {
        if self.leadership.is_leader() {
            Ok(())
        } else {
            Err(ApplyError::NotLeader)
        }
    }
}

/// How many questions to agents may be under way.
pub(crate) fn questions() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(QUESTIONS_MAX))
}

/// How the operator was installed.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The flags.
    pub(crate) arguments: RunArguments,
    /// `--agent-resources`.
    pub(crate) agent_resources: ResourceRequirements,
}

/// A context that many reconciles share.
pub(crate) type SharedContext = Arc<Context>;

/// Where the context is found by those that are there before the operator leads.
pub(crate) struct Stage {
    /// What the operator counts.
    pub(crate) metrics: Arc<Metrics>,
    /// What the page shows.
    pub(crate) board: Arc<Board>,
    /// Whether this operator leads.
    pub(crate) leadership: Arc<Leadership>,
    context: OnceLock<SharedContext>,
}

impl Stage {
    /// Nobody leads yet.
    pub(crate) fn new(leadership: Arc<Leadership>) -> Self {
        Self {
            metrics: Arc::default(),
            board: Arc::default(),
            leadership,
            context: OnceLock::new(),
        }
    }

    /// The context, once this operator leads and has read everything that there is.
    pub(crate) fn context(&self) -> Option<&SharedContext> {
        self.context.get()
    }

    /// Whether it stands by, or leads and has read everything that there is.
    pub(crate) fn is_ready(&self) -> bool {
        self.context().is_some() || (self.leadership.has_looked() && !self.leadership.is_leader())
    }

    /// This operator leads from now on.
    pub(crate) fn enter(&self, context: SharedContext) {
        // It leads once at most: the process ends with its lease.
        let (Ok(()) | Err(_)) = self.context.set(context);
    }
}
