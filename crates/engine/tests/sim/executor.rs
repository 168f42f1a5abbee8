//! Carries out the steps of rollbacks, one write at a time, and may crash between any two.

use backstop_api::{
    RollbackEventStatus,
    event::{EventPhase, Outcome, Restored, Step, StepKind, StepState},
    point::Verdict,
};
use backstop_engine::{
    lifecycle::ended,
    rollout::{self, Progress},
    snapshot::Event,
};

use super::{chance::Chance, monitor::Monitor, world::World};

/// What came of a step.
enum Came {
    Done,
    NotYet,
    Ended(Outcome, String),
}

/// Does what can be done in one tick.
pub fn run(world: &mut World, chance: &mut Chance, monitor: &mut Monitor, refuse: &mut bool) {
    for _ in 0..chance.up_to(3) {
        let Some(event) = world.executing() else {
            return;
        };
        let mut status = event.status.clone();
        let Some(index) = status.steps.iter().position(|s| s.state != StepState::Done) else {
            status.phase = Some(EventPhase::Verifying);
            status.message = Some("executed; watching the restored release".into());
            save(world, &event, status, monitor);
            continue;
        };
        let step = status.steps[index].step.clone();
        let came = carry_out(world, &event, index, &step, &mut status, monitor, refuse);
        if chance.happens(24) {
            monitor.reached("executor crashed between a change and its record");
            return;
        }
        match came {
            Came::NotYet => return,
            Came::Done => {
                status.steps[index].state = StepState::Done;
                status.steps[index].finished_at = Some(world.now());
                save(world, &event, status, monitor);
            }
            Came::Ended(outcome, message) => {
                let phase = match outcome {
                    Outcome::NewerRelease => EventPhase::Superseded,
                    _ => EventPhase::Failed,
                };
                let status = ended(status, phase, outcome, message, world.now());
                save(world, &event, status, monitor);
                return;
            }
        }
    }
}

fn carry_out(
    world: &mut World,
    event: &Event,
    index: usize,
    step: &Step,
    status: &mut RollbackEventStatus,
    monitor: &mut Monitor,
    refuse: &mut bool,
) -> Came {
    let now = world.now();
    match step.kind {
        StepKind::QuarantineRelease => {
            // Only what is live can be recorded as what failed: the next step says what is.
            if world.workload().is_some_and(|w| w.release == step.from) {
                world.quarantine(&step.from);
            }
            Came::Done
        }
        StepKind::WriteTemplate => {
            write_template(world, event, index, step, status, monitor, refuse)
        }
        StepKind::HandBackOwnership | StepKind::RestoreStrategy => Came::Done,
        StepKind::AwaitRollout => {
            let before = status.steps[..index].iter().filter_map(|s| s.finished_at);
            let started = before.max().unwrap_or(now);
            let workload = world.workload();
            let event = Event {
                status: status.clone(),
                ..event.clone()
            };
            let step = Step {
                timeout: Some(backstop_api::Duration::from_secs(60)),
                ..step.clone()
            };
            match rollout::progress(&event, &step, workload.as_ref(), started, now) {
                Progress::Going { .. } => Came::NotYet,
                Progress::Complete => {
                    status.times.rolled_out = Some(now);
                    Came::Done
                }
                Progress::Ended { outcome, message } => Came::Ended(outcome, message),
            }
        }
        other => unreachable!("no plan of a rolling rollback has {other:?}"),
    }
}

fn write_template(
    world: &mut World,
    event: &Event,
    index: usize,
    step: &Step,
    status: &mut RollbackEventStatus,
    monitor: &mut Monitor,
    refuse: &mut bool,
) -> Came {
    let Some(workload) = world.workload().filter(|w| w.uid == step.workload_uid) else {
        return Came::Ended(Outcome::WorkloadDeleted, "the Deployment is gone".into());
    };
    if workload.release != step.from && workload.release != step.to {
        let (outcome, message) = rollout::replaced(&step.from, &workload);
        return Came::Ended(outcome, message);
    }
    if std::mem::take(refuse) {
        return Came::Ended(Outcome::WriteRefused, "admission refused it".into());
    }
    let usable = world.points.iter().any(|p| {
        p.name == step.point
            && p.verdict == Verdict::Good
            && p.release.as_deref() == Some(step.to.as_str())
    });
    if !usable || world.is_quarantined(&step.to) {
        return Came::Ended(Outcome::PointUnusable, "the point is gone".into());
    }
    if workload.release == step.from {
        monitor.writes(world, event, step);
        let release = step.to.trim_start_matches('r').parse().unwrap();
        world.write_template(release, true);
    }
    let generation = world.deployment.as_ref().map(|d| d.generation);
    status.restored_hash = Some(step.to.clone());
    status.steps[index].restored = generation.map(|generation| Restored {
        hash: step.to.clone(),
        generation,
    });
    let now = world.now();
    status.times.first_write.get_or_insert(now);
    Came::Done
}

/// Writes the status of a rollback.
fn save(world: &mut World, event: &Event, status: RollbackEventStatus, monitor: &mut Monitor) {
    monitor.status_written(&event.status, &status);
    let version = world.version();
    let stored = world.event(&event.name).expect("it was there");
    stored.status = status;
    stored.version = version;
}
