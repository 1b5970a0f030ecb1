//! Names and labels of what the operator makes.
//!
//! The name of a custom resource may have dots, may begin with a digit and may be as long as 52
//! characters. A Service allows neither of the first two, and a StatefulSet's name ends up in a
//! label together with a hash. A name that can't be used as it is gets a short hash, so that two
//! resources never share one.

use std::{collections::BTreeMap, fmt::Write as _};

use sha2::{Digest as _, Sha256};

use crate::model::{
    AGENT, CHECK, COMPONENT_LABEL, MANAGED_BY_LABEL, MANAGER, SINK_LABEL, SOURCE_LABEL,
};

/// The longest name of a StatefulSet whose pods can be made: `controller-revision-hash` is the
/// name, a dash and ten characters, in the 63 of a label.
const NAME_LENGTH_MAX: usize = 52;
const AGENT_SUFFIX: &str = "-agent";
const HASH_LENGTH: usize = 8;

/// The name of a ReplicaSink's StatefulSet, and of everything that goes with it.
pub(crate) fn agent(sink: &str) -> String {
    let name = format!("{sink}{AGENT_SUFFIX}");
    if is_label(&name) && name.len() <= NAME_LENGTH_MAX {
        return name;
    }
    let room = NAME_LENGTH_MAX - AGENT_SUFFIX.len() - HASH_LENGTH - "s--".len();
    let plain: String = sink.replace('.', "-").chars().take(room).collect();
    let plain = plain.trim_end_matches('-');
    let prefix = if begins_with_letter(plain) { "" } else { "s-" };
    let hash = short_hash(sink.as_bytes());
    format!("{prefix}{plain}-{hash}{AGENT_SUFFIX}")
}

/// The name of an agent's only pod.
pub(crate) fn agent_pod(sink: &str) -> String {
    format!("{}-0", agent(sink))
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

/// The labels that find the pods of one component of a ReplicaSink.
pub(crate) fn sink_selector(sink: &str, component: &'static str) -> BTreeMap<String, String> {
    labels([(SINK_LABEL, sink), (COMPONENT_LABEL, component)])
}

/// The labels of everything that is made for a ReplicaSink's agent.
pub(crate) fn agent_labels(sink: &str) -> BTreeMap<String, String> {
    all_labels(SINK_LABEL, sink, AGENT)
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
        assert_eq!(agent_pod("shop-pg"), "shop-pg-agent-0");
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
        let agents: Vec<String> = names.iter().map(|name| agent(name)).collect();
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
