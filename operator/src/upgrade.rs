//! Moves agents to the operator's new image, one pipeline at a time.
//!
//! Pure: it looks at the StatefulSets and says which image one of them is to run now. An image that
//! a resource names itself is not looked at here. The next in order of namespace and name has its turn once
//! nobody is under way; under way is whoever was moved and is not Ready again. A pipeline that was
//! not Ready before it was moved can't be waited for, and only has to have its new pod.

use k8s_openapi::{
    api::apps::v1::StatefulSet,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use crate::{model::ObjectKey, names};

/// On a StatefulSet whose agent is being moved to another image: an [`Upgrade`] as JSON.
pub(crate) const ANNOTATION: &str = "sluice.dev/upgrade";
/// On a StatefulSet whose resource names an image itself.
pub(crate) const PINNED_ANNOTATION: &str = "sluice.dev/image-pinned";

/// A move that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Upgrade {
    /// The image before.
    pub(crate) from: String,
    /// When it began, RFC 3339.
    pub(crate) began_at: String,
    /// Whether the agent was Ready when it began.
    pub(crate) was_ready: bool,
}

/// A move that takes longer makes no headway by itself.
const STUCK_AFTER: SignedDuration = SignedDuration::from_mins(10);

impl Upgrade {
    /// Whether it should have ended by now.
    pub(crate) fn is_stuck(&self, now: Timestamp) -> bool {
        let began = self.began_at.parse::<Timestamp>();
        began.is_ok_and(|began| now.duration_since(began) > STUCK_AFTER)
    }
}

/// What upgrades have to know about an agent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Agent {
    /// Its ReplicaSink, or what stands for the ReplicationSource that it captures.
    pub(crate) sink: ObjectKey,
    /// The image that it is to run at present.
    pub(crate) image: String,
    /// Whether its resource names that image.
    pub(crate) pinned: bool,
    /// Its own move, if one is under way.
    pub(crate) upgrade: Option<Upgrade>,
    /// How many pods it should have: none while paused.
    pub(crate) replicas: i32,
    /// Whether its pod is the one that the StatefulSet describes.
    pub(crate) updated: bool,
    /// Whether its pod is Ready.
    pub(crate) ready: bool,
}

impl Agent {
    /// What a StatefulSet says; none for one that is not an agent's.
    pub(crate) fn of(stateful_set: &StatefulSet) -> Option<Self> {
        let sink = names::identity_of(stateful_set)?;
        let spec = stateful_set.spec.as_ref()?;
        let container = spec.template.spec.as_ref()?.containers.first()?;
        let replicas = spec.replicas.unwrap_or(1);
        let status = stateful_set.status.clone().unwrap_or_default();
        let observed = status.observed_generation == stateful_set.metadata.generation;
        let upgrade = stateful_set.annotations().get(ANNOTATION);
        Some(Self {
            sink,
            image: container.image.clone().unwrap_or_default(),
            pinned: stateful_set.annotations().contains_key(PINNED_ANNOTATION),
            upgrade: upgrade.and_then(|text| serde_json::from_str(text).ok()),
            replicas,
            updated: observed
                && status.current_revision == status.update_revision
                && status.replicas == replicas,
            ready: status.ready_replicas.unwrap_or(0) >= replicas,
        })
    }

    /// Whether its own move is over.
    fn arrived(&self) -> bool {
        let waited_for = self.upgrade.as_ref().is_some_and(|move_| move_.was_ready);
        self.replicas == 0 || (self.updated && (self.ready || !waited_for))
    }
}

/// What an agent is to run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    /// The image.
    pub(crate) image: String,
    /// The move that is under way with it.
    pub(crate) upgrade: Option<Upgrade>,
    /// Whether a newer image waits for its turn.
    pub(crate) waits: bool,
}

impl Turn {
    /// This image, and nothing to wait for.
    pub(crate) fn at_once(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            upgrade: None,
            waits: false,
        }
    }
}

/// Which image the agent of `sink` is to run, when `image` is the one to be at in the end.
pub(crate) fn turn(sink: &ObjectKey, image: &str, agents: &[Agent], now: Timestamp) -> Turn {
    let Some(own) = agents.iter().find(|agent| agent.sink == *sink) else {
        return Turn::at_once(image);
    };
    if own.image == image {
        let under_way = own.upgrade.clone().filter(|_| !own.arrived());
        return Turn {
            upgrade: under_way,
            ..Turn::at_once(image)
        };
    }
    if own.pinned || own.replicas == 0 {
        return Turn::at_once(image);
    }
    let others = || {
        agents
            .iter()
            .filter(|agent| !agent.pinned && agent.sink != *sink)
    };
    let under_way = others().any(|agent| agent.upgrade.is_some() && !agent.arrived());
    let before =
        others().any(|agent| agent.image != image && agent.replicas > 0 && agent.sink < *sink);
    if under_way || before {
        return Turn {
            image: own.image.clone(),
            upgrade: own.upgrade.clone().filter(|_| !own.arrived()),
            waits: true,
        };
    }
    Turn {
        image: image.to_owned(),
        upgrade: Some(Upgrade {
            from: own.image.clone(),
            began_at: now.to_string(),
            was_ready: own.ready,
        }),
        waits: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str, image: &str) -> Agent {
        Agent {
            sink: key(name),
            image: image.to_owned(),
            pinned: false,
            upgrade: None,
            replicas: 1,
            updated: true,
            ready: true,
        }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        }
    }

    fn under_way(name: &str, was_ready: bool) -> Agent {
        let upgrade = Upgrade {
            from: "old".to_owned(),
            began_at: String::new(),
            was_ready,
        };
        Agent {
            upgrade: Some(upgrade),
            ready: false,
            ..agent(name, "new")
        }
    }

    fn turn_of(name: &str, agents: &[Agent]) -> Turn {
        turn(&key(name), "new", agents, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_new_agent_gets_the_new_image_at_once() {
        assert_eq!(turn_of("c", &[agent("a", "old")]), Turn::at_once("new"));
    }

    #[test]
    fn the_first_by_name_has_its_turn_and_the_others_wait() {
        let agents = [agent("b", "old"), agent("a", "old")];
        let first = turn_of("a", &agents);
        assert_eq!((first.image.as_str(), first.waits), ("new", false));
        assert_eq!(first.upgrade.unwrap().from, "old");
        let second = turn_of("b", &agents);
        assert_eq!((second.image.as_str(), second.waits), ("old", true));
    }

    #[test]
    fn nobody_begins_while_another_is_not_ready_again() {
        let agents = [under_way("a", true), agent("b", "old")];
        assert!(turn_of("b", &agents).waits);
        assert!(turn_of("a", &agents).upgrade.is_some());
    }

    #[test]
    fn the_next_begins_once_the_one_before_is_ready() {
        let arrived = Agent {
            ready: true,
            ..under_way("a", true)
        };
        let agents = [arrived, agent("b", "old")];
        assert_eq!(turn_of("b", &agents).image, "new");
        assert_eq!(turn_of("a", &agents), Turn::at_once("new"));
    }

    #[test]
    fn one_that_was_not_ready_before_is_not_waited_for() {
        let agents = [under_way("a", false), agent("b", "old")];
        assert_eq!(turn_of("b", &agents).image, "new");
    }

    #[test]
    fn one_that_is_not_ready_for_another_reason_holds_nobody_up() {
        let troubled = Agent {
            ready: false,
            ..agent("a", "new")
        };
        assert_eq!(turn_of("b", &[troubled, agent("b", "old")]).image, "new");
    }

    #[test]
    fn an_upgrade_is_stuck_after_ten_minutes() {
        let upgrade = Upgrade {
            from: "old".to_owned(),
            began_at: "2026-11-21T10:00:00.5Z".to_owned(),
            was_ready: true,
        };
        assert!(!upgrade.is_stuck("2026-11-21T10:09:00Z".parse().unwrap()));
        assert!(upgrade.is_stuck("2026-11-21T10:11:00Z".parse().unwrap()));
    }

    #[test]
    fn a_paused_agent_is_moved_at_once_and_holds_nobody_up() {
        let paused = Agent {
            replicas: 0,
            ..agent("a", "old")
        };
        let agents = [paused, under_way("b", true), agent("c", "old")];
        assert_eq!(turn_of("a", &agents), Turn::at_once("new"));
        let agents = [agents[0].clone(), agent("c", "old")];
        assert_eq!(turn_of("c", &agents).image, "new");
    }

    #[test]
    fn a_pinned_agent_is_nobodys_predecessor() {
        let pinned = Agent {
            pinned: true,
            ..agent("a", "mine")
        };
        assert_eq!(turn_of("b", &[pinned, agent("b", "old")]).image, "new");
    }
}
