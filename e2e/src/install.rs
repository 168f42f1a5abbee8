//! Backstop's CRDs, rights and admission policies, put into a test cluster by way of the chart.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use backstop_testenv::{Access, eventually};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::chart::{self, NAMESPACE};
use crate::raw::{Raw, point};

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
/// ([`Access::service_account_kubeconfig`]).
///
/// Done once for each cluster, whoever asks. When it returns, the CRDs are served and the admission policies refuse.
pub async fn install(cluster: &Access) -> anyhow::Result<Operator> {
    let operator = Operator {
        namespace: NAMESPACE.to_owned(),
        service_account: "backstop".to_owned(),
    };
    let mut installed = INSTALLED.lock().await;
    if installed.contains(cluster.server()) {
        return Ok(operator);
    }
    let rendered = rendered(cluster).await?;
    let objects = chart::yaml(&rendered)?;
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

/// Takes away what [`install`] put in, the admission policies' bindings first: a binding without its policy refuses.
pub async fn remove(cluster: &Access) -> anyhow::Result<()> {
    let rendered = rendered(cluster).await?;
    let is_binding = |object: &&Value| chart::kind(object).ends_with("Binding");
    let bindings = rendered.iter().filter(is_binding);
    let others = rendered.iter().filter(|object| !is_binding(object)).rev();
    let delete = [
        "delete",
        "--ignore-not-found",
        "--timeout=90s",
        "--filename=-",
    ];
    for objects in [chart::yaml(bindings)?, chart::yaml(others)?] {
        cluster
            .kubectl_with(cluster.kubeconfig_path(), &delete, &objects)
            .await?
            .success()?;
    }
    INSTALLED.lock().await.remove(cluster.server());
    Ok(())
}

/// What is installed, each after what it needs.
async fn rendered(cluster: &Access) -> anyhow::Result<Vec<Value>> {
    let mut objects = vec![serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE},
    })];
    let all = chart::render(cluster, &[]).await?;
    objects.extend(
        all.into_iter()
            .filter(|object| !matches!(chart::kind(object), "Deployment" | "PodDisruptionBudget")),
    );
    Ok(objects)
}

/// Waits until the API server serves the kinds.
async fn served(cluster: &Access, rendered: &[Value]) -> anyhow::Result<()> {
    let definitions = rendered
        .iter()
        .filter(|object| chart::kind(object) == "CustomResourceDefinition")
        .filter_map(|definition| definition["metadata"]["name"].as_str());
    cluster.established(definitions).await
}

/// Waits until the last of the admission policies refuses. The API server takes up policies and bindings in the order
/// in which they were made, so then all of them do.
async fn refused(cluster: &Access) -> anyhow::Result<()> {
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
    // What asks for a policy first looks for its kind, and looks again only after a while where it was too early.
    let points = Raw::points(&cluster.client().await?, NAMESPACE);
    eventually(
        "the admission policies to find what they look at",
        Duration::from_mins(2),
        async || {
            let tried = points.try_to_create("admission-probe", point("admission-probe"));
            tried.await
        },
    )
    .await?;
    let mut delete = vec!["delete"];
    delete.extend(probe);
    cluster.kubectl(&delete).await?.success()?;
    Ok(())
}
