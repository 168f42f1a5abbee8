//! The weights of routes, by way of a real API server and with the CRDs that the projects publish.

use anyhow::{Context as _, bail, ensure};
use backstop_e2e::{chart::root, crds};
use backstop_testenv::Cluster;
use backstop_traffic::{Percent, Provider, Route, Selection, Table};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

/// A provider's route in a cluster.
struct Case {
    provider: Provider,
    selection: Selection,
    api: Api<DynamicObject>,
    name: String,
}

impl Case {
    /// Creates the route of a provider's fixture in a namespace of its own.
    async fn create(cluster: &Cluster, provider: &Provider) -> anyhow::Result<Self> {
        let namespace = cluster.namespace("routes").await?;
        let path = format!("crates/traffic/tests/fixtures/{}.yaml", provider.name);
        // The fixtures' namespace is also in the names of hosts.
        let text = std::fs::read_to_string(root().join(path))?.replace("shop", &namespace);
        let mut fixture: Value = serde_yaml_ng::from_str(&text)?;
        let object: DynamicObject = serde_json::from_value(fixture["object"].take())?;
        let kind = GroupVersionKind::gvk(&provider.group, &provider.version, &provider.kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, &provider.plural);
        let api = Api::namespaced_with(cluster.client().await?, &namespace, &resource);
        let created = api.create(&PostParams::default(), &object).await?;
        Ok(Self {
            provider: provider.clone(),
            selection: serde_json::from_value(fixture["selection"].take())?,
            api,
            name: created.metadata.name.context("no name")?,
        })
    }

    async fn get(&self) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self.api.get(&self.name).await?)?)
    }

    fn read<'a>(&self, object: &'a Value) -> anyhow::Result<Route<'a>> {
        Ok(Route::read(&self.provider, &self.selection, object)?)
    }

    async fn patch(&self, operations: Vec<Value>) -> anyhow::Result<kube::Result<DynamicObject>> {
        let patch = Patch::Json::<()>(serde_json::from_value(operations.into())?);
        let params = PatchParams::default();
        Ok(self.api.patch(&self.name, &params, &patch).await)
    }

    /// Gives the canary a share, and sees to it that it has it.
    async fn shift(&self, share: u8) -> anyhow::Result<()> {
        let share = Percent::try_from(share)?;
        let object = self.get().await?;
        self.patch(self.read(&object)?.shift(share)).await??;
        let after = self.get().await?;
        let route = self.read(&after)?;
        ensure!(
            route.weights().holds(share),
            "{share}: {:?}",
            route.weights()
        );
        ensure!(route.shift(share).is_empty(), "{share} is not settled");
        Ok(())
    }

    async fn check(&self) -> anyhow::Result<()> {
        let first = self.get().await?;
        let before = self.read(&first)?;
        for share in [25, 50, 0] {
            self.shift(share).await?;
        }
        self.a_stale_patch_is_refused().await?;
        let now = self.get().await?;
        let back = self.read(&now)?.restore(before.weights())?;
        self.patch(back).await??;
        let restored = self.get().await?;
        for part in ["/spec", "/metadata/annotations"] {
            let (was, is) = (first.pointer(part), restored.pointer(part));
            ensure!(was == is, "{part} was {was:?} and is {is:?}");
        }
        Ok(())
    }

    async fn a_stale_patch_is_refused(&self) -> anyhow::Result<()> {
        let old = self.get().await?;
        let stale = self.read(&old)?.shift(Percent::ALL);
        self.shift(10).await?;
        let edited = self.get().await?;
        match self.patch(stale).await? {
            Err(kube::Error::Api(status)) if status.code == 422 => {}
            other => bail!("a stale patch was answered with {other:?}"),
        }
        ensure!(self.get().await? == edited, "a refused patch changed it");
        Ok(())
    }
}

/// Creates, shifts and restores the routes of every provider of these groups; returns which they were.
async fn check(groups: &[&str]) -> anyhow::Result<Vec<String>> {
    let cluster = Cluster::shared().await?;
    let mut checked = Vec::new();
    for provider in Table::builtin().iter() {
        if !groups.contains(&provider.group.as_str()) {
            continue;
        }
        if let Some(crd) = crds::published(&provider.group, &provider.plural)? {
            crds::install(cluster, &crd).await?;
        }
        let case = Case::create(cluster, provider)
            .await
            .with_context(|| provider.name.clone())?;
        case.check().await.with_context(|| provider.name.clone())?;
        checked.push(provider.name.clone());
    }
    Ok(checked)
}

#[tokio::test]
async fn routes_of_published_crds_are_shifted_and_restored() -> anyhow::Result<()> {
    let groups = [
        "gateway.networking.k8s.io",
        "traefik.io",
        "networking.istio.io",
        "projectcontour.io",
    ];
    let checked = check(&groups).await?;
    let all = [
        "gateway-httproute",
        "gateway-grpcroute",
        "traefik-service",
        "traefik-ingressroute",
        "istio",
        "contour",
    ];
    assert_eq!(checked, all);
    Ok(())
}

#[tokio::test]
async fn ingresses_with_weights_in_annotations_are_shifted_and_restored() -> anyhow::Result<()> {
    let checked = check(&["networking.k8s.io"]).await?;
    assert_eq!(checked, ["skipper-ingress", "alb", "nginx"]);
    Ok(())
}
