//! Which replica id each agent has towards MySQL.
//!
//! MySQL disconnects the older of two replicas with the same id, so that two agents with one id
//! would take turns for ever. The conversion proposes an id by hash; here it is replaced if another
//! agent has it. Two host names may be one server: ids differ among all agents of the operator. An
//! id once given stays: it is kept in an annotation of the StatefulSet.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use kube::ResourceExt as _;

use crate::{cache::Caches, model::ObjectKey, names};

/// Holds an agent's replica id.
pub(crate) const ANNOTATION: &str = "sluice.dev/server-id";

/// Ids are given between these two, out of the range that people give by hand.
const FIRST: u32 = 0x4000_0000;
const LAST: u32 = 0x7fff_ffff;

/// The ids that were given since the operator started; a StatefulSet that was just made may not
/// have come back through the watch yet.
#[derive(Debug, Default)]
pub(crate) struct ServerIds {
    given: Mutex<HashMap<u32, ObjectKey>>,
}

impl ServerIds {
    /// The id of the agent that `sink` stands for (see [`names::identity`]): the one that it has, else `proposed`, else the next free one.
    pub(crate) fn give(&self, caches: &Caches, sink: &ObjectKey, proposed: u32) -> u32 {
        let mut present = HashMap::new();
        for stateful_set in caches.stateful_sets.all() {
            let id = stateful_set.annotations().get(ANNOTATION);
            let owner = names::identity_of(&*stateful_set);
            if let (Some(Ok(id)), Some(owner)) = (id.map(|id| id.parse()), owner) {
                present.insert(id, owner);
            }
        }
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let id = choose(sink, proposed, &present, &given);
        given.retain(|_, owner| owner != sink);
        given.insert(id, sink.clone());
        id
    }

    /// The ReplicaSink is gone, and its id is free.
    pub(crate) fn forget(&self, sink: &ObjectKey) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.retain(|_, owner| owner != sink);
    }
}

fn choose(
    sink: &ObjectKey,
    proposed: u32,
    present: &HashMap<u32, ObjectKey>,
    given: &HashMap<u32, ObjectKey>,
) -> u32 {
    let own = present.iter().find(|(_, owner)| *owner == sink);
    let own = own.or_else(|| given.iter().find(|(_, owner)| *owner == sink));
    if let Some((&id, _)) = own {
        return id;
    }
    let mut id = proposed;
    // Far fewer agents than ids: a free one is always found.
    while present.contains_key(&id) || given.contains_key(&id) {
        id = if (FIRST..LAST).contains(&id) {
            id + 1
        } else {
            FIRST
        };
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_free_id_is_given_as_proposed() {
        let none = HashMap::new();
        assert_eq!(choose(&key("a"), FIRST + 7, &none, &none), FIRST + 7);
    }

    #[test]
    fn a_taken_id_is_replaced_by_the_next_free_one() {
        let present = HashMap::from([(FIRST + 7, key("a"))]);
        let given = HashMap::from([(FIRST + 8, key("b"))]);
        assert_eq!(choose(&key("c"), FIRST + 7, &present, &given), FIRST + 9);
        let present = HashMap::from([(LAST, key("a"))]);
        assert_eq!(choose(&key("c"), LAST, &present, &given), FIRST);
    }

    #[test]
    fn an_id_once_given_stays() {
        let present = HashMap::from([(FIRST + 7, key("a"))]);
        let given = HashMap::from([(FIRST + 8, key("b"))]);
        assert_eq!(choose(&key("a"), FIRST + 1, &present, &given), FIRST + 7);
        assert_eq!(choose(&key("b"), FIRST + 1, &present, &given), FIRST + 8);
    }

    #[test]
    fn what_the_cluster_has_counts_before_what_was_given() {
        let present = HashMap::from([(FIRST + 7, key("a"))]);
        let given = HashMap::from([(FIRST + 8, key("a"))]);
        assert_eq!(choose(&key("a"), FIRST + 1, &present, &given), FIRST + 7);
    }
}
