//! The watches of one policy: its Deployment by name, its ReplicaSets and pods by label.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::LabelSelector};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::Selector,
    runtime::{
        WatchStreamExt,
        reflector::{self, Store, store::Writer},
        watcher::{self, watcher},
    },
};
use serde_json::Value;
use tokio::task::{AbortHandle, JoinSet};

use super::lock;

/// What the watches have seen.
pub(super) struct Watched {
    /// The name of the Deployment.
    pub(super) name: String,
    deployments: Store<DynamicObject>,
    read: Read,
    children: Arc<Mutex<Option<Children>>>,
}

/// Whether a cache has been filled once.
///
/// A store's own `wait_until_ready` is not asked for that: it wakes only the last of several who
/// wait.
#[derive(Clone, Default)]
struct Read(Arc<AtomicBool>);

impl Read {
    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The ReplicaSets and pods behind one selector.
struct Children {
    selector: Value,
    uid: Option<String>,
    replica_sets: Store<DynamicObject>,
    replica_sets_read: Read,
    pods: Store<Pod>,
    pods_read: Read,
    tasks: Vec<AbortHandle>,
}

impl Drop for Children {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Called when something has changed.
pub(super) type Poke = Arc<dyn Fn() + Send + Sync>;

/// Deployments and ReplicaSets are kept as they come: a template must be the server's own, with
/// the fields of whatever version it has.
fn apps(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: "apps".into(),
        version: "v1".into(),
        api_version: "apps/v1".into(),
        kind: kind.into(),
        plural: plural.into(),
    }
}

/// One object, by name.
pub(super) struct One {
    store: Store<DynamicObject>,
    read: Read,
    /// Why it cannot be read, as when its kind is not installed.
    trouble: Arc<Mutex<Option<String>>>,
}

impl One {
    pub(super) fn is_ready(&self) -> bool {
        self.read.is_set()
    }

    pub(super) fn object(&self) -> Option<Value> {
        let object = self.store.state().into_iter().next()?;
        serde_json::to_value(&*object).ok()
    }

    /// Why it cannot be read, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }
}

/// All objects of a kind in a namespace, as far as anybody wants to know of them.
pub(super) struct Many(One);

impl Many {
    pub(super) fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    pub(super) fn objects(&self) -> Vec<Arc<DynamicObject>> {
        self.0.store.state()
    }

    /// Why they cannot be read, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        self.0.trouble()
    }
}

/// Watches all objects of a kind in a namespace. They may be large: `trim` leaves what is wanted, and few are
/// read at once.
pub(super) fn many(
    tasks: &mut JoinSet<()>,
    client: &Client,
    resource: &ApiResource,
    namespace: &str,
    trim: fn(&mut DynamicObject),
    poke: &Poke,
) -> Many {
    let config = watcher::Config::default().page_size(20);
    Many(objects(
        tasks, client, resource, namespace, config, trim, poke,
    ))
}

/// Watches one object of any kind.
pub(super) fn one(
    tasks: &mut JoinSet<()>,
    client: &Client,
    resource: &ApiResource,
    namespace: &str,
    name: &str,
    poke: &Poke,
) -> One {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    objects(tasks, client, resource, namespace, config, |_| {}, poke)
}

fn objects(
    tasks: &mut JoinSet<()>,
    client: &Client,
    resource: &ApiResource,
    namespace: &str,
    config: watcher::Config,
    trim: fn(&mut DynamicObject),
    poke: &Poke,
) -> One {
    let writer = Writer::new(resource.clone());
    let store = writer.as_reader();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
    let stream = watcher(api, config).modify(trim);
    let stream = reflector::reflector(writer, stream).default_backoff();
    let trouble: Arc<Mutex<Option<String>>> = Arc::default();
    let (read, poke) = (Read::default(), poke.clone());
    let (seen, noted) = (read.clone(), trouble.clone());
    let again = poke.clone();
    let stream = stream
        .inspect_ok({
            let noted = noted.clone();
            move |_| *lock(&noted) = None
        })
        .inspect_err(move |error| {
            // A kind that is not there, or not ours to read, is an answer too: without one the policy
            // would wait for ever and not say why.
            if let watcher::Error::InitialListFailed(kube::Error::Api(status))
            | watcher::Error::WatchStartFailed(kube::Error::Api(status)) = error
            {
                let before = lock(&noted).replace(status.message.clone());
                if before.as_ref() != Some(&status.message) {
                    interrupted(error);
                }
                seen.set();
                again();
            } else {
                interrupted(error);
            }
        });
    tasks.spawn(run(stream, read.clone(), move || poke()));
    One {
        store,
        read,
        trouble,
    }
}

pub(super) fn start(
    tasks: &mut JoinSet<()>,
    client: &Client,
    namespace: &str,
    workload: &str,
    poke: &Poke,
) -> Watched {
    let resource = apps("Deployment", "deployments");
    let writer = Writer::new(resource.clone());
    let deployments = writer.as_reader();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let config = watcher::Config::default().fields(&format!("metadata.name={workload}"));
    let stream = reflector::reflector(writer, watcher(api, config)).default_backoff();
    let children = Arc::new(Mutex::new(None));
    let follow = {
        let (children, client, namespace) =
            (children.clone(), client.clone(), namespace.to_owned());
        let (store, poke) = (deployments.clone(), poke.clone());
        move || {
            follow_selector(&children, &client, &namespace, &store, &poke);
            poke();
        }
    };
    let read = Read::default();
    tasks.spawn(run(stream.inspect_err(interrupted), read.clone(), follow));
    Watched {
        name: workload.to_owned(),
        deployments,
        read,
        children,
    }
}

fn interrupted(error: &watcher::Error) {
    tracing::warn!(%error, "a watch is interrupted and begun again");
}

/// Reads a watch to its end, which is the end of the observer.
async fn run<K>(
    stream: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send,
    read: Read,
    changed: impl Fn() + Send,
) {
    stream
        .for_each(|event| {
            match event {
                Ok(watcher::Event::InitDone) => {
                    read.set();
                    changed();
                }
                Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => changed(),
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) | Err(_) => {}
            }
            futures::future::ready(())
        })
        .await;
}

/// Watches the pods and ReplicaSets that the Deployment selects; anew when it selects others.
fn follow_selector(
    children: &Mutex<Option<Children>>,
    client: &Client,
    namespace: &str,
    deployments: &Store<DynamicObject>,
    poke: &Poke,
) {
    let mut children = lock(children);
    let Some(deployment) = deployments.state().into_iter().next() else {
        *children = None;
        return;
    };
    let selector = deployment
        .data
        .pointer("/spec/selector")
        .cloned()
        .unwrap_or_default();
    let uid = deployment.uid();
    if children
        .as_ref()
        .is_some_and(|c| c.selector == selector && c.uid == uid)
    {
        return;
    }
    let labels: Selector = match serde_json::from_value::<LabelSelector>(selector.clone())
        .map_err(|e| e.to_string())
        .and_then(|s| Selector::try_from(s).map_err(|e| e.to_string()))
    {
        Ok(labels) => labels,
        Err(error) => {
            tracing::error!(%error, namespace, deployment = deployment.name_any(), "its selector cannot be read");
            return;
        }
    };
    let config = watcher::Config::default().labels_from(&labels);
    let resource = apps("ReplicaSet", "replicasets");
    let sets_writer = Writer::new(resource.clone());
    let replica_sets = sets_writer.as_reader();
    let sets: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let sets = watcher(sets, config.clone()).modify(|set| set.metadata.managed_fields = None);
    let (pods, pods_writer) = reflector::store();
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let watched_pods = watcher(api, config).modify(|pod| {
        pod.metadata.managed_fields = None;
        pod.spec = None;
    });
    let (poke_sets, poke_pods) = (poke.clone(), poke.clone());
    let (replica_sets_read, pods_read) = (Read::default(), Read::default());
    let tasks = vec![
        tokio::spawn(run(
            reflector::reflector(sets_writer, sets)
                .default_backoff()
                .inspect_err(interrupted),
            replica_sets_read.clone(),
            move || poke_sets(),
        ))
        .abort_handle(),
        tokio::spawn(run(
            reflector::reflector(pods_writer, watched_pods)
                .default_backoff()
                .inspect_err(interrupted),
            pods_read.clone(),
            move || poke_pods(),
        ))
        .abort_handle(),
    ];
    *children = Some(Children {
        selector,
        uid,
        replica_sets,
        replica_sets_read,
        pods,
        pods_read,
        tasks,
    });
}

impl Watched {
    pub(super) fn is_ready(&self) -> bool {
        let children = lock(&self.children);
        self.read.is_set()
            && match &*children {
                Some(children) => {
                    children.replica_sets_read.is_set() && children.pods_read.is_set()
                }
                None => self.deployments.is_empty(),
            }
    }

    /// The Deployment as it is cached.
    pub(super) fn object(&self) -> Option<Arc<DynamicObject>> {
        self.deployments.state().into_iter().next()
    }

    pub(super) fn deployment(&self) -> Option<Value> {
        let object = self.object()?;
        serde_json::to_value(&*object).ok()
    }

    pub(super) fn replica_sets(&self) -> Vec<Arc<DynamicObject>> {
        lock(&self.children)
            .as_ref()
            .map(|c| c.replica_sets.state())
            .unwrap_or_default()
    }

    pub(super) fn pods(&self) -> Vec<Arc<Pod>> {
        lock(&self.children)
            .as_ref()
            .map(|c| c.pods.state())
            .unwrap_or_default()
    }
}
