//! Requests to copy tables again: handed on to every sink, or, where the source is captured into Kafka,
//! taken on for its own agent.

use k8s_openapi::jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};
use sluice_crds::{ReplicaSink, ReplicationSource};
use tracing::info;

use crate::{
    apply::{self, ApplyError},
    context::Context,
    controller::source::SourceMemory,
    model::{Notice, ObjectKey},
    resnapshot,
};

/// Puts a request with an id in the place of the annotation that a person set.
pub(super) async fn take(
    context: &Context,
    key: &ObjectKey,
    source: &ReplicationSource,
    memory: &SourceMemory,
) -> Result<(), ApplyError> {
    let Some(annotation) = source.annotations().get(resnapshot::ANNOTATION) else {
        return Ok(());
    };
    let previous = resnapshot::request(source);
    let done = memory.lock().resnapshot_id.clone();
    let now = Timestamp::now();
    let request = resnapshot::next(annotation, previous.as_ref(), done.as_deref(), now);
    if request.tables.is_empty() {
        let patch = resnapshot::remove(source, annotation);
        return apply::patch_json::<ReplicationSource>(context, key, patch)
            .await
            .map(drop);
    }
    let patch = resnapshot::take(source, annotation, &request);
    if apply::patch_json::<ReplicationSource>(context, key, patch).await? {
        let tables = request.tables.join(", ");
        info!(source = %key, id = request.id, tables, "tables are to be copied into Kafka again");
        let notice = Notice {
            warning: false,
            reason: "ResnapshotRequested".to_owned(),
            message: format!("tables {tables} are copied again, as the annotation asked"),
        };
        let reference = source.object_ref(&());
        context.publisher.publish(&reference, &[notice]);
    }
    Ok(())
}

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
