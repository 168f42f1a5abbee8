//! A rollback under the real Flux: its source-controller asks a registry every second for the newest release, and its
//! kustomize-controller applies that every second.
//!
//! `BACKSTOP_SELFHEAL_SECONDS` says how long Flux tries.

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::SuspendState;
use backstop_e2e::gitops::{FLUX, OUT_WITHIN, Watcher, trying, v2, v3_passes};
use backstop_e2e::gitops_objects::{
    KUSTOMIZATION, OCI_REPOSITORY, give_rights, install_kinds, make, objects,
};
use backstop_e2e::world::{APP, App, World, quick_policy};
use backstop_testenv::{FluxController, OciRegistry};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

/// A namespace whose application is deployed by Flux.
struct Flux {
    world: World,
    registry: OciRegistry,
    controllers: [FluxController; 2],
}

impl Flux {
    /// v1 has proved itself under a policy that does this on conflict.
    async fn good(name: &str, on_conflict: &str) -> anyhow::Result<Self> {
        let world = World::new(name).await?;
        install_kinds(world.cluster).await?;
        give_rights(world.cluster).await?;
        let controllers = [
            FluxController::source(world.cluster, &world.namespace).await?,
            FluxController::kustomize(world.cluster, &world.namespace).await?,
        ];
        let flux = Self {
            world,
            registry: OciRegistry::start().await?,
            controllers,
        };
        let world = &flux.world;
        let v1 = flux.push(&App::version("v1"))?;
        let source = objects(&world.client, &world.namespace, OCI_REPOSITORY);
        make(
            &source,
            OCI_REPOSITORY,
            "apps",
            flux.registry.spec(),
            json!({}),
        )
        .await?;
        let applies = json!({
            "interval": "1s", "retryInterval": "1s", "timeout": "10s", "path": "./", "prune": true,
            "sourceRef": {"kind": "OCIRepository", "name": "apps"},
        });
        let kustomizations = objects(&world.client, &world.namespace, KUSTOMIZATION);
        make(&kustomizations, KUSTOMIZATION, "apps", applies, json!({})).await?;
        flux.says("True", &format!("Applied revision: {v1}"))
            .await?;
        let mut policy = quick_policy();
        policy["gitops"] = json!({"onConflict": on_conflict});
        world.policy(policy).await?;
        world.good_point(1).await?;
        Ok(flux)
    }

    /// The registry has this release from now on, known by what is returned.
    fn push(&self, app: &App) -> anyhow::Result<String> {
        let mut manifest = app.manifest();
        manifest["metadata"]["namespace"] = json!(self.world.namespace);
        self.registry.push(&[("web.yaml", manifest.to_string())])
    }

    /// v2 is pushed and taken back.
    async fn taken_back(&self) -> anyhow::Result<()> {
        self.push(&v2())?;
        self.world
            .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
            .await?;
        Ok(())
    }

    async fn kustomization(&self) -> anyhow::Result<Value> {
        let world = &self.world;
        let api = objects(&world.client, &world.namespace, KUSTOMIZATION);
        Ok(api.get("apps").await?.data)
    }

    /// Waits until the Kustomization's condition Ready has this status, and these words in its message.
    async fn says(&self, ready: &str, words: &str) -> anyhow::Result<String> {
        let what = format!("Flux to say {ready}: {words}");
        let waited = self.world.eventually(&what, async || {
            let object = self.kustomization().await?;
            let conditions = object["status"]["conditions"].as_array().cloned();
            let condition = conditions
                .into_iter()
                .flatten()
                .find(|c| c["type"] == "Ready")
                .context("no condition Ready")?;
            let message = condition["message"].as_str().unwrap_or_default();
            ensure!(
                condition["status"] == ready && message.contains(words),
                "{condition}"
            );
            Ok(message.to_owned())
        });
        waited.await.with_context(|| {
            let logs = self.controllers.iter().map(|c| c.log_tail(20));
            format!("their logs:\n{}", logs.collect::<Vec<_>>().join("\n---\n"))
        })
    }
}

#[tokio::test]
async fn a_rollback_holds_under_the_real_flux_which_says_why_and_a_new_version_passes()
-> anyhow::Result<()> {
    let flux = Flux::good("flux-holds", "Quarantine").await?;
    let world = &flux.world;
    let deployment = world.api::<Deployment>().get(APP).await?;
    let managers = deployment.metadata.managed_fields.unwrap_or_default();
    ensure!(
        managers.iter().any(|m| m.manager.as_deref() == Some(FLUX)),
        "{managers:?}"
    );
    let watcher = Watcher::start(world);
    world
        .eventually("v1 to be seen", async || {
            ensure!(!watcher.seen().await.is_empty(), "nothing is seen yet");
            Ok(())
        })
        .await?;
    flux.taken_back().await?;
    tokio::time::sleep(trying(20)?).await;
    let seen = watcher.stop().await;
    let back = seen.iter().filter(|s| s.version == "v1").nth(1);
    let back = back.context("v1 was never live again")?.at;
    let last = seen.last().context("nothing was seen")?;
    ensure!(last.version == "v1", "in the end {} is live", last.version);
    let out_for_good = last.at.saturating_duration_since(back);
    let put_back = seen.iter().filter(|s| s.version == "v2").count() - 1;
    println!(
        "Flux put v2 back {put_back} times in {:?} after the rollback; out for good {out_for_good:?} after v1 was back",
        trying(20)?
    );
    ensure!(
        out_for_good <= OUT_WITHIN,
        "v2 was out for good only after {out_for_good:?}: {seen:?}"
    );
    let said = flux
        .says("False", "taken back by RollbackEvent 'web-1'")
        .await?;
    println!("Flux says: {said}");
    ensure!(said.contains("Deployment/"), "{said}");

    let v3 = flux.push(&App::version("v3"))?;
    flux.says("True", &format!("Applied revision: {v3}"))
        .await?;
    v3_passes(world).await
}

#[tokio::test]
async fn the_real_flux_is_suspended_until_a_new_version_is_pushed() -> anyhow::Result<()> {
    let flux = Flux::good("flux-suspended", "Suspend").await?;
    let world = &flux.world;
    flux.taken_back().await?;
    let is = |state: SuspendState| {
        world.policy_says("what is suspended", move |s| {
            s.suspended.first().is_some_and(|e| e.state == state)
        })
    };
    is(SuspendState::Suspended).await?;
    assert_eq!(flux.kustomization().await?["spec"]["suspend"], true);
    assert_eq!(world.live().await?, "v1");

    let v3 = flux.push(&App::version("v3"))?;
    flux.says("True", &format!("Applied revision: {v3}"))
        .await?;
    world.proved("v3").await?;
    let object = flux.kustomization().await?;
    ensure!(object["spec"].get("suspend").is_none(), "{object}");
    Ok(())
}
