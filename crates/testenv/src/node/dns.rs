//! Names of Services for the pods of a real node, by CoreDNS.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};

use super::{Node, placement};
use crate::cluster::{Cluster, ServiceRange};
use crate::image;
use crate::wait::eventually;

const DEADLINE: Duration = Duration::from_mins(1);
const NAME: &str = "coredns";
/// The port of its pod: what runs as nobody may not have to ask for 53.
const PORT: u16 = 1053;
const READY: u16 = 8181;

/// Services and pods of the cluster alone: nothing in a test asks for a name outside.
const COREFILE: &str = ".:1053 {
  errors
  ready :8181
  kubernetes cluster.local
}
";

impl Node {
    /// Runs CoreDNS as a pod, behind the address that the kubelet tells all pods to ask. Builds it first if need be.
    pub async fn serve_names(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let scratch = folder.path().to_owned();
        let archive = tokio::task::spawn_blocking(move || image::coredns(&scratch)).await??;
        self.import(&archive).await?;
        let address = ServiceRange::of(cluster.api_server_port()?).names();
        let texts = objects(address).map(|object| serde_yaml_ng::to_string(&object));
        let manifests = texts.into_iter().collect::<Result<Vec<_>, _>>()?;
        cluster
            .apply("kube-system", &manifests.join("---\n"))
            .await?;
        let deployments: Api<Deployment> = Api::namespaced(cluster.client().await?, "kube-system");
        eventually("CoreDNS to be ready", DEADLINE, async || {
            let status = deployments.get(NAME).await?.status.unwrap_or_default();
            ensure!(status.ready_replicas == Some(1), "{status:?}");
            Ok(())
        })
        .await
    }
}

fn objects(address: Ipv4Addr) -> [Value; 6] {
    let labels = json!({"k8s-app": "kube-dns"});
    let role =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME});
    let mut pod = placement();
    pod["serviceAccountName"] = json!(NAME);
    pod["dnsPolicy"] = json!("Default");
    pod["containers"] = json!([{
        "name": NAME,
        "image": image::COREDNS,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": READY}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }]);
    pod["volumes"] = json!([{"name": "config", "configMap": {"name": NAME}}]);
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": NAME},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME},
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": "kube-system"}],
        }),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": {"Corefile": COREFILE},
        }),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": NAME},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns"},
            "spec": {
                "clusterIP": address,
                "selector": labels,
                "ports": [
                    {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": PORT},
                    {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": PORT},
                ],
            },
        }),
    ]
}
