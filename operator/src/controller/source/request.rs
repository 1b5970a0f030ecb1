//! Hands a request to copy tables again on to every sink.

use kube::ResourceExt as _;
use sluice_crds::{ReplicaSink, ReplicationSource};
use tracing::info;

use crate::{
    apply::{self, ApplyError},
    context::Context,
    model::ObjectKey,
    resnapshot,
};

/// Copies the annotation to every sink and takes it away. When that is interrupted, a sink may get
/// it again: its tables are copied twice then, and that is all.
pub(super) async fn hand_on(
    context: &Context,
    key: &ObjectKey,
    source: &ReplicationSource,
) -> Result<(), ApplyError> {
    let Some(annotation) = source.annotations().get(resnapshot::ANNOTATION) else {
        return Ok(());
    };
    let sinks: Vec<ObjectKey> = context.caches.sinks_of(key).collect();
    for sink in &sinks {
        let Some(guarded) = context.caches.sinks.get(sink) else {
            continue;
        };
        let patch = resnapshot::hand_on(&*guarded, annotation);
        apply::patch_merge::<ReplicaSink>(context, sink, &patch).await?;
    }
    let patch = resnapshot::remove(source, annotation);
    apply::patch_json::<ReplicationSource>(context, key, patch).await?;
    info!(source = %key, sinks = sinks.len(), "a request to copy tables again is handed on");
    Ok(())
}
