//! What every reconciler works with.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy, event::EventPhase};
use backstop_sources::{AllowList, Prober, Querier};
use backstop_traffic::Table;
use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::reflector::{ObjectRef, Store},
};

use tokio::sync::watch;

use crate::{
    alerts::Inbox,
    calls::Calls,
    config::keys::KeyRing,
    metrics::Metrics,
    notify::{Channels, Unusable},
    observe::Observers,
    pause::Switch,
    server::ServerVersion,
    tell::Teller,
};

/// The keys, or why there are none; `None` while nobody has looked yet.
pub type Keys = Option<Result<Arc<KeyRing>, String>>;

/// An object as it is cached: one that cannot be read stops nothing.
pub type Guarded<K> = DeserializeGuard<K>;

/// What every reconciler works with.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// How it is called.
    pub calls: Calls,
    /// Which version it has.
    pub server: ServerVersion,
    /// Kubernetes Events.
    pub teller: Teller,
    /// Our own metrics.
    pub metrics: Arc<Metrics>,
    /// What is watched for each policy.
    pub observers: Observers,
    /// Asks metrics sources.
    pub querier: Querier,
    /// Asks for health.
    pub prober: Prober,
    /// The alerts that were heard; none where the operator listens for none.
    pub alerts: Option<Arc<Inbox>>,
    /// The kinds of routes that are known.
    pub routes: Table,
    /// The keys under which configuration is told apart and kept; or why there are none.
    pub keys: watch::Receiver<Keys>,
    /// Whether Backstop acts.
    pub paused: watch::Receiver<Switch>,
    /// Which addresses of Prometheus may be asked.
    pub allowed: AllowList,
    /// Which web services may be asked.
    pub web_allowed: AllowList,
    /// Whom the operator tells, and where messages may be sent.
    pub channels: Channels,
    /// Which channels could not be used if they had to be.
    pub unusable: Unusable,
    /// Namespaces beside a policy's own whose GitOps objects may be suspended.
    pub gitops_namespaces: Vec<String>,
    /// Every policy.
    pub policies: Store<Guarded<RollbackPolicy>>,
    /// Every point, without its template.
    pub points: Store<Guarded<RollbackPoint>>,
    /// Every rollback.
    pub events: Store<Guarded<RollbackEvent>>,
    /// Asks for a policy to be looked at.
    pub poke_policy: UnboundedSender<ObjectRef<Guarded<RollbackPolicy>>>,
    /// Asks for a rollback to be looked at.
    pub poke_event: UnboundedSender<ObjectRef<Guarded<RollbackEvent>>>,
    /// Asks for a point to be looked at.
    pub poke_point: UnboundedSender<ObjectRef<Guarded<RollbackPoint>>>,
    /// What has been told already.
    pub told: Told,
    /// How long to wait before another try, by object.
    pub backoffs: Backoffs,
}

impl Context {
    /// Asks for a policy to be looked at.
    pub fn poke_policy(&self, namespace: &str, name: &str) {
        // Nobody listens any more only while everything stops.
        let _ = self
            .poke_policy
            .unbounded_send(ObjectRef::new(name).within(namespace));
    }

    /// Asks for every policy of these workloads to be looked at.
    pub fn poke_policies_of(&self, namespace: &str, workloads: &[String]) {
        for policy in self.policies_of(namespace) {
            let named = policy.spec.deployments();
            if workloads.iter().any(|w| named.contains(&w.as_str())) {
                self.poke_policy(namespace, &policy.name_any());
            }
        }
    }

    /// Asks for a policy's open rollbacks to be looked at.
    pub fn poke_events(&self, namespace: &str, policy: &str) {
        for event in self.events_of(namespace, policy) {
            let over = event
                .status
                .as_ref()
                .and_then(|s| s.phase)
                .is_some_and(EventPhase::is_terminal);
            if !over {
                let poke = ObjectRef::new(&event.name_any()).within(namespace);
                let _ = self.poke_event.unbounded_send(poke);
            }
        }
    }

    /// Asks for the points of a workload to be looked at.
    pub fn poke_points(&self, namespace: &str, workload: &str) {
        for point in self.points_of(namespace, workload) {
            let poke = ObjectRef::new(&point.name_any()).within(namespace);
            let _ = self.poke_point.unbounded_send(poke);
        }
    }

    /// The policies of a namespace.
    pub fn policies_of(&self, namespace: &str) -> Vec<RollbackPolicy> {
        within(&self.policies, namespace)
    }

    /// The policy that looks after a Deployment: of several the oldest, for the others are refused.
    pub fn policy_over(&self, namespace: &str, deployment: &str) -> Option<RollbackPolicy> {
        let policies = self.policies_of(namespace).into_iter();
        policies
            .filter(|p| {
                p.metadata.deletion_timestamp.is_none()
                    && p.spec.deployments().contains(&deployment)
            })
            .min_by_key(age)
    }

    /// The rollbacks of a policy.
    pub fn events_of(&self, namespace: &str, policy: &str) -> Vec<RollbackEvent> {
        let mut events: Vec<RollbackEvent> = within(&self.events, namespace);
        events.retain(|e| e.spec.policy == policy);
        events
    }

    /// The points of a workload.
    pub fn points_of(&self, namespace: &str, workload: &str) -> Vec<RollbackPoint> {
        let mut points: Vec<RollbackPoint> = within(&self.points, namespace);
        points.retain(|p| p.spec.workload.name == workload);
        points
    }
}

/// Of two policies the one that was there first looks after what both name.
pub(crate) fn age(policy: &RollbackPolicy) -> (Option<Timestamp>, String) {
    let created = policy.creation_timestamp().map(|t| t.0);
    (created, policy.name_any())
}

fn within<K>(store: &Store<Guarded<K>>, namespace: &str) -> Vec<K>
where
    K: Resource + Clone + 'static,
    Guarded<K>: Resource + Clone,
    <Guarded<K> as Resource>::DynamicType: Eq + std::hash::Hash + Clone,
{
    store
        .state_filter(|g| g.meta().namespace.as_deref() == Some(namespace))
        .iter()
        .filter_map(|g| g.0.as_ref().ok().cloned())
        .collect()
}

/// Names a Deployment for a Kubernetes Event.
#[must_use]
pub fn deployment_reference(namespace: &str, name: &str, uid: Option<&str>) -> ObjectReference {
    ObjectReference {
        api_version: Some("apps/v1".into()),
        kind: Some("Deployment".into()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: uid.map(str::to_owned),
        ..ObjectReference::default()
    }
}

/// What has been told already, so that it is told once.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashSet<String>>);

impl Told {
    /// So many are remembered; older ones are too old to be told again.
    const REMEMBERED: usize = 4096;

    /// Whether this is said for the first time.
    pub fn first(&self, what: String) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= Self::REMEMBERED {
            told.clear();
        }
        told.insert(what)
    }
}

/// How long to wait before another try, by object: longer each time, with jitter, until it works.
#[derive(Debug, Default)]
pub struct Backoffs(Mutex<HashMap<String, ExponentialBackoff>>);

impl Backoffs {
    /// The first wait is about this.
    const FIRST: Duration = Duration::from_millis(250);
    /// No wait is much longer than this.
    const LONGEST: Duration = Duration::from_secs(30);

    /// How long to wait after another failure.
    pub fn next(&self, object: &str) -> Duration {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits
            .entry(object.to_owned())
            .or_insert_with(|| {
                ExponentialBuilder::new()
                    .with_min_delay(Self::FIRST)
                    .with_max_delay(Self::LONGEST)
                    .with_jitter()
                    .without_max_times()
                    .build()
            })
            .next()
            .unwrap_or(Self::LONGEST)
    }

    /// It has worked.
    pub fn forget(&self, object: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(object);
    }
}
