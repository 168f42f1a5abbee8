//! Starting a node and waiting until it carries pods.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::core::v1::Node as NodeObject;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::network::Network;
use super::sandbox::Sandbox;
use super::{JoinError, NAME, Node, NodeOptions, REAL, config, control_group, unavailable};
use crate::cluster::{Cluster, ServiceRange};
use crate::image;
use crate::relay::Relay;
use crate::state::StateDir;
use crate::tools::{self, Tool};
use crate::wait::eventually;

const DEADLINE: Duration = Duration::from_mins(1);
/// Where kube-proxy says whether its rules are in place.
const PROXY_HEALTH: u16 = 10256;
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

impl Node {
    /// Starts a node that joins `cluster`, and builds what is missing for it. When this returns, it takes pods, and
    /// Services work.
    pub async fn join(cluster: &Cluster, options: NodeOptions) -> Result<Self, JoinError> {
        unavailable::check()?;
        tokio::task::spawn_blocking(|| tools::ensure(&Tool::NODE, &tools::Stderr))
            .await
            .context("the build panicked")??;
        let node = Self::prepare(cluster)?;
        match node.bring_up(cluster, &options).await {
            Ok(()) => Ok(node),
            Err(error) => {
                let logs = node.log_tail(30);
                let error = error.context(format!(
                    "the node did not start; the ends of its logs:\n{logs}"
                ));
                Err(JoinError::Failed(error))
            }
        }
    }

    fn prepare(cluster: &Cluster) -> anyhow::Result<Self> {
        let state = StateDir::new("node")?;
        let cgroup = control_group(&state);
        let sandbox = Sandbox::start(&cgroup, &state)?;
        let port = cluster.api_server_port()?;
        let services = ServiceRange::of(port);
        let network = Network::link(&sandbox, services)?;
        // The API server listens on loopback, which a namespace has its own of.
        let relay = Relay::start(
            SocketAddr::new(IpAddr::V4(network.machine()), 0),
            SocketAddr::new(LOOPBACK, port),
        )?;
        write_files(
            cluster,
            &state,
            &cgroup,
            (network, services),
            relay.address(),
        )?;
        let path = search_path()?;
        let process = |tool: Tool, args: &[String]| -> anyhow::Result<_> {
            let args = args.iter().cloned();
            Ok(sandbox
                .process(tool.binary(), &tool.path()?, args, &state.logs())
                .env("PATH", &path))
        };
        let containerd = ["--config".to_owned(), config::etc("containerd.toml")];
        let kubelet = [
            format!("--config={}", config::etc("kubelet.yaml")),
            format!("--kubeconfig={}", config::etc("kubelet.kubeconfig")),
            format!("--hostname-override={NAME}"),
            format!("--node-ip={}", network.node()),
            format!("--node-labels={REAL}=true"),
            format!("--root-dir={}/kubelet", config::FOLDER),
            format!("--cert-dir={}/kubelet-certificates", config::FOLDER),
        ];
        let kube_proxy = [format!("--config={}", config::etc("kube-proxy.yaml"))];
        Ok(Self {
            kube_proxy: process(Tool::KubeProxy, &kube_proxy)?,
            kubelet: process(Tool::Kubelet, &kubelet)?,
            containerd: process(Tool::Containerd, &containerd)?,
            relay,
            network,
            sandbox,
            state,
        })
    }

    async fn bring_up(&self, cluster: &Cluster, options: &NodeOptions) -> anyhow::Result<()> {
        self.publish_api_server(cluster).await?;
        self.containerd.start()?;
        self.kube_proxy.start()?;
        let folder = tempfile::tempdir()?;
        let scratch = folder.path().to_owned();
        let own = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
            Ok([image::pause(&scratch)?, image::app(&scratch)?])
        });
        for archive in own.await??.iter().chain(&options.images) {
            // containerd may still be starting.
            eventually("an image to be imported", DEADLINE, async || {
                self.still_running()?;
                self.import(archive).await
            })
            .await?;
        }
        self.kubelet.start()?;
        self.takes_pods(cluster).await?;
        self.services_work().await
    }

    /// Gives the Service by which pods know the API server its one endpoint.
    async fn publish_api_server(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let slices: Api<EndpointSlice> = Api::namespaced(cluster.client().await?, "default");
        let address = self.api_server();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kubernetes",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
            "endpoints": [{"addresses": [address.ip()], "conditions": {"ready": true}}],
        });
        let params = PatchParams::apply("backstop-testenv").force();
        slices
            .patch("kubernetes", &params, &Patch::Apply(&slice))
            .await
            .context("could not publish the API server's address")?;
        Ok(())
    }

    async fn takes_pods(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let nodes: Api<NodeObject> = Api::all(cluster.client().await?);
        eventually("the node to be ready", DEADLINE, async || {
            self.still_running()?;
            let node = nodes.get(NAME).await?;
            let conditions = node
                .status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten());
            let ready = conditions
                .into_iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True");
            let taints: Vec<_> = node
                .spec
                .iter()
                .flat_map(|spec| spec.taints.iter().flatten())
                .map(|taint| taint.key.as_str())
                .collect();
            ensure!(
                ready && taints == [REAL],
                "ready: {ready}, taints: {taints:?}"
            );
            Ok(())
        })
        .await
    }

    async fn services_work(&self) -> anyhow::Result<()> {
        let client = crate::http::plain_client()?;
        let health = format!("http://{}/healthz", self.port(PROXY_HEALTH));
        eventually("kube-proxy's rules", DEADLINE, async || {
            self.still_running()?;
            client.get(&health).send().await?.error_for_status()?;
            anyhow::Ok(())
        })
        .await
    }

    fn still_running(&self) -> anyhow::Result<()> {
        for process in self.processes() {
            if let Some(status) = process.exited() {
                bail!("{} has ended: {status}", process.name());
            }
        }
        Ok(())
    }
}

fn write_files(
    cluster: &Cluster,
    state: &StateDir,
    cgroup: &str,
    (network, services): (Network, ServiceRange),
    api_server: SocketAddr,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(state.path().join("etc/cni"))?;
    let write = |name: &str, content: String| state.write(&format!("etc/{name}"), content);
    let plugins = Tool::CniPtp.path()?;
    let plugins = plugins.parent().context("a tool without a folder")?;
    write("containerd.toml", config::containerd(plugins))?;
    write("cni/10-pods.conflist", config::cni(network))?;
    write("ca.crt", cluster.authority_certificate())?;
    write("kubelet.yaml", config::kubelet(cgroup, services.names())?)?;
    write("kube-proxy.yaml", config::kube_proxy(NAME, network)?)?;
    let user = format!("system:node:{NAME}");
    write(
        "kubelet.kubeconfig",
        cluster.kubeconfig_at(api_server, &user, &["system:nodes"])?,
    )?;
    write(
        "kube-proxy.kubeconfig",
        cluster.kubeconfig_at(api_server, "system:kube-proxy", &[])?,
    )?;
    Ok(())
}

/// containerd finds its shim and runc on the PATH, and kube-proxy finds nft there.
fn search_path() -> anyhow::Result<String> {
    let mut folders = Vec::new();
    for tool in [Tool::ContainerdShim, Tool::Runc, Tool::Nft] {
        let path = tool.path()?;
        let folder = path.parent().context("a tool without a folder")?;
        folders.push(folder.to_owned());
    }
    let usual = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&usual));
    folders.extend(["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).to_owned()));
    std::env::join_paths(folders)?
        .into_string()
        .map_err(|path: OsString| anyhow::anyhow!("not text: {}", path.display()))
}
