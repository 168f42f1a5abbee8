//! A real Traefik in front of a cluster, for the routes of the Gateway API and for Traefik's own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use serde::Deserialize;

use crate::cluster::Cluster;
use crate::http::plain_client;
use crate::process::{Process, free_ports};
use crate::state::StateDir;
use crate::tools::{self, Tool};
use crate::wait::eventually;

const DEADLINE: Duration = Duration::from_mins(1);
/// How often to look for other ports when someone else took one.
const ATTEMPTS: usize = 3;
/// The class of the Gateways that it serves.
pub const GATEWAY_CLASS: &str = "traefik";
/// What Traefik calls itself in a GatewayClass.
const CONTROLLER: &str = "traefik.io/gateway-controller";
/// Definitions in the Go modules that `e2e/tools/traefik` pins: of the version that this Traefik speaks.
const CRDS: [(&str, &str); 2] = [
    ("sigs.k8s.io/gateway-api", "config/crd/standard"),
    (
        "github.com/traefik/traefik/v3",
        "docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml",
    ),
];

/// A Traefik that ends with this process. It runs beside the cluster and reaches pods by way of a
/// [`Node`](crate::Node).
///
/// It serves every Gateway of the class [`GATEWAY_CLASS`] with an HTTP listener on [`Traefik::port`], and every
/// IngressRoute, for its entry point `web`.
#[derive(Debug)]
pub struct Traefik {
    process: Process,
    port: u16,
    internal: u16,
    client: reqwest::Client,
    // The last field, so that its lock is held until the process has gone.
    _state: StateDir,
}

impl Traefik {
    /// Starts one, and waits until it answers. Builds it and installs its definitions first if need be.
    pub async fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(|| tools::ensure(&[Tool::Traefik], &tools::Stderr)).await??;
        Self::install_crds(cluster).await?;
        let mut attempt = 1;
        loop {
            let traefik = Self::prepare(cluster)?;
            traefik.process.start()?;
            match traefik.ready().await {
                Ok(()) => return Ok(traefik),
                Err(_) if attempt < ATTEMPTS && traefik.process.lost_its_port() => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Installs the definitions of the Gateway API and of Traefik's own kinds, and a GatewayClass. Nothing happens if
    /// they are there.
    pub async fn install_crds(cluster: &Cluster) -> anyhow::Result<()> {
        let paths = tokio::task::spawn_blocking(crds).await??;
        let mut args = vec![
            "apply",
            "--server-side",
            "--force-conflicts",
            "--output=name",
        ];
        for path in &paths {
            let path = path.to_str().context("a path that is no text")?;
            args.extend(["--filename", path]);
        }
        let applied = cluster.kubectl(&args).await?.success()?;
        let definitions = applied
            .lines()
            .filter(|name| name.starts_with("customresourcedefinition"));
        cluster.established(definitions).await?;
        let class = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n\
             metadata: {{name: {GATEWAY_CLASS}}}\nspec: {{controllerName: {CONTROLLER}}}\n"
        );
        cluster.apply("default", &class).await
    }

    fn prepare(cluster: &Cluster) -> anyhow::Result<Self> {
        let state = StateDir::new("traefik")?;
        let [port, internal] = free_ports()?;
        let args = [
            format!("--entrypoints.web.address=127.0.0.1:{port}"),
            format!("--entrypoints.internal.address=127.0.0.1:{internal}"),
            "--ping.entrypoint=internal".to_owned(),
            "--metrics.prometheus.entrypoint=internal".to_owned(),
            "--providers.kubernetesgateway=true".to_owned(),
            "--providers.kubernetescrd=true".to_owned(),
            // By default two seconds pass between two changes.
            "--providers.providersthrottleduration=50ms".to_owned(),
            "--global.checknewversion=false".to_owned(),
            "--global.sendanonymoususage=false".to_owned(),
            // Pods come and go; a connection to one that has gone should not be tried for half a minute.
            "--serverstransport.forwardingtimeouts.dialtimeout=2s".to_owned(),
        ];
        let kubeconfig = cluster.kubeconfig_for("traefik", &["system:masters"])?;
        let process = Process::new("traefik", Tool::Traefik.path()?, args, &state.logs())
            .env("KUBECONFIG", &kubeconfig.display().to_string());
        Ok(Self {
            process,
            port,
            internal,
            client: plain_client()?,
            _state: state,
        })
    }

    /// Where it takes requests, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port of its entry point, which a Gateway's listener has to name.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where to scrape its metrics: `host:port`.
    pub fn metrics_target(&self) -> String {
        format!("127.0.0.1:{}", self.internal)
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let url = format!("http://127.0.0.1:{}/ping", self.internal);
        let ready = eventually("Traefik to be ready", DEADLINE, async || {
            if let Some(status) = self.process.exited() {
                // No use in waiting on: the outer Ok ends it.
                return Ok(Err(anyhow!("Traefik has ended: {status}")));
            }
            self.client.get(&url).send().await?.error_for_status()?;
            anyhow::Ok(Ok(()))
        });
        ready.await.flatten().with_context(|| {
            format!(
                "Traefik did not start; the end of its log:\n{}",
                self.log_tail(30)
            )
        })
    }
}

/// What `go mod download -json` says.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Module {
    dir: PathBuf,
}

/// The files or folders of the definitions. They lie in the Go module cache, where the build put them; where that was
/// cleared since, they are fetched again and checked against `go.sum`.
fn crds() -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (module, path) in CRDS {
        let output = Command::new("go")
            .current_dir(tools::modules().join("traefik"))
            .args(["mod", "download", "-json", module])
            .output()
            .context("`go` is not on the PATH; see the README for what has to be installed")?;
        ensure!(
            output.status.success(),
            "no module {module}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let found: Module = serde_json::from_slice(&output.stdout)?;
        let path = found.dir.join(path);
        ensure!(path.exists(), "{module} has no {}", path.display());
        paths.push(path);
    }
    Ok(paths)
}
