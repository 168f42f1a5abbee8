//! The operator may be killed at any moment: the end is the same, and it is reached once.

use std::time::Duration;

use anyhow::ensure;
use backstop_api::RollbackEvent;
use backstop_api::event::{EventPhase, Outcome, StepKind, StepState};
use backstop_e2e::world::{App, World, quick_policy};
use backstop_testenv::fate;
use serde_json::json;

fn bad() -> App {
    App::version("v2").fate(fate::CRASH_LOOP).recreate()
}

/// A good release that has to be started again, and whose pods take their time: there is time to be
/// killed in.
fn good() -> App {
    App::version("v1")
        .fate(fate::SLOW_READY)
        .annotation(fate::READY_AFTER, "2s")
        .recreate()
}

/// Rolls a bad release out, kills the operator as soon as `moment` has come, starts it again, and
/// expects one rollback with the same end.
async fn killed_when(
    name: &str,
    policy: serde_json::Value,
    moment: impl Fn(&RollbackEvent) -> bool,
) -> anyhow::Result<()> {
    let (world, point) = World::with_good_release(name, policy, &good()).await?;
    world.deploy(&bad()).await?;
    world
        .eventually("the moment to be killed in", async || {
            let events = world.events().await?;
            ensure!(events.iter().any(&moment), "{events:?}");
            Ok(())
        })
        .await?;
    world.operator.kill()?;
    world.operator.restart()?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    assert_eq!(
        event.status.unwrap_or_default().to.map(|t| t.point),
        point.metadata.name
    );
    assert_eq!(world.events().await?.len(), 1, "more than one rollback");
    assert_eq!(world.points("Good").await?.len(), 1);
    assert_eq!(world.points("Quarantined").await?.len(), 1);
    Ok(())
}

fn phase(event: &RollbackEvent) -> Option<EventPhase> {
    event.status.as_ref()?.phase
}

fn step_done(event: &RollbackEvent, kind: StepKind) -> bool {
    event
        .status
        .iter()
        .flat_map(|s| &s.steps)
        .any(|s| s.step.kind == kind && s.state == StepState::Done)
}

#[tokio::test]
async fn killed_as_soon_as_the_rollback_is_recorded() -> anyhow::Result<()> {
    killed_when("kill-recorded", quick_policy(), |_| true).await
}

#[tokio::test]
async fn killed_while_the_rollback_waits_for_its_delay() -> anyhow::Result<()> {
    let mut policy = quick_policy();
    policy["triggers"][0]["delay"] = json!("3s");
    killed_when("kill-pending", policy, |e| {
        phase(e) == Some(EventPhase::Pending)
    })
    .await
}

#[tokio::test]
async fn killed_as_soon_as_it_executes() -> anyhow::Result<()> {
    killed_when("kill-executing", quick_policy(), |e| {
        phase(e) == Some(EventPhase::Executing)
    })
    .await
}

#[tokio::test]
async fn killed_after_the_failed_release_is_quarantined() -> anyhow::Result<()> {
    killed_when("kill-quarantined", quick_policy(), |e| {
        step_done(e, StepKind::QuarantineRelease)
    })
    .await
}

#[tokio::test]
async fn killed_after_the_template_is_written() -> anyhow::Result<()> {
    killed_when("kill-written", quick_policy(), |e| {
        step_done(e, StepKind::WriteTemplate)
    })
    .await
}

#[tokio::test]
async fn killed_while_the_restored_release_rolls_out() -> anyhow::Result<()> {
    killed_when("kill-rollout", quick_policy(), |e| {
        e.status
            .iter()
            .flat_map(|s| &s.steps)
            .any(|s| s.step.kind == StepKind::AwaitRollout && s.state == StepState::Running)
    })
    .await
}

#[tokio::test]
async fn killed_while_the_end_is_verified() -> anyhow::Result<()> {
    killed_when("kill-verifying", quick_policy(), |e| {
        phase(e) == Some(EventPhase::Verifying)
    })
    .await
}

/// Killed again and again, at moments that nobody chose.
#[tokio::test]
async fn killed_again_and_again() -> anyhow::Result<()> {
    let (world, _) = World::with_good_release("kill-again", quick_policy(), &good()).await?;
    world.deploy(&bad()).await?;
    for pause in [300, 700, 1100, 500, 900] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        world.operator.kill()?;
        world.operator.restart()?;
    }
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    assert_eq!(world.events().await?.len(), 1, "more than one rollback");
    Ok(())
}
