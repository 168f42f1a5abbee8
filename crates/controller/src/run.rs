//! Starting, leading, and stopping in order.

use std::{sync::Arc, time::Duration};

use backstop_api::{
    RollbackEvent, RollbackPoint, RollbackPolicy, event::EventPhase, policy::Suspended,
};
use backstop_sources::{AllowList, Limits, Outcome, Querier};
use backstop_traffic::Table;
use futures::{Stream, StreamExt, TryStreamExt, channel::mpsc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource,
    core::NamespaceResourceScope,
    runtime::{
        Controller, WatchStreamExt,
        controller::{self, Action},
        reflector::{self, Store},
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    calls::Calls,
    config::{Place, keys::key_ring},
    context::{Backoffs, Context, Guarded, Keys, Told},
    event, http, leader,
    leader::Leadership,
    metrics::Metrics,
    observe::Observers,
    point, policy,
    server::{self, ServerVersion},
    settings::Settings,
    tell::Teller,
};

/// How often the keys are looked at.
const A_DAY: Duration = Duration::from_hours(24);
/// And when they could not be read.
const KEYS_RETRIED: Duration = Duration::from_mins(1);

/// How often what is watched is compared with what is there.
const SWEEP: Duration = Duration::from_secs(15);

/// Runs the operator until it is told to stop.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::default());
    let allowed = AllowList::new(
        settings.prometheus_url.as_deref(),
        &settings.prometheus_allow,
    )?;
    // A list of its own: what answers queries is not there to be sent whatever a policy likes.
    let web_allowed = AllowList::new(None, &settings.web_allow)?;
    let routes = routes(&settings)?;
    let client = Client::try_default().await?;
    let (stop, stopped) = watch::channel(false);
    let (ready, is_ready) = watch::channel(false);
    tokio::spawn(async move {
        wait_for_signal().await;
        tracing::info!("stopping: no new work is begun");
        let _ = stop.send(true);
    });
    let server = tokio::spawn(http::serve(
        settings.listen,
        metrics.clone(),
        is_ready,
        until(stopped.clone()),
    ));
    let version = client.apiserver_version().await?;
    tracing::info!(server = version.git_version, allowed = %allowed, web = %web_allowed, identity = settings.identity, "starting");
    ready.send_replace(true);

    let (mut leadership, keeper) = leader::compete(client.clone(), &settings).await?;
    while !*stopped.borrow() {
        tracing::info!(lease = settings.lease_name, "waiting to be the leader");
        tokio::select! {
            gained = leadership.gained() => if !gained { anyhow::bail!("the lease is kept no more") },
            () = until(stopped.clone()) => break,
        }
        tracing::info!("leading: policies are looked after from now on");
        metrics.leads(true);
        Box::pin(lead(
            &client,
            &settings,
            &metrics,
            (&allowed, &web_allowed),
            &routes,
            leadership.clone(),
            stopped.clone(),
        ))
        .await?;
        metrics.leads(false);
    }
    // Given back, so that another replica need not wait for it to run out.
    drop(leadership);
    if let Ok(Ok(Ok(manager))) = tokio::time::timeout(Duration::from_secs(5), keeper).await {
        let _ = manager.release().await;
    }
    server.await??;
    tracing::info!("stopped");
    Ok(())
}

/// The kinds of routes: Backstop's own, and those of the administrator's file.
fn routes(settings: &Settings) -> anyhow::Result<Table> {
    let Some(path) = &settings.routes_file else {
        return Ok(Table::builtin());
    };
    let text = std::fs::read_to_string(path)
        .map_err(|e| anyhow::anyhow!("--routes-file {}: {e}", path.display()))?;
    Table::builtin().with_file(&text).map_err(|errors| {
        let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("--routes-file {}: {}", path.display(), words.join("; "))
    })
}

async fn wait_for_signal() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

async fn until(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}

/// Looks after every policy while this replica is the leader.
async fn lead(
    client: &Client,
    settings: &Settings,
    metrics: &Arc<Metrics>,
    (allowed, web_allowed): (&AllowList, &AllowList),
    routes: &Table,
    leadership: Leadership,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let calls = Calls::new(leadership.clone(), metrics.clone());
    let version = calls
        .read("get version", client.apiserver_version())
        .await?;
    let (gone, went) = mpsc::unbounded();
    let policies = watched::<RollbackPolicy>(client, settings, &gone, |_| {});
    let points = watched::<RollbackPoint>(client, settings, &gone, without_template);
    let events = watched::<RollbackEvent>(client, settings, &gone, |_| {});
    let (poke_policy, policy_pokes) = mpsc::unbounded();
    let (poke_event, event_pokes) = mpsc::unbounded();
    let asked = metrics.clone();
    let (keys, has_keys) = watch::channel(None);
    let context = Arc::new(Context {
        teller: Teller::new(client.clone(), &settings.identity, calls.clone()),
        client: client.clone(),
        server: ServerVersion::new(version.git_version, jiff::Timestamp::now()),
        calls,
        metrics: metrics.clone(),
        observers: Observers::default(),
        querier: Querier::new(
            Limits::default(),
            move |took: Duration, outcome: Outcome| {
                asked.asked(outcome.as_str(), took);
            },
        ),
        allowed: allowed.clone(),
        web_allowed: web_allowed.clone(),
        routes: routes.clone(),
        keys: has_keys,
        gitops_namespaces: settings.gitops_namespaces.clone(),
        policies: policies.store.clone(),
        points: points.store.clone(),
        events: events.store.clone(),
        poke_policy,
        poke_event,
        told: Told::default(),
        backoffs: Backoffs::default(),
    });
    let config = controller::Config::default().concurrency(settings.concurrency);
    let end = || {
        let (mut leadership, stopped) = (leadership.clone(), stopped.clone());
        async move {
            tokio::select! {
                () = leadership.lost() => tracing::warn!("not the leader any more: nothing is written from here on"),
                () = until(stopped) => {}
            }
        }
    };

    // Decisions need all three caches: a policy that saw no points would say that it has none.
    let caches = [points.read.clone(), events.read.clone()];
    let policy_work = Controller::for_stream(policies.stream, policies.store)
        .with_config(config.clone())
        .reconcile_on(policy_pokes)
        .graceful_shutdown_on(end())
        .run(
            move |object, context| {
                let caches = caches.clone();
                async move {
                    for read in caches {
                        until(read).await;
                    }
                    counted(object, context, policy::reconcile).await
                }
            },
            |object, error: &policy::Error, context| {
                retry("policy", &object, error, error.is_old_picture(), &context)
            },
            context.clone(),
        )
        .for_each(|_| futures::future::ready(()));
    let event_work = Controller::for_stream(events.stream, events.store)
        .with_config(config.clone())
        .reconcile_on(event_pokes)
        .graceful_shutdown_on(end())
        .run(
            |object, context| counted(object, context, event::reconcile),
            |object, error: &event::Error, context| {
                retry("event", &object, error, error.is_old_picture(), &context)
            },
            context.clone(),
        )
        .for_each(|_| futures::future::ready(()));
    let point_work = Controller::for_stream(points.stream, points.store)
        .with_config(config)
        .graceful_shutdown_on(end())
        .run(
            |object, context| counted(object, context, point::reconcile),
            |object, error: &point::Error, context| retry("point", &object, error, false, &context),
            context.clone(),
        )
        .for_each(|_| futures::future::ready(()));
    tokio::select! {
        _ = async { tokio::join!(policy_work, event_work, point_work) } => {}
        () = beside(&context, settings, keys, went) => {}
    }
    Ok(())
}

/// What is looked after beside the objects.
async fn beside(
    context: &Arc<Context>,
    settings: &Settings,
    keys: watch::Sender<Keys>,
    went: mpsc::UnboundedReceiver<Gone>,
) {
    let namespace = settings.leader_election_namespace.clone();
    tokio::select! {
        () = sweep(context.clone()) => {}
        () = keep_keys(context.clone(), namespace, keys) => {}
        () = server::follow(context) => {}
        () = follow_deletions(context, went) => {}
    }
}

/// A cache of a kind.
struct Cache<K, S>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store: Store<Guarded<K>>,
    /// Fills the store, and says what has changed.
    stream: S,
    /// Whether the store has been filled once. Its own `wait_until_ready` wakes only the last of
    /// several who wait, and its controller is one of them.
    read: watch::Receiver<bool>,
}

/// An object was deleted that spoke of these workloads.
struct Gone {
    namespace: String,
    workloads: Vec<String>,
    /// What rests because of it.
    suspended: Vec<Suspended>,
}

/// What speaks of workloads.
trait About {
    fn workloads(&self) -> Vec<String>;

    fn suspended(&self) -> Vec<Suspended> {
        Vec::new()
    }
}

impl About for RollbackPolicy {
    fn workloads(&self) -> Vec<String> {
        let names = self.spec.deployments().into_iter();
        names.map(str::to_owned).collect()
    }

    fn suspended(&self) -> Vec<Suspended> {
        self.status
            .iter()
            .flat_map(|s| s.suspended.clone())
            .collect()
    }
}

impl About for RollbackPoint {
    fn workloads(&self) -> Vec<String> {
        vec![self.spec.workload.name.clone()]
    }
}

impl About for RollbackEvent {
    fn workloads(&self) -> Vec<String> {
        self.spec.workloads.iter().map(|w| w.name.clone()).collect()
    }
}

/// What is not there any more is not reconciled, and its deletion can change what a policy does: a
/// second policy takes over, a record is lifted.
async fn follow_deletions(context: &Context, mut went: mpsc::UnboundedReceiver<Gone>) {
    while let Some(gone) = went.next().await {
        for entry in &gone.suspended {
            if let Err(error) = policy::gitops::resume(context, entry).await {
                tracing::error!(%error, namespace = entry.namespace, name = entry.name, kind = entry.kind,
                    "its policy is deleted, and it could not be made to work again; resume it by hand");
            }
        }
        context.poke_policies_of(&gone.namespace, &gone.workloads);
    }
}

fn watched<K>(
    client: &Client,
    settings: &Settings,
    gone: &mpsc::UnboundedSender<Gone>,
    trim: fn(&mut K),
) -> Cache<K, impl Stream<Item = Result<Guarded<K>, watcher::Error>> + Send + 'static>
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
    let api: Api<Guarded<K>> = match &settings.watch_namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let (store, writer) = reflector::store();
    let stream = watcher(api, watcher::Config::default())
        .modify(move |object| {
            object.meta_mut().managed_fields = None;
            if let Ok(object) = &mut object.0 {
                trim(object);
            }
        })
        .default_backoff();
    let (read, is_read) = watch::channel(false);
    let gone = gone.clone();
    let stream = reflector::reflector(writer, stream)
        .inspect_ok(move |event| match event {
            watcher::Event::InitDone => {
                read.send_replace(true);
            }
            watcher::Event::Delete(Guarded { 0: Ok(object) }) => {
                let _ = gone.unbounded_send(Gone {
                    namespace: object.meta().namespace.clone().unwrap_or_default(),
                    workloads: object.workloads(),
                    suspended: object.suspended(),
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

/// Points are many and templates are large: the cache has what decisions need.
fn without_template(point: &mut RollbackPoint) {
    let release = point.spec.release.iter_mut();
    for workload in release.flat_map(|r| &mut r.workloads) {
        workload.template = Value::Null;
        workload.ownership = backstop_api::point::Ownership::default();
    }
}

/// Reconciles an object, and ends its waiting when that has worked.
async fn counted<K, E, W>(
    object: Arc<K>,
    context: Arc<Context>,
    work: impl FnOnce(Arc<K>, Arc<Context>) -> W,
) -> Result<Action, E>
where
    K: Resource,
    W: Future<Output = Result<Action, E>>,
{
    let uid = uid(object.meta());
    let result = work(object, context.clone()).await;
    if result.is_ok() {
        context.backoffs.forget(&uid);
    }
    result
}

fn uid(meta: &ObjectMeta) -> String {
    meta.uid.clone().unwrap_or_default()
}

/// What to do after a failure: another look, later each time; at once where only the picture was
/// old.
fn retry<K>(
    kind: &'static str,
    object: &Arc<K>,
    error: &dyn std::error::Error,
    old_picture: bool,
    context: &Arc<Context>,
) -> Action
where
    K: Resource,
{
    if old_picture {
        tracing::debug!(kind, name = object.meta().name, %error, "looked again");
        return Action::requeue(Duration::from_millis(10));
    }
    context.metrics.failed(kind);
    tracing::warn!(
        kind,
        namespace = object.meta().namespace,
        name = object.meta().name,
        %error,
        "could not be reconciled; trying again"
    );
    Action::requeue(context.backoffs.next(&uid(object.meta())))
}

/// Reads the keys, and again every day: one that is old enough gets a successor by that.
async fn keep_keys(context: Arc<Context>, namespace: String, keys: watch::Sender<Keys>) {
    loop {
        let place = Place {
            client: &context.client,
            calls: &context.calls,
            namespace: &namespace,
        };
        let today = jiff::Timestamp::now()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date();
        let read = key_ring(place, today).await;
        let next = if read.is_ok() { A_DAY } else { KEYS_RETRIED };
        match &read {
            Ok(ring) => {
                for problem in ring.problems() {
                    tracing::warn!(%problem, namespace, "a key of the configuration store cannot be used");
                }
            }
            Err(error) => {
                tracing::warn!(%error, namespace, "there are no keys, so configuration is not kept with points");
            }
        }
        keys.send_replace(Some(read.map(Arc::new).map_err(|e| e.to_string())));
        tokio::time::sleep(next).await;
    }
}

/// Lets go of what is watched for policies that are not there any more.
async fn sweep(context: Arc<Context>) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        let left = context.observers.keep(|namespace, name| {
            let key = reflector::ObjectRef::<Guarded<RollbackPolicy>>::new(name).within(namespace);
            context.policies.get(&key).is_some()
        });
        let open = context.events.state_filter(|e| {
            e.0.as_ref().is_ok_and(|e| {
                !e.status
                    .as_ref()
                    .and_then(|s| s.phase)
                    .is_some_and(EventPhase::is_terminal)
            })
        });
        context.metrics.sizes(left, open.len());
    }
}
