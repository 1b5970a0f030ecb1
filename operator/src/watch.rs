//! Keeps the caches in step with the API server and wakes the reconcile of what is concerned.
//!
//! One watch for each kind and namespace fills one store for each kind. Objects are slimmed before
//! they are kept: what nobody reads would be most of the operator's memory. An object that can't be
//! read does not stop a watch, and a watch that breaks begins again with a full list, in which
//! objects that are gone are noticed by their absence.

use std::{collections::HashSet, fmt::Debug};

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use kube::{
    Resource,
    runtime::{
        WatchStreamExt as _,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, Event},
    },
};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::{
    model::ObjectKey,
    wake::{Wake, Waker},
};

/// What became of an object.
pub(crate) struct Change<'a, K> {
    /// How it was; none when it is new.
    pub(crate) before: Option<&'a K>,
    /// How it is; none when it is gone.
    pub(crate) after: Option<&'a K>,
}

impl<K: Resource> Change<'_, K> {
    /// The object, as it is or was.
    pub(crate) fn object(&self) -> &K {
        let object = self.after.or(self.before);
        object.expect("a change has a before or an after")
    }

    /// Its name.
    pub(crate) fn key(&self) -> ObjectKey {
        ObjectKey::of(self.object())
    }

    /// Whether it differs by this measure.
    pub(crate) fn differs<T: PartialEq>(&self, measure: impl Fn(&K) -> T) -> bool {
        self.before.map(&measure) != self.after.map(&measure)
    }
}

/// What a watch brings.
pub(crate) type Events<K> = BoxStream<'static, watcher::Result<Event<K>>>;

/// Watches of one kind, one for each namespace.
pub(crate) struct Watches<K: Resource<DynamicType = ()> + Clone + 'static> {
    streams: Vec<Events<K>>,
    /// Takes out what nobody reads.
    slim: fn(&mut K),
    writer: Writer<K>,
    complete: watch::Sender<bool>,
}

impl<K> Watches<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    /// Watches that [`Watches::follow`] will follow.
    pub(crate) fn new(streams: Vec<Events<K>>, slim: fn(&mut K)) -> Self {
        let mut writer = Writer::default();
        // A store knows one watch, and this one is filled from several: whether it is complete is
        // said by `complete`.
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        let (complete, _) = watch::channel(false);
        Self {
            streams,
            slim,
            writer,
            complete,
        }
    }

    /// What the watches fill.
    pub(crate) fn store(&self) -> Store<K> {
        self.writer.as_reader()
    }

    /// Turns true once every watch has brought everything that there is.
    pub(crate) fn complete(&self) -> watch::Receiver<bool> {
        self.complete.subscribe()
    }

    /// Follows every watch for ever. `concerned` says, after each change, what is to be reconciled.
    pub(crate) async fn follow(
        self,
        waker: Waker,
        concerned: impl Fn(&Change<'_, K>) -> Vec<Wake>,
    ) {
        let Self {
            streams,
            slim,
            writer,
            complete,
        } = self;
        let mut lists = vec![List::default(); streams.len()];
        let mut kept = Kept {
            store: writer.as_reader(),
            writer,
        };
        let streams = streams.into_iter().enumerate().map(|(index, events)| {
            let events = events.default_backoff();
            events.map(move |event| (index, event)).boxed()
        });
        let mut events = stream::select_all(streams);
        while let Some((index, event)) = events.next().await {
            let mut woken = Vec::new();
            match event {
                Ok(Event::Init) => lists[index].begin(),
                Ok(Event::InitApply(mut object) | Event::Apply(mut object)) => {
                    slim(&mut object);
                    lists[index].add(&object);
                    kept.apply(object, |change| woken.extend(concerned(change)));
                }
                Ok(Event::Delete(object)) => {
                    let key = ObjectKey::of(&object);
                    lists[index].remove(&key);
                    kept.delete(&key, |change| woken.extend(concerned(change)));
                }
                Ok(Event::InitDone) => {
                    for key in lists[index].end() {
                        kept.delete(&key, |change| woken.extend(concerned(change)));
                    }
                    debug!(kind = %K::kind(&()), "a watch is complete");
                    complete.send_if_modified(|complete| {
                        let now = lists.iter().all(|list| list.complete);
                        now && !std::mem::replace(complete, now)
                    });
                }
                Err(error) => {
                    warn!(kind = %K::kind(&()), %error, "a watch failed and begins again");
                }
            }
            for wake in woken {
                waker.send(wake).await;
            }
        }
    }
}

/// The names that one watch has brought, to find those that a new list does not have any more.
#[derive(Clone, Default)]
struct List {
    names: HashSet<ObjectKey>,
    /// Those of the list before, less what the present one has brought.
    missing: HashSet<ObjectKey>,
    complete: bool,
}

impl List {
    fn begin(&mut self) {
        self.missing = self.names.clone();
    }

    fn add<K: Resource>(&mut self, object: &K) {
        let key = ObjectKey::of(object);
        self.missing.remove(&key);
        self.names.insert(key);
    }

    fn remove(&mut self, key: &ObjectKey) {
        self.missing.remove(key);
        self.names.remove(key);
    }

    /// Ends a list and answers with what it did not have any more.
    fn end(&mut self) -> HashSet<ObjectKey> {
        self.complete = true;
        for key in &self.missing {
            self.names.remove(key);
        }
        std::mem::take(&mut self.missing)
    }
}

/// A store and who may write to it.
struct Kept<K: Resource<DynamicType = ()> + Clone + 'static> {
    writer: Writer<K>,
    store: Store<K>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Kept<K> {
    fn apply(&mut self, object: K, mut tell: impl FnMut(&Change<'_, K>)) {
        let before = self.store.get(&ObjectRef::from_obj(&object));
        let event = Event::Apply(object);
        self.writer.apply_watcher_event(&event);
        let Event::Apply(object) = &event else { return };
        tell(&Change {
            before: before.as_deref(),
            after: Some(object),
        });
    }

    fn delete(&mut self, key: &ObjectKey, mut tell: impl FnMut(&Change<'_, K>)) {
        let reference = ObjectRef::new(&key.name).within(&key.namespace);
        let Some(before) = self.store.get(&reference) else {
            return;
        };
        self.writer
            .apply_watcher_event(&Event::Delete((*before).clone()));
        tell(&Change {
            before: Some(&*before),
            after: None,
        });
    }
}
