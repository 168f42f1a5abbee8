//! A Prometheus for all tests of a process, and worlds whose pods have traffic that it sees.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use backstop_api::RollbackPoint;
use backstop_testenv::traffic::Follower;
use backstop_testenv::{AppTraffic, Exporter, Load, Prometheus, PrometheusOptions, Source};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::world::{APP, App, World};

/// The share of the release's requests that fail.
pub const ERROR_SHARE: &str = r#"
(sum(rate(http_requests_total{namespace="{{ namespace }}",pod=~"{{ pods }}",code="500"}[5s]))
  or 0 * sum(rate(http_requests_total{namespace="{{ namespace }}",pod=~"{{ pods }}"}[5s])))
/ sum(rate(http_requests_total{namespace="{{ namespace }}",pod=~"{{ pods }}"}[5s]))"#;

/// The mean time that a request of the release takes.
pub const LATENCY: &str = r#"
sum(rate(http_request_duration_seconds_sum{namespace="{{ namespace }}",pod=~"{{ pods }}"}[5s]))
/ sum(rate(http_request_duration_seconds_count{namespace="{{ namespace }}",pod=~"{{ pods }}"}[5s]))"#;

/// Requests in a second, of each pod: far above what a share needs to be a share.
const RPS: f64 = 50.0;

/// One for each test process, started by whoever asks first.
static SHARED: OnceCell<Metrics> = OnceCell::const_new();

/// Traffic without errors.
pub fn healthy() -> Load {
    Load::healthy(RPS)
}

/// Traffic of which half fails.
pub fn failing() -> Load {
    Load::failing(RPS, 0.5)
}

/// Fires when more than 5 % of the release's requests fail.
pub fn error_rate() -> Value {
    json!({
        "name": "error-rate", "interval": "1s", "condition": "value > 0.05",
        "prometheus": {"query": ERROR_SHARE.trim()},
    })
}

/// A policy that acts quickly, with one trigger.
pub fn policy_with(trigger: &Value) -> Value {
    json!({
        "workloads": [{"name": APP}],
        "points": {"soak": "2s"},
        "limits": {"cooldown": "0s"},
        "triggers": [trigger],
    })
}

/// A trigger with some of its fields written anew.
#[must_use]
pub fn changed(mut trigger: Value, fields: Value) -> Value {
    if let (Some(trigger), Value::Object(fields)) = (trigger.as_object_mut(), fields) {
        trigger.extend(fields);
    }
    trigger
}

/// Made-up traffic, and the Prometheus that sees it.
pub struct Metrics {
    traffic: AppTraffic,
    /// Scrapes every second.
    pub prometheus: Prometheus,
    // Serves for as long as it is there.
    _exporter: Exporter,
}

impl Metrics {
    /// Those that the tests of this process share.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        SHARED.get_or_try_init(Self::start).await
    }

    /// Some of one's own, to be stopped.
    pub async fn start() -> anyhow::Result<Self> {
        Self::with(PrometheusOptions::default()).await
    }

    /// The same with a Prometheus of one's choice.
    pub async fn with(options: PrometheusOptions) -> anyhow::Result<Self> {
        let traffic = AppTraffic::default();
        let exporter = Exporter::start(traffic.clone())?;
        let targets = vec![exporter.target()];
        let prometheus = Prometheus::start(PrometheusOptions {
            targets: targets.clone(),
            ..options
        })
        .await?;
        prometheus.scraped(&targets).await?;
        Ok(Self {
            traffic,
            prometheus,
            _exporter: exporter,
        })
    }
}

/// A world whose pods have traffic, each as its version says.
pub struct Metered {
    world: World,
    traffic: AppTraffic,
    loads: Loads,
    // Gives new pods their traffic for as long as it is there.
    _follower: Follower,
}

/// By version.
type Loads = Arc<Mutex<BTreeMap<String, Load>>>;

impl Metered {
    /// A world whose operator asks the shared Prometheus.
    pub async fn new(name: &str) -> anyhow::Result<Self> {
        let metrics = Metrics::shared().await?;
        Self::asking(name, metrics, metrics.prometheus.url(), &[]).await
    }

    /// A world whose operator asks at `url`, with further flags.
    pub async fn asking(
        name: &str,
        metrics: &Metrics,
        url: &str,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let flags: Vec<String> = ["--prometheus-url", url]
            .iter()
            .chain(flags)
            .map(ToString::to_string)
            .collect();
        let world = World::with(name, &flags).await?;
        let loads = Loads::default();
        let by_version = loads.clone();
        let follower = metrics
            .traffic
            .follow(world.cluster, &world.namespace, move |pod| {
                locked(&by_version).get(version_of(pod)?).copied()
            })?;
        Ok(Self {
            world,
            traffic: metrics.traffic.clone(),
            loads,
            _follower: follower,
        })
    }

    /// A world in which `v1` is live without errors, and has proved itself under `policy`.
    pub async fn with_good_release(
        name: &str,
        policy: Value,
    ) -> anyhow::Result<(Self, RollbackPoint)> {
        let world = Self::new(name).await?;
        let point = world.prove(policy).await?;
        Ok((world, point))
    }

    /// Deploys `v1` without errors, and waits until it has proved itself under `policy`.
    pub async fn prove(&self, policy: Value) -> anyhow::Result<RollbackPoint> {
        self.load("v1", healthy()).await?;
        self.deploy(&App::version("v1")).await?;
        self.policy(policy).await?;
        self.good_point(1).await
    }

    /// Deploys a version that has this load.
    pub async fn release(&self, version: &str, load: Load) -> anyhow::Result<()> {
        self.load(version, load).await?;
        self.deploy(&App::version(version)).await?;
        Ok(())
    }

    /// Gives the pods of a version this load from now on, those to come as well. A version that was
    /// never given one has no series.
    pub async fn load(&self, version: &str, load: Load) -> anyhow::Result<()> {
        locked(&self.loads).insert(version.to_owned(), load);
        for pod in self.api::<Pod>().list(&ListParams::default()).await? {
            // The others get it when they are ready.
            let ready = pod
                .status
                .iter()
                .flat_map(|s| s.conditions.iter().flatten());
            if version_of(&pod) == Some(version)
                && pod.metadata.deletion_timestamp.is_none()
                && ready
                    .into_iter()
                    .any(|c| c.type_ == "Ready" && c.status == "True")
            {
                let source = Source::pod(&self.namespace, &pod.name_any());
                self.traffic.set(source, load);
            }
        }
        Ok(())
    }

    /// The Deployment's generation: every write to its spec raises it.
    pub async fn generation(&self) -> anyhow::Result<Option<i64>> {
        let deployments = self.api::<k8s_openapi::api::apps::v1::Deployment>();
        Ok(deployments.get(APP).await?.metadata.generation)
    }

    /// Waits until the trigger that is called so satisfies `holds`, by what the policy's status says
    /// of it.
    pub async fn trigger_says(
        &self,
        trigger: &str,
        what: &str,
        holds: impl Fn(&backstop_api::policy::TriggerStatus) -> bool,
    ) -> anyhow::Result<()> {
        self.policy_says(&format!("trigger {trigger} {what}"), |status| {
            status
                .triggers
                .iter()
                .any(|t| t.name == trigger && holds(t))
        })
        .await?;
        Ok(())
    }

    /// Checks that for a while nothing is changed and no rollback is recorded beyond those that there
    /// are.
    pub async fn no_rollback(&self, while_: Duration) -> anyhow::Result<()> {
        let before = self.events().await?.len();
        self.nothing_happens(while_).await?;
        let events = self.events().await?;
        ensure!(
            events.len() == before,
            "a rollback was recorded: {events:#?}"
        );
        Ok(())
    }

    /// Checks that no release is on record as one that failed.
    pub async fn nothing_is_quarantined(&self) -> anyhow::Result<()> {
        let failed = self.points("Quarantined").await?;
        ensure!(failed.is_empty(), "{failed:#?}");
        Ok(())
    }
}

impl Deref for Metered {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn version_of(pod: &Pod) -> Option<&str> {
    let image = pod.spec.as_ref()?.containers.first()?.image.as_deref()?;
    Some(image.rsplit_once(':')?.1)
}
