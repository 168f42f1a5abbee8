//! The application on a real node.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_testenv::{Cluster, Traefik, eventually, image, node};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The port of the application, and of its Services.
pub const PORT: u16 = 8080;
/// Real processes start, and real probes pass, within this time on a machine that is busy with other tests.
const SOON: Duration = Duration::from_mins(2);

/// One for each test process, started by whoever asks first.
static TRAEFIK: OnceCell<Traefik> = OnceCell::const_new();

/// The proxy that the tests of this process share.
pub async fn traefik(cluster: &Cluster) -> anyhow::Result<&'static Traefik> {
    TRAEFIK.get_or_try_init(|| Traefik::start(cluster)).await
}

/// The address of a Service, as soon as the application answers there: kube-proxy hears of ready pods when everybody
/// does, and needs a moment for its rules.
pub async fn url(client: &Client, namespace: &str, service: &str) -> anyhow::Result<String> {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let service = services.get(service).await?;
    let address = service.spec.and_then(|spec| spec.cluster_ip);
    let address = address.context("the Service has no address")?;
    let url = format!("http://{address}:{PORT}");
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build()?;
    eventually("an answer of the Service", SOON, async || {
        let answer = client.get(&url).send().await?;
        // A gateway may answer for an address that is nobody's, with an empty page.
        ensure!(answer.headers().contains_key("x-version"), "{answer:?}");
        anyhow::Ok(())
    })
    .await?;
    Ok(url)
}

/// A Deployment of the application whose pods are real, and a Service of the same name.
#[derive(Debug, Clone)]
pub struct RealApp {
    name: String,
    replicas: u32,
    labels: Vec<(String, String)>,
    env: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
}

impl RealApp {
    /// Two replicas that work. The version is what answers name; releases of one application differ in it.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            replicas: 2,
            labels: vec![("app".to_owned(), name.to_owned())],
            env: BTreeMap::from([("VERSION".to_owned(), version.to_owned())]),
            limits: BTreeMap::new(),
        }
        // So that a pod that goes is not asked any more when it stops to answer.
        .env("DRAIN", "2s")
    }

    /// With so many replicas.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// With a further label of its pods.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a variable that says how it behaves, such as `ERROR_RATE` (see `e2e/tools/app/main.go`).
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Whose pods are killed when they take more memory than this, such as `64Mi`.
    #[must_use]
    pub fn memory_limit(mut self, limit: &str) -> Self {
        self.limits.insert("memory".to_owned(), limit.to_owned());
        self
    }

    /// Whose pods get no more of a processor than this, such as `200m`.
    #[must_use]
    pub fn cpu_limit(mut self, limit: &str) -> Self {
        self.limits.insert("cpu".to_owned(), limit.to_owned());
        self
    }

    /// Its manifests: the Deployment and the Service, as one YAML stream.
    pub fn manifests(&self) -> anyhow::Result<String> {
        let objects = [self.deployment(), self.service()];
        let texts = objects.iter().map(serde_yaml_ng::to_string);
        Ok(texts.collect::<Result<Vec<_>, _>>()?.join("---\n"))
    }

    /// Waits until all replicas are ready and of this release, and none is left of another.
    pub async fn rolled_out(&self, client: &Client, namespace: &str) -> anyhow::Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let wanted = i32::try_from(self.replicas)?;
        eventually("real pods to be ready", SOON, async || {
            let deployment = deployments.get(&self.name).await?;
            let status = deployment.status.unwrap_or_default();
            ensure!(
                status.observed_generation == deployment.metadata.generation
                    && status.replicas == Some(wanted)
                    && status.updated_replicas == Some(wanted)
                    && status.available_replicas == Some(wanted),
                "{status:?}"
            );
            Ok(())
        })
        .await
    }

    /// The address of its Service, as soon as it answers.
    pub async fn url(&self, client: &Client, namespace: &str) -> anyhow::Result<String> {
        url(client, namespace, &self.name).await
    }

    fn deployment(&self) -> Value {
        let env: Vec<_> = self
            .env
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        let probe =
            |path: &str| json!({"httpGet": {"path": path, "port": PORT}, "periodSeconds": 1});
        let mut pod = node::placement();
        pod["terminationGracePeriodSeconds"] = json!(10);
        pod["containers"] = json!([{
            "name": "app",
            "image": image::APP,
            "imagePullPolicy": "Never",
            "env": env,
            "ports": [{"name": "http", "containerPort": PORT}],
            "readinessProbe": probe("/readyz"),
            "livenessProbe": probe("/healthz"),
        }]);
        if !self.limits.is_empty() {
            pod["containers"][0]["resources"] = json!({"limits": self.limits});
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app": self.name}},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        })
    }

    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name},
            "spec": {
                "selector": {"app": self.name},
                "ports": [{"name": "http", "port": PORT, "targetPort": PORT}],
            },
        })
    }
}
