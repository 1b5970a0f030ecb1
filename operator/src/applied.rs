//! What was applied lately, so that an object that has not changed is not written again when its
//! neighbour has.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{controller::APPLY_AGAIN_AFTER, model::ObjectKey};

/// Kind and name, and what was applied when.
type ByObject = HashMap<(&'static str, ObjectKey), (String, Instant)>;

/// Hashes of applied objects, by kind and name.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    by_object: Mutex<ByObject>,
}

impl Applied {
    /// Whether an object with this hash was applied, and not too long ago.
    pub(crate) fn has(&self, kind: &'static str, key: &ObjectKey, hash: &str) -> bool {
        let by_object = self.lock();
        let known = by_object.get(&(kind, key.clone()));
        known.is_some_and(|(known, at)| known == hash && at.elapsed() < APPLY_AGAIN_AFTER)
    }

    /// It was applied just now.
    pub(crate) fn remember(&self, kind: &'static str, key: &ObjectKey, hash: String) {
        let entry = (hash, Instant::now());
        self.lock().insert((kind, key.clone()), entry);
    }

    /// The objects of this name are gone, or may be.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        self.lock().retain(|(_, known), _| known != key);
    }

    fn lock(&self) -> MutexGuard<'_, ByObject> {
        self.by_object
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_object_with_the_same_content_counts_as_applied() {
        let key = |name: &str| ObjectKey {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        };
        let applied = Applied::default();
        applied.remember("Service", &key("a"), "1".to_owned());
        assert!(applied.has("Service", &key("a"), "1"));
        assert!(!applied.has("Service", &key("a"), "2"));
        assert!(!applied.has("ConfigMap", &key("a"), "1"));
        assert!(!applied.has("Service", &key("b"), "1"));
        applied.forget(&key("a"));
        assert!(!applied.has("Service", &key("a"), "1"));
    }
}
