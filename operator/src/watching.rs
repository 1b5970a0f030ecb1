//! Every watch of the operator: what is watched, how it is slimmed, and whom it concerns.

use std::fmt::Debug;

use futures_util::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    batch::v1::Job,
    core::v1::{Pod, Secret},
};
use kube::{
    Api, Client, Resource, api::PartialObjectMeta, core::NamespaceResourceScope, runtime::watcher,
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    cache::{Cache, Caches, GuardedSink, GuardedSource},
    checks::has_ended,
    context::SharedContext,
    model::{MANAGED_BY_LABEL, MANAGER, Role},
    names, relations,
    wake::Wake,
    watch::{Change, Events, Watches},
};

/// Every watch of the operator.
pub(crate) struct Watching {
    sinks: Watches<GuardedSink>,
    sources: Watches<GuardedSource>,
    stateful_sets: Watches<StatefulSet>,
    jobs: Watches<Job>,
    pods: Watches<Pod>,
    secrets: Watches<PartialObjectMeta<Secret>>,
}

impl Watching {
    /// Watches in these namespaces; in all of them without any.
    pub(crate) fn new(client: &Client, namespaces: &[String]) -> Self {
        let selector = format!("{MANAGED_BY_LABEL}={MANAGER}");
        let own = watcher::Config::default().labels(&selector);
        let all = watcher::Config::default();
        Self {
            sinks: Watches::new(streams(client, namespaces, &all), relations::slim),
            sources: Watches::new(streams(client, namespaces, &all), relations::slim),
            stateful_sets: Watches::new(
                streams(client, namespaces, &own),
                relations::slim_stateful_set,
            ),
            jobs: Watches::new(streams(client, namespaces, &own), relations::slim_job),
            pods: Watches::new(streams(client, namespaces, &own), relations::slim_pod),
            secrets: Watches::new(streams(client, namespaces, &all), relations::slim_secret),
        }
    }

    /// What the watches fill.
    pub(crate) fn caches(&self) -> Caches {
        Caches {
            sinks: Cache::new(self.sinks.store()),
            sources: Cache::new(self.sources.store()),
            stateful_sets: Cache::new(self.stateful_sets.store()),
            jobs: Cache::new(self.jobs.store()),
            pods: Cache::new(self.pods.store()),
            secrets: Cache::new(self.secrets.store()),
        }
    }

    /// Each turns true once a kind has been read to its end.
    pub(crate) fn complete(&self) -> [watch::Receiver<bool>; 6] {
        [
            self.sinks.complete(),
            self.sources.complete(),
            self.stateful_sets.complete(),
            self.jobs.complete(),
            self.pods.complete(),
            self.secrets.complete(),
        ]
    }

    /// Follows all of them, until the answer is dropped.
    pub(crate) fn follow(self, context: &SharedContext) -> JoinSet<()> {
        let waker = || context.waker.clone();
        let mut tasks = JoinSet::new();
        let own = SharedContext::clone(context);
        let sinks = self.sinks.follow(waker(), move |change| {
            if change.after.is_none() {
                forget_sink(&own, change);
            }
            relations::of_sink(change)
        });
        tasks.spawn(sinks);
        let own = SharedContext::clone(context);
        let sources = self.sources.follow(waker(), move |change| {
            if change.after.is_none() {
                let key = change.key();
                own.checks.forget(&Wake::Source(key.clone()));
                own.server_ids.forget(&names::identity(Role::Capture, &key));
                own.applied.forget(&key.sibling(names::capture(&key.name)));
                own.sources.forget(&key);
                own.board.forget_source(&key);
            }
            relations::of_source(&own.caches, change)
        });
        tasks.spawn(sources);
        tasks.spawn(self.stateful_sets.follow(waker(), relations::of_child));
        let own = SharedContext::clone(context);
        let jobs = self.jobs.follow(waker(), move |change| {
            let mut woken = relations::of_child(change);
            if change.after.is_none_or(has_ended) && !change.before.is_some_and(has_ended) {
                woken.extend(own.checks.next());
            }
            woken
        });
        tasks.spawn(jobs);
        let own = SharedContext::clone(context);
        let pods = self.pods.follow(waker(), move |change| {
            if change.after.is_none() {
                own.observer.keep_only(own.caches.pods.all().into_iter());
            }
            relations::of_child(change)
        });
        tasks.spawn(pods);
        let own = SharedContext::clone(context);
        let secrets = self.secrets.follow(waker(), move |change| {
            relations::of_secret(&own.caches, change)
        });
        tasks.spawn(secrets);
        tasks
    }
}

fn forget_sink(context: &SharedContext, change: &Change<'_, GuardedSink>) {
    let key = change.key();
    context.checks.forget(&Wake::Sink(key.clone()));
    context.server_ids.forget(&key);
    context
        .applied
        .forget(&key.sibling(names::agent(&key.name)));
    context.sinks.forget(&key);
    context.board.forget_sink(&key);
}

fn streams<K>(client: &Client, namespaces: &[String], config: &watcher::Config) -> Vec<Events<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let apis = apis(client, namespaces).into_iter();
    apis.map(|api| watcher(api, config.clone()).boxed())
        .collect()
}

fn apis<K>(client: &Client, namespaces: &[String]) -> Vec<Api<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    if namespaces.is_empty() {
        return vec![Api::all(client.clone())];
    }
    let namespaces = namespaces.iter();
    namespaces
        .map(|namespace| Api::namespaced(client.clone(), namespace))
        .collect()
}
