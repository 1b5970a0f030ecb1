//! Names and labels of what the operator makes.
//!
//! The name of a custom resource may have dots, may begin with a digit and may be as long as 52
//! characters. A Service allows neither of the first two, and a StatefulSet's name ends up in a
//! label together with a hash. A name that can't be used as it is gets a short hash, so that two
//! resources never share one.

use std::{collections::BTreeMap, fmt::Write as _};

use kube::{Resource, ResourceExt as _};
use sha2::{Digest as _, Sha256};

use crate::model::{
    AGENT, CHECK, COMPONENT_LABEL, MANAGED_BY_LABEL, MANAGER, ObjectKey, Role, SINK_LABEL,
    SOURCE_LABEL,
};

/// The longest name of a StatefulSet whose pods can be made: `controller-revision-hash` is the
/// name, a dash and ten characters, in the 63 of a label.
const NAME_LENGTH_MAX: usize = 52;
const AGENT_SUFFIX: &str = "-agent";
const CAPTURE_SUFFIX: &str = "-capture";
const HASH_LENGTH: usize = 8;

/// The name of a ReplicaSink's StatefulSet, and of everything that goes with it.
pub(crate) fn agent(sink: &str) -> String {
    suffixed(sink, AGENT_SUFFIX)
}

fn suffixed(owner: &str, suffix: &str) -> String {
    let name = format!("{owner}{suffix}");
    if is_label(&name) && name.len() <= NAME_LENGTH_MAX {
        return name;
    }
    let room = NAME_LENGTH_MAX - suffix.len() - HASH_LENGTH - "s--".len();
    let plain: String = owner.replace('.', "-").chars().take(room).collect();
    let plain = plain.trim_end_matches('-');
    let prefix = if begins_with_letter(plain) { "" } else { "s-" };
    let hash = short_hash(owner.as_bytes());
    format!("{prefix}{plain}-{hash}{suffix}")
}

/// The name of the StatefulSet of a ReplicationSource's own agent, and of everything that goes with it.
pub(crate) fn capture(source: &str) -> String {
    suffixed(source, CAPTURE_SUFFIX)
}

/// The name of an agent's StatefulSet, by what it is for.
pub(crate) fn of_role(role: Role, owner: &str) -> String {
    match role {
        Role::Replica => agent(owner),
        Role::Capture => capture(owner),
    }
}

/// The name of the first pod of a StatefulSet.
pub(crate) fn first_pod(stateful_set: &str) -> String {
    pod(stateful_set, 0)
}

/// The name of one of the pods of a StatefulSet.
pub(crate) fn pod(stateful_set: &str, ordinal: i32) -> String {
    format!("{stateful_set}-{ordinal}")
}

/// The label of an agent's objects, by what it is for.
pub(crate) fn owner_label(role: Role) -> &'static str {
    match role {
        Role::Replica => SINK_LABEL,
        Role::Capture => SOURCE_LABEL,
    }
}

/// What tells the agent of a resource from all others, wherever agents of both roles are listed.
pub(crate) fn identity(role: Role, owner: &ObjectKey) -> ObjectKey {
    match role {
        Role::Replica => owner.clone(),
        // No resource can have this name.
        Role::Capture => owner.sibling(format!("{}:capture", owner.name)),
    }
}

/// The same by the labels of one of its objects; none for what is no agent's.
pub(crate) fn identity_of<K: Resource>(object: &K) -> Option<ObjectKey> {
    let key = ObjectKey::of(object);
    let owner = |role| Some(key.sibling(object.labels().get(owner_label(role))?));
    let sink = owner(Role::Replica);
    sink.or_else(|| Some(identity(Role::Capture, &owner(Role::Capture)?)))
}

/// The name of a ReplicaSink's check Job with this content.
pub(crate) fn sink_check(sink: &str, content: &[u8]) -> String {
    job(sink, "check", content)
}

/// The name of a ReplicationSource's check Job with this content.
pub(crate) fn source_check(source: &str, content: &[u8]) -> String {
    job(source, "source-check", content)
}

/// A Job's name is a label of its pods: 63 characters.
fn job(owner: &str, kind: &str, content: &[u8]) -> String {
    let hash = short_hash(content);
    let room = 63 - kind.len() - hash.len() - 2;
    let plain: String = owner.replace('.', "-").chars().take(room).collect();
    let plain = plain.trim_end_matches('-');
    format!("{plain}-{kind}-{hash}")
}

/// The labels that find the pods of an agent.
pub(crate) fn agent_selector(role: Role, owner: &str) -> BTreeMap<String, String> {
    labels([(owner_label(role), owner), (COMPONENT_LABEL, AGENT)])
}

/// The labels of everything that is made for an agent.
pub(crate) fn agent_labels(role: Role, owner: &str) -> BTreeMap<String, String> {
    all_labels(owner_label(role), owner, AGENT)
}

/// The labels of a ReplicaSink's check Job and its pod.
pub(crate) fn sink_check_labels(sink: &str) -> BTreeMap<String, String> {
    all_labels(SINK_LABEL, sink, CHECK)
}

/// The labels of a ReplicationSource's check Job and its pod.
pub(crate) fn source_check_labels(source: &str) -> BTreeMap<String, String> {
    all_labels(SOURCE_LABEL, source, CHECK)
}

fn all_labels(owner_label: &str, owner: &str, component: &str) -> BTreeMap<String, String> {
    labels([
        ("app.kubernetes.io/name", "sluice-agent"),
        ("app.kubernetes.io/instance", owner),
        (COMPONENT_LABEL, component),
        (MANAGED_BY_LABEL, MANAGER),
        (owner_label, owner),
    ])
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// SHA-256 in hexadecimal.
pub(crate) fn hash(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let (Ok(()) | Err(_)) = write!(text, "{byte:02x}");
        text
    })
}

fn short_hash(content: &[u8]) -> String {
    let mut hash = hash(content);
    hash.truncate(HASH_LENGTH);
    hash
}

/// Whether a Service can have this name.
fn is_label(name: &str) -> bool {
    begins_with_letter(name) && !name.contains('.')
}

fn begins_with_letter(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_name_is_kept() {
        assert_eq!(agent("shop-pg"), "shop-pg-agent");
        assert_eq!(first_pod(&capture("shop")), "shop-capture-0");
        assert!(sink_check("shop-pg", b"x").starts_with("shop-pg-check-"));
    }

    #[test]
    fn every_name_fits_and_no_two_are_equal() {
        let long = "a".repeat(52);
        let names = [
            "shop.pg",
            "shop-pg",
            "1shop",
            "s-1shop",
            long.as_str(),
            &long[..51],
            &format!("{}.", &long[..50]).replace('.', "-b"),
            "a.b.c",
            "a-b.c",
        ];
        let of_sinks = names.iter().map(|name| agent(name));
        let agents: Vec<String> = of_sinks
            .chain(names.iter().map(|name| capture(name)))
            .collect();
        for (index, name) in agents.iter().enumerate() {
            assert!(name.len() <= NAME_LENGTH_MAX, "{name} is too long");
            assert!(is_label(name), "{name} is no name for a Service");
            assert!(!agents[..index].contains(name), "{name} is there twice");
        }
        for name in names {
            assert!(source_check(name, b"x").len() <= 63);
        }
    }

    #[test]
    fn a_check_with_other_content_has_another_name() {
        assert_ne!(sink_check("shop", b"a"), sink_check("shop", b"b"));
        assert_ne!(sink_check("shop", b"a"), source_check("shop", b"a"));
    }
}
