//! Strategies and actions that change the number of pods for the time of a rollback: Recreate stops
//! everything first, ScaleAndRollback adds capacity first.

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome, StepKind, StepState};
use backstop_e2e::world::{App, World, quick_policy};
use backstop_testenv::fate;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

fn recreate() -> Value {
    let mut policy = quick_policy();
    policy["strategy"] = json!({"type": "Recreate"});
    policy
}

fn scale_first() -> Value {
    let mut policy = quick_policy();
    policy["strategy"] = json!({"scale": {"by": "50%"}});
    policy["triggers"][0]["action"] = json!("ScaleAndRollback");
    policy
}

async fn wanted(world: &World) -> anyhow::Result<i32> {
    let deployment = world.api::<Deployment>().get("web").await?;
    deployment
        .spec
        .and_then(|s| s.replicas)
        .context("no replicas")
}

/// The next apply from the server's side, without force, as the team's pipeline makes it.
async fn applies_without_conflict(world: &World, app: &App) -> anyhow::Result<()> {
    let params = PatchParams::apply("kubectl");
    world
        .api::<Deployment>()
        .patch("web", &params, &Patch::Apply(app.manifest()))
        .await?;
    Ok(())
}

/// Stop, restore, start: no pod of the one release runs beside one of the other.
#[tokio::test]
async fn recreate_stops_the_bad_release_before_the_good_one_starts() -> anyhow::Result<()> {
    let (world, _) = World::with_good_release("recreate", recreate(), &App::version("v1")).await?;
    let event = world.crashes_and_goes_back().await?;
    let steps = event.status.unwrap_or_default().steps;
    let kinds: Vec<_> = steps.iter().map(|s| s.step.kind).collect();
    assert_eq!(
        kinds,
        [
            StepKind::QuarantineRelease,
            StepKind::Scale,
            StepKind::AwaitStopped,
            StepKind::WriteTemplate,
            StepKind::HandBackOwnership,
            StepKind::ScaleBack,
            StepKind::AwaitRollout,
        ]
    );
    assert!(
        steps.iter().all(|s| s.state == StepState::Done),
        "{steps:?}"
    );
    let stopped = steps[2].finished_at.context("no time")?;
    let pods = world.api::<Pod>().list(&ListParams::default()).await?;
    for pod in pods {
        let born = pod.metadata.creation_timestamp.context("no time")?.0;
        // Creation times are whole seconds.
        ensure!(
            born.as_second() >= stopped.as_second(),
            "a pod of the good release is from {born}, and the bad one was stopped at {stopped}"
        );
    }
    assert_eq!(world.live().await?, "v1");
    assert_eq!(wanted(&world).await?, 2);
    applies_without_conflict(&world, &App::version("v3")).await
}

/// Called off while it is stopped: what was stopped runs again.
#[tokio::test]
async fn recreate_starts_again_what_it_stopped_when_it_cannot_go_on() -> anyhow::Result<()> {
    let (world, point) =
        World::with_good_release("recreate-off", recreate(), &App::version("v1")).await?;
    world
        .deploy(&App::version("v2").fate(fate::SLOW_READY))
        .await?;
    world.rolled_out("v2").await?;
    // Its pods take their time to go, so that there is a moment between.
    let event = world.manual_event("by-hand", None).await?;
    let name = point.metadata.name.context("no name")?;
    world
        .eventually("the bad release is stopped", async || {
            let event: backstop_api::RollbackEvent = world.api().get("by-hand").await?;
            let steps = event.status.unwrap_or_default().steps;
            let scaled = steps
                .iter()
                .any(|s| s.step.kind == StepKind::Scale && s.state == StepState::Done);
            ensure!(scaled, "{steps:?}");
            Ok(())
        })
        .await?;
    let deleted = world
        .api::<backstop_api::RollbackPoint>()
        .delete(&name, &kube::api::DeleteParams::default())
        .await;
    ensure!(deleted.is_ok(), "{deleted:?}");
    drop(event);
    // Either it was quicker than we are, or it finds no point and starts the old release again.
    world
        .eventually("something runs again", async || {
            let event: backstop_api::RollbackEvent = world.api().get("by-hand").await?;
            let status = event.status.unwrap_or_default();
            ensure!(
                status.phase.is_some_and(EventPhase::is_terminal),
                "{:?}",
                status.message
            );
            ensure!(wanted(&world).await? == 2, "scaled to zero for good");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn capacity_is_added_before_and_taken_away_after() -> anyhow::Result<()> {
    let (world, _) = World::with_good_release("scale", scale_first(), &App::version("v1")).await?;
    // It runs, and is bad for its memory: capacity helps.
    world.deploy(&App::version("v2")).await?;
    world.rolled_out("v2").await?;
    world.crash("v2").await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let steps = event.status.unwrap_or_default().steps;
    let scale = &steps[1];
    assert_eq!(
        (scale.step.kind, scale.step.replicas),
        (StepKind::Scale, Some(3)),
        "half more than two"
    );
    assert!(
        steps
            .last()
            .is_some_and(|s| s.step.kind == StepKind::ScaleBack),
        "{steps:?}"
    );
    assert_eq!(world.live().await?, "v1");
    assert_eq!(wanted(&world).await?, 2);
    applies_without_conflict(&world, &App::version("v3").replicas(Some(5))).await
}

/// Safety rule 7: replicas belong to the autoscaler where there is one. Its minimum is raised, and
/// put back.
#[tokio::test]
async fn an_autoscaler_keeps_its_replicas_and_gets_its_minimum_back() -> anyhow::Result<()> {
    let good = App::version("v1").replicas(None);
    let world = World::new("scale-hpa").await?;
    world.deploy(&good).await?;
    world
        .patch_deployment(json!({"spec": {"replicas": 2}}))
        .await?;
    let autoscaler: HorizontalPodAutoscaler = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "minReplicas": 2, "maxReplicas": 6,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80},
            }}],
        },
    }))?;
    world
        .api::<HorizontalPodAutoscaler>()
        .create(&PostParams::default(), &autoscaler)
        .await?;
    let mut policy = scale_first();
    policy["strategy"]["timeout"] = json!("25s");
    world.policy(policy).await?;
    world.good_point(1).await?;
    world.deploy(&App::version("v2").replicas(None)).await?;
    world.rolled_out("v2").await?;
    world.crash("v2").await?;
    let raised = world
        .eventually("the minimum is raised", async || {
            let found = world.api::<HorizontalPodAutoscaler>().get("web").await?;
            let minimum = found.spec.min_replicas;
            ensure!(minimum == Some(3), "{minimum:?}");
            Ok(minimum)
        })
        .await?;
    assert_eq!(raised, Some(3));
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let found = world.api::<HorizontalPodAutoscaler>().get("web").await?;
    assert_eq!(found.spec.min_replicas, Some(2));
    assert_eq!(world.live().await?, "v1");
    let deployment = world.api::<Deployment>().get("web").await?;
    let ours = deployment
        .metadata
        .managed_fields
        .unwrap_or_default()
        .into_iter()
        .filter(|m| m.manager.as_deref() == Some("backstop"))
        .filter_map(|m| m.fields_v1)
        .any(|f| f.0.pointer("/f:spec/f:replicas").is_some());
    assert!(
        !ours,
        "Backstop wrote replicas that belong to the autoscaler"
    );
    Ok(())
}
