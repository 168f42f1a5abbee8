//! A real node: containerd, kubelet and kube-proxy, with real pods and Services that carry real traffic.
//!
//! It joins a [`Cluster`] beside the fake nodes, on the same machine and without a container engine. It lives in
//! namespaces of its own, for three reasons. kube-proxy and the network plugins write packet filter rules, routes and
//! kernel settings: in a network namespace they are the node's and not the machine's, and two runs do not meet. Mounts
//! of containers and volumes are seen by nobody else. And all of it ends at once: when the first process of a PID
//! namespace is killed, the kernel kills the others, containers included, and takes mounts, interfaces and rules away.
//! That process ends with the one that started the node, however that one ends ([`Process`]).
//!
//! The machine itself gets one interface and two routes, to the node's pods and to the cluster's Services. So whatever
//! runs on the machine, a test, Prometheus, Traefik or the operator, reaches them by their own addresses.
//!
//! Pods come here only if they ask for it ([`placement`]), so that the others stay on the fake nodes.
//!
//! ```no_run
//! use backstop_testenv::{Cluster, Node, NodeOptions, image, node};
//! use serde_json::json;
//!
//! # async fn example() -> anyhow::Result<()> {
//! let cluster = Cluster::shared().await?;
//! let node = Node::join(cluster, NodeOptions::default()).await?;
//! let mut pod = node::placement();
//! pod["containers"] = json!([{"name": "app", "image": image::APP, "imagePullPolicy": "Never"}]);
//! # Ok(())
//! # }
//! ```

mod config;
mod dns;
mod join;
mod network;
mod publish;
mod sandbox;
mod unavailable;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub use publish::Published;
pub use unavailable::Unavailable;

use crate::cluster::Cluster;
use crate::process::Process;
use crate::relay::Relay;
use crate::state::StateDir;
use crate::tools::Tool;
use network::Network;
use sandbox::Sandbox;

/// The label, and the key of the taint, of a real node.
pub const REAL: &str = "testenv.backstop.dev/real";
/// What the node is called.
pub const NAME: &str = "real-0";

/// One for each test process, on its shared cluster.
static SHARED: OnceCell<Result<Node, JoinError>> = OnceCell::const_new();

/// What can be chosen about a [`Node`].
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// Archives of images to import, besides those of the application and of the pause container.
    pub images: Vec<PathBuf>,
}

/// Why a node did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// This machine, or this user, cannot have one.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It should have, and something went wrong.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

/// A real node. Dropping it ends its processes, pods included.
#[derive(Debug)]
pub struct Node {
    // In the order in which they go: the namespaces with everything in them, then what merely watched it.
    sandbox: Sandbox,
    kube_proxy: Process,
    kubelet: Process,
    containerd: Process,
    relay: Relay,
    network: Network,
    // The last field, so that its lock is held until the processes have gone.
    state: StateDir,
}

impl Node {
    /// The node that all tests of this process share, on [`Cluster::shared`]. `None` where there can be none: the test
    /// is over then. In CI, where the variable `CI` is set, that is an error instead.
    pub async fn shared() -> anyhow::Result<Option<&'static Self>> {
        let shared = SHARED
            .get_or_init(async || {
                let cluster = Cluster::shared().await?;
                Self::join(cluster, NodeOptions::default()).await
            })
            .await;
        match shared {
            Ok(node) => Ok(Some(node)),
            Err(JoinError::Unavailable(_)) if skipped()? => Ok(None),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        }
    }

    /// Its own address, which the machine has a route to.
    pub fn address(&self) -> Ipv4Addr {
        self.network.node()
    }

    /// The interface by which the machine reaches it.
    pub fn interface(&self) -> String {
        self.network.interface()
    }

    /// The control group below which its containers are, on every hierarchy.
    pub fn control_group(&self) -> String {
        control_group(&self.state)
    }

    /// The namespace of its processes, as links in `/proc` name it. Those of pods are in namespaces below it, and in
    /// the control group.
    pub fn process_namespace(&self) -> anyhow::Result<String> {
        self.sandbox.process_namespace()
    }

    /// Where the API server listens for the node and its pods.
    pub(crate) fn api_server(&self) -> SocketAddr {
        self.relay.address()
    }

    /// Imports an OCI archive, after which pods can name its image. They have to say `imagePullPolicy: Never` or
    /// `IfNotPresent`.
    pub async fn import(&self, archive: &Path) -> anyhow::Result<()> {
        let archive = archive
            .canonicalize()
            .with_context(|| format!("there is no {}", archive.display()))?;
        let mut command = self.sandbox.command(&Tool::Ctr.path()?);
        command
            .args(["--address", config::SOCKET, "--namespace", "k8s.io"])
            .args(["images", "import"])
            .arg(&archive);
        let output = tokio::process::Command::from(command).output().await?;
        ensure!(
            output.status.success(),
            "could not import {}: {}",
            archive.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// The last lines of every log, each under its name.
    pub fn log_tail(&self, lines: usize) -> String {
        let mut text = String::new();
        for process in self.processes() {
            let _ = write!(
                text,
                "--- {}\n{}\n",
                process.name(),
                process.log_tail(lines)
            );
        }
        text
    }

    /// Where the log of each of its processes is.
    pub fn logs_dir(&self) -> PathBuf {
        self.state.logs()
    }

    fn processes(&self) -> [&Process; 4] {
        let Self {
            sandbox,
            kube_proxy,
            kubelet,
            containerd,
            ..
        } = self;
        [sandbox.holding(), containerd, kubelet, kube_proxy]
    }

    /// Something on the node that the machine can reach.
    fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.network.node()), port)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // All side by side; then each field's own drop waits for its process.
        for process in self.processes() {
            process.signal_stop();
        }
        // Credentials are of no use to those who look at the logs.
        let _ = std::fs::remove_dir_all(self.state.path().join("etc"));
    }
}

/// Whether this machine and this user can have a real node, as far as can be told beforehand.
pub fn available() -> Result<(), Unavailable> {
    unavailable::check()
}

/// The part of a pod's spec that puts it on a real node.
pub fn placement() -> Value {
    json!({
        "nodeSelector": {REAL: "true"},
        "tolerations": [{"key": REAL, "operator": "Exists"}],
    })
}

/// Whether tests that need a real node are skipped, and says why. In CI, where the variable `CI` is set, there has to be
/// one: that there can be none is an error.
pub fn skipped() -> anyhow::Result<bool> {
    let Err(reason) = available() else {
        return Ok(false);
    };
    ensure!(std::env::var_os("CI").is_none(), "{reason}");
    eprintln!("[testenv] skipped: {reason}");
    Ok(true)
}

/// What keeps other pods away.
fn taint() -> Value {
    json!({"key": REAL, "value": "true", "effect": "NoSchedule"})
}

/// As unique as the folder of the run.
fn control_group(state: &StateDir) -> String {
    let name = state.path().file_name().unwrap_or_default();
    format!("backstop-{}", name.to_string_lossy())
}
