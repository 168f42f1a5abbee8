//! Real controllers of Flux beside a cluster, and a registry from which they get what they apply.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::routing::get;
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
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

/// A controller of Flux that ends with this process, and looks after the objects of one namespace.
#[derive(Debug)]
pub struct FluxController {
    process: Process,
    health: String,
    client: reqwest::Client,
    // The last field, so that its lock is held until the process has gone.
    _state: StateDir,
}

impl FluxController {
    /// Starts a kustomize-controller, which applies what sources have, and waits until it works. Builds it first if need
    /// be. Flux's kinds have to be installed.
    pub async fn kustomize(cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        Self::start(Tool::KustomizeController, cluster, namespace, |_, _| {
            Vec::new()
        })
        .await
    }

    /// Starts a source-controller, which fetches what sources have. The same holds for it.
    pub async fn source(cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        let own = |port: u16, state: &FilePath| {
            vec![
                format!("--storage-path={}", state.display()),
                format!("--storage-addr=127.0.0.1:{port}"),
                format!("--storage-adv-addr=127.0.0.1:{port}"),
            ]
        };
        Self::start(Tool::SourceController, cluster, namespace, own).await
    }

    async fn start(
        tool: Tool,
        cluster: &Cluster,
        namespace: &str,
        own: fn(u16, &FilePath) -> Vec<String>,
    ) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(move || tools::ensure(&[tool], &tools::Stderr)).await??;
        let mut attempt = 1;
        loop {
            let controller = Self::prepare(tool, cluster, namespace, own)?;
            controller.process.start()?;
            match controller.ready().await {
                Ok(()) => return Ok(controller),
                Err(_) if attempt < ATTEMPTS && controller.process.lost_its_port() => attempt += 1,
                Err(error) => {
                    return Err(error.context(format!("the {} did not start", tool.binary())));
                }
            }
        }
    }

    fn prepare(
        tool: Tool,
        cluster: &Cluster,
        namespace: &str,
        own: fn(u16, &FilePath) -> Vec<String>,
    ) -> anyhow::Result<Self> {
        let name = tool.binary();
        let state = StateDir::new(name)?;
        let [health, metrics, storage] = free_ports()?;
        let mut args = own(storage, state.path());
        args.extend([
            "--watch-all-namespaces=false".to_owned(),
            "--enable-leader-election=false".to_owned(),
            format!("--health-addr=127.0.0.1:{health}"),
            format!("--metrics-addr=127.0.0.1:{metrics}"),
            // By default it waits for minutes after some failures.
            "--min-retry-delay=100ms".to_owned(),
            "--max-retry-delay=1s".to_owned(),
        ]);
        let kubeconfig = cluster.kubeconfig_for(name, &["system:masters"])?;
        let process = Process::new(name, tool.path()?, args, &state.logs())
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
        let ready = eventually("the controller to be ready", DEADLINE, async || {
            if let Some(status) = self.process.exited() {
                // No use in waiting on: the outer Ok ends it.
                return Ok(Err(anyhow!("it has ended: {status}")));
            }
            let answer = self.client.get(&self.health).send().await?;
            answer.error_for_status()?;
            anyhow::Ok(Ok(()))
        });
        ready
            .await
            .flatten()
            .with_context(|| format!("the end of its log:\n{}", self.log_tail(30)))
    }
}

/// What a registry has: by its path, its media type and its bytes.
type Objects = Arc<Mutex<BTreeMap<String, (&'static str, Vec<u8>)>>>;

/// Where the application's manifests are in the registry.
const REPOSITORY: &str = "apps";
/// The tag that is pushed.
const TAG: &str = "latest";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.cncf.flux.config.v1+json";
const CONTENT: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";

/// A registry on loopback that can be read, with one artifact in the format of Flux. Ends when it is dropped.
#[derive(Debug)]
pub struct OciRegistry {
    address: String,
    objects: Objects,
    _server: JoinSet<std::io::Result<()>>,
}

impl OciRegistry {
    /// Begins to serve.
    pub async fn start() -> anyhow::Result<Self> {
        let objects = Objects::default();
        let served = objects.clone();
        let found = async move |Path(path): Path<String>| {
            let objects = served.lock().unwrap_or_else(PoisonError::into_inner);
            let (media_type, bytes) = objects.get(&path).cloned().ok_or(StatusCode::NOT_FOUND)?;
            let headers = [
                (CONTENT_TYPE.as_str(), media_type.to_owned()),
                ("docker-content-digest", digest(&bytes)),
            ];
            Ok::<_, StatusCode>((headers, bytes))
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let mut tasks = JoinSet::new();
        let router = Router::new()
            .route("/v2/", get(async || StatusCode::OK))
            .route("/v2/{*path}", get(found));
        tasks.spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            address,
            objects,
            _server: tasks,
        })
    }

    /// What the source is to say where its artifact is.
    pub fn spec(&self) -> serde_json::Value {
        json!({
            "interval": "1s", "timeout": "10s", "insecure": true,
            "url": format!("oci://{}/{REPOSITORY}", self.address), "ref": {"tag": TAG},
        })
    }

    /// Pushes manifests, by their file names, in the place of those that were there. Returns the revision that Flux knows
    /// them by.
    pub fn push(&self, manifests: &[(&str, String)]) -> anyhow::Result<String> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, text) in manifests {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes())?;
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&tar.into_inner()?)?;
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let mut blob = |media_type: &'static str, bytes: Vec<u8>| {
            let (digest, size) = (digest(&bytes), bytes.len());
            objects.insert(format!("{REPOSITORY}/blobs/{digest}"), (media_type, bytes));
            json!({"mediaType": media_type, "digest": digest, "size": size})
        };
        let config = blob(CONFIG, b"{}".to_vec());
        let layer = blob(CONTENT, packed.finish()?);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
        });
        let manifest = manifest.to_string().into_bytes();
        let digest = digest(&manifest);
        for reference in [TAG, &digest] {
            let path = format!("{REPOSITORY}/manifests/{reference}");
            objects.insert(path, (MANIFEST, manifest.clone()));
        }
        Ok(format!("{TAG}@{digest}"))
    }
}

/// By which content is known.
fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
