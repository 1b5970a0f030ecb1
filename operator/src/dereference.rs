//! Looks up everything that a custom resource refers to: the only step of a reconcile that reads.
//!
//! Everything but the content of Secrets comes from the caches.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{api::apps::v1::StatefulSet, jiff::Timestamp};
use kube::ResourceExt as _;
use sluice_agent_api::{AgentConfig, config::SourceSystem};
use sluice_convert::{SecretUse, sink_secrets, source_secrets, upstream_secrets};
use sluice_crds::{ReplicaSink, ReplicationSource, agent::AgentTemplate};

use crate::{
    context::Context,
    layout,
    model::{ObjectKey, Role},
    names,
    secrets::SecretDigest,
    upgrade::{self, Agent, Turn},
};

/// What could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DereferenceError {
    /// A Secret.
    #[error("Secret {name} can't be read: {error}")]
    Secret {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        error: kube::Error,
    },
}

/// Content of Secrets by name; none for one that is not there.
pub(crate) type SecretContents = BTreeMap<String, Option<SecretDigest>>;

/// A ReplicaSink and what it refers to.
pub(crate) struct DereferencedSink {
    pub(crate) sink: Arc<ReplicaSink>,
    pub(crate) source: Arc<ReplicationSource>,
    pub(crate) secrets: SecretContents,
    /// Which image is to run now.
    pub(crate) turn: Turn,
    /// Its replica id towards MySQL.
    pub(crate) server_id: Option<u32>,
    /// The layout of the agents that are there.
    pub(crate) layout: Option<String>,
}

/// Looks up what a ReplicaSink refers to.
pub(crate) async fn sink(
    context: &Context,
    key: &ObjectKey,
    sink: Arc<ReplicaSink>,
    source: Arc<ReplicationSource>,
) -> Result<DereferencedSink, DereferenceError> {
    let mut uses = upstream_secrets(&source);
    uses.extend(sink_secrets(&sink));
    let secrets = secrets(context, key, &uses).await?;
    let turn = turn(context, key, &sink);
    let config = sluice_convert::agent_config(&source, &sink).ok();
    let server_id = config.and_then(|config| server_id(context, key, &config));
    let present = stateful_set(context, key);
    let layout = present.and_then(|present| present.annotations().get(layout::ANNOTATION).cloned());
    Ok(DereferencedSink {
        sink,
        source,
        secrets,
        turn,
        server_id,
        layout,
    })
}

/// A ReplicationSource that is captured into Kafka, and what it refers to.
pub(crate) struct DereferencedCapture {
    pub(crate) source: Arc<ReplicationSource>,
    /// What its agent is to do.
    pub(crate) config: AgentConfig,
    pub(crate) secrets: SecretContents,
    /// Which image is to run now.
    pub(crate) turn: Turn,
    /// Its replica id towards MySQL.
    pub(crate) server_id: Option<u32>,
}

/// Looks up what a ReplicationSource refers to whose agent is to do this.
pub(crate) async fn capture(
    context: &Context,
    key: &ObjectKey,
    source: &ReplicationSource,
    config: AgentConfig,
) -> Result<DereferencedCapture, DereferenceError> {
    let identity = names::identity(Role::Capture, key);
    Ok(DereferencedCapture {
        secrets: secrets(context, key, &source_secrets(source)).await?,
        turn: capture_turn(context, key, source),
        server_id: server_id(context, &identity, &config),
        source: Arc::new(source.clone()),
        config,
    })
}

fn server_id(context: &Context, identity: &ObjectKey, config: &AgentConfig) -> Option<u32> {
    match &config.source.system {
        SourceSystem::Mysql(mysql) => {
            let ids = &context.server_ids;
            Some(ids.give(&context.caches, identity, mysql.server_id))
        }
        SourceSystem::Kafka(_) => None,
    }
}

/// The content of the Secrets that a ReplicationSource refers to.
pub(crate) async fn source(
    context: &Context,
    key: &ObjectKey,
    source: &ReplicationSource,
) -> Result<SecretContents, DereferenceError> {
    secrets(context, key, &source_secrets(source)).await
}

/// The StatefulSet of a ReplicaSink's agent.
pub(crate) fn stateful_set(context: &Context, sink: &ObjectKey) -> Option<Arc<StatefulSet>> {
    let stateful_sets = &context.caches.stateful_sets;
    stateful_sets.get(&sink.sibling(names::agent(&sink.name)))
}

/// The StatefulSet of a ReplicationSource's own agent.
pub(crate) fn capture_stateful_set(
    context: &Context,
    source: &ObjectKey,
) -> Option<Arc<StatefulSet>> {
    let stateful_sets = &context.caches.stateful_sets;
    stateful_sets.get(&source.sibling(names::capture(&source.name)))
}

/// Which image a ReplicaSink's agent is to run now.
pub(crate) fn turn(context: &Context, key: &ObjectKey, sink: &ReplicaSink) -> Turn {
    let own = stateful_set(context, key);
    turn_of(context, key, sink.spec.agent.as_ref(), own.as_deref())
}

/// Which image a ReplicationSource's agent is to run now.
pub(crate) fn capture_turn(context: &Context, key: &ObjectKey, source: &ReplicationSource) -> Turn {
    let own = capture_stateful_set(context, key);
    let identity = names::identity(Role::Capture, key);
    turn_of(
        context,
        &identity,
        source.spec.agent.as_ref(),
        own.as_deref(),
    )
}

fn turn_of(
    context: &Context,
    key: &ObjectKey,
    template: Option<&AgentTemplate>,
    own: Option<&StatefulSet>,
) -> Turn {
    if let Some(image) = template.and_then(|template| template.image.as_deref()) {
        return Turn::at_once(image);
    }
    let image = &context.settings.arguments.agent_image;
    let own = own.and_then(Agent::of);
    // Nearly always: there is nobody to look at.
    if own.is_none_or(|own| own.image == *image && own.upgrade.is_none()) {
        return Turn::at_once(image);
    }
    let stateful_sets = context.caches.stateful_sets.all();
    let agents: Vec<Agent> = stateful_sets
        .iter()
        .filter_map(|stateful_set| Agent::of(stateful_set))
        .collect();
    upgrade::turn(key, image, &agents, Timestamp::now())
}

async fn secrets(
    context: &Context,
    owner: &ObjectKey,
    uses: &[SecretUse],
) -> Result<SecretContents, DereferenceError> {
    let mut contents = SecretContents::new();
    for used in uses {
        let name = &used.key.name;
        if contents.contains_key(name) {
            continue;
        }
        let secret = owner.sibling(name);
        let read = context
            .secrets
            .read(&context.client, &context.caches, &secret);
        let digest = read.await.map_err(|error| DereferenceError::Secret {
            name: name.clone(),
            error,
        })?;
        contents.insert(name.clone(), digest);
    }
    Ok(contents)
}
