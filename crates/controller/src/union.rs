//! Several watches of a kind as one, so that one cache holds what all of them tell.
//!
//! A watch that was cut off begins with a list of what there is. A cache takes such a list for everything, and forgets the
//! rest without a word. Here a list speaks for its own namespace alone, and what went away meanwhile is told as deleted.

use std::collections::HashSet;

use futures::{Stream, StreamExt, stream};
use kube::{
    Resource,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::{Error, Event},
    },
};

/// One of the watches.
pub(crate) struct Side<S> {
    scope: Option<String>,
    stream: S,
}

impl<S> Side<S> {
    /// A watch of a namespace, or of all.
    pub(crate) fn new(scope: Option<String>, stream: S) -> Self {
        Self { scope, stream }
    }
}

/// What the watches tell, for the cache that `store` reads. No two of them may be about the same namespace.
pub(crate) fn union<K, S>(
    sides: Vec<Side<S>>,
    store: Store<K>,
) -> impl Stream<Item = Result<Event<K>, Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
    S: Stream<Item = Result<Event<K>, Error>> + Send + 'static,
{
    let lists = sides.iter().map(|side| List::of(side.scope.clone()));
    let mut union = Union {
        lists: lists.collect(),
        first: Some(Vec::new()),
        store,
    };
    let told = sides.into_iter().enumerate().map(|(index, side)| {
        let numbered = side.stream.map(move |event| (index, event));
        numbered.boxed()
    });
    stream::select_all(told).flat_map(move |(index, event)| {
        stream::iter(match event {
            Ok(event) => union.next(index, event).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    })
}

struct Union<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    lists: Vec<List<K>>,
    /// What has been told until each watch has listed everything once.
    first: Option<Vec<K>>,
    store: Store<K>,
}

/// How far one watch has come with its list.
struct List<K: Resource<DynamicType = ()>> {
    scope: Option<String>,
    listed: HashSet<ObjectRef<K>>,
    done: bool,
}

impl<K: Resource<DynamicType = ()>> List<K> {
    fn of(scope: Option<String>) -> Self {
        Self {
            scope,
            listed: HashSet::new(),
            done: false,
        }
    }

    fn is_about(&self, object: &K) -> bool {
        self.scope.is_none() || self.scope == object.meta().namespace
    }
}

impl<K> Union<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    fn next(&mut self, index: usize, event: Event<K>) -> Vec<Event<K>> {
        match event {
            Event::Init => {
                self.lists[index].listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.lists[index]
                    .listed
                    .insert(ObjectRef::from_obj(&object));
                self.there(object)
            }
            Event::Apply(object) => self.there(object),
            Event::Delete(object) => self.gone(object),
            Event::InitDone => self.listed(index),
        }
    }

    fn there(&mut self, object: K) -> Vec<Event<K>> {
        let Some(first) = &mut self.first else {
            return vec![Event::Apply(object)];
        };
        first.retain(|known| !same(known, &object));
        first.push(object);
        Vec::new()
    }

    fn gone(&mut self, object: K) -> Vec<Event<K>> {
        let Some(first) = &mut self.first else {
            return vec![Event::Delete(object)];
        };
        first.retain(|known| !same(known, &object));
        Vec::new()
    }

    /// A watch has listed everything.
    fn listed(&mut self, index: usize) -> Vec<Event<K>> {
        self.lists[index].done = true;
        let list = &self.lists[index];
        let left = |object: &K| {
            list.is_about(object) && !list.listed.contains(&ObjectRef::from_obj(object))
        };
        if let Some(first) = &mut self.first {
            // It may have been cut off before the others had listed anything.
            first.retain(|object| !left(object));
            if !self.lists.iter().all(|list| list.done) {
                return Vec::new();
            }
            let all = self.first.take().unwrap_or_default();
            let all = all.into_iter().map(Event::InitApply);
            return [Event::Init]
                .into_iter()
                .chain(all)
                .chain([Event::InitDone])
                .collect();
        }
        let gone = self.store.state_filter(left);
        gone.iter()
            .map(|object| Event::Delete((**object).clone()))
            .collect()
    }
}

fn same<K: Resource<DynamicType = ()>>(one: &K, other: &K) -> bool {
    ObjectRef::from_obj(one) == ObjectRef::from_obj(other)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, TryStreamExt, channel::mpsc};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{ResourceExt, runtime::reflector};
    use serde_json::json;

    use super::*;

    type Told = mpsc::UnboundedSender<Result<Event<ConfigMap>, Error>>;

    fn object(namespace: &str, name: &str) -> ConfigMap {
        let metadata = json!({"namespace": namespace, "name": name});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    /// A cache of what two watches tell, each of a namespace.
    struct Cache {
        a: Told,
        b: Told,
        store: Store<ConfigMap>,
        events: stream::BoxStream<'static, Result<Event<ConfigMap>, Error>>,
    }

    impl Cache {
        fn new() -> Self {
            let ((a, at_a), (b, at_b)) = (mpsc::unbounded(), mpsc::unbounded());
            let (store, writer) = reflector::store();
            let sides = vec![
                Side::new(Some("a".to_owned()), at_a),
                Side::new(Some("b".to_owned()), at_b),
            ];
            let events = reflector::reflector(writer, union(sides, store.clone())).boxed();
            Self {
                a,
                b,
                store,
                events,
            }
        }

        fn list(told: &Told, objects: &[ConfigMap]) {
            told.unbounded_send(Ok(Event::Init)).unwrap();
            for object in objects {
                told.unbounded_send(Ok(Event::InitApply(object.clone())))
                    .unwrap();
            }
            told.unbounded_send(Ok(Event::InitDone)).unwrap();
        }

        /// Takes in all that was told. What was deleted, by name.
        fn take_in(&mut self) -> Vec<String> {
            let mut deleted = Vec::new();
            while let Some(event) = self.events.try_next().now_or_never() {
                if let Event::Delete(object) = event.unwrap().unwrap() {
                    deleted.push(object.name_any());
                }
            }
            deleted
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<_> = self.store.state().iter().map(|o| o.name_any()).collect();
            names.sort();
            names
        }

        fn is_read(&self) -> bool {
            let read = self.store.wait_until_ready().now_or_never();
            read.is_some()
        }
    }

    #[test]
    fn nothing_is_known_before_every_watch_has_listed_everything() {
        let mut cache = Cache::new();
        Cache::list(&cache.a, &[object("a", "one"), object("a", "two")]);
        cache.take_in();
        assert!(!cache.is_read());
        assert_eq!(cache.names(), Vec::<String>::new());
        let gone = Event::Delete(object("a", "two"));
        cache.a.unbounded_send(Ok(gone)).unwrap();
        Cache::list(&cache.b, &[object("b", "three")]);
        cache.take_in();
        assert!(cache.is_read());
        assert_eq!(cache.names(), ["one", "three"]);
    }

    #[test]
    fn a_list_speaks_for_its_own_namespace_alone() {
        let mut cache = Cache::new();
        Cache::list(&cache.a, &[object("a", "one")]);
        Cache::list(&cache.b, &[object("b", "two")]);
        cache.take_in();
        Cache::list(&cache.a, &[object("a", "one"), object("a", "three")]);
        assert_eq!(cache.take_in(), Vec::<String>::new());
        assert_eq!(cache.names(), ["one", "three", "two"]);
    }

    #[test]
    fn what_went_away_while_nobody_watched_is_told_as_deleted() {
        let mut cache = Cache::new();
        Cache::list(&cache.a, &[object("a", "one"), object("a", "two")]);
        Cache::list(&cache.b, &[object("b", "three")]);
        cache.take_in();
        Cache::list(&cache.a, &[object("a", "two")]);
        assert_eq!(cache.take_in(), ["one"]);
        assert_eq!(cache.names(), ["three", "two"]);
    }
}
