//! IsolateAndRollback: the pods of a release that is not trusted get no requests any more, and as many are kept as were
//! asked for.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome, StepKind, StepState};
use backstop_api::names::{ANNOTATION_LABELS_BEFORE, LABEL_ISOLATED, LABEL_SUSPECT};
use backstop_e2e::world::{App, World, quick_policy};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

fn policy(isolate: &Value) -> Value {
    let mut policy = quick_policy();
    policy["strategy"] = json!({"timeout": "30s", "isolate": isolate});
    policy["triggers"][0]["action"] = json!("IsolateAndRollback");
    policy
}

/// A good release with a point, a Service in front of it, and a bad one that serves and then begins to crash.
async fn suspected(name: &'static str, policy: Value, good: &App) -> anyhow::Result<World> {
    let (world, _) = World::with_good_release(name, policy, good).await?;
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }))?;
    world.api().create(&PostParams::default(), &service).await?;
    world.deploy(&App::version("v2")).await?;
    world.rolled_out("v2").await?;
    world.crash("v2").await?;
    Ok(world)
}

async fn pods(world: &World, selector: &str) -> anyhow::Result<Vec<Pod>> {
    let params = ListParams::default().labels(selector);
    let pods = world.api::<Pod>().list(&params).await?.items;
    Ok(pods
        .into_iter()
        .filter(|p| p.metadata.deletion_timestamp.is_none())
        .collect())
}

/// The pods that a Service sends requests to.
async fn endpoints(world: &World) -> anyhow::Result<BTreeSet<String>> {
    let slices = world.api::<EndpointSlice>();
    let slices = slices.list(&ListParams::default()).await?;
    let endpoints = slices.items.into_iter().filter_map(|s| s.endpoints);
    let names = endpoints
        .flatten()
        .filter_map(|endpoint| endpoint.target_ref?.name);
    Ok(names.collect())
}

#[tokio::test]
async fn suspects_get_no_requests_and_one_is_kept() -> anyhow::Result<()> {
    let policy = policy(&json!({"keep": 1}));
    let world = suspected("isolate", policy, &App::slow("v1", "1s")).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let steps = event.status.unwrap_or_default().steps;
    let kinds: Vec<_> = steps.iter().map(|s| s.step.kind).collect();
    assert_eq!(
        kinds,
        [
            StepKind::QuarantineRelease,
            StepKind::WriteTemplate,
            StepKind::DetachSuspects,
            StepKind::HandBackOwnership,
            StepKind::AwaitRollout,
            StepKind::IsolateSuspects,
            StepKind::RestoreStrategy,
        ]
    );
    assert_eq!(world.live().await?, "v1");

    let kept = pods(&world, &format!("{LABEL_ISOLATED}=web-1")).await?;
    assert_eq!(kept.len(), 1, "{kept:?}");
    let kept = &kept[0];
    ensure!(!kept.labels().contains_key("app"), "{:?}", kept.labels());
    ensure!(
        kept.owner_references().is_empty(),
        "{:?}",
        kept.owner_references()
    );
    let before = &kept.annotations()[ANNOTATION_LABELS_BEFORE];
    let before: Value = serde_json::from_str(before)?;
    assert_eq!(before["app"], "web");
    assert_eq!(before.get(LABEL_SUSPECT), None);

    assert_eq!(pods(&world, LABEL_SUSPECT).await?.len(), 0);
    let good = pods(&world, "app=web").await?;
    assert_eq!(good.len(), 2, "{good:?}");
    let good: BTreeSet<_> = good.iter().map(ResourceExt::name_any).collect();
    world
        .eventually("the Service to have the good pods alone", async || {
            let endpoints = endpoints(&world).await?;
            ensure!(endpoints == good, "{endpoints:?}");
            Ok(())
        })
        .await?;

    let network: NetworkPolicy = world.api().get("backstop-isolated").await?;
    let spec = network.spec.context("no spec")?;
    assert_eq!(
        spec.policy_types,
        Some(vec!["Ingress".into(), "Egress".into()])
    );
    assert_eq!((spec.ingress, spec.egress), (None, None), "nothing passes");

    // And it is the team's Deployment as before.
    let params = PatchParams::apply("kubectl");
    let next = App::version("v3").manifest();
    let deployments = world.api::<Deployment>();
    deployments
        .patch("web", &params, &Patch::Apply(next))
        .await?;
    world.rolled_out("v3").await?;
    assert_eq!(
        pods(&world, LABEL_ISOLATED).await?.len(),
        1,
        "what was kept stays"
    );
    Ok(())
}

#[tokio::test]
async fn immediate_isolation_does_not_wait_for_the_good_release() -> anyhow::Result<()> {
    let isolate = json!({"isolation": "Immediate", "networkPolicy": false});
    let good = App::slow("v1", "5s");
    let world = suspected("isolate-now", policy(&isolate), &good).await?;
    world
        .eventually("the suspects to be gone", async || {
            let events = world.events().await?;
            let event = events.into_iter().next().context("no rollback yet")?;
            let steps = event.status.unwrap_or_default().steps;
            let isolated = steps
                .iter()
                .find(|s| s.step.kind == StepKind::IsolateSuspects)
                .context("no such step")?;
            ensure!(isolated.state == StepState::Done, "{isolated:?}");
            let rollout = steps
                .iter()
                .find(|s| s.step.kind == StepKind::AwaitRollout)
                .context("no such step")?;
            assert_ne!(rollout.state, StepState::Done, "it waited");
            Ok(())
        })
        .await?;
    assert_eq!(pods(&world, LABEL_SUSPECT).await?.len(), 0);
    assert_eq!(pods(&world, LABEL_ISOLATED).await?.len(), 0, "none is kept");
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let network = world.api::<NetworkPolicy>();
    let network = network.get_opt("backstop-isolated").await?;
    ensure!(network.is_none(), "it was not asked for: {network:?}");
    Ok(())
}

/// The restored release does not start in time: the suspects go on serving, and whoever reads the event is told so.
#[tokio::test]
async fn suspects_that_are_left_behind_are_said() -> anyhow::Result<()> {
    let mut policy = policy(&json!({}));
    policy["strategy"]["timeout"] = json!("6s");
    policy["limits"] = json!({"maxAttempts": 1, "cooldown": "0s"});
    let world = suspected("isolate-late", policy, &App::slow("v1", "20s")).await?;
    let event = world
        .ended("web-1", EventPhase::Failed, Outcome::TimedOut)
        .await?;
    let message = event.status.and_then(|s| s.message).unwrap_or_default();
    ensure!(
        message.contains("kubectl get pods -l backstop.dev/suspect=web"),
        "{message}"
    );
    let suspects = pods(&world, &format!("{LABEL_SUSPECT}=web,app=web")).await?;
    ensure!(!suspects.is_empty(), "they serve until somebody decides");
    Ok(())
}
