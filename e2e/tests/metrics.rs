//! Releases are judged by what Prometheus says of them: bad ones go back, good ones stay, and what a
//! person or the next release does meanwhile comes first.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::{Phase, TriggerState};
use backstop_e2e::metrics::{Metered, changed, error_rate, failing, healthy, policy_with};
use backstop_e2e::world::App;
use backstop_testenv::Load;
use kube::ResourceExt as _;
use serde_json::json;

/// Long enough for every trigger to be judged several times.
const A_WHILE: Duration = Duration::from_secs(3);

/// The trigger on errors, with time between firing and acting.
fn delayed() -> serde_json::Value {
    changed(error_rate(), json!({"delay": "30s"}))
}

#[tokio::test]
async fn a_bad_release_by_error_rate_goes_back_and_is_seen_to_recover() -> anyhow::Result<()> {
    let (world, point) = Metered::with_good_release("m-bad", policy_with(&error_rate())).await?;
    world.release("v2", failing()).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    let status = event.status.unwrap_or_default();
    assert_eq!(status.to.map(|t| t.point), Some(point.name_any()));
    assert_eq!(world.points("Quarantined").await?.len(), 1);

    let evidence = event.spec.evidence.context("no evidence")?;
    assert_eq!(evidence.trigger, "error-rate");
    assert_eq!(evidence.condition, "value > 0.05");
    let query = evidence.query.context("no query")?;
    ensure!(!query.contains("{{"), "not resolved: {query}");
    ensure!(query.contains(&world.namespace), "no namespace: {query}");
    let sets = world
        .api::<k8s_openapi::api::apps::v1::ReplicaSet>()
        .list(&kube::api::ListParams::default())
        .await?;
    let bad = sets
        .iter()
        .find(|s| format!("{:?}", s.spec).contains("web:v2"))
        .context("no ReplicaSet of v2")?;
    ensure!(
        query.contains(&format!("{}-[a-z0-9]+", bad.name_any())),
        "not about the pods of {}: {query}",
        bad.name_any()
    );
    let last = evidence.samples.last().context("no samples")?;
    ensure!(last.value > 0.05 && last.value <= 1.0, "{last:?}");
    let durations = status.durations;
    println!("a bad release went back: {durations:?}");
    ensure!(
        durations.total.is_some() && durations.decide.is_some(),
        "{durations:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_good_release_gets_a_point_and_is_never_touched() -> anyhow::Result<()> {
    let (world, first) = Metered::with_good_release("m-good", policy_with(&error_rate())).await?;
    world.release("v2", healthy()).await?;
    let second = world.good_point(2).await?;
    assert_ne!(first.name_any(), second.name_any());
    let measured = second.spec.baselines.get("error-rate").copied();
    assert_eq!(measured, Some(0.0), "{:?}", second.spec.baselines);
    world.no_rollback(A_WHILE).await?;
    ensure!(world.events().await?.is_empty());
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

#[tokio::test]
async fn recovery_during_the_delay_calls_the_rollback_off_and_touches_nothing() -> anyhow::Result<()>
{
    let (world, _) = Metered::with_good_release("m-recovers", policy_with(&delayed())).await?;
    world.release("v2", failing()).await?;
    let before = world.generation().await?;
    world.event_in("web-1", EventPhase::Pending).await?;
    world.load("v2", healthy()).await?;
    let event = world
        .ended(
            "web-1",
            EventPhase::Cancelled,
            Outcome::RecoveredBeforeActing,
        )
        .await?;
    ensure!(event.status.unwrap_or_default().steps.is_empty());
    // What recovered may prove itself like any other.
    world.good_point(2).await?;
    assert_eq!(world.generation().await?, before);
    world.nothing_is_quarantined().await?;
    assert_eq!(world.events().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_is_better_and_not_yet_well_calls_nothing_off_and_what_is_well_for_a_while_does()
-> anyhow::Result<()> {
    let trigger = changed(
        error_rate(),
        json!({"delay": "2m", "recovery": "value < 0.02", "keepFiringFor": "3s"}),
    );
    let (world, _) = Metered::with_good_release("m-hysteresis", policy_with(&trigger)).await?;
    world.release("v2", failing()).await?;
    world.event_in("web-1", EventPhase::Pending).await?;
    // Three in a hundred: the condition does not hold any more, and neither does the recovery.
    world.load("v2", Load::failing(50.0, 0.03)).await?;
    world
        .trigger_says("error-rate", "to fire on", |t| {
            t.state == TriggerState::Firing
                && t.value.is_none_or(|value| value <= 0.05)
                && t.message
                    .as_deref()
                    .is_some_and(|said| said.contains("it fires until 'value < 0.02' holds"))
        })
        .await?;
    tokio::time::sleep(A_WHILE).await;
    world.event_in("web-1", EventPhase::Pending).await?;

    world.load("v2", healthy()).await?;
    world
        .trigger_says("error-rate", "to fire until it is well for a while", |t| {
            t.state == TriggerState::Firing
                && t.message
                    .as_deref()
                    .is_some_and(|said| said.contains("it fires until it has been well for 3 s"))
        })
        .await?;
    world
        .ended(
            "web-1",
            EventPhase::Cancelled,
            Outcome::RecoveredBeforeActing,
        )
        .await?;
    world
        .trigger_says("error-rate", "to be quiet", |t| {
            t.state == TriggerState::Inactive
        })
        .await?;
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

#[tokio::test]
async fn a_fix_during_the_delay_supersedes_the_rollback() -> anyhow::Result<()> {
    let (world, _) = Metered::with_good_release("m-fixed", policy_with(&delayed())).await?;
    world.release("v2", failing()).await?;
    world.event_in("web-1", EventPhase::Pending).await?;
    world.release("v3", healthy()).await?;
    let before = world.generation().await?;
    world
        .ended("web-1", EventPhase::Superseded, Outcome::NewerRelease)
        .await?;
    world.good_point(2).await?;
    assert_eq!(world.live().await?, "v3");
    assert_eq!(world.generation().await?, before);
    world.nothing_is_quarantined().await
}

#[tokio::test]
async fn a_person_calls_a_rollback_off_during_the_delay_and_the_release_is_left_alone()
-> anyhow::Result<()> {
    let (world, _) = Metered::with_good_release("m-cancelled", policy_with(&delayed())).await?;
    world.release("v2", failing()).await?;
    let before = world.generation().await?;
    world.event_in("web-1", EventPhase::Pending).await?;
    let annotate = [
        "annotate",
        "--namespace",
        &world.namespace,
        "rbe",
        "web-1",
        "backstop.dev/cancel=errors are expected today",
    ];
    world.cluster.kubectl(&annotate).await?.success()?;
    let event = world
        .ended("web-1", EventPhase::Cancelled, Outcome::CancelledByPerson)
        .await?;
    let said = event.status.unwrap_or_default().message.unwrap_or_default();
    ensure!(said.contains("errors are expected today"), "{said}");
    let status = world
        .policy_says("to be held", |s| s.phase == Some(Phase::Held))
        .await?;
    let said = status.message.unwrap_or_default();
    ensure!(said.contains("web-1"), "{said}");
    world.no_rollback(A_WHILE).await?;
    assert_eq!(world.generation().await?, before);
    world.nothing_is_quarantined().await
}

#[tokio::test]
async fn what_goes_bad_when_nothing_was_released_is_told_and_not_taken_back() -> anyhow::Result<()>
{
    let mut policy = policy_with(&error_rate());
    policy["window"] = json!("3s");
    let (world, _) = Metered::with_good_release("m-window", policy).await?;
    world.release("v2", healthy()).await?;
    world.good_point(2).await?;
    world
        .policy_says("the window to be over", |s| s.phase == Some(Phase::Idle))
        .await?;
    world.load("v2", failing()).await?;
    let said = world
        .condition("ActionRequired", true, "NothingReleased")
        .await?;
    ensure!(said.contains("nothing was released"), "{said}");
    assert_eq!(world.status().await?.phase, Some(Phase::Held));
    for kind in ["RollbackPolicy", "Deployment"] {
        let said = world.said(kind, "RollbackHeld").await?;
        ensure!(said.contains("nothing was released"), "{said}");
    }
    world.no_rollback(A_WHILE).await?;
    ensure!(world.events().await?.is_empty());
    assert_eq!(world.live().await?, "v2");

    world.load("v2", healthy()).await?;
    world.condition("ActionRequired", false, "Nothing").await?;
    Ok(())
}

#[tokio::test]
async fn a_dependency_that_is_down_is_not_blamed_on_a_release() -> anyhow::Result<()> {
    let (world, _) = Metered::with_good_release("m-dependency", policy_with(&error_rate())).await?;
    world.release("v2", healthy()).await?;
    world.good_point(2).await?;
    let names = |points: Vec<backstop_api::RollbackPoint>| {
        let mut names: Vec<_> = points.iter().map(kube::ResourceExt::name_any).collect();
        names.sort();
        names
    };
    let good = names(world.points("Good").await?);

    // The dependency goes down with the release of v3, which has nothing to do with it.
    world.release("v3", failing()).await?;
    for version in ["v1", "v2"] {
        world.load(version, failing()).await?;
    }
    let event = world
        .ended("web-1", EventPhase::Failed, Outcome::NotCausedByRelease)
        .await?;
    let blamed = event.status.unwrap_or_default().message.unwrap_or_default();
    ensure!(blamed.contains("not the cause"), "{blamed}");
    assert_eq!(world.live().await?, "v2");
    let said = world
        .condition("ActionRequired", true, "NotCausedByRelease")
        .await?;
    ensure!(said.contains("depends on"), "{said}");
    for kind in ["RollbackPolicy", "Deployment", "RollbackEvent"] {
        world.said(kind, "NotCausedByRelease").await?;
    }
    world
        .eventually("the record of v3 to be gone", async || {
            world.nothing_is_quarantined().await
        })
        .await?;
    world.no_rollback(A_WHILE).await?;
    assert_eq!(world.events().await?.len(), 1);
    assert_eq!(names(world.points("Good").await?), good);

    // The dependency is up again, and v3 may prove itself.
    for version in ["v1", "v2", "v3"] {
        world.load(version, healthy()).await?;
    }
    world.condition("ActionRequired", false, "Nothing").await?;
    world.deploy(&App::version("v3")).await?;
    world.good_point(3).await?;
    assert_eq!(world.events().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn errors_of_the_release_before_are_not_blamed_on_the_next_by_a_query_that_sees_both()
-> anyhow::Result<()> {
    let query = r#"
        (sum(rate(http_requests_total{namespace="{{ namespace }}",code="500"}[5s]))
          or 0 * sum(rate(http_requests_total{namespace="{{ namespace }}"}[5s])))
        / sum(rate(http_requests_total{namespace="{{ namespace }}"}[5s]))"#;
    let trigger = changed(error_rate(), json!({"prometheus": {"query": query}}));
    let (world, first) = Metered::with_good_release("m-unscoped", policy_with(&trigger)).await?;
    // For as long as both serve, the query cannot tell one from the other.
    let one_by_one = json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}});
    world.patch_deployment(one_by_one).await?;
    world.load("v1", failing()).await?;
    world
        .trigger_says("error-rate", "to fire on v1", |t| {
            t.state == TriggerState::Firing
        })
        .await?;
    world.release("v2", healthy()).await?;
    world
        .trigger_says("error-rate", "to wait for samples of v2 alone", |t| {
            t.message
                .as_deref()
                .is_some_and(|m| m.contains("reach back"))
        })
        .await?;
    world.good_point(2).await?;
    assert_eq!(world.live().await?, "v2");
    ensure!(world.events().await?.is_empty(), "v2 was blamed");

    // Once its samples are its own, a bad release goes back by such a query as well.
    world.release("v3", failing()).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v2");
    ensure!(event.status.unwrap_or_default().to.map(|t| t.point) != Some(first.name_any()));
    Ok(())
}
