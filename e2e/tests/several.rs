//! Several workloads under one policy are one failure domain: they go back together, the last one
//! first, each rolled out before the next.

use anyhow::{Context as _, ensure};
use backstop_api::RollbackEvent;
use backstop_api::event::{EventPhase, Outcome, StepKind, StepState, StepStatus};
use backstop_e2e::frozen::Frozen;
use backstop_e2e::world::{App, World, quick_policy};
use backstop_testenv::fate;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

const WORKER: &str = "web-worker";

fn policy() -> Value {
    let mut policy = quick_policy();
    policy["workloads"] = json!([{"name": "web"}, {"name": WORKER}]);
    policy
}

fn worker(version: &str) -> App {
    App::version(version).called(WORKER)
}

/// Both Deployments at v1, proved together.
async fn good(name: &str) -> anyhow::Result<World> {
    good_under(name, policy()).await
}

async fn good_under(name: &str, policy: Value) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    world.deploy(&App::version("v1")).await?;
    world.deploy(&worker("v1")).await?;
    world.policy(policy).await?;
    let point = world.good_point(1).await?;
    let release = point.spec.release.context("no release")?;
    let names: Vec<_> = release.workloads.iter().map(|w| w.name.as_str()).collect();
    assert_eq!(names, ["web", WORKER], "a point holds all of them");
    Ok(world)
}

fn steps(event: RollbackEvent) -> Vec<StepStatus> {
    event.status.unwrap_or_default().steps
}

fn written(steps: &[StepStatus]) -> Vec<&str> {
    let writes = steps
        .iter()
        .filter(|s| s.step.kind == StepKind::WriteTemplate);
    writes.map(|s| s.step.workload.as_str()).collect()
}

#[tokio::test]
async fn both_go_back_when_one_fails_the_last_one_first() -> anyhow::Result<()> {
    let world = good("several").await?;
    world.deploy(&App::version("v2")).await?;
    world.deploy(&worker("v2").fate(fate::CRASH_LOOP)).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.version_of("web").await?, "v1");
    assert_eq!(world.version_of(WORKER).await?, "v1");
    let steps = steps(event);
    assert_eq!(written(&steps), [WORKER, "web"]);
    let at = |kind, name: &str| {
        let step = steps
            .iter()
            .find(|s| s.step.kind == kind && s.step.workload == name);
        step.and_then(|s| s.finished_at)
    };
    assert!(
        at(StepKind::AwaitRollout, WORKER) <= at(StepKind::WriteTemplate, "web"),
        "the second was written before the first had rolled out: {steps:?}"
    );
    Ok(())
}

/// What did not change is not written.
#[tokio::test]
async fn only_what_changed_is_written() -> anyhow::Result<()> {
    let world = good("several-one").await?;
    let event = world.crashes_and_goes_back().await?;
    assert_eq!(written(&steps(event)), ["web"]);
    assert_eq!(world.version_of("web").await?, "v1");
    Ok(())
}

/// Who may patch one of them must not take back the others by naming that one.
#[tokio::test]
async fn a_person_names_all_of_them() -> anyhow::Result<()> {
    let world = good("several-manual").await?;
    world.deploy(&App::version("v2")).await?;
    world.deploy(&worker("v2")).await?;
    world.proved("v2").await?;
    world.manual_event("just-web", None).await?;
    let refused = world
        .ended("just-web", EventPhase::Cancelled, Outcome::PolicyNotInForce)
        .await?;
    let words = refused.status.and_then(|s| s.message).unwrap_or_default();
    ensure!(
        words.contains("spec.workloads names 'web'") && words.contains("web, web-worker"),
        "{words}"
    );
    assert_eq!(world.version_of("web").await?, "v2");
    let event: RollbackEvent = serde_json::from_value(json!({
        "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackEvent",
        "metadata": {"name": "both"},
        "spec": {
            "policy": "web", "workloads": [{"name": "web"}, {"name": WORKER}], "cause": "Manual",
            "requestedBy": "admin",
        },
    }))?;
    world
        .api::<RollbackEvent>()
        .create(&PostParams::default(), &event)
        .await?;
    world
        .ended("both", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.version_of("web").await?, "v1");
    assert_eq!(world.version_of(WORKER).await?, "v1");
    Ok(())
}

/// What was stopped for a rollback that cannot be finished is started again.
#[tokio::test]
async fn a_deployment_that_is_deleted_meanwhile_leaves_the_others_running() -> anyhow::Result<()> {
    let mut policy = policy();
    policy["strategy"] = json!({"type": "Recreate", "timeout": "30s"});
    let world = good_under("several-gone", policy).await?;
    world.deploy(&App::version("v2")).await?;
    world.deploy(&worker("v2").fate(fate::CRASH_LOOP)).await?;
    let deployments = world.api::<Deployment>();
    let wanted = async |name: &str| -> anyhow::Result<Option<i32>> {
        let deployment = deployments.get(name).await?;
        Ok(deployment.spec.and_then(|spec| spec.replicas))
    };
    world
        .eventually("it is stopped", async || {
            let web = wanted("web").await?;
            ensure!(web == Some(0), "{web:?}");
            Ok(())
        })
        .await?;
    deployments.delete(WORKER, &DeleteParams::default()).await?;
    world
        .ended("web-1", EventPhase::Failed, Outcome::WorkloadDeleted)
        .await?;
    world
        .eventually("it runs again", async || {
            let web = wanted("web").await?;
            ensure!(web == Some(2), "{web:?}");
            Ok(())
        })
        .await
}

/// Somebody's admission policy refuses one of the two: the first is restored, the second is not,
/// which is said; and the next attempt finishes it when the refusal is gone.
#[tokio::test]
async fn a_partial_rollback_is_said_and_finished() -> anyhow::Result<()> {
    let mut policy = policy();
    policy["limits"] = json!({"cooldown": "2s", "maxAttempts": 10});
    let world = good_under("several-part", policy).await?;
    let refusal = Frozen::unless::<Deployment>(
        &world,
        "web",
        "!oldObject.spec.template.spec.containers[0].image.endsWith(':v2') || \
         object.spec.template.spec == oldObject.spec.template.spec",
    )
    .await?;
    world.deploy(&App::version("v2")).await?;
    world.deploy(&worker("v2").fate(fate::CRASH_LOOP)).await?;
    let event = world
        .ended("web-1", EventPhase::Failed, Outcome::WriteRefused)
        .await?;
    let status = event.status.clone().unwrap_or_default();
    let words = status.message.unwrap_or_default();
    ensure!(
        words.contains("what was changed until then is in status.steps"),
        "{words}"
    );
    let written: Vec<_> = steps(event)
        .into_iter()
        .filter(|s| s.step.kind == StepKind::WriteTemplate)
        .map(|s| s.state)
        .collect();
    assert_eq!(written, [StepState::Done, StepState::Failed]);
    assert_eq!(world.version_of(WORKER).await?, "v1");
    assert_eq!(world.version_of("web").await?, "v2");
    refusal.lift().await?;
    world
        .eventually("the next attempt finishes it", async || {
            let web = world.version_of("web").await?;
            let worker = world.version_of(WORKER).await?;
            ensure!(web == "v1" && worker == "v1", "web {web}, worker {worker}");
            Ok(())
        })
        .await?;
    let last = world.events().await?.pop().context("no event")?;
    world
        .ended(&last.name_any(), EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let reason = last.spec.reason.unwrap_or_default();
    ensure!(reason.contains("half of one release"), "{reason}");
    Ok(())
}
