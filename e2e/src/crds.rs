//! The CRDs that teams have beside Backstop's, of routes, GitOps tools, reports and monitoring, as their projects publish them.
//!
//! They come out of the Go modules that `e2e/tools/crds` pins, through Go's own cache, so that no copy of them ages here.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use backstop_testenv::Access;
use serde_json::Value;

use crate::chart::{documents, root};

/// In which module, and in which of its files, the CRDs of a group are.
const PUBLISHED: [(&str, &str, &[&str]); 9] = [
    (
        "aquasecurity.github.io",
        "github.com/aquasecurity/trivy-operator",
        &["deploy/helm/crds/aquasecurity.github.io_vulnerabilityreports.yaml"],
    ),
    (
        "kustomize.toolkit.fluxcd.io",
        "github.com/fluxcd/kustomize-controller",
        &["config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"],
    ),
    (
        "source.toolkit.fluxcd.io",
        "github.com/fluxcd/source-controller",
        &[
            "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",
            "config/crd/bases/source.toolkit.fluxcd.io_helmcharts.yaml",
            "config/crd/bases/source.toolkit.fluxcd.io_ocirepositories.yaml",
            "config/crd/bases/source.toolkit.fluxcd.io_helmrepositories.yaml",
            "config/crd/bases/source.toolkit.fluxcd.io_buckets.yaml",
            "config/crd/bases/source.toolkit.fluxcd.io_externalartifacts.yaml",
        ],
    ),
    (
        "argoproj.io",
        "github.com/argoproj/argo-cd/v3",
        &["manifests/crds/application-crd.yaml"],
    ),
    (
        "gateway.networking.k8s.io",
        "sigs.k8s.io/gateway-api",
        &[
            "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
            "config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml",
        ],
    ),
    (
        "traefik.io",
        "github.com/traefik/traefik/v3",
        &[
            "docs/content/reference/dynamic-configuration/traefik.io_traefikservices.yaml",
            "docs/content/reference/dynamic-configuration/traefik.io_ingressroutes.yaml",
        ],
    ),
    (
        "networking.istio.io",
        "istio.io/api",
        &["kubernetes/customresourcedefinitions.gen.yaml"],
    ),
    (
        "projectcontour.io",
        "github.com/projectcontour/contour",
        &["examples/contour/01-crds.yaml"],
    ),
    (
        "monitoring.coreos.com",
        "github.com/prometheus-operator/prometheus-operator",
        &[
            "example/prometheus-operator-crd/monitoring.coreos.com_alertmanagerconfigs.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        ],
    ),
];

/// The CRD of a kind, such as `httproutes` of `gateway.networking.k8s.io`; `None` for groups that are not pinned.
pub fn published(group: &str, plural: &str) -> anyhow::Result<Option<Value>> {
    let Some((_, module, files)) = PUBLISHED.iter().find(|(of, _, _)| *of == group) else {
        return Ok(None);
    };
    let folder = folder(module)?;
    let name = format!("{plural}.{group}");
    for file in *files {
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("could not read {}", path.display()))?;
        let crd = documents(&text)?
            .into_iter()
            .find(|document| document["metadata"]["name"] == name);
        if crd.is_some() {
            return Ok(crd);
        }
    }
    anyhow::bail!("{module} has no CRD {name} in {files:?}")
}

/// Installs those of the Prometheus Operator that the chart and the docs speak of.
pub async fn install_monitoring(cluster: &Access) -> anyhow::Result<()> {
    for plural in ["alertmanagerconfigs", "prometheusrules", "servicemonitors"] {
        let crd = published("monitoring.coreos.com", plural)?;
        install(cluster, &crd.context("not published")?).await?;
    }
    Ok(())
}

/// Installs a CRD and waits until it is served.
pub async fn install(cluster: &Access, crd: &Value) -> anyhow::Result<()> {
    let apply = ["apply", "--server-side", "--filename=-"];
    cluster
        .kubectl_with(cluster.kubeconfig_path(), &apply, &crd.to_string())
        .await?
        .success()?;
    let name = crd["metadata"]["name"]
        .as_str()
        .context("a CRD without a name")?;
    cluster.established([name]).await
}

/// Where Go keeps a module of the version that is pinned. It is fetched if need be.
fn folder(module: &str) -> anyhow::Result<PathBuf> {
    let pins = root().join("e2e/tools/crds");
    let text = std::fs::read_to_string(pins.join("go.mod"))?;
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(module)?.strip_prefix(' '))
        .with_context(|| format!("e2e/tools/crds/go.mod does not pin {module}"))?;
    // By its version, because then what it requires itself need not be known.
    let output = Command::new("go")
        .args(["mod", "download", "-json", &format!("{module}@{version}")])
        .current_dir(&pins)
        .output()
        .context("could not start go")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "go mod download: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answer: Value = serde_json::from_str(&said)?;
    let folder = answer["Dir"].as_str().context("no folder in the answer")?;
    Ok(folder.into())
}
