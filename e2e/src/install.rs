//! Backstop's CRDs, rights and admission policies, put into a test cluster by way of the chart.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use backstop_testenv::{Cluster, eventually};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::chart::{self, NAMESPACE};

/// The API servers that have it, by address. Held while installing, so that whoever comes second waits.
static INSTALLED: Mutex<BTreeSet<String>> = Mutex::const_new(BTreeSet::new());

/// A policy that is written and removed to see that the admission policies are in force.
const PROBE: &str = "
apiVersion: backstop.dev/v1alpha1
kind: RollbackPolicy
metadata: {name: admission-probe}
spec: {workloads: [{name: admission-probe}]}
";

/// Who the operator is in a test cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The namespace of its service account and of its lease.
    pub namespace: String,
    /// The name of its service account.
    pub service_account: String,
}

impl Operator {
    /// The operator as the API server knows it.
    pub fn username(&self) -> String {
        format!(
            "system:serviceaccount:{}:{}",
            self.namespace, self.service_account
        )
    }
}

/// Installs what the chart installs, but for the Deployment, because no container runs on a test cluster's nodes: a
/// test starts the operator as a process, with the rights of the service account that this returns
/// ([`Cluster::service_account_kubeconfig`]).
///
/// Done once for each cluster, whoever asks. When it returns, the CRDs are served and the admission policies refuse.
pub async fn install(cluster: &Cluster) -> anyhow::Result<Operator> {
    let operator = Operator {
        namespace: NAMESPACE.to_owned(),
        service_account: "backstop".to_owned(),
    };
    let mut installed = INSTALLED.lock().await;
    if installed.contains(cluster.server()) {
        return Ok(operator);
    }
    let rendered = chart::render(cluster, &[]).await?;
    let wanted = rendered
        .iter()
        .filter(|object| !matches!(chart::kind(object), "Deployment" | "PodDisruptionBudget"));
    let namespace = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE},
    });
    let objects = chart::yaml(std::iter::once(&namespace).chain(wanted))?;
    let apply = ["apply", "--server-side", "--filename=-"];
    cluster
        .kubectl_with(cluster.kubeconfig_path(), &apply, &objects)
        .await?
        .success()?;
    served(cluster, &rendered).await?;
    refused(cluster).await?;
    installed.insert(cluster.server().to_owned());
    Ok(operator)
}

/// Waits until the API server serves the kinds.
async fn served(cluster: &Cluster, rendered: &[Value]) -> anyhow::Result<()> {
    let names: Vec<_> = rendered
        .iter()
        .filter(|object| chart::kind(object) == "CustomResourceDefinition")
        .filter_map(|crd| Some(format!("crd/{}", crd["metadata"]["name"].as_str()?)))
        .collect();
    let mut args = vec!["wait", "--for=condition=Established", "--timeout=30s"];
    args.extend(names.iter().map(String::as_str));
    cluster.kubectl(&args).await?.success()?;
    Ok(())
}

/// Waits until the last of the admission policies refuses. The API server takes up policies and bindings in the order
/// in which they were made, so then all of them do.
async fn refused(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.apply(NAMESPACE, PROBE).await?;
    let probe = [
        "--namespace",
        NAMESPACE,
        "rollbackpolicy",
        "admission-probe",
    ];
    let mut patch = vec![
        "patch",
        "--subresource=status",
        "--dry-run=server",
        "--type=merge",
        "--patch={\"status\":{\"attempts\":1}}",
    ];
    patch.extend(probe);
    eventually(
        "the admission policies to be in force",
        Duration::from_mins(1),
        async || {
            let answer = cluster.kubectl(&patch).await?;
            ensure!(
                answer.stderr.contains("'backstop-status'"),
                "{}{}",
                answer.stdout,
                answer.stderr
            );
            Ok(())
        },
    )
    .await?;
    let mut delete = vec!["delete"];
    delete.extend(probe);
    cluster.kubectl(&delete).await?.success()?;
    Ok(())
}
