//! A real metrics-server beside a cluster, which tells what the pods of a real node use.

use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Api;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::cluster::Cluster;
use crate::node::REAL;
use crate::process::{Process, free_ports};
use crate::state::StateDir;
use crate::tools::{self, Tool};
use crate::wait::eventually;

const DEADLINE: Duration = Duration::from_mins(1);
/// How often to look for another port when someone else took it.
const ATTEMPTS: usize = 3;
/// What the API server knows the metrics by.
const API: &str = "v1beta1.metrics.k8s.io";

/// One for each test process, on its shared cluster. Once the API server knows of it, it has to stay:
/// controllers that cannot list all kinds stop to clean up.
static SHARED: OnceCell<MetricsServer> = OnceCell::const_new();

/// A metrics-server that ends with this process. It runs beside the cluster, measures on real nodes
/// ([`Node`](crate::Node)) every ten seconds, and is asked by way of the API server, as `metrics.k8s.io`.
#[derive(Debug)]
pub struct MetricsServer {
    process: Process,
    port: u16,
    // The last field, so that its lock is held until the process has gone.
    _state: StateDir,
}

impl MetricsServer {
    /// The one that all tests of this process share, on [`Cluster::shared`].
    pub async fn shared() -> anyhow::Result<&'static Self> {
        SHARED
            .get_or_try_init(async || Self::start(Cluster::shared().await?).await)
            .await
    }

    /// Starts one, and waits until the API server passes questions on to it. Builds it first if need be.
    pub async fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(|| tools::ensure(&[Tool::MetricsServer], &tools::Stderr))
            .await??;
        let mut attempt = 1;
        loop {
            let server = Self::prepare(cluster)?;
            server.process.start()?;
            match server.serve(cluster).await {
                Ok(()) => return Ok(server),
                Err(_) if attempt < ATTEMPTS && server.process.lost_its_port() => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn prepare(cluster: &Cluster) -> anyhow::Result<Self> {
        let state = StateDir::new("metrics-server")?;
        let [port] = free_ports()?;
        let kubeconfig = cluster.kubeconfig_for("metrics-server", &["system:masters"])?;
        let kubeconfig = kubeconfig.display();
        let args = [
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", state.path().join("certificates").display()),
            // The shortest that it allows.
            "--metric-resolution=10s".to_owned(),
            "--kubelet-request-timeout=5s".to_owned(),
            // A kubelet makes its own certificate here.
            "--kubelet-insecure-tls".to_owned(),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--kubelet-use-node-status-port".to_owned(),
            // Nobody answers on fake nodes.
            format!("--node-selector={REAL}=true"),
        ];
        let process = Process::new(
            "metrics-server",
            Tool::MetricsServer.path()?,
            args,
            &state.logs(),
        );
        Ok(Self {
            process,
            port,
            _state: state,
        })
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }

    /// Tells the API server whom to ask.
    async fn register(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let objects = [
            // It listens on loopback, which no endpoint may be.
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "metrics-server"},
                "spec": {"type": "ExternalName", "externalName": "localhost"},
            }),
            json!({
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": API},
                "spec": {
                    "group": "metrics.k8s.io",
                    "version": "v1beta1",
                    "groupPriorityMinimum": 100,
                    "versionPriority": 100,
                    "service": {"namespace": "kube-system", "name": "metrics-server", "port": self.port},
                    "insecureSkipTLSVerify": true,
                },
            }),
        ];
        let texts = objects.iter().map(serde_yaml_ng::to_string);
        let manifests = texts.collect::<Result<Vec<_>, _>>()?.join("---\n");
        cluster.apply("kube-system", &manifests).await
    }

    /// Waits until it listens, and then until the API server has seen that. One that is known and does not answer would
    /// be in the way of everybody who lists all kinds.
    async fn serve(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let services: Api<APIService> = Api::all(cluster.client().await?);
        let listens = eventually("metrics-server to listen", DEADLINE, async || {
            if let Some(status) = self.process.exited() {
                // No use in waiting on: the outer Ok ends it.
                return Ok(Err(anyhow!("metrics-server has ended: {status}")));
            }
            TcpStream::connect(("127.0.0.1", self.port)).await?;
            anyhow::Ok(Ok(()))
        });
        let in_words = || {
            format!(
                "metrics-server did not start; the end of its log:\n{}",
                self.log_tail(30)
            )
        };
        listens.await.flatten().with_context(in_words)?;
        self.register(cluster).await?;
        eventually("metrics.k8s.io to be served", DEADLINE, async || {
            let status = services.get(API).await?.status.unwrap_or_default();
            let available = status
                .conditions
                .iter()
                .flatten()
                .any(|condition| condition.type_ == "Available" && condition.status == "True");
            ensure!(available, "{:?}", status.conditions);
            Ok(())
        })
        .await
        .with_context(in_words)
    }
}
