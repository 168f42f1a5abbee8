//! The operator takes a canary's share away on every kind of route that it knows: with the published CRD where there is one
//! to be had, otherwise with one that takes everything, so that at least the way to the API server is the real one.

use std::cell::RefCell;

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_e2e::chart::root;
use backstop_e2e::crds;
use backstop_e2e::world::{App, World, cannot_start};
use backstop_testenv::{Cluster, fate};
use backstop_traffic::{Percent, Provider, Route, Selection, Table};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

/// A definition that takes whatever it is given.
fn lenient(provider: &Provider) -> Value {
    let (group, plural) = (&provider.group, &provider.plural);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"), "annotations": {
            // The API server keeps *.k8s.io for those who were let in.
            "api-approved.kubernetes.io": "unapproved, for a test",
        }},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": provider.kind, "plural": plural},
            "versions": [{
                "name": provider.version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

/// Sees to it that the API server knows the kind.
async fn served(cluster: &Cluster, provider: &Provider) -> anyhow::Result<()> {
    // It knows Ingresses by itself.
    if provider.group == "networking.k8s.io" {
        return Ok(());
    }
    let crd = crds::published(&provider.group, &provider.plural)?;
    crds::install(cluster, &crd.unwrap_or_else(|| lenient(provider))).await
}

/// A team's route, as the fixtures of the providers have it.
struct Canary {
    provider: Provider,
    selection: Selection,
    parameters: Value,
    api: Api<DynamicObject>,
    name: String,
}

impl Canary {
    async fn create(world: &World, provider: Provider) -> anyhow::Result<Self> {
        let path = format!("crates/traffic/tests/fixtures/{}.yaml", provider.name);
        // The fixtures' namespace is also in the names of hosts.
        let text = std::fs::read_to_string(root().join(path))?.replace("shop", &world.namespace);
        let mut fixture: Value = serde_yaml_ng::from_str(&text)?;
        let object: DynamicObject = serde_json::from_value(fixture["object"].take())?;
        let kind = GroupVersionKind::gvk(&provider.group, &provider.version, &provider.kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, &provider.plural);
        let api = Api::namespaced_with(world.client.clone(), &world.namespace, &resource);
        let created = api.create(&PostParams::default(), &object).await?;
        let name = created.metadata.name.context("no name")?;
        let selection = fixture["selection"].take();
        let parameters = parameters(&provider, &name, &selection);
        Ok(Self {
            provider,
            selection: serde_json::from_value(selection)?,
            parameters,
            api,
            name,
        })
    }

    /// Gives the canary a share, as a team's pipeline does.
    async fn shift(&self, share: u8) -> anyhow::Result<()> {
        let object = serde_json::to_value(self.api.get(&self.name).await?)?;
        let route = Route::read(&self.provider, &self.selection, &object)?;
        let operations = route.shift(Percent::try_from(share)?);
        let patch = Patch::Json::<()>(serde_json::from_value(operations.into())?);
        self.api
            .patch(&self.name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    async fn holds(&self, share: u8) -> anyhow::Result<()> {
        let object = serde_json::to_value(self.api.get(&self.name).await?)?;
        let route = Route::read(&self.provider, &self.selection, &object)?;
        let weights = route.weights();
        ensure!(weights.holds(Percent::try_from(share)?), "{weights:?}");
        Ok(())
    }
}

/// How a policy names the route.
fn parameters(provider: &Provider, name: &str, selection: &Value) -> Value {
    let backend = |side: &str| match &selection[side] {
        Value::String(name) => json!({ "name": name }),
        whole => whole.clone(),
    };
    let mut route = json!({
        "provider": provider.name, "name": name,
        "stableBackend": backend("stable"), "canaryBackend": backend("canary"),
    });
    match &selection["rule"] {
        Value::Null => {}
        Value::String(rule) => route["rule"] = json!(rule),
        rule => route["rule"] = json!(rule.to_string()),
    }
    route
}

async fn goes_back(provider: Provider) -> anyhow::Result<()> {
    // Before the operator, which looks for the kinds of routes that are installed.
    served(Cluster::shared().await?, &provider).await?;
    let world = World::new("route").await?;
    let canary = |version: &str, replicas| {
        App::version(version)
            .called("web-canary")
            .replicas(Some(replicas))
    };
    world.deploy(&App::version("v1")).await?;
    world.deploy(&canary("v1", 0)).await?;
    let route = Canary::create(&world, provider).await?;
    route.shift(0).await?;
    world
        .policy(json!({
            "strategy": {"type": "Canary", "timeout": "30s", "canary": {
                "stable": "web", "canary": "web-canary", "route": route.parameters,
            }},
            "points": {"soak": "1s"},
            "limits": {"cooldown": "0s"},
            "triggers": [cannot_start()],
        }))
        .await?;
    world.good_point(1).await?;
    world
        .deploy(&canary("v2", 1).fate(fate::CRASH_LOOP))
        .await?;
    route.shift(20).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    route.holds(0).await
}

#[tokio::test]
async fn the_operator_takes_the_share_away_on_every_kind_of_route() -> anyhow::Result<()> {
    let waiting: RefCell<Vec<Provider>> = RefCell::new(Table::builtin().iter().cloned().collect());
    let all = waiting.borrow().len();
    // Some at once, each with an operator of its own.
    let lane = async || {
        let mut done = 0;
        loop {
            let Some(provider) = waiting.borrow_mut().pop() else {
                return anyhow::Ok(done);
            };
            let name = provider.name.clone();
            goes_back(provider).await.context(name)?;
            done += 1;
        }
    };
    let (a, b, c) = tokio::try_join!(lane(), lane(), lane())?;
    assert_eq!(a + b + c, all);
    Ok(())
}
