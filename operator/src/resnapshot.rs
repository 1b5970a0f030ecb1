//! A new copy of tables on request.
//!
//! A person sets the annotation `sluice.dev/resnapshot: "shop.orders, shop.x_*"`. One patch takes
//! it away and puts `sluice.dev/resnapshot-request` in its place, which has an id besides: a
//! request is taken on once, whenever the operator is killed. It goes on into the agent's
//! configuration, and the agent does each id once.

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt as _};
use serde_json::{Value, json};
use sluice_agent_api::config::ResnapshotRequest;

/// What a person sets: patterns, separated by commas or white space.
pub(crate) const ANNOTATION: &str = "sluice.dev/resnapshot";
/// What the operator makes of it: the JSON of a [`ResnapshotRequest`].
pub(crate) const REQUEST_ANNOTATION: &str = "sluice.dev/resnapshot-request";

/// The patterns in an annotation.
pub(crate) fn patterns(annotation: &str) -> Vec<String> {
    let mut patterns: Vec<String> = Vec::new();
    let separators = |character: char| character == ',' || character.is_whitespace();
    for pattern in annotation.split(separators).filter(|text| !text.is_empty()) {
        if !patterns.iter().any(|known| known == pattern) {
            patterns.push(pattern.to_owned());
        }
    }
    patterns
}

/// The request that a resource has taken on last, if it can be read.
pub(crate) fn request<K: Resource>(object: &K) -> Option<ResnapshotRequest> {
    let text = object.annotations().get(REQUEST_ANNOTATION)?;
    serde_json::from_str(text).ok()
}

/// The request that an annotation becomes. `done` is the id that the agent has taken on last: a
/// request that it has not seen yet is asked for again together with the new one.
pub(crate) fn next(
    annotation: &str,
    previous: Option<&ResnapshotRequest>,
    done: Option<&str>,
    now: Timestamp,
) -> ResnapshotRequest {
    let mut tables = patterns(annotation);
    if let Some(previous) = previous.filter(|previous| done != Some(&previous.id)) {
        for pattern in &previous.tables {
            if !tables.contains(pattern) {
                tables.push(pattern.clone());
            }
        }
    }
    let seconds = now.as_second();
    let nanoseconds = now.subsec_nanosecond();
    let second = Timestamp::from_second(seconds).unwrap_or(now);
    ResnapshotRequest {
        id: format!("{second}-{:06x}", nanoseconds & 0xff_ffff),
        tables,
    }
}

/// The JSON patch that puts `request` in the place of the annotation `annotation`; it fails when
/// the annotation is another one by now.
pub(crate) fn take<K: Resource>(
    object: &K,
    annotation: &str,
    request: &ResnapshotRequest,
) -> Value {
    let path = pointer(ANNOTATION);
    let request = serde_json::to_string(request).unwrap_or_default();
    json!([
        {"op": "test", "path": "/metadata/uid", "value": object.uid()},
        {"op": "test", "path": path, "value": annotation},
        {"op": "remove", "path": path},
        {"op": "add", "path": pointer(REQUEST_ANNOTATION), "value": request},
    ])
}

/// The JSON patch that takes the annotation of a ReplicationSource away, once every sink has it.
pub(crate) fn remove<K: Resource>(object: &K, annotation: &str) -> Value {
    let path = pointer(ANNOTATION);
    json!([
        {"op": "test", "path": "/metadata/uid", "value": object.uid()},
        {"op": "test", "path": path, "value": annotation},
        {"op": "remove", "path": path},
    ])
}

/// The merge patch that hands a ReplicationSource's annotation on to one of its sinks.
pub(crate) fn hand_on<K: Resource>(sink: &K, annotation: &str) -> Value {
    let mut tables = patterns(annotation);
    if let Some(own) = sink.annotations().get(ANNOTATION) {
        tables.extend(patterns(own));
    }
    let tables = patterns(&tables.join(","));
    json!({"metadata": {"annotations": {ANNOTATION: tables.join(",")}}})
}

fn pointer(annotation: &str) -> String {
    let escaped = annotation.replace('~', "~0").replace('/', "~1");
    format!("/metadata/annotations/{escaped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request_of(id: &str, tables: &[&str]) -> ResnapshotRequest {
        ResnapshotRequest {
            id: id.to_owned(),
            tables: tables.iter().map(|&table| table.to_owned()).collect(),
        }
    }

    #[test]
    fn patterns_are_separated_by_commas_and_spaces() {
        assert_eq!(patterns(" shop.a,shop.b  shop.a ,"), ["shop.a", "shop.b"]);
        assert_eq!(patterns("*"), ["*"]);
        assert!(patterns(" , ").is_empty());
    }

    #[test]
    fn a_request_that_the_agent_has_not_seen_is_not_lost() {
        let previous = request_of("1", &["shop.a"]);
        let now = Timestamp::UNIX_EPOCH;
        let tables = |done| next("shop.b", Some(&previous), done, now).tables;
        assert_eq!(tables(Some("1")), ["shop.b"]);
        assert_eq!(tables(None), ["shop.b", "shop.a"]);
        assert_eq!(tables(Some("0")), ["shop.b", "shop.a"]);
    }

    #[test]
    fn two_requests_differ_even_in_the_same_second() {
        let id = |nanoseconds| {
            let now = Timestamp::new(1_800_000_000, nanoseconds).unwrap();
            next("*", None, None, now).id
        };
        assert_ne!(id(1), id(2));
        assert!(id(1).starts_with("2027-01-15T08:00:00Z-"), "{}", id(1));
    }
}
