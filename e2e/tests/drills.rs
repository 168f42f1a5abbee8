//! Drills: a rollback while all is well, and back again.
//!
//! Who may ask for one is held in `roles.rs`.

use std::time::Duration;

use anyhow::ensure;
use backstop_api::RollbackEvent;
use backstop_api::event::{Cause, EventPhase, Outcome, StepKind};
use backstop_e2e::world::{App, World, message, quick_policy};
use backstop_testenv::fate;
use serde_json::json;

/// A world in which `v2` is live, and has proved itself after `v1`.
async fn two_good_releases(name: &str) -> anyhow::Result<World> {
    let good = App::version("v1");
    let (world, _) = World::with_good_release(name, quick_policy(), &good).await?;
    world.deploy(&App::version("v2")).await?;
    world.known_point(2).await?;
    Ok(world)
}

/// Safety rules 1 and 3, and that a drill leaves nothing behind that holds up the next rollback.
#[tokio::test]
async fn a_drill_goes_back_and_brings_the_release_back() -> anyhow::Result<()> {
    let world = two_good_releases("drill").await?;
    world.drill("quarterly").await?;
    let there = world
        .ended("quarterly", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    ensure!(
        message(&there).contains("This was a drill: release"),
        "{}",
        message(&there)
    );
    let back = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(back.spec.cause, Cause::Drill);
    assert_eq!(back.spec.ends_drill.as_deref(), Some("quarterly"));
    assert_eq!(back.spec.requested_by, "backstop");
    let cause = |e: &RollbackEvent| e.status.clone().unwrap_or_default().cause_text;
    assert_eq!(cause(&there).as_deref(), Some("Drill by admin"));
    assert_eq!(cause(&back).as_deref(), Some("End of quarterly"));
    for event in [&there, &back] {
        let steps = event.status.iter().flat_map(|s| &s.steps);
        let kinds: Vec<_> = steps.map(|s| s.step.kind).collect();
        ensure!(kinds.contains(&StepKind::WriteTemplate), "{kinds:?}");
        ensure!(!kinds.contains(&StepKind::QuarantineRelease), "{kinds:?}");
    }
    world.rolled_out("v2").await?;
    assert!(world.points("Quarantined").await?.is_empty());
    for reason in ["DrillStarted", "DrillSucceeded"] {
        world.said("RollbackEvent", reason).await?;
    }
    let status = world
        .policy_says("that a drill was held", |s| {
            s.daily.iter().map(|day| day.drills).sum::<u32>() == 1
        })
        .await?;
    let counted: u32 = status.daily.iter().map(|day| day.rollbacks).sum();
    assert_eq!(counted, 0, "a drill is no rollback in the figures");
    // The next bad release is another matter, and is not held up.
    world
        .deploy(&App::version("v3").fate(fate::CRASH_LOOP))
        .await?;
    world
        .ended("web-2", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

/// That is what drills are for: to find out before it matters.
#[tokio::test]
async fn a_drill_whose_release_cannot_start_says_so_and_is_brought_back() -> anyhow::Result<()> {
    let world = two_good_releases("drill-fails").await?;
    let crashing = world.keep_crashing("v1");
    world.drill("quarterly").await?;
    let there = world
        .ended("quarterly", EventPhase::Failed, Outcome::TargetCannotStart)
        .await?;
    drop(crashing);
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    world.rolled_out("v2").await?;
    world.said("RollbackEvent", "DrillFailed").await?;
    assert!(world.points("Quarantined").await?.is_empty());
    assert_eq!(there.spec.cause, Cause::Drill);
    Ok(())
}

/// Safety rule 12: who deploys during a drill is not robbed of that.
#[tokio::test]
async fn a_release_during_a_drill_ends_it() -> anyhow::Result<()> {
    let slow = App::slow("v1", "5s").recreate();
    let (world, _) = World::with_good_release("drill-fix", quick_policy(), &slow).await?;
    world.deploy(&App::version("v2").recreate()).await?;
    world.known_point(2).await?;
    world.drill("quarterly").await?;
    world.rolling_out("quarterly").await?;
    world.deploy(&App::version("v3").recreate()).await?;
    world
        .ended("quarterly", EventPhase::Superseded, Outcome::NewerRelease)
        .await?;
    world.good_point(3).await?;
    assert_eq!(world.live().await?, "v3");
    assert_eq!(world.events().await?.len(), 1, "there is nothing to end");
    Ok(())
}

/// Who likes what a drill has restored may keep it.
#[tokio::test]
async fn a_drill_that_is_called_off_at_its_end_is_not_gone_back_from() -> anyhow::Result<()> {
    let world = two_good_releases("drill-off").await?;
    world.drill("quarterly").await?;
    world.event_in("quarterly", EventPhase::Verifying).await?;
    world.call_off("quarterly", "we keep it").await?;
    let drill = world
        .ended("quarterly", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    ensure!(
        message(&drill).contains("it was called off: release"),
        "{}",
        message(&drill)
    );
    world.is_left_alone().await?;
    assert_eq!(world.live().await?, "v1");
    assert_eq!(world.events().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_drill_that_would_be_a_risk_is_not_begun() -> anyhow::Result<()> {
    let good = App::version("v1");
    let (world, _) = World::with_good_release("drill-no", quick_policy(), &good).await?;
    let mut patient = quick_policy();
    patient["points"]["soak"] = json!("1h");
    world.policy(patient).await?;
    world.deploy(&App::version("v2")).await?;
    world.rolled_out("v2").await?;
    world.drill("too-early").await?;
    let early = world
        .ended(
            "too-early",
            EventPhase::Cancelled,
            Outcome::DrillNotPossible,
        )
        .await?;
    ensure!(
        message(&early).contains("could not be brought back after a drill"),
        "{}",
        message(&early)
    );
    world.said("RollbackEvent", "DrillNotPossible").await?;
    world.policy(quick_policy()).await?;
    world.good_point(2).await?;
    world
        .deploy(&App::version("v3").fate(fate::CRASH_LOOP))
        .await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    // The server notes full seconds, and what is asked for in the second in which another rollback ends is not about
    // what that one has restored.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.drill("after-a-rollback").await?;
    let after = world
        .ended(
            "after-a-rollback",
            EventPhase::Cancelled,
            Outcome::DrillNotPossible,
        )
        .await?;
    ensure!(
        message(&after).contains("because web-1 took another one back"),
        "{}",
        message(&after)
    );
    assert_eq!(world.live().await?, "v2");
    Ok(())
}
