//! Takes on requests to copy tables again.

use k8s_openapi::jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};
use sluice_crds::{ReplicaSink, ReplicationSource};
use tracing::info;

use crate::{
    apply::{self, ApplyError},
    context::Context,
    controller::sink::SinkMemory,
    model::{Notice, ObjectKey},
    resnapshot,
};

/// Puts a request with an id in the place of the annotation that a person set. The patched object
/// comes back through the watch, and the request goes its way from there.
pub(super) async fn take(
    context: &Context,
    key: &ObjectKey,
    source: &ReplicationSource,
    sink: &ReplicaSink,
    memory: &SinkMemory,
) -> Result<(), ApplyError> {
    let Some(annotation) = sink.annotations().get(resnapshot::ANNOTATION) else {
        return Ok(());
    };
    if source.spec.kafka.is_some() || source.spec.kafka_topics.is_some() {
        return refuse(context, key, source, sink, annotation).await;
    }
    let previous = resnapshot::request(sink);
    let done = memory.lock().resnapshot_id.clone();
    let now = Timestamp::now();
    let request = resnapshot::next(annotation, previous.as_ref(), done.as_deref(), now);
    if request.tables.is_empty() {
        let patch = resnapshot::remove(sink, annotation);
        return apply::patch_json::<ReplicaSink>(context, key, patch)
            .await
            .map(drop);
    }
    let patch = resnapshot::take(sink, annotation, &request);
    if apply::patch_json::<ReplicaSink>(context, key, patch).await? {
        let tables = request.tables.join(", ");
        info!(sink = %key, id = request.id, tables, "tables are to be copied again");
        let notice = Notice {
            warning: false,
            reason: "ResnapshotRequested".to_owned(),
            message: format!("tables {tables} are copied again, as the annotation asked"),
        };
        let reference = sink.object_ref(&());
        context.publisher.publish(&reference, &[notice]);
    }
    Ok(())
}

/// Takes the annotation away: what is in topics can't be copied again by those who read them.
async fn refuse(
    context: &Context,
    key: &ObjectKey,
    source: &ReplicationSource,
    sink: &ReplicaSink,
    annotation: &str,
) -> Result<(), ApplyError> {
    let patch = resnapshot::remove(sink, annotation);
    if !apply::patch_json::<ReplicaSink>(context, key, patch).await? {
        return Ok(());
    }
    let remedy = match &source.spec.kafka {
        Some(_) => format!(
            "annotate the source, which copies them for all its sinks: kubectl annotate replicationsource {} {}='{annotation}'",
            source.name_any(),
            resnapshot::ANNOTATION,
        ),
        None => "have the capture that writes the topics copy them".to_owned(),
    };
    let notice = Notice {
        warning: true,
        reason: "ResnapshotRefused".to_owned(),
        message: format!(
            "a replica that is fed by Kafka can't copy tables again by itself; {remedy}"
        ),
    };
    let reference = sink.object_ref(&());
    context.publisher.publish(&reference, &[notice]);
    Ok(())
}
