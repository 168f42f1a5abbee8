//! The operator is killed at each of its writes, in each strategy: once before the API server hears of the write, and once
//! before the operator hears that it is done. The end is the same, and it is reached once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::RollbackEvent;
use backstop_api::event::{EventPhase, Outcome, StepState};
use backstop_e2e::operator::Running;
use backstop_e2e::strategies::{self, Set};
use backstop_e2e::world::World;
use tokio::time::Instant;

mod door;

use door::{Door, Write};

/// So long does nobody write anything when a rollback is over.
const QUIET: Duration = Duration::from_secs(4);
/// Some tens of starts of the operator, on a machine that is busy with other tests.
const DEADLINE: Duration = Duration::from_mins(10);

async fn killed_at_every_write(set: Set) -> anyhow::Result<()> {
    let mut world = set.good_release().await?;
    let door = Door::before(&door::own(world.cluster).await?).await?;
    let kubeconfig = tempfile::NamedTempFile::new()?;
    serde_json::to_writer(&kubeconfig, &door.kubeconfig())?;
    world.operator.stop();
    world.operator = Running::start_by(
        kubeconfig.path(),
        world.cluster,
        &world.namespace,
        "killed",
        &[],
    )
    .await?;
    set.bad_release(&world).await?;

    let event = killed_until_the_end(&world, &door).await?;
    let status = event.status.clone().unwrap_or_default();
    assert_eq!(
        (status.phase, status.outcome),
        (Some(EventPhase::Succeeded), Some(Outcome::Recovered)),
        "{:?}",
        status.message
    );
    assert!(status.steps.iter().all(|s| s.state == StepState::Done));
    set.is_back(&world).await?;

    let writes = door.writes();
    for done in 1..=status.steps.len() {
        let killed = writes.iter().any(|write| write.says_done(done));
        assert!(
            killed,
            "not killed when {done} steps were done: {writes:#?}"
        );
    }
    assert!(writes.iter().any(Write::is_record), "{writes:#?}");
    recorded_first_and_written_once(&door.taken())
}

/// Kills the operator and starts it again whenever the door shuts, until the rollback is over and nothing is written any
/// more.
async fn killed_until_the_end(world: &World, door: &Door) -> anyhow::Result<RollbackEvent> {
    let until = Instant::now() + DEADLINE;
    let mut kills = Vec::new();
    loop {
        if let Some(at) = door.shuts_within(QUIET).await {
            world.operator.kill()?;
            door.open();
            world.operator.restart()?;
            kills.push(at);
        } else {
            let events = world.events().await?;
            ensure!(events.len() <= 1, "more than one rollback: {events:#?}");
            let over = |e: &RollbackEvent| {
                let phase = e.status.as_ref().and_then(|s| s.phase);
                phase.is_some_and(EventPhase::is_terminal)
            };
            if let Some(event) = events.into_iter().find(over) {
                println!("killed {} times", kills.len());
                return Ok(event);
            }
        }
        ensure!(
            Instant::now() < until,
            "not over after {DEADLINE:?}; killed at {kills:#?}\n{:#?}\n{}",
            world.events().await?,
            world.operator.log_tail()
        );
    }
}

/// Safety rules 1 and 2, as the API server saw them: nothing is changed before the rollback is on record, and no template
/// is written twice, whatever the operator still knew of it.
fn recorded_first_and_written_once(taken: &[Write]) -> anyhow::Result<()> {
    let recorded = taken.iter().position(Write::is_record);
    let recorded = recorded.context("the rollback was never recorded")?;
    let early = taken[..recorded].iter().find(|write| write.is_change());
    ensure!(early.is_none(), "changed before it was recorded: {early:?}");
    let records = taken.iter().filter(|write| write.is_record()).count();
    ensure!(records == 1, "recorded {records} times");
    let mut written: BTreeMap<&str, usize> = BTreeMap::new();
    for write in taken.iter().filter(|write| write.is_template()) {
        *written.entry(&write.path).or_default() += 1;
    }
    ensure!(written.values().all(|times| *times == 1), "{written:?}");
    Ok(())
}

#[tokio::test]
async fn rolling() -> anyhow::Result<()> {
    killed_at_every_write(strategies::rolling("kill-rolling")).await
}

#[tokio::test]
async fn several() -> anyhow::Result<()> {
    killed_at_every_write(strategies::several("kill-several")).await
}

#[tokio::test]
async fn with_config() -> anyhow::Result<()> {
    killed_at_every_write(strategies::with_config("kill-config")).await
}

#[tokio::test]
async fn recreate() -> anyhow::Result<()> {
    killed_at_every_write(strategies::recreate("kill-recreate")).await
}

#[tokio::test]
async fn isolate() -> anyhow::Result<()> {
    killed_at_every_write(strategies::isolate("kill-isolate")).await
}

#[tokio::test]
async fn scale_first() -> anyhow::Result<()> {
    killed_at_every_write(strategies::scale_first("kill-scale")).await
}

#[tokio::test]
async fn blue_green() -> anyhow::Result<()> {
    killed_at_every_write(strategies::blue_green("kill-bg")).await
}

#[tokio::test]
async fn canary() -> anyhow::Result<()> {
    killed_at_every_write(strategies::canary("kill-canary")).await
}

#[tokio::test]
async fn canary_step_by_step() -> anyhow::Result<()> {
    killed_at_every_write(strategies::canary_step_by_step("kill-gradual")).await
}
