//! Starting a cluster and waiting until it can be used.

use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;

use super::audit::Audit;
use super::parts::{Parts, Ports};
use super::{Cluster, ClusterOptions, Part};
use crate::access::Access;
use crate::kubeconfig;
use crate::pki::Authority;
use crate::process::{Process, free_ports};
use crate::state::StateDir;
use crate::tools::{self, Tool};
use crate::wait::eventually;

/// The API server alone takes some four seconds on an idle machine with two cores.
const API_SERVER_DEADLINE: Duration = Duration::from_secs(90);
const NODES_DEADLINE: Duration = Duration::from_mins(1);
/// How often to look for other ports when someone else took one.
const ATTEMPTS: usize = 3;

impl Cluster {
    /// Starts a cluster, and builds what is missing for it. When this returns, its nodes are ready for pods.
    pub async fn start(options: ClusterOptions) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(|| tools::ensure(&Tool::CLUSTER, &tools::Stderr)).await??;
        let mut attempt = 1;
        loop {
            let cluster = Self::prepare(&options)?;
            let outcome = cluster.bring_up(&options).await;
            match outcome {
                Ok(()) => return Ok(cluster),
                Err(_)
                    if attempt < ATTEMPTS
                        && cluster.parts.all().iter().any(|part| part.lost_its_port()) =>
                {
                    attempt += 1;
                }
                Err(error) => {
                    let logs = cluster.log_tail(30);
                    return Err(error.context(format!(
                        "the test cluster did not start; the ends of its logs:\n{logs}"
                    )));
                }
            }
        }
    }

    fn prepare(options: &ClusterOptions) -> anyhow::Result<Self> {
        let state = StateDir::new("cluster")?;
        let authority = Authority::new()?;
        let [api_server, etcd, etcd_peers] = free_ports()?;
        let listen = Ports {
            api_server,
            etcd,
            etcd_peers,
        };
        let server = format!("https://127.0.0.1:{api_server}");
        let identity = authority.client("admin", &["system:masters"])?;
        let admin = kubeconfig::render(&server, &authority.certificate(), &identity)?;
        let audit = Audit::chosen(options, &state)?;
        let parts = Parts::prepare(
            (options, audit.as_ref()),
            listen,
            &server,
            &authority,
            &state,
        )?;
        Ok(Self {
            parts,
            authority,
            audit: audit.map(|audit| audit.log),
            access: Access::new(&server, admin, state)?,
        })
    }

    async fn bring_up(&self, options: &ClusterOptions) -> anyhow::Result<()> {
        // The API server waits for etcd by itself.
        self.start_part(Part::Etcd)?;
        self.start_part(Part::ApiServer)?;
        await_api_server(self.admin_kubeconfig(), &self.parts).await?;
        for part in [Part::ControllerManager, Part::Scheduler, Part::Kwok] {
            self.start_part(part)?;
        }
        let client = self.client().await?;
        let nodes: Api<Node> = Api::all(client.clone());
        for n in 0..options.nodes {
            nodes
                .create(&PostParams::default(), &fake_node(n)?)
                .await
                .context("could not create a fake node")?;
        }
        let accounts: Api<ServiceAccount> = Api::namespaced(client, "default");
        eventually(
            "the nodes to be ready and the controllers to work",
            NODES_DEADLINE,
            async || {
                still_running(&self.parts.all())?;
                let seen = nodes.list(&ListParams::default()).await?;
                let ready = seen.iter().filter(|node| takes_pods(node)).count();
                ensure!(
                    ready == options.nodes,
                    "{ready} of {} nodes take pods",
                    options.nodes
                );
                accounts
                    .get("default")
                    .await
                    .context("no default service account yet")
            },
        )
        .await?;
        Ok(())
    }
}

/// Waits until the API server says that it is ready, or has exited.
pub(super) async fn await_api_server(admin: &str, parts: &Parts) -> anyhow::Result<()> {
    let client = kubeconfig::client(admin).await?;
    let processes = [parts.get(Part::Etcd), parts.get(Part::ApiServer)];
    let ready = eventually(
        "the API server to be ready",
        API_SERVER_DEADLINE,
        async || {
            if let Err(exited) = still_running(&processes) {
                // No use in waiting on: the outer Ok ends it.
                return Ok(Err(exited));
            }
            let request = http::Request::get("/readyz").body(Vec::new())?;
            client.request_text(request).await?;
            anyhow::Ok(Ok(()))
        },
    );
    ready.await?
}

fn still_running(processes: &[&Process]) -> anyhow::Result<()> {
    match processes
        .iter()
        .find_map(|process| process.exited().map(|status| (process, status)))
    {
        Some((process, status)) => Err(anyhow!("{} has ended: {status}", process.name())),
        None => Ok(()),
    }
}

fn fake_node(n: usize) -> anyhow::Result<Node> {
    let name = format!("fake-{n}");
    Ok(serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
        },
    }))?)
}

/// Ready, and without the taints that a new node has until the controller manager has seen that it is.
fn takes_pods(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready
        && node
            .spec
            .as_ref()
            .and_then(|spec| spec.taints.as_ref())
            .is_none_or(Vec::is_empty)
}
