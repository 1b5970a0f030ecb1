//! A restart on request, as `kubectl annotate` asks for it.

use kube::{Resource, ResourceExt as _};

/// Set on a ReplicaSink, or on a ReplicationSource for all its sinks, to anything new: the agents'
/// pods are made again.
pub(crate) const ANNOTATION: &str = "sluice.dev/restartedAt";

/// What the pod template of a source's own agent carries.
pub(crate) fn of_source<S: Resource>(source: &S) -> Option<String> {
    source.annotations().get(ANNOTATION).cloned()
}

/// What a sink's pod template carries: a new value on either object makes a new pod.
pub(crate) fn restarted_at<S: Resource, T: Resource>(source: &S, sink: &T) -> Option<String> {
    let source = source.annotations().get(ANNOTATION);
    let sink = sink.annotations().get(ANNOTATION);
    match (source, sink) {
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => Some(one.clone()),
        (Some(source), Some(sink)) => Some(format!("{source} {sink}")),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn annotated(value: Option<&str>) -> ConfigMap {
        let mut object = ConfigMap::default();
        if let Some(value) = value {
            let annotations = object.annotations_mut();
            annotations.insert(ANNOTATION.to_owned(), value.to_owned());
        }
        object
    }

    #[test]
    fn either_object_restarts_the_agent() {
        let at = |source, sink| restarted_at(&annotated(source), &annotated(sink));
        assert_eq!(at(None, None), None);
        assert_eq!(at(None, Some("1")).as_deref(), Some("1"));
        assert_eq!(at(Some("2"), None).as_deref(), Some("2"));
        assert_ne!(at(Some("2"), Some("1")), at(Some("3"), Some("1")));
    }
}
