//! The objects of Flux and Argo CD, as their own CRDs have them.

use anyhow::Context as _;
use backstop_testenv::Access;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::{chart, crds};

/// A kind of a GitOps tool: group, version, kind and plural.
pub type Kind = (&'static str, &'static str, &'static str, &'static str);

/// Flux applies what a source has.
pub const KUSTOMIZATION: Kind = (
    "kustomize.toolkit.fluxcd.io",
    "v1",
    "Kustomization",
    "kustomizations",
);
/// Flux installs a chart.
pub const HELM_RELEASE: Kind = (
    "helm.toolkit.fluxcd.io",
    "v2",
    "HelmRelease",
    "helmreleases",
);
/// Where Flux finds what it applies.
pub const GIT_REPOSITORY: Kind = (
    "source.toolkit.fluxcd.io",
    "v1",
    "GitRepository",
    "gitrepositories",
);
/// The same, in a registry.
pub const OCI_REPOSITORY: Kind = (
    "source.toolkit.fluxcd.io",
    "v1",
    "OCIRepository",
    "ocirepositories",
);
/// Where Flux finds a chart.
pub const HELM_CHART: Kind = ("source.toolkit.fluxcd.io", "v1", "HelmChart", "helmcharts");
/// Argo CD applies what Git has.
pub const APPLICATION: Kind = ("argoproj.io", "v1alpha1", "Application", "applications");

/// The objects of a kind in a namespace.
pub fn objects(client: &Client, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    let (group, version, kind, plural) = kind;
    let resource = ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: format!("{group}/{version}"),
        kind: kind.into(),
        plural: plural.into(),
    };
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Makes an object, and gives it a status as its controller would.
pub async fn make(
    api: &Api<DynamicObject>,
    kind: Kind,
    name: &str,
    spec: Value,
    status: Value,
) -> anyhow::Result<()> {
    let (group, version, of, _) = kind;
    let object = json!({
        "apiVersion": format!("{group}/{version}"), "kind": of, "metadata": {"name": name}, "spec": spec,
    });
    let params = PatchParams::apply("test").force();
    api.patch(name, &params, &Patch::Apply(object)).await?;
    set_status(api, kind, name, status).await
}

/// Changes an object's status, as its controller would.
pub async fn set_status(
    api: &Api<DynamicObject>,
    kind: Kind,
    name: &str,
    status: Value,
) -> anyhow::Result<()> {
    let (params, patch) = (
        PatchParams::default(),
        Patch::Merge(json!({ "status": status })),
    );
    // Argo CD's has no subresource for its status.
    if kind == APPLICATION {
        api.patch(name, &params, &patch).await?;
    } else {
        api.patch_status(name, &params, &patch).await?;
    }
    Ok(())
}

/// Installs the kinds of the tools. That of HelmRelease is not published where the others are: the one that is installed
/// knows what it is called, and takes any fields.
pub async fn install_kinds(cluster: &Access) -> anyhow::Result<()> {
    let of = |(group, _, _, plural): Kind| (group, plural);
    let kinds = [
        KUSTOMIZATION,
        GIT_REPOSITORY,
        OCI_REPOSITORY,
        HELM_CHART,
        APPLICATION,
    ]
    .map(of);
    // Flux's controllers watch these too.
    let watched = ["helmrepositories", "buckets", "externalartifacts"];
    let watched = watched.map(|plural| (GIT_REPOSITORY.0, plural));
    for (group, plural) in kinds.into_iter().chain(watched) {
        let crd = crds::published(group, plural)?.context("no CRD")?;
        crds::install(cluster, &crd).await?;
    }
    let (group, version, kind, plural) = HELM_RELEASE;
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [{
                "name": version, "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}},
            }],
        },
    });
    crds::install(cluster, &crd).await
}

/// Gives the operator the rights that the chart gives with `rbac.gitops`.
pub async fn give_rights(cluster: &Access) -> anyhow::Result<()> {
    let rendered = chart::render(cluster, &["--set", "rbac.gitops=true"]).await?;
    let rights = rendered
        .iter()
        .filter(|o| o["metadata"]["name"] == "backstop-gitops");
    let apply = ["apply", "--server-side", "--filename=-"];
    let kubeconfig = cluster.kubeconfig_path();
    cluster
        .kubectl_with(kubeconfig, &apply, &chart::yaml(rights)?)
        .await?
        .success()
        .map(drop)
}
