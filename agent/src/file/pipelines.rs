//! Sinks, sources and Secrets, put together.

use std::{collections::BTreeMap, sync::Arc};

use sluice_agent_api::{
    AgentConfig, SecretKey, SecretStore,
    config::{Replicas, SourceConfig},
    secret::InlineSecrets,
};
use sluice_convert::{ObjectKind, SecretUse};
use sluice_core::{TableId, TableSelection};
use sluice_crds::{ReplicaSink, ReplicationSource};

use crate::{
    file::{
        Mistake,
        objects::{Object, Objects, Secret},
    },
    translate,
};

/// What the files ask for.
#[derive(Default)]
pub(crate) struct Loaded {
    /// One pipeline per source that is captured into Kafka, ahead of those that read from there, and
    /// one per sink.
    pub(crate) pipelines: Vec<Pipeline>,
    /// Sources that no sink names.
    pub(crate) lone_sources: Vec<LoneSource>,
    /// What is odd, but no mistake.
    pub(crate) warnings: Vec<String>,
}

/// One source and one sink.
pub(crate) struct Pipeline {
    /// What the agent is to do.
    pub(crate) config: AgentConfig,
    /// The Secrets of the pipeline's namespace.
    pub(crate) secrets: Arc<dyn SecretStore>,
    /// Whether source or sink says `paused: true`; through Kafka, each of them for its own part.
    pub(crate) paused: bool,
    /// The pipeline that writes the topics that this one reads.
    pub(crate) upstream: Option<String>,
}

impl Pipeline {
    /// What each of the agents does that share the pipeline.
    pub(crate) fn replicas(self) -> Vec<Self> {
        let Some(replicas) = self.config.replicas else {
            return vec![self];
        };
        let part = |index| Self {
            config: AgentConfig {
                replicas: Some(Replicas { index, ..replicas }),
                ..self.config.clone()
            },
            secrets: Arc::clone(&self.secrets),
            paused: self.paused,
            upstream: self.upstream.clone(),
        };
        (0..replicas.count).map(part).collect()
    }
}

/// A source without sink: nothing to run, but something to check.
pub(crate) struct LoneSource {
    /// The source.
    pub(crate) config: SourceConfig,
    /// The Secrets of its namespace.
    pub(crate) secrets: Arc<dyn SecretStore>,
}

type Namespaces = BTreeMap<Option<String>, Arc<InlineSecrets>>;

/// Puts the objects together; whatever does not fit becomes a mistake.
pub(super) fn link(objects: Objects, mistakes: &mut Vec<Mistake>) -> Loaded {
    let secrets = by_namespace(objects.secrets);
    let in_namespace = |namespace: &Option<String>| -> Arc<InlineSecrets> {
        secrets.get(namespace).cloned().unwrap_or_default()
    };
    let mut loaded = Loaded::default();
    for source in &objects.sources {
        // What is wrong with it is found below.
        if let Ok(Some(config)) = sluice_convert::capture_config(&source.value) {
            loaded.pipelines.push(Pipeline {
                config,
                secrets: in_namespace(&source.namespace),
                paused: source.value.spec.paused,
                upstream: None,
            });
        }
    }
    for sink in &objects.sinks {
        let store = in_namespace(&sink.namespace);
        let uses = sluice_convert::sink_secrets(&sink.value);
        check_secrets(sink, &uses, &store, mistakes);
        let Some(source) = source_of(sink, &objects.sources) else {
            let wanted = &sink.value.spec.source_ref.name;
            let message = format!("no ReplicationSource {wanted}{} in the files", place(sink));
            mistakes.push(sink.origin.mistake("spec.sourceRef.name", message));
            let problems = sluice_convert::sink_problems(&sink.value);
            mistakes.extend(
                problems
                    .iter()
                    .map(|problem| sink.origin.mistake(&problem.path, &problem.message)),
            );
            continue;
        };
        let Some(config) = convert(source, sink, mistakes) else {
            continue;
        };
        loaded.pipelines.push(Pipeline {
            config,
            secrets: store,
            paused: sluice_convert::is_paused(&source.value, &sink.value),
            upstream: source
                .value
                .spec
                .kafka
                .is_some()
                .then(|| sluice_convert::capture_name(&source.value)),
        });
    }
    for source in &objects.sources {
        let store = in_namespace(&source.namespace);
        let uses = sluice_convert::source_secrets(&source.value);
        check_secrets(source, &uses, &store, mistakes);
        if objects.sinks.iter().any(|sink| is_of(sink, source)) {
            continue;
        }
        match sluice_convert::source_config(&source.value) {
            // It is captured, whoever reads it.
            Ok(_) if source.value.spec.kafka.is_some() => {}
            Ok(config) => {
                loaded.warnings.push(format!(
                    "no ReplicaSink names ReplicationSource {}: nothing is replicated from it",
                    config.name
                ));
                loaded.lone_sources.push(LoneSource {
                    config,
                    secrets: store,
                });
            }
            Err(error) => mistakes.extend(
                error
                    .problems
                    .iter()
                    .map(|problem| source.origin.mistake(&problem.path, &problem.message)),
            ),
        }
    }
    loaded
}

fn by_namespace(secrets: Vec<Secret>) -> Namespaces {
    let mut namespaces: BTreeMap<Option<String>, InlineSecrets> = BTreeMap::new();
    for secret in secrets {
        let store = namespaces.entry(secret.namespace).or_default();
        for (key, content) in secret.keys {
            let name = secret.name.clone();
            store.insert(SecretKey { name, key }, content);
        }
    }
    let shared = namespaces
        .into_iter()
        .map(|(name, store)| (name, Arc::new(store)));
    shared.collect()
}

fn is_of(sink: &Object<ReplicaSink>, source: &Object<ReplicationSource>) -> bool {
    sink.namespace == source.namespace
        && Some(&sink.value.spec.source_ref.name) == source.value.metadata.name.as_ref()
}

fn source_of<'a>(
    sink: &Object<ReplicaSink>,
    sources: &'a [Object<ReplicationSource>],
) -> Option<&'a Object<ReplicationSource>> {
    sources.iter().find(|source| is_of(sink, source))
}

/// Where references are looked up, for messages.
fn place<T>(object: &Object<T>) -> String {
    let namespace = object.namespace.as_deref();
    namespace.map_or_else(String::new, |namespace| {
        format!(" in namespace {namespace}")
    })
}

fn convert(
    source: &Object<ReplicationSource>,
    sink: &Object<ReplicaSink>,
    mistakes: &mut Vec<Mistake>,
) -> Option<AgentConfig> {
    match sluice_convert::agent_config(&source.value, &sink.value) {
        Ok(config) => {
            let before = mistakes.len();
            check_routes(&config, sink, mistakes);
            (mistakes.len() == before).then_some(config)
        }
        Err(error) => {
            mistakes.extend(error.problems.iter().map(|problem| match problem.object {
                ObjectKind::Source => source.origin.mistake(&problem.path, &problem.message),
                ObjectKind::Sink => sink.origin.mistake(&problem.path, &problem.message),
            }));
            None
        }
    }
}

/// What only the data path can tell: whether a filter can be read, and whether a route's table is
/// among those that the source captures.
fn check_routes(config: &AgentConfig, sink: &Object<ReplicaSink>, mistakes: &mut Vec<Mistake>) {
    let source = &config.source;
    let selection = TableSelection::new(source.include.clone(), source.exclude.clone());
    for (index, route) in config.tables.iter().enumerate() {
        let path = format!("spec.tables[{index}]");
        if let Err(error) = translate::router(std::slice::from_ref(route)) {
            let hint = error
                .hint()
                .map_or_else(String::new, |hint| format!("; use {hint}"));
            let path = if route.row_filter.is_some() {
                format!("{path}.where")
            } else {
                path.clone()
            };
            mistakes.push(
                sink.origin
                    .mistake(&path, format!("{}{hint}", error.message())),
            );
        }
        let table = route.source.parse::<TableId>().ok();
        let is_plain = !route.source.contains(['*', '?']);
        if is_plain && !table.is_some_and(|table| selection.contains(&table)) {
            let message = format!(
                "{} is not among the tables that ReplicationSource {} captures (its spec.tables)",
                route.source, source.name
            );
            mistakes.push(sink.origin.mistake(&format!("{path}.source"), message));
        }
    }
}

fn check_secrets<T>(
    object: &Object<T>,
    uses: &[SecretUse],
    store: &InlineSecrets,
    mistakes: &mut Vec<Mistake>,
) {
    for used in uses {
        let SecretKey { name, key } = &used.key;
        let message = if !store.has_secret(name) {
            format!("no Secret {name}{} in the files", place(object))
        } else if store.read(&used.key).is_err() {
            format!("Secret {name} has no key {key}")
        } else {
            continue;
        };
        mistakes.push(object.origin.mistake(&used.path, message));
    }
}
