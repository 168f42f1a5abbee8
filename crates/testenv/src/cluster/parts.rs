//! The processes of a control plane and their command lines.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use super::ClusterOptions;
use super::audit::Audit;
use crate::fate;
use crate::kubeconfig;
use crate::pki::{self, Authority};
use crate::process::Process;
use crate::state::StateDir;
use crate::tools::Tool;

/// One process of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The store.
    Etcd,
    /// The API server.
    ApiServer,
    /// Deployments, ReplicaSets and the like come to rest without it.
    ControllerManager,
    /// New pods stay without a node when it is gone.
    Scheduler,
    /// The fake kubelet: pods keep the status that they have when it is gone.
    Kwok,
}

/// All processes, in the order in which they end.
#[derive(Debug)]
pub(super) struct Parts {
    kwok: Process,
    scheduler: Process,
    controller_manager: Process,
    api_server: Process,
    etcd: Process,
}

/// Where things listen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) api_server: u16,
    pub(super) etcd: u16,
    pub(super) etcd_peers: u16,
}

/// Where Services get their addresses: `10.a.b.0/24`, with the API server's port in the middle.
///
/// Two API servers on one machine never have the same port, so a machine can have routes to the Services of several
/// clusters ([`Node`](crate::Node)).
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServiceRange(u16);

impl ServiceRange {
    pub(crate) fn of(api_server: u16) -> Self {
        Self(api_server)
    }

    pub(crate) fn cidr(self) -> String {
        let [a, b] = self.0.to_be_bytes();
        format!("10.{a}.{b}.0/24")
    }

    /// The API server's own address in it, by which pods know it.
    fn api_server(self) -> String {
        self.address(1).to_string()
    }

    /// Where pods ask for names. The API server gives this one to nobody who does not ask for it.
    pub(crate) fn names(self) -> Ipv4Addr {
        self.address(10)
    }

    fn address(self, last: u8) -> Ipv4Addr {
        let [a, b] = self.0.to_be_bytes();
        Ipv4Addr::new(10, a, b, last)
    }
}

impl Parts {
    pub(super) fn get(&self, part: Part) -> &Process {
        match part {
            Part::Etcd => &self.etcd,
            Part::ApiServer => &self.api_server,
            Part::ControllerManager => &self.controller_manager,
            Part::Scheduler => &self.scheduler,
            Part::Kwok => &self.kwok,
        }
    }

    /// All, in the order in which they start.
    pub(super) fn all(&self) -> [&Process; 5] {
        [
            &self.etcd,
            &self.api_server,
            &self.controller_manager,
            &self.scheduler,
            &self.kwok,
        ]
    }

    pub(super) fn log_tail(&self, lines: usize) -> String {
        let mut text = String::new();
        for part in self.all() {
            let _ = write!(text, "--- {}\n{}\n", part.name(), part.log_tail(lines));
        }
        text
    }

    /// Writes the files that the processes need, and says how to run them. Nothing is started.
    pub(super) fn prepare(
        (options, audit): (&ClusterOptions, Option<&Audit>),
        ports: Ports,
        server: &str,
        authority: &Authority,
        state: &StateDir,
    ) -> anyhow::Result<Self> {
        let logs = state.logs();
        let process = |tool: Tool, args: Vec<String>| -> anyhow::Result<Process> {
            Ok(Process::new(tool.binary(), tool.path()?, args, &logs))
        };
        let ca = state.write("ca.crt", authority.certificate())?;
        let (token_key, token_key_public) = pki::token_keys()?;
        let token_key = state.write("tokens.key", token_key)?;
        let token_key_public = state.write("tokens.pub", token_key_public)?;
        let kubeconfig = |user: &str, groups: &[&str]| -> anyhow::Result<String> {
            let identity = authority.client(user, groups)?;
            let text = kubeconfig::render(server, &authority.certificate(), &identity)?;
            let name = format!("{}.kubeconfig", user.replace(':', "-"));
            Ok(state.write(&name, text)?.display().to_string())
        };

        let mut api_server = api_server_args(ports, authority, &ca, state)?;
        api_server.extend(kubelet_access_args(authority, state)?);
        api_server.extend(aggregation_args(state)?);
        api_server.push(flag("service-account-key-file", token_key_public.display()));
        api_server.push(flag(
            "service-account-signing-key-file",
            token_key.display(),
        ));
        if let Some(audit) = audit {
            api_server.extend(audit.flags(state)?);
        }
        api_server.extend(options.api_server_flags.iter().cloned());

        let controller_manager = vec![
            flag(
                "kubeconfig",
                kubeconfig("system:kube-controller-manager", &[])?,
            ),
            flag("service-account-private-key-file", token_key.display()),
            flag("root-ca-file", ca.display()),
            flag("use-service-account-credentials", true),
            flag("leader-elect", false),
            flag("secure-port", 0),
            flag("kube-api-qps", 200),
            flag("kube-api-burst", 400),
            // Tests of autoscaled workloads should not wait 15 s for each look.
            flag("horizontal-pod-autoscaler-sync-period", "2s"),
        ];
        let scheduler = vec![
            flag("kubeconfig", kubeconfig("system:kube-scheduler", &[])?),
            flag("leader-elect", false),
            flag("secure-port", 0),
        ];
        let stages = state.write("stages.yaml", fate::STAGES)?;
        let kwok = vec![
            flag("kubeconfig", kubeconfig("kwok", &["system:masters"])?),
            flag("config", stages.display()),
            flag(
                "manage-nodes-with-annotation-selector",
                "kwok.x-k8s.io/node=fake",
            ),
            // Without leases a node is taken for dead after 40 s, and its pods with it.
            flag("node-lease-duration-seconds", 40),
            // The default holds 254 pods.
            flag("cidr", "10.64.0.1/12"),
            flag("node-ip", "10.80.0.1"),
        ];
        Ok(Self {
            kwok: process(Tool::Kwok, kwok)?,
            scheduler: process(Tool::KubeScheduler, scheduler)?,
            controller_manager: process(Tool::KubeControllerManager, controller_manager)?,
            api_server: process(Tool::KubeApiserver, api_server)?,
            etcd: process(Tool::Etcd, etcd_args(ports, state))?,
        })
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // All side by side; then each field's own drop waits for its process.
        for part in self.all() {
            part.signal_stop();
        }
    }
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn etcd_args(ports: Ports, state: &StateDir) -> Vec<String> {
    let clients = format!("http://127.0.0.1:{}", ports.etcd);
    let peers = format!("http://127.0.0.1:{}", ports.etcd_peers);
    vec![
        flag("data-dir", state.path().join("etcd").display()),
        // What is lost when the machine loses power is only a test's.
        "--unsafe-no-fsync".to_owned(),
        flag("listen-client-urls", &clients),
        flag("advertise-client-urls", &clients),
        flag("listen-peer-urls", &peers),
        flag("initial-advertise-peer-urls", &peers),
        flag("initial-cluster", format!("default={peers}")),
    ]
}

fn api_server_args(
    ports: Ports,
    authority: &Authority,
    ca: &Path,
    state: &StateDir,
) -> anyhow::Result<Vec<String>> {
    let services = ServiceRange::of(ports.api_server);
    let own_service = services.api_server();
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "127.0.0.1",
        own_service.as_str(),
    ];
    let serving = authority.server(&names)?;
    let certificate = state.write("api-server.crt", serving.certificate)?;
    let key = state.write("api-server.key", serving.key)?;
    Ok(vec![
        flag("etcd-servers", format!("http://127.0.0.1:{}", ports.etcd)),
        flag("bind-address", "127.0.0.1"),
        flag("advertise-address", "127.0.0.1"),
        flag("secure-port", ports.api_server),
        flag("endpoint-reconciler-type", "none"),
        flag("tls-cert-file", certificate.display()),
        flag("tls-private-key-file", key.display()),
        flag("client-ca-file", ca.display()),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        flag("service-cluster-ip-range", services.cidr()),
        flag("authorization-mode", "Node,RBAC"),
        flag("profiling", false),
    ])
}

/// How the API server reaches a real kubelet, for logs and the like.
fn kubelet_access_args(authority: &Authority, state: &StateDir) -> anyhow::Result<[String; 3]> {
    let identity = authority.client("kube-apiserver-kubelet-client", &["system:masters"])?;
    let certificate = state.write("kubelet-client.crt", identity.certificate)?;
    let key = state.write("kubelet-client.key", identity.key)?;
    Ok([
        flag("kubelet-client-certificate", certificate.display()),
        flag("kubelet-client-key", key.display()),
        // Nothing resolves a node's name.
        flag("kubelet-preferred-address-types", "InternalIP"),
    ])
}

/// How the API server passes questions on to others, such as metrics-server, and they know it by. Its own authority:
/// whoever has a certificate of it may speak in anybody's name.
fn aggregation_args(state: &StateDir) -> anyhow::Result<[String; 7]> {
    const NAME: &str = "front-proxy-client";
    let authority = Authority::new()?;
    let ca = state.write("front-proxy-ca.crt", authority.certificate())?;
    let identity = authority.client(NAME, &[])?;
    let certificate = state.write("front-proxy-client.crt", identity.certificate)?;
    let key = state.write("front-proxy-client.key", identity.key)?;
    Ok([
        flag("requestheader-client-ca-file", ca.display()),
        flag("requestheader-allowed-names", NAME),
        flag("requestheader-username-headers", "X-Remote-User"),
        flag("requestheader-group-headers", "X-Remote-Group"),
        flag("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        flag("proxy-client-cert-file", certificate.display()),
        flag("proxy-client-key-file", key.display()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_api_servers_never_share_a_range_of_services() {
        assert_eq!(ServiceRange::of(0x8001).cidr(), "10.128.1.0/24");
        assert_eq!(ServiceRange::of(0x8001).api_server(), "10.128.1.1");
        assert_ne!(
            ServiceRange::of(0x8002).cidr(),
            ServiceRange::of(0x8001).cidr()
        );
    }
}
