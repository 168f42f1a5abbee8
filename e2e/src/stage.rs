//! A world whose pods are real: an operator that asks a Prometheus, which scrapes them, while requests come from outside.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use anyhow::ensure;
use backstop_testenv::prometheus::Target;
use backstop_testenv::{Cluster, LoadGenerator, Node, Prometheus, PrometheusOptions, Traefik};
use backstop_testenv::{Responses, eventually};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use crate::real::{self, PORT, RealApp};
use crate::world::{SOON, World};

/// So many answers make a share, and show that something goes on.
pub const SAMPLE: usize = 200;

/// One for each test process, started by whoever asks first.
static PROMETHEUS: OnceCell<Prometheus> = OnceCell::const_new();

/// The Prometheus that scrapes the real pods of all tests of this process.
pub async fn prometheus() -> anyhow::Result<&'static Prometheus> {
    let start = || Prometheus::start(PrometheusOptions::default());
    PROMETHEUS.get_or_try_init(start).await
}

/// A namespace on the real node, and an operator for it.
pub struct Stage {
    world: World,
    // Tells of new pods for as long as it is there.
    _discovery: Discovery,
}

impl Stage {
    /// `None` where there can be no real node: the test is over then.
    pub async fn new(name: &str) -> anyhow::Result<Option<Self>> {
        if Node::shared().await?.is_none() {
            return Ok(None);
        }
        let prometheus = prometheus().await?;
        let flags = ["--prometheus-url".to_owned(), prometheus.url().to_owned()];
        let world = World::with(name, &flags).await?;
        let discovery = Discovery::of(world.api(), &world.namespace, prometheus);
        Ok(Some(Self {
            world,
            _discovery: discovery,
        }))
    }

    /// The same behind the proxy, for which there are routes.
    pub async fn behind_traefik(name: &str) -> anyhow::Result<Option<(Self, &'static Traefik)>> {
        if Node::shared().await?.is_none() {
            return Ok(None);
        }
        // Before the operator, which looks for the kinds of routes that are installed.
        let traefik = real::traefik(Cluster::shared().await?).await?;
        Ok(Self::new(name).await?.map(|stage| (stage, traefik)))
    }

    /// Applies manifests, as `kubectl apply` does.
    pub async fn apply(&self, manifests: &str) -> anyhow::Result<()> {
        self.cluster.apply(&self.namespace, manifests).await
    }

    /// Applies a release, and does not wait for it.
    pub async fn release(&self, app: &RealApp) -> anyhow::Result<()> {
        self.apply(&app.manifests()?).await
    }

    /// Applies a release, and waits until it is live.
    pub async fn released(&self, app: &RealApp) -> anyhow::Result<()> {
        self.release(app).await?;
        app.rolled_out(&self.client, &self.namespace).await
    }

    /// The address of a Service, as soon as it answers.
    pub async fn url(&self, service: &str) -> anyhow::Result<String> {
        real::url(&self.client, &self.namespace, service).await
    }

    /// Waits until there are answers that have come from `start` on, enough for a share, and returns these.
    pub async fn answers_after(
        &self,
        load: &LoadGenerator,
        start: Duration,
    ) -> anyhow::Result<Responses> {
        eventually("answers", SOON, async || {
            let seen = load.responses().after(start);
            let good = seen.len() - seen.failed().count();
            ensure!(good >= SAMPLE, "{good} of {}", seen.len());
            Ok(seen)
        })
        .await
    }
}

impl Deref for Stage {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// Tells Prometheus which pods there are, as its own discovery would, until it is dropped.
pub struct Discovery(JoinHandle<()>);

impl Discovery {
    /// Of the pods of a namespace.
    pub fn of(pods: Api<Pod>, namespace: &str, prometheus: &'static Prometheus) -> Self {
        let namespace = namespace.to_owned();
        Self(tokio::spawn(async move {
            let mut known = Vec::new();
            loop {
                // What could not be read or written now is with the next look.
                if let Ok(targets) = targets(&pods, &namespace).await
                    && targets != known
                    && prometheus.set_group(&namespace, &targets).is_ok()
                {
                    known = targets;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }))
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn targets(pods: &Api<Pod>, namespace: &str) -> anyhow::Result<Vec<Target>> {
    let target = |pod: &Pod| {
        let address = pod.status.as_ref()?.pod_ip.as_ref()?;
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Some(Target {
            address: format!("{address}:{PORT}"),
            labels: BTreeMap::from([label("namespace", namespace), label("pod", &pod.name_any())]),
        })
    };
    let pods = pods.list(&ListParams::default()).await?;
    Ok(pods.iter().filter_map(target).collect())
}
