//! The operator is killed after each step of each strategy, and started again: the end is the same,
//! and it is reached once.

use anyhow::{Context as _, ensure};
use backstop_api::RollbackEvent;
use backstop_api::event::{EventPhase, Outcome, StepKind, StepState};
use backstop_e2e::strategies::{self, Set};
use backstop_e2e::world::World;

/// Kills the operator whenever the rollback has come a step further, until it is over.
async fn killed_at_every_step(set: Set) -> anyhow::Result<()> {
    let world = set.good_release().await?;
    set.bad_release(&world).await?;
    let mut reached = 0;
    let mut kills = 0;
    let event = world
        .eventually("the rollback to end, killed at every step", async || {
            let events = world.events().await?;
            ensure!(events.len() <= 1, "more than one rollback: {events:?}");
            let event = events.into_iter().next().context("no rollback yet")?;
            let status = event.status.clone().unwrap_or_default();
            let done = status
                .steps
                .iter()
                .filter(|s| s.state == StepState::Done)
                .count();
            if done > reached {
                reached = done;
                kills += 1;
                world.operator.kill()?;
                world.operator.restart()?;
            }
            let over = status.phase.is_some_and(EventPhase::is_terminal);
            ensure!(over, "{:?}: {:?}", status.phase, status.message);
            Ok(event)
        })
        .await?;
    let status = event.status.clone().unwrap_or_default();
    assert_eq!(
        (status.phase, status.outcome),
        (Some(EventPhase::Succeeded), Some(Outcome::Recovered)),
        "{:?}",
        status.message
    );
    assert!(status.steps.iter().all(|s| s.state == StepState::Done));
    // A step may be over before anybody can look: two may be seen at once.
    assert!(kills >= 2, "killed {kills} times only");
    set.is_back(&world).await?;
    once(&world, &event).await
}

/// One rollback, and no template written twice.
async fn once(world: &World, event: &RollbackEvent) -> anyhow::Result<()> {
    assert_eq!(world.events().await?.len(), 1, "more than one rollback");
    let steps = event.status.clone().unwrap_or_default().steps;
    for step in steps
        .iter()
        .filter(|s| s.step.kind == StepKind::WriteTemplate)
    {
        let restored = step.restored.clone().context("nothing written")?;
        assert_eq!(restored.hash, step.step.to, "{step:?}");
    }
    Ok(())
}

#[tokio::test]
async fn rolling() -> anyhow::Result<()> {
    killed_at_every_step(strategies::rolling("kill-rolling")).await
}

#[tokio::test]
async fn several() -> anyhow::Result<()> {
    killed_at_every_step(strategies::several("kill-several")).await
}

#[tokio::test]
async fn with_config() -> anyhow::Result<()> {
    killed_at_every_step(strategies::with_config("kill-config")).await
}

#[tokio::test]
async fn recreate() -> anyhow::Result<()> {
    killed_at_every_step(strategies::recreate("kill-recreate")).await
}

#[tokio::test]
async fn isolate() -> anyhow::Result<()> {
    killed_at_every_step(strategies::isolate("kill-isolate")).await
}

#[tokio::test]
async fn scale_first() -> anyhow::Result<()> {
    killed_at_every_step(strategies::scale_first("kill-scale")).await
}

#[tokio::test]
async fn blue_green() -> anyhow::Result<()> {
    killed_at_every_step(strategies::blue_green("kill-bg")).await
}

#[tokio::test]
async fn canary() -> anyhow::Result<()> {
    killed_at_every_step(strategies::canary("kill-canary")).await
}

#[tokio::test]
async fn canary_step_by_step() -> anyhow::Result<()> {
    killed_at_every_step(strategies::canary_step_by_step("kill-gradual")).await
}
