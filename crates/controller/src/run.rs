//! Starting, leading, and stopping in order.

use std::{sync::Arc, time::Duration};

use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy};
use backstop_notify::{Allowed, operator_channels};
use backstop_sources::{AllowList, Limits, Outcome, Prober, Querier};
use backstop_traffic::Table;
use futures::{Stream, StreamExt, channel::mpsc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Client, Resource,
    runtime::{
        Controller,
        controller::{self, Action},
        reflector, watcher,
    },
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
};

use tracing::{Instrument, Span};

use crate::{
    alerts::{self, Inbox},
    audit,
    cache::{Cache, Gone, Watches, without_template},
    calls::Calls,
    client::{client, impatient_client},
    config::rotation,
    context::{Backoffs, Context, Guarded, Keys, Told},
    event, http, leader,
    leader::Leadership,
    metrics::Metrics,
    notify::{self, Channels, Subject, Unusable},
    observe::Observers,
    pause::{self, Switch},
    point, policy, retention,
    server::{self, ServerVersion},
    settings::Settings,
    standing, telemetry,
    tell::Teller,
};

/// How often what is watched is compared with what is there.
const SWEEP: Duration = Duration::from_secs(15);

/// What is under way when the operator is told to stop has so long to end: longer than a call, and less than a pod is
/// given.
const UNDER_WAY: Duration = Duration::from_secs(15);

/// What stays the same from one time of leading to the next.
struct Common {
    metrics: Arc<Metrics>,
    allowed: AllowList,
    web_allowed: AllowList,
    routes: Table,
    channels: Channels,
    alerts: Option<Arc<Inbox>>,
}

/// Runs the operator until it is told to stop.
pub async fn run(settings: Settings, metrics: Arc<Metrics>) -> anyhow::Result<()> {
    let allowed = AllowList::new(
        settings.prometheus_url.as_deref(),
        &settings.prometheus_allow,
    )?;
    // A list of its own: what answers queries is not there to be sent whatever a policy likes.
    let web_allowed = AllowList::new(None, &settings.web_allow)?;
    let client = client().await?;
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
    let hearing = alerts::start(&settings, &metrics, until(stopped.clone())).await?;
    let common = Common {
        metrics: metrics.clone(),
        allowed,
        web_allowed,
        routes: routes(&settings)?,
        channels: channels(&settings)?,
        alerts: hearing.as_ref().map(|hearing| hearing.inbox.clone()),
    };
    let version = client.apiserver_version().await?;
    tracing::info!(server = version.git_version, allowed = %common.allowed, web = %common.web_allowed, notifications = %common.channels.allowed, identity = settings.identity, "starting");
    ready.send_replace(true);

    let (mut leadership, keeper) = leader::compete(impatient_client().await?, &settings).await?;
    while !*stopped.borrow() {
        tracing::info!(lease = settings.lease_name, "waiting to be the leader");
        tokio::select! {
            gained = leadership.gained() => if !gained { anyhow::bail!("the lease is kept no more") },
            () = until(stopped.clone()) => break,
        }
        tracing::info!("leading: policies are looked after from now on");
        metrics.leads(true);
        let led = lead(
            &client,
            &settings,
            &common,
            leadership.clone(),
            stopped.clone(),
        );
        let led = Box::pin(led).await;
        if let Some(inbox) = &common.alerts {
            inbox.close();
        }
        led?;
        metrics.leads(false);
    }
    keeper.give_back().await;
    server.await??;
    if let Some(hearing) = hearing {
        hearing.ended().await?;
    }
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

/// Whom the operator tells itself, and where messages may be sent.
fn channels(settings: &Settings) -> anyhow::Result<Channels> {
    let allowed = Allowed::new(&settings.notifications_allow)
        .map_err(|error| anyhow::anyhow!("--notifications-allow: {error}"))?;
    let own = match &settings.notifications_file {
        None => Vec::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| anyhow::anyhow!("--notifications-file {}: {e}", path.display()))?;
            operator_channels(&text, &allowed).map_err(|errors| {
                let words = errors.join("; ");
                anyhow::anyhow!("--notifications-file {}: {words}", path.display())
            })?
        }
    };
    Ok(Channels {
        allowed,
        own,
        namespace: settings.leader_election_namespace.clone(),
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

/// Waits until this replica is not the leader any more, or is to stop.
async fn over(mut leadership: Leadership, stopped: watch::Receiver<bool>) {
    tokio::select! {
        () = leadership.lost() => tracing::warn!("not the leader any more: nothing is written from here on"),
        () = until(stopped) => {}
    }
}

/// Waits until what is under way has had its time to end. Before the caches are filled nothing is under way, and a
/// reconciler would wait for them.
async fn cut_short(end: impl Future<Output = ()>, caches: [watch::Receiver<bool>; 3]) {
    end.await;
    if caches.iter().all(|read| *read.borrow()) {
        tokio::time::sleep(UNDER_WAY).await;
    }
}

/// Looks after every policy while this replica is the leader.
async fn lead(
    client: &Client,
    settings: &Settings,
    common: &Common,
    leadership: Leadership,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let metrics = &common.metrics;
    let calls = Calls::new(leadership.clone(), metrics.clone());
    let (gone, went) = mpsc::unbounded();
    let (poke_teller, teller_pokes) = mpsc::unbounded();
    let watches = Watches {
        client,
        namespaces: &settings.watch_namespace,
        gone,
        changed: poke_teller,
    };
    let policies = watches.watched::<RollbackPolicy>(|_| {});
    let points = watches.watched::<RollbackPoint>(without_template);
    let events = watches.watched::<RollbackEvent>(|_| {});
    let (poke_policy, policy_pokes) = mpsc::unbounded();
    let (poke_event, event_pokes) = mpsc::unbounded();
    let (poke_point, point_pokes) = mpsc::unbounded();
    let (querier, prober) = askers(metrics)?;
    let (keys, has_keys) = watch::channel(None);
    let (switch, paused) = watch::channel(Switch::Unread);
    let context = Arc::new(Context {
        teller: Teller::new(client.clone(), &settings.identity, calls.clone()),
        client: client.clone(),
        server: ServerVersion::ask(client, &calls).await?,
        calls,
        metrics: metrics.clone(),
        observers: Observers::default(),
        querier,
        prober,
        allowed: common.allowed.clone(),
        web_allowed: common.web_allowed.clone(),
        alerts: common.alerts.clone(),
        channels: common.channels.clone(),
        unusable: Unusable::default(),
        routes: common.routes.clone(),
        keys: has_keys,
        paused,
        gitops_namespaces: settings.gitops_namespaces.clone(),
        policies: policies.store.clone(),
        points: points.store.clone(),
        events: events.store.clone(),
        poke_policy,
        poke_event,
        poke_point,
        told: Told::default(),
        backoffs: Backoffs::default(),
    });
    if let Some(inbox) = &common.alerts {
        inbox.open(&context);
    }
    let config = controller::Config::default().concurrency(settings.concurrency);
    let end = || over(leadership.clone(), stopped.clone());

    // Decisions need all three caches: a policy that saw no points would say that it has none.
    let read = [&policies.read, &points.read, &events.read].map(Clone::clone);
    let caches = read.clone();
    let policies_read = policies.read.clone();
    let events_read = events.read.clone();
    let told_of = [policies.read.clone(), events.read.clone()];
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
                    pause::read(context.paused.clone()).await;
                    counted(object, context, policy::reconcile).await
                }
            },
            |object, error: &policy::Error, context| {
                retry("policy", &object, error, error.is_old_picture(), &context)
            },
            context.clone(),
        )
        .for_each(|_| futures::future::ready(()));
    let event_work = carry_out(events, config.clone(), event_pokes, end(), context.clone());
    let point_work = keep_points(points, config, point_pokes, end(), context.clone());
    tokio::select! {
        _ = async { tokio::join!(policy_work, event_work, point_work) } => {}
        () = beside(&context, settings, keys, switch, went, policies_read) => {}
        () = cut_short(end(), read) => {}
        () = tell(context.clone(), told_of, teller_pokes) => {}
        () = account(context.clone(), events_read, settings) => {}
    }
    Ok(())
}

/// Carries out the rollbacks.
fn carry_out<S>(
    events: Cache<RollbackEvent, S>,
    config: controller::Config,
    pokes: mpsc::UnboundedReceiver<reflector::ObjectRef<Guarded<RollbackEvent>>>,
    end: impl Future<Output = ()> + Send + Sync + 'static,
    context: Arc<Context>,
) -> impl Future<Output = ()>
where
    S: Stream<Item = Result<Guarded<RollbackEvent>, watcher::Error>> + Send + 'static,
{
    Controller::for_stream(events.stream, events.store)
        .with_config(config)
        .reconcile_on(pokes)
        .graceful_shutdown_on(end)
        .run(
            |object, context: Arc<Context>| async move {
                pause::read(context.paused.clone()).await;
                counted(object, context, event::reconcile).await
            },
            |object, error: &event::Error, context| {
                retry("event", &object, error, error.is_old_picture(), &context)
            },
            context,
        )
        .for_each(|_| futures::future::ready(()))
}

/// Looks after the points.
fn keep_points<S>(
    points: Cache<RollbackPoint, S>,
    config: controller::Config,
    pokes: mpsc::UnboundedReceiver<reflector::ObjectRef<Guarded<RollbackPoint>>>,
    end: impl Future<Output = ()> + Send + Sync + 'static,
    context: Arc<Context>,
) -> impl Future<Output = ()>
where
    S: Stream<Item = Result<Guarded<RollbackPoint>, watcher::Error>> + Send + 'static,
{
    Controller::for_stream(points.stream, points.store)
        .with_config(config)
        .reconcile_on(pokes)
        .graceful_shutdown_on(end)
        .run(
            |object, context| counted(object, context, point::reconcile),
            |object, error: &point::Error, context| retry("point", &object, error, false, &context),
            context,
        )
        .for_each(|_| futures::future::ready(()))
}

/// Tells people, as soon as the caches have been read.
async fn tell(
    context: Arc<Context>,
    caches: [watch::Receiver<bool>; 2],
    pokes: mpsc::UnboundedReceiver<Subject>,
) {
    for read in caches {
        until(read).await;
    }
    notify::tell(context, pokes).await;
}

/// Writes the audit log, lets old records go and looks after keys, as soon as all of them have been read.
async fn account(context: Arc<Context>, cache: watch::Receiver<bool>, settings: &Settings) {
    until(cache).await;
    let log = async {
        match settings.audit_file.clone() {
            Some(log) => audit::keep(context.clone(), log).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(
        log,
        retention::keep(
            context.clone(),
            retention::Rules {
                days: settings.event_retention_days,
                newest: settings.event_limit,
            },
        ),
        rotation::follow(context.clone(), settings.key_rotation_days),
    );
}

/// What goes on beside the reconcilers, for as long as they do.
async fn beside(
    context: &Arc<Context>,
    settings: &Settings,
    keys: watch::Sender<Keys>,
    switch: watch::Sender<Switch>,
    went: mpsc::UnboundedReceiver<Gone>,
    policies: watch::Receiver<bool>,
) {
    let namespace = &settings.leader_election_namespace;
    let sweep = sweep(context.clone());
    let keys = rotation::keep_keys(
        context.clone(),
        (namespace.clone(), settings.key_rotation_days),
        keys,
    );
    let place = (namespace.clone(), settings.config_map.clone());
    let paused = pause::follow(context.clone(), place, switch);
    let orphaned = Notify::new();
    let watched = settings.watch_namespace.clone();
    let orphans = policy::gitops::orphans::follow(context.clone(), watched, policies, &orphaned);
    tokio::select! {
        () = sweep => {}
        () = standing::count(context.clone()) => {}
        () = keys => {}
        () = paused => {}
        () = server::follow(context) => {}
        () = follow_deletions(context, went, &orphaned) => {}
        () = orphans => {}
    }
}

/// What asks sources of metrics, and what asks for health: both are counted.
fn askers(metrics: &Arc<Metrics>) -> anyhow::Result<(Querier, Prober)> {
    let (of_queries, of_health) = (metrics.clone(), metrics.clone());
    let querier = Querier::new(
        Limits::default(),
        move |took: Duration, outcome: Outcome| of_queries.asked(outcome.as_str(), took),
    );
    let prober = Prober::new(move |took, result| of_health.probed(result, took))?;
    Ok((querier, prober))
}

/// What is not there any more is not reconciled, and its deletion can change what a policy does: a
/// second policy takes over, a record is lifted.
async fn follow_deletions(
    context: &Context,
    mut went: mpsc::UnboundedReceiver<Gone>,
    orphaned: &Notify,
) {
    while let Some(gone) = went.next().await {
        if gone.suspends {
            orphaned.notify_one();
        }
        context.poke_policies_of(&gone.namespace, &gone.workloads);
    }
}

/// The span of a reconciliation.
fn reconciling<K: Resource<DynamicType = ()>>(object: &K, uid: &str) -> Span {
    let kind = K::kind(&());
    let span = tracing::info_span!(
        "reconcile",
        otel.name = format!("reconcile {kind}"),
        kind = %kind,
        namespace = object.meta().namespace,
        name = object.meta().name,
    );
    if kind == RollbackEvent::kind(&()) {
        telemetry::is_of_rollback(&span, uid);
    }
    span
}

/// Reconciles an object, and ends its waiting when that has worked.
async fn counted<K, E, W>(
    object: Arc<K>,
    context: Arc<Context>,
    work: impl FnOnce(Arc<K>, Arc<Context>) -> W,
) -> Result<Action, E>
where
    K: Resource<DynamicType = ()>,
    W: Future<Output = Result<Action, E>>,
{
    let uid = uid(object.meta());
    let span = reconciling(object.as_ref(), &uid);
    let result = work(object, context.clone()).instrument(span).await;
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

/// Lets go of what is watched for policies that are not there any more.
async fn sweep(context: Arc<Context>) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        let left = context.observers.keep(|namespace, name| {
            let key = reflector::ObjectRef::<Guarded<RollbackPolicy>>::new(name).within(namespace);
            let exists = context.policies.get(&key).is_some();
            if !exists {
                context.metrics.scored(namespace, name, None);
            }
            exists
        });
        context.metrics.sizes(left);
    }
}
