//! The files that containerd, the kubelet and kube-proxy read, all below `/run/backstop/etc` for them.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::json;

use super::network::Network;
use crate::image::PAUSE;

/// Where the node's own files are, as seen from inside.
pub(super) const FOLDER: &str = "/run/backstop";
/// containerd's socket, likewise.
pub(super) const SOCKET: &str = "/run/backstop/containerd.sock";

pub(super) fn etc(file: &str) -> String {
    format!("{FOLDER}/etc/{file}")
}

pub(super) fn containerd(cni_plugins: &Path) -> String {
    format!(
        r#"version = 3
root = "{FOLDER}/containerd"
state = "{FOLDER}/containerd-state"

[grpc]
address = "{SOCKET}"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"

[plugins."io.containerd.cri.v1.runtime"]
# Without CAP_SYS_RESOURCE runc could not give a container a better score than its own, and would die.
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{plugins}"]
conf_dir = "{cni}"
"#,
        plugins = cni_plugins.display(),
        cni = etc("cni"),
    )
}

/// Links from point to point and no bridge: a bridge would carry a pod's answer to its neighbour past the rules that
/// have to put the Service's address back into it, unless the machine has br_netfilter.
pub(super) fn cni(network: Network) -> String {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": network.pods()}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": format!("{FOLDER}/addresses"),
            },
        }],
    })
    .to_string()
}

pub(super) fn kubelet(cgroup: &str, names: Ipv4Addr) -> anyhow::Result<String> {
    Ok(serde_yaml_ng::to_string(&json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": false},
            "x509": {"clientCAFile": etc("ca.crt")},
        },
        // Whoever has a certificate of this authority belongs to the test.
        "authorization": {"mode": "AlwaysAllow"},
        "clusterDNS": [names],
        "clusterDomain": "cluster.local",
        // Some machines have no other.
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        // Lowering it takes a capability that containers of CI lack.
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": false,
        "localStorageCapacityIsolation": false,
        "podLogsDir": format!("{FOLDER}/pod-logs"),
        // How full this machine is says nothing about what is tested.
        "evictionHard": {
            "imagefs.available": "0%", "memory.available": "0%",
            "nodefs.available": "0%", "nodefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "registerWithTaints": [super::taint()],
    }))?)
}

pub(super) fn kube_proxy(name: &str, network: Network) -> anyhow::Result<String> {
    Ok(serde_yaml_ng::to_string(&json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": etc("kube-proxy.kubeconfig")},
        "hostnameOverride": name,
        // In iptables mode it wrote no rules on some of the machines that this has to run on.
        "mode": "nftables",
        // The default gathers changes for a second, in which traffic still goes to pods that are gone.
        "nftables": {"minSyncPeriod": "50ms"},
        "clusterCIDR": network.pods(),
        "oomScoreAdj": 0,
        // These limits are the whole machine's.
        "conntrack": {
            "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
        },
    }))?)
}
