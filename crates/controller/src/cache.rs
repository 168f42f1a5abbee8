//! What is cached of Backstop's own kinds, and watched for changes.

use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy};
use futures::{Stream, TryStreamExt, channel::mpsc};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::NamespaceResourceScope,
    runtime::{
        WatchStreamExt,
        reflector::{self, Store},
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    context::Guarded,
    notify::Subject,
    union::{Side, union},
};

/// A cache of a kind.
pub(crate) struct Cache<K, S>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    pub(crate) store: Store<Guarded<K>>,
    /// Fills the store, and says what has changed.
    pub(crate) stream: S,
    /// Whether the store has been filled once. Its own `wait_until_ready` wakes only the last of
    /// several who wait, and its controller is one of them.
    pub(crate) read: watch::Receiver<bool>,
}

/// An object was deleted that spoke of these workloads.
pub(crate) struct Gone {
    pub(crate) namespace: String,
    pub(crate) workloads: Vec<String>,
    /// Whether something may be suspended because of it.
    pub(crate) suspends: bool,
}

/// What speaks of workloads.
pub(crate) trait About {
    fn workloads(&self) -> Vec<String>;

    /// Of what it is that people may have to be told.
    fn subject(&self) -> Option<Subject>;

    /// Whether something may be suspended because of it.
    fn suspends(&self) -> bool {
        false
    }
}

impl About for RollbackPolicy {
    fn workloads(&self) -> Vec<String> {
        let names = self.spec.deployments().into_iter();
        names.map(str::to_owned).collect()
    }

    fn subject(&self) -> Option<Subject> {
        Some(Subject::Policy {
            namespace: self.namespace()?,
            name: self.name_any(),
        })
    }

    fn suspends(&self) -> bool {
        let status = self.status.as_ref();
        status.is_some_and(|status| !status.suspended.is_empty())
    }
}

impl About for RollbackPoint {
    fn workloads(&self) -> Vec<String> {
        vec![self.spec.workload.name.clone()]
    }

    fn subject(&self) -> Option<Subject> {
        None
    }
}

impl About for RollbackEvent {
    fn workloads(&self) -> Vec<String> {
        self.spec.workloads.iter().map(|w| w.name.clone()).collect()
    }

    fn subject(&self) -> Option<Subject> {
        Some(Subject::Event {
            namespace: self.namespace()?,
            name: self.name_any(),
        })
    }
}

/// What the caches of all kinds share.
pub(crate) struct Watches<'a> {
    pub(crate) client: &'a Client,
    /// What is watched; all namespaces where none is named.
    pub(crate) namespaces: &'a [String],
    pub(crate) gone: mpsc::UnboundedSender<Gone>,
    /// Of what people may have to be told now.
    pub(crate) changed: mpsc::UnboundedSender<Subject>,
}

impl Watches<'_> {
    /// Watches a kind.
    pub(crate) fn watched<K>(
        &self,
        trim: fn(&mut K),
    ) -> Cache<K, impl Stream<Item = Result<Guarded<K>, watcher::Error>> + Send + use<K> + 'static>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + About
            + std::fmt::Debug
            + Send
            + Sync
            + 'static,
    {
        let scopes = if self.namespaces.is_empty() {
            vec![None]
        } else {
            self.namespaces.iter().map(Some).collect()
        };
        let watch = |scope: Option<&String>| {
            let api: Api<Guarded<K>> = match scope {
                Some(namespace) => Api::namespaced(self.client.clone(), namespace),
                None => Api::all(self.client.clone()),
            };
            let stream = watcher(api, watcher::Config::default())
                .modify(move |object| {
                    object.meta_mut().managed_fields = None;
                    if let Ok(object) = &mut object.0 {
                        trim(object);
                    }
                })
                .default_backoff();
            Side::new(scope.cloned(), stream)
        };
        let (store, writer) = reflector::store();
        let stream = union(scopes.into_iter().map(watch).collect(), store.clone());
        let (read, is_read) = watch::channel(false);
        let (gone, changed) = (self.gone.clone(), self.changed.clone());
        // Until everything is listed the cache shows nothing: what is in the list is said at its end.
        let mut listed = Vec::new();
        let stream = reflector::reflector(writer, stream)
            .inspect_ok(move |event| match event {
                watcher::Event::InitApply(Guarded { 0: Ok(object) }) => {
                    listed.extend(object.subject());
                }
                watcher::Event::InitDone => {
                    read.send_replace(true);
                    for subject in listed.drain(..) {
                        let _ = changed.unbounded_send(subject);
                    }
                }
                watcher::Event::Apply(Guarded { 0: Ok(object) }) => {
                    if let Some(subject) = object.subject() {
                        let _ = changed.unbounded_send(subject);
                    }
                }
                watcher::Event::Delete(Guarded { 0: Ok(object) }) => {
                    let _ = gone.unbounded_send(Gone {
                        namespace: object.meta().namespace.clone().unwrap_or_default(),
                        workloads: object.workloads(),
                        suspends: object.suspends(),
                    });
                }
                _ => {}
            })
            .touched_objects();
        Cache {
            store,
            stream,
            read: is_read,
        }
    }
}

/// Points are many and templates are large: the cache has what decisions need.
pub(crate) fn without_template(point: &mut RollbackPoint) {
    let release = point.spec.release.iter_mut();
    for workload in release.flat_map(|r| &mut r.workloads) {
        workload.template = Value::Null;
        workload.ownership = backstop_api::point::Ownership::default();
    }
}
