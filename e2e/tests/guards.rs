//! What stands between a bad release and a rollback, and what a rollback leaves alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::condition::ConditionStatus;
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::{RollbackEvent, RollbackPolicyStatus};
use backstop_e2e::operator::Running;
use backstop_e2e::world::{APP, App, World, quick_policy};
use backstop_testenv::{eventually, fate};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

const FLOOR: &str = "backstop.dev/rollback-floor";

/// A release that crashes.
fn bad(version: &str) -> App {
    App::version(version).fate(fate::CRASH_LOOP)
}

fn to(event: &RollbackEvent) -> Option<String> {
    event.status.as_ref()?.to.as_ref().map(|t| t.point.clone())
}

/// Whether the policy is in force, and why.
fn accepted(status: &RollbackPolicyStatus) -> Option<(ConditionStatus, &str, &str)> {
    let condition = status.conditions.iter().find(|c| c.type_ == "Accepted")?;
    Some((condition.status, &condition.reason, &condition.message))
}

/// Waits for the condition and the Kubernetes Event that say why nothing is taken back, and checks
/// that nothing is.
async fn held(world: &World, reason: &str, words: &str) -> anyhow::Result<()> {
    let said = world.condition("ActionRequired", true, reason).await?;
    ensure!(
        said.contains(words),
        "the condition does not say '{words}': {said}"
    );
    for kind in ["RollbackPolicy", "Deployment"] {
        let note = world.said(kind, "RollbackHeld").await?;
        ensure!(
            note.contains(words),
            "the Event on {kind} does not say '{words}': {note}"
        );
    }
    world.is_left_alone().await
}

#[tokio::test]
async fn a_second_policy_on_the_same_workload_is_refused_until_the_first_is_deleted()
-> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("second", quick_policy(), &App::version("v1")).await?;
    world.named_policy("late", quick_policy()).await?;
    let status = world
        .named_policy_says("late", "refused", |s| {
            accepted(s).is_some_and(|(holds, ..)| holds == ConditionStatus::False)
        })
        .await?;
    let (_, reason, words) = accepted(&status).context("not said")?;
    assert_eq!(reason, "Conflict");
    ensure!(
        words.contains("policy web is older") && words.contains("Delete one"),
        "{words}"
    );
    world.delete_policy(APP).await?;
    let deleted = Timestamp::now();
    world
        .named_policy_says("late", "in force", |s| {
            accepted(s).is_some_and(|(holds, ..)| holds == ConditionStatus::True)
        })
        .await?;
    let took = Timestamp::now().duration_since(deleted);
    ensure!(
        took.as_secs() < 5,
        "the workload was without a policy for {took:#}"
    );
    world.deploy(&bad("v2")).await?;
    world
        .ended("late-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn replicas_belong_to_the_autoscaler_even_during_a_rollback() -> anyhow::Result<()> {
    let good = App::slow("v1", "1s").recreate().replicas(None);
    let (world, _) = World::with_good_release("hpa", quick_policy(), &good).await?;
    let autoscaler: HorizontalPodAutoscaler = serde_json::from_value(json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": APP},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP},
            "minReplicas": 1, "maxReplicas": 9,
        },
    }))?;
    world
        .api()
        .create(&PostParams::default(), &autoscaler)
        .await?;
    // There are no metrics to scale by: the test writes what the autoscaler would.
    let deployments = world.api::<Deployment>();
    let scale = async |replicas: i32| {
        let params = PatchParams {
            field_manager: Some("autoscaler".into()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        deployments.patch_scale(APP, &params, &patch).await
    };
    scale(3).await?;
    world.rolled_out("v1").await?;
    let seen = Arc::<Mutex<BTreeSet<i32>>>::default();
    let mut looks = JoinSet::new();
    let (api, noted) = (deployments.clone(), seen.clone());
    looks.spawn(async move {
        loop {
            let replicas = api.get(APP).await.ok().and_then(|d| d.spec?.replicas);
            noted.lock().await.extend(replicas);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    world.deploy(&bad("v2").recreate().replicas(None)).await?;
    let mut replicas = 3;
    world
        .eventually("the rollback to wait for its rollout", async || {
            replicas = 3 + (replicas - 2) % 4;
            scale(replicas).await?;
            ensure!(world.live().await? == "v1", "not written yet");
            Ok(())
        })
        .await?;
    scale(5).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let deployment = deployments.get(APP).await?;
    assert_eq!(deployment.spec.and_then(|s| s.replicas), Some(5));
    let owners = deployment.metadata.managed_fields.unwrap_or_default();
    let managers: Vec<_> = owners.iter().filter_map(|o| o.manager.as_deref()).collect();
    ensure!(!managers.contains(&"backstop"), "{managers:?}");
    // Neither the one replica of the point nor any other number was written by anybody but the autoscaler.
    let seen = seen.lock().await.clone();
    ensure!(
        !seen.is_empty() && seen.iter().all(|r| (3..=6).contains(r)),
        "{seen:?}"
    );
    Ok(())
}

#[tokio::test]
async fn without_a_good_release_nothing_is_taken_back_and_a_person_is_asked() -> anyhow::Result<()>
{
    let world = World::new("no-point").await?;
    world.deploy(&bad("v1")).await?;
    world.policy(quick_policy()).await?;
    held(
        &world,
        "NoGoodPoint",
        "no release of web has proved itself yet",
    )
    .await?;
    world.condition("Protected", false, "NoGoodPoint").await?;
    assert_eq!(world.live().await?, "v1");
    assert!(world.events().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_floor_that_fails_is_not_gone_behind() -> anyhow::Result<()> {
    let (world, _) = World::with_good_release("floor", quick_policy(), &App::version("v1")).await?;
    world
        .deploy(&bad("v2").annotation(FLOOR, "new schema"))
        .await?;
    held(&world, "Floor", "new schema").await?;
    assert_eq!(world.live().await?, "v2");
    assert!(world.events().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_floor_on_the_deployment_is_not_gone_behind_either() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("floor-above", quick_policy(), &App::version("v1")).await?;
    world
        .deploy(&bad("v2").deployment_annotation(FLOOR, "new schema"))
        .await?;
    held(&world, "Floor", "new schema").await?;
    assert_eq!(world.live().await?, "v2");
    assert!(world.events().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_bad_release_goes_back_to_the_floor_and_never_behind_it() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("floor-stop", quick_policy(), &App::version("v1").recreate())
            .await?;
    let floor = App::slow("v2", "1s")
        .annotation(FLOOR, "new schema")
        .recreate();
    world.deploy(&floor).await?;
    let point = world.good_point(2).await?;
    let _crashing = world.keep_crashing("v2");
    world.deploy(&bad("v3").recreate()).await?;
    let event = world
        .ended("web-1", EventPhase::Failed, Outcome::TargetCannotStart)
        .await?;
    assert_eq!(to(&event), point.metadata.name);
    // The good release behind it would start.
    held(&world, "Floor", "new schema").await?;
    assert_eq!(world.live().await?, "v2");
    assert_eq!(world.events().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_release_is_not_blamed_after_its_window() -> anyhow::Result<()> {
    let mut policy = quick_policy();
    policy["window"] = json!("2s");
    let (world, _) = World::with_good_release("window", policy, &App::version("v1")).await?;
    world.deploy(&App::version("v2")).await?;
    world.good_point(2).await?;
    world
        .policy_says("the window to be over", |s| {
            let ends = s.release.as_ref().and_then(|r| r.window_ends);
            ends.is_some_and(|ends| Timestamp::now() > ends)
        })
        .await?;
    world.crash("v2").await?;
    held(&world, "NothingReleased", "nothing was released").await?;
    assert_eq!(world.live().await?, "v2");
    assert!(world.events().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_rollback_waits_for_the_cooldown_of_the_one_before() -> anyhow::Result<()> {
    let cooldown = Duration::from_secs(15);
    let mut policy = quick_policy();
    policy["limits"]["cooldown"] = json!("15s");
    let (world, _) = World::with_good_release("cooldown", policy, &App::version("v1")).await?;
    world.deploy(&bad("v2")).await?;
    let first = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    world.deploy(&bad("v3")).await?;
    let words = world.said("RollbackPolicy", "RollbackHeld").await?;
    ensure!(words.contains("limits.cooldown"), "{words}");
    let second = world
        .ended("web-2", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let ended = first.status.and_then(|s| s.times.ended).context("no end")?;
    let decided = second
        .status
        .and_then(|s| s.times.decided)
        .context("no beginning")?;
    let between = decided.duration_since(ended);
    ensure!(
        between.unsigned_abs() >= cooldown,
        "{between:#} after the one before"
    );
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

/// A world with a second operator, which waits, and a good release that takes a while to roll out.
async fn with_another(name: &str) -> anyhow::Result<(World, Running)> {
    let good = App::slow("v1", "3s").recreate();
    let (world, _) = World::with_good_release(name, quick_policy(), &good).await?;
    let other = Running::start(world.cluster, &world.namespace, "b", &[]).await?;
    eventually("the other to wait", Duration::from_secs(30), async || {
        let log = other.log();
        ensure!(log.contains("waiting to be the leader"), "{log}");
        Ok(())
    })
    .await?;
    Ok((world, other))
}

/// Safety rule 8: a Lease does not fence. Who stood still while another took over writes nothing when he wakes.
#[tokio::test]
async fn a_leader_that_stood_still_writes_nothing_when_it_goes_on() -> anyhow::Result<()> {
    let (world, other) = with_another("still").await?;
    world.deploy(&bad("v2").recreate()).await?;
    world.rolling_out("web-1").await?;
    world.operator.pause()?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await
        .with_context(|| other.log_tail())?;
    let before = world.api::<Deployment>().get(APP).await?;
    world.operator.resume()?;
    eventually("it to notice", Duration::from_secs(30), async || {
        let log = world.operator.log();
        ensure!(log.contains("not the leader any more"), "{log}");
        Ok(())
    })
    .await?;
    world.is_left_alone().await?;
    let after = world.api::<Deployment>().get(APP).await?;
    assert_eq!(before.metadata.generation, after.metadata.generation);
    let events = world.events().await?;
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].status.as_ref().map(|s| &s.steps),
        event.status.as_ref().map(|s| &s.steps)
    );
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn a_second_operator_waits_and_finishes_what_the_first_began() -> anyhow::Result<()> {
    let (world, other) = with_another("two").await?;
    world.deploy(&bad("v2").recreate()).await?;
    let begun = world.rolling_out("web-1").await?;
    ensure!(!other.log().contains("leading:"), "two lead at once");
    world.operator.kill()?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await
        .with_context(|| other.log_tail())?;
    ensure!(other.log().contains("leading:"), "nobody took over");
    let (begun, status) = (
        begun.status.unwrap_or_default(),
        event.status.unwrap_or_default(),
    );
    assert_eq!(
        begun.times.first_write, status.times.first_write,
        "written again"
    );
    let deployment = world.api::<Deployment>().get(APP).await?;
    let restored = status.steps.iter().find_map(|s| s.restored.as_ref());
    assert_eq!(
        deployment.metadata.generation,
        restored.map(|r| r.generation),
        "written again"
    );
    assert_eq!(world.live().await?, "v1");
    assert_eq!(world.events().await?.len(), 1);
    assert_eq!(world.points("Quarantined").await?.len(), 1);
    Ok(())
}
