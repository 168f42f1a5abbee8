//! A real kustomize-controller of Flux beside a cluster, and where it gets what it applies.
//!
//! Flux's source-controller is not there: its artifacts are served here, and who needs one writes it into the status of
//! the source.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::http::plain_client;
use crate::process::{Process, free_ports};
use crate::state::StateDir;
use crate::tools::{self, Tool};
use crate::wait::eventually;

const DEADLINE: Duration = Duration::from_mins(1);
/// How often to look for another port when someone else took it.
const ATTEMPTS: usize = 3;

/// A kustomize-controller that ends with this process, and looks after the Kustomizations of one namespace.
#[derive(Debug)]
pub struct KustomizeController {
    process: Process,
    health: String,
    client: reqwest::Client,
    // The last field, so that its lock is held until the process has gone.
    _state: StateDir,
}

impl KustomizeController {
    /// Starts one, and waits until it works. Builds it first if need be. The kinds of Kustomizations and of their sources
    /// have to be installed.
    pub async fn start(cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(|| tools::ensure(&[Tool::KustomizeController], &tools::Stderr))
            .await??;
        let mut attempt = 1;
        loop {
            let controller = Self::prepare(cluster, namespace)?;
            controller.process.start()?;
            match controller.ready().await {
                Ok(()) => return Ok(controller),
                Err(_) if attempt < ATTEMPTS && controller.process.lost_its_port() => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn prepare(cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        let state = StateDir::new("kustomize-controller")?;
        let [health, metrics] = free_ports()?;
        let args = [
            "--watch-all-namespaces=false".to_owned(),
            "--enable-leader-election=false".to_owned(),
            format!("--health-addr=127.0.0.1:{health}"),
            format!("--metrics-addr=127.0.0.1:{metrics}"),
            // By default it waits for minutes after some failures.
            "--min-retry-delay=100ms".to_owned(),
            "--max-retry-delay=1s".to_owned(),
        ];
        let kubeconfig = cluster.kubeconfig_for("kustomize-controller", &["system:masters"])?;
        let program = Tool::KustomizeController.path()?;
        let process = Process::new("kustomize-controller", program, args, &state.logs())
            .env("KUBECONFIG", &kubeconfig.display().to_string())
            .env("RUNTIME_NAMESPACE", namespace)
            // Where it unpacks what it applies.
            .env("TMPDIR", &state.path().display().to_string());
        Ok(Self {
            process,
            health: format!("http://127.0.0.1:{health}/readyz"),
            client: plain_client()?,
            _state: state,
        })
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let ready = eventually(
            "the kustomize-controller to be ready",
            DEADLINE,
            async || {
                if let Some(status) = self.process.exited() {
                    // No use in waiting on: the outer Ok ends it.
                    return Ok(Err(anyhow!("the kustomize-controller has ended: {status}")));
                }
                let answer = self.client.get(&self.health).send().await?;
                answer.error_for_status()?;
                anyhow::Ok(Ok(()))
            },
        );
        ready.await.flatten().with_context(|| {
            format!(
                "the kustomize-controller did not start; the end of its log:\n{}",
                self.log_tail(30)
            )
        })
    }
}

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Serves artifacts on loopback, as Flux's source-controller does. Ends when it is dropped.
#[derive(Debug)]
pub struct Artifacts {
    url: String,
    files: Files,
    _server: JoinSet<std::io::Result<()>>,
}

impl Artifacts {
    /// Begins to serve.
    pub async fn start() -> anyhow::Result<Self> {
        let files = Files::default();
        let served = files.clone();
        let found = async move |Path(name): Path<String>| {
            let files = served.lock().unwrap_or_else(PoisonError::into_inner);
            files.get(&name).cloned().ok_or(StatusCode::NOT_FOUND)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut tasks = JoinSet::new();
        let router = Router::new().route("/{name}", get(found));
        tasks.spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            url,
            files,
            _server: tasks,
        })
    }

    /// Serves manifests, by their file names, as this revision, and returns what belongs in the source's status.
    pub fn publish(&self, revision: &str, manifests: &[(&str, String)]) -> anyhow::Result<Value> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, text) in manifests {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes())?;
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&tar.into_inner()?)?;
        let packed = packed.finish()?;
        let digest = hex::encode(Sha256::digest(&packed));
        let (name, size) = (format!("{digest}.tar.gz"), packed.len());
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(name.clone(), packed);
        Ok(json!({"artifact": {
            "digest": format!("sha256:{digest}"),
            "lastUpdateTime": "2026-01-01T00:00:00Z",
            "path": name,
            "revision": revision,
            "size": size,
            "url": format!("{}/{name}", self.url),
        }}))
    }
}
