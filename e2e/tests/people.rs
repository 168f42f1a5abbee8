//! A person's wish wins: fixing forward, pausing, taking over, calling off, and rolling back by hand.
//!
//! Who may ask for a rollback, and call one off, is held in `admission_events.rs`.

use anyhow::ensure;
use backstop_api::RollbackEvent;
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::Phase;
use backstop_e2e::world::{App, World, message, quick_policy};
use backstop_testenv::fate;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::PostParams;
use serde_json::{Value, json};

/// A release that crashes.
fn bad(version: &str) -> App {
    App::version(version).fate(fate::CRASH_LOOP)
}

/// With so long between firing and acting.
fn delayed(delay: &str) -> Value {
    let mut policy = quick_policy();
    policy["triggers"][0]["delay"] = json!(delay);
    policy
}

fn in_mode(mode: &str) -> Value {
    let mut policy = quick_policy();
    policy["mode"] = json!(mode);
    policy
}

/// A world in which a rollback of `bad` waits for its delay.
async fn waiting(name: &str, delay: &str, bad: &App) -> anyhow::Result<World> {
    let (world, _) = World::with_good_release(name, delayed(delay), &App::version("v1")).await?;
    world.deploy(bad).await?;
    world.event_in("web-1", EventPhase::Pending).await?;
    Ok(world)
}

/// A world in which `v1`, live again by a rollback, takes its time to become ready.
async fn executing(name: &str, ready_after: &str) -> anyhow::Result<World> {
    let good = App::slow("v1", ready_after).recreate();
    let (world, _) = World::with_good_release(name, quick_policy(), &good).await?;
    world.deploy(&bad("v2").recreate()).await?;
    world.rolling_out("web-1").await?;
    Ok(world)
}

#[tokio::test]
async fn a_fix_during_the_delay_supersedes_the_rollback() -> anyhow::Result<()> {
    let world = waiting("fix-delay", "1m", &bad("v2")).await?;
    world.deploy(&App::version("v3")).await?;
    let event = world
        .ended("web-1", EventPhase::Superseded, Outcome::NewerRelease)
        .await?;
    ensure!(
        message(&event).contains("nothing was changed"),
        "{}",
        message(&event)
    );
    world.good_point(2).await?;
    assert_eq!(world.live().await?, "v3");
    assert!(world.points("Quarantined").await?.is_empty());
    assert_eq!(world.events().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_fix_during_the_rollback_stays_and_becomes_a_point() -> anyhow::Result<()> {
    let world = executing("fix-executing", "5s").await?;
    world.deploy(&App::version("v3").recreate()).await?;
    let event = world
        .ended("web-1", EventPhase::Superseded, Outcome::NewerRelease)
        .await?;
    ensure!(
        message(&event).contains("kubectl wrote another release"),
        "{}",
        message(&event)
    );
    world.good_point(2).await?;
    world.is_left_alone().await?;
    assert_eq!(world.live().await?, "v3");
    assert_eq!(world.events().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_paused_deployment_is_left_alone_until_it_is_resumed() -> anyhow::Result<()> {
    let world = waiting("paused", "15s", &bad("v2")).await?;
    world
        .kubectl(&["rollout", "pause", "deployment/web"])
        .await?;
    let event = world
        .ended("web-1", EventPhase::Cancelled, Outcome::PolicyNotInForce)
        .await?;
    ensure!(
        message(&event).contains("kubectl rollout resume deployment/web"),
        "{}",
        message(&event)
    );
    world
        .condition("ActionRequired", true, "WorkloadPaused")
        .await?;
    world.condition("Ready", false, "WorkloadPaused").await?;
    world.is_left_alone().await?;
    world
        .kubectl(&["rollout", "resume", "deployment/web"])
        .await?;
    world
        .ended("web-2", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn a_deployment_that_a_person_has_taken_over_is_left_alone() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("override", quick_policy(), &App::version("v1")).await?;
    let over = [
        "annotate",
        "deployment/web",
        "backstop.dev/override=alice looks",
        "backstop.dev/override-by=admin",
    ];
    world.kubectl(&over).await?;
    world.deploy(&bad("v2")).await?;
    let words = world.said("RollbackPolicy", "RollbackHeld").await?;
    ensure!(words.contains("alice looks"), "{words}");
    world
        .policy_says("paused", |s| s.phase == Some(Phase::Paused))
        .await?;
    world.is_left_alone().await?;
    assert!(world.events().await?.is_empty());
    world
        .kubectl(&["annotate", "deployment/web", "backstop.dev/override-"])
        .await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

/// A record holds less than an event; that is no reason not to take a release back.
#[tokio::test]
async fn the_longest_reason_holds_no_rollback_up() -> anyhow::Result<()> {
    let good = App::version("v1");
    let (world, _) = World::with_good_release("wordy", quick_policy(), &good).await?;
    world.deploy(&App::version("v2")).await?;
    world.rolled_out("v2").await?;
    let event: RollbackEvent = serde_json::from_value(json!({
        "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackEvent",
        "metadata": {"name": "wordy"},
        "spec": {
            "policy": "web", "workloads": [{"name": "web"}], "cause": "Manual", "quarantine": true,
            "requestedBy": "admin", "reason": "so it is said. ".repeat(136),
        },
    }))?;
    world.api().create(&PostParams::default(), &event).await?;
    world
        .ended("wordy", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let records = world.points("Quarantined").await?;
    let reason = records.first().and_then(|r| r.spec.reason.as_deref());
    ensure!(
        reason.is_some_and(|r| r.starts_with("wordy: so it is said") && r.ends_with('…')),
        "{reason:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_rollback_that_a_person_calls_off_is_not_begun_again() -> anyhow::Result<()> {
    let world = waiting("cancel", "15s", &bad("v2")).await?;
    let cancel = [
        "annotate",
        "rollbackevent/web-1",
        "backstop.dev/cancel=we look at it",
    ];
    world.kubectl(&cancel).await?;
    let event = world
        .ended("web-1", EventPhase::Cancelled, Outcome::CancelledByPerson)
        .await?;
    ensure!(
        message(&event).contains("we look at it"),
        "{}",
        message(&event)
    );
    let held = world.said("RollbackPolicy", "RollbackHeld").await?;
    ensure!(held.contains("a person called web-1 off"), "{held}");
    world.is_left_alone().await?;
    assert_eq!(world.live().await?, "v2");
    // Another release is another matter.
    world.deploy(&bad("v3")).await?;
    world
        .ended("web-2", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn a_paused_policy_changes_nothing_and_says_so() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("mode-paused", quick_policy(), &App::version("v1")).await?;
    world.policy(in_mode("Paused")).await?;
    world
        .policy_says("paused", |s| s.phase == Some(Phase::Paused))
        .await?;
    world.deploy(&bad("v2")).await?;
    let words = world.said("RollbackPolicy", "RollbackHeld").await?;
    ensure!(words.contains("set spec.mode to Enforce"), "{words}");
    world.is_left_alone().await?;
    assert!(world.events().await?.is_empty());
    assert!(world.points("Quarantined").await?.is_empty());
    // A person who asks for a rollback is told why there is none.
    world.manual_event("web-by-hand", None).await?;
    let event = world
        .ended(
            "web-by-hand",
            EventPhase::Cancelled,
            Outcome::PolicyNotInForce,
        )
        .await?;
    ensure!(
        message(&event).contains("the policy is paused"),
        "{}",
        message(&event)
    );
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

#[tokio::test]
async fn a_policy_that_observes_says_once_what_it_would_do_and_changes_nothing()
-> anyhow::Result<()> {
    let (world, point) =
        World::with_good_release("mode-observe", in_mode("Observe"), &App::version("v1")).await?;
    world.deploy(&bad("v2")).await?;
    let event = world
        .ended("web-1", EventPhase::Cancelled, Outcome::ObserveOnly)
        .await?;
    let target = point.metadata.name.unwrap_or_default();
    ensure!(
        message(&event).contains("would have taken web") && message(&event).contains(&target),
        "{}",
        message(&event)
    );
    world.said("Deployment", "WouldRollBack").await?;
    world.is_left_alone().await?;
    assert_eq!(world.live().await?, "v2");
    assert_eq!(world.events().await?.len(), 1);
    assert!(world.points("Quarantined").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_rollback_by_hand_goes_to_the_newest_good_release_or_to_the_one_that_is_named()
-> anyhow::Result<()> {
    let (world, v1) =
        World::with_good_release("by-hand", quick_policy(), &App::version("v1")).await?;
    world.deploy(&App::version("v2")).await?;
    world.good_point(2).await?;
    world.deploy(&App::version("v3")).await?;
    world.good_point(3).await?;
    world.manual_event("newest", None).await?;
    world
        .ended("newest", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v2");
    world.proved("v2").await?;
    world
        .manual_event("named", v1.metadata.name.as_deref())
        .await?;
    let event = world
        .ended("named", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    assert_eq!(event.spec.requested_by, "admin");
    assert!(
        world.points("Quarantined").await?.is_empty(),
        "nobody asked for that"
    );
    Ok(())
}

#[tokio::test]
async fn a_rollback_by_hand_to_what_cannot_be_is_refused_in_words() -> anyhow::Result<()> {
    let (world, v1) =
        World::with_good_release("by-hand-no", quick_policy(), &App::version("v1")).await?;
    world.deploy(&bad("v2")).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let failed = world.points("Quarantined").await?.remove(0);
    let floor = App::version("v3").annotation("backstop.dev/rollback-floor", "new schema");
    world.deploy(&floor).await?;
    world.good_point(2).await?;
    world.deploy(&App::version("v4")).await?;
    let v4 = world.good_point(3).await?;
    let cases = [
        (
            "failed",
            failed.metadata.name.as_deref(),
            "is a release that failed",
        ),
        (
            "missing",
            Some("web-nowhere"),
            "there is no RollbackPoint 'web-nowhere' for web",
        ),
        (
            "behind",
            v1.metadata.name.as_deref(),
            "lies behind the floor 'new schema'",
        ),
        ("live", v4.metadata.name.as_deref(), "is live already"),
    ];
    for (name, point, words) in cases {
        world.manual_event(name, point).await?;
        let event = world
            .ended(name, EventPhase::Cancelled, Outcome::NoTarget)
            .await?;
        ensure!(
            message(&event).contains(words),
            "{name}: {}",
            message(&event)
        );
    }
    assert_eq!(world.live().await?, "v4");
    Ok(())
}

#[tokio::test]
async fn a_rollback_that_waits_is_called_off_when_its_policy_is_deleted() -> anyhow::Result<()> {
    let world = waiting("policy-gone", "1m", &bad("v2")).await?;
    world.delete_policy("web").await?;
    let event = world
        .ended("web-1", EventPhase::Cancelled, Outcome::PolicyNotInForce)
        .await?;
    ensure!(
        message(&event).contains("there is no RollbackPolicy web"),
        "{}",
        message(&event)
    );
    world.is_left_alone().await?;
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

#[tokio::test]
async fn a_rollback_that_has_begun_is_finished_without_its_policy() -> anyhow::Result<()> {
    let world = executing("policy-gone-late", "4s").await?;
    world.delete_policy("web").await?;
    // Whoever finishes it has never seen the policy.
    world.operator.kill()?;
    world.operator.restart()?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Held)
        .await?;
    ensure!(
        message(&event).contains("nobody verifies it"),
        "{}",
        message(&event)
    );
    let ready = world.api::<Deployment>().get("web").await?.status;
    assert_eq!(ready.and_then(|s| s.available_replicas), Some(2));
    assert_eq!(world.live().await?, "v1");
    Ok(())
}
