//! A ReplicationSource stays for as long as a ReplicaSink names it.
//!
//! An agent needs its source's spec to be changed, restarted or moved. So a finalizer is on the
//! source while there are sinks, and only then: a source that nobody uses goes at once. A source
//! that was deleted while in use says by which sinks, and goes with the last of them.

use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use sluice_crds::ReplicationSource;
use tracing::info;

use crate::{
    apply::{self, ApplyError},
    cache::GuardedSource,
    context::Context,
    model::{ObjectKey, Problem},
};

/// Keeps a ReplicationSource while it is used.
pub(crate) const FINALIZER: &str = "sluice.dev/source-in-use";
/// Sinks that are named in a message.
const SINKS_SHOWN_MAX: usize = 5;

/// Sets or takes away the finalizer. Answers with why a deleted source does not go yet.
pub(super) async fn guard(
    context: &Context,
    key: &ObjectKey,
    source: &GuardedSource,
    sinks: &[ObjectKey],
) -> Result<Option<Problem>, ApplyError> {
    let deleted = source.meta().deletion_timestamp.is_some();
    if let Some(finalizers) = finalizers(source.finalizers(), !sinks.is_empty(), deleted) {
        let patch = patch(source, &finalizers);
        if apply::patch_merge::<ReplicationSource>(context, key, &patch).await? {
            info!(source = %key, in_use = !sinks.is_empty(), "the finalizer is set or taken away");
        }
    }
    Ok((deleted && !sinks.is_empty()).then(|| blocked(sinks)))
}

/// The finalizers that there should be, if they are others than there are. None can be added to an
/// object that is being deleted.
fn finalizers(present: &[String], used: bool, deleted: bool) -> Option<Vec<String>> {
    let has = present.iter().any(|finalizer| finalizer == FINALIZER);
    if has == used || (used && deleted) {
        return None;
    }
    let others = present.iter().filter(|finalizer| *finalizer != FINALIZER);
    let own = used.then(|| FINALIZER.to_owned());
    Some(others.cloned().chain(own).collect())
}

/// Refused when the object has changed meanwhile: a list of finalizers is replaced as a whole.
fn patch(source: &GuardedSource, finalizers: &[String]) -> Value {
    json!({"metadata": {
        "uid": source.uid(),
        "resourceVersion": source.resource_version(),
        "finalizers": finalizers,
    }})
}

fn blocked(sinks: &[ObjectKey]) -> Problem {
    let mut names: Vec<&str> = sinks.iter().map(|sink| sink.name.as_str()).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(SINKS_SHOWN_MAX);
    names.truncate(SINKS_SHOWN_MAX);
    let mut list = names.join(", ");
    if more > 0 {
        list = format!("{list} and {more} more");
    }
    Problem {
        reason: "DeletionBlocked",
        message: format!(
            "it was deleted, but is still used by ReplicaSink {list}; it goes when they are deleted: kubectl delete replicasink {}",
            names.join(" ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_finalizer_is_there_only_while_there_are_sinks() {
        let own = list(&[FINALIZER]);
        let others = list(&["other", FINALIZER]);
        assert_eq!(finalizers(&[], true, false), Some(own.clone()));
        assert_eq!(finalizers(&own, true, false), None);
        assert_eq!(finalizers(&own, true, true), None);
        assert_eq!(finalizers(&own, false, true), Some(Vec::new()));
        assert_eq!(finalizers(&others, false, false), Some(list(&["other"])));
        assert_eq!(finalizers(&[], false, true), None);
    }

    #[test]
    fn a_source_that_is_going_gets_no_finalizer() {
        assert_eq!(finalizers(&[], true, true), None);
    }

    #[test]
    fn the_message_names_the_sinks() {
        let sinks: Vec<ObjectKey> = (0..7)
            .map(|index| ObjectKey {
                namespace: "shop".to_owned(),
                name: format!("sink-{index}"),
            })
            .collect();
        let message = blocked(&sinks).message;
        assert!(message.contains("sink-0, sink-1, sink-2, sink-3, sink-4 and 2 more"));
    }
}
