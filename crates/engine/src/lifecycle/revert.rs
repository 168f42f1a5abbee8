//! Somebody puts the release that failed back: a GitOps tool, mostly, to which a rollback is a change
//! that Git does not know. The same rollback takes it back again.

use backstop_api::event::{Cause, EventPhase, Outcome, Revert, StepKind};
use backstop_api::policy::Action;

use super::{COMPLETE, Next, ended, known};
use crate::{
    gitops,
    guards::{self, Look},
    incident, plan, quarantine,
    snapshot::{Event, Workload},
};

/// So often does one rollback take its release back again.
pub const WRITE_BACKS: usize = 5;

/// The rollback that is over, and whose release is live again; and what comes of that.
pub(crate) fn after_the_end<'a>(look: &Look<'a>) -> Option<(&'a Event, Next)> {
    let event = *incident::acted(look.seen).first()?;
    let status = &event.status;
    let held = matches!(
        (status.phase, status.outcome),
        (Some(EventPhase::Succeeded), _)
            | (Some(EventPhase::Superseded), Some(Outcome::NewerRelease))
    );
    // Between the two another release may have been live, which nobody is to be robbed of.
    let release = look.state.release.as_ref()?;
    let came_after_it = release.hash == look.workload.release
        && release
            .previous
            .as_ref()
            .is_some_and(|previous| event.restored(previous));
    if !(held && came_after_it) {
        return None;
    }
    Some((event, again(look, event)?))
}

/// Takes the release of a rollback back again, if that is what is live; `None` where it is not, or
/// where that is not Backstop's to do.
pub(crate) fn again(look: &Look<'_>, event: &Event) -> Option<Next> {
    let failed = event.from_hash()?;
    let (by, tool) = put_back_by(look, event)?;
    // A drill blames nobody: what it took away may come back, whoever brings it.
    let wanted = event.spec.cause != Cause::Drill
        && quarantine::keeps_out(look.policy, look.seen, failed, look.now)
        && look.seen.conflict.is_none()
        && event.cancel.is_none()
        && guards::for_a_person(look).is_none();
    if !wanted {
        return None;
    }
    let mut status = event.status.clone();
    let before = status.reverts.iter().filter(|r| r.written_back).count();
    let who = gitops::named(&by, tool);
    let over = |status, phase, outcome, message| {
        Some(Next::change(
            event,
            ended(status, phase, outcome, message, look.now),
        ))
    };
    if before >= WRITE_BACKS {
        note(&mut status, look, event, false);
        let message = format!(
            "{who} put release {failed} back once more, after it was taken back again {before} times; Backstop \
             does so no more. {}",
            gitops::what_to_do(tool, &look.workload.name)
        );
        return over(status, EventPhase::Superseded, Outcome::Reverted, message);
    }
    let point = status
        .to
        .as_ref()
        .map_or_else(String::new, |t| t.point.clone());
    let Some(held) = look.seen.points.iter().find(|p| p.name == point) else {
        let message = format!(
            "{who} put release {failed} back, and RollbackPoint {point} is gone, so it is not taken back again"
        );
        return over(status, EventPhase::Failed, Outcome::PointUnusable, message);
    };
    let planned = plan::plan(&plan::Order {
        policy: look.policy,
        seen: look.seen,
        workload: look.workload,
        point: held,
        action: Action::Rollback,
        quarantine: false,
    });
    let wrong = match &planned {
        Ok(steps) => plan::check::violations(look.seen, steps).join("; "),
        Err(why) => why.clone(),
    };
    if !wrong.is_empty() {
        let message =
            format!("{who} put release {failed} back, and it cannot be taken back again: {wrong}");
        return over(status, EventPhase::Failed, Outcome::PointUnusable, message);
    }
    note(&mut status, look, event, true);
    status.phase = Some(EventPhase::Executing);
    status.outcome = None;
    status.steps = planned.unwrap_or_default();
    status.times.ended = None;
    status.times.rolled_out = None;
    status.conditions.retain(|c| c.type_ != COMPLETE);
    status.message = Some(format!(
        "{who} put release {failed} back; taking it back to point {point} again ({} of {WRITE_BACKS} times)",
        before + 1
    ));
    let mut next = Next::change(event, status);
    known(&mut next, look);
    Some(next)
}

/// Writes down that the release was put back, by whom, and when.
pub(super) fn note(
    status: &mut backstop_api::RollbackEventStatus,
    look: &Look<'_>,
    event: &Event,
    written_back: bool,
) {
    let Some((by, tool)) = put_back_by(look, event) else {
        return;
    };
    status.reverts.push(Revert {
        at: look.now,
        by,
        tool,
        written_back,
    });
}

/// Who put the release of a rollback back; `None` where it is not live.
fn put_back_by(
    look: &Look<'_>,
    event: &Event,
) -> Option<(String, Option<backstop_api::event::GitOpsTool>)> {
    let failed = event.from_hash()?;
    let somebody = || "somebody".to_owned();
    let writer = |w: &Workload| w.last_writer.clone().unwrap_or_else(somebody);
    let live = look.workload.live();
    let written = live.iter().any(|w| event.written(&w.name).is_some());
    let by = if written {
        let parts: Option<Vec<Part>> = live.iter().map(|w| part(look, event, w)).collect();
        let parts = parts?;
        let back = live
            .iter()
            .zip(&parts)
            .find(|(_, part)| **part == Part::Failed)?;
        writer(back.0)
    } else {
        (look.workload.release == failed).then(|| {
            let did = |kind| event.status.steps.iter().any(|s| s.step.kind == kind);
            let by = if did(StepKind::SwapSelector) {
                look.seen
                    .service
                    .as_ref()
                    .and_then(|s| s.last_writer.clone())
            } else if did(StepKind::ShiftWeight) {
                look.seen.route.as_ref().and_then(|r| r.last_writer.clone())
            } else {
                // Of configuration it is not watched who writes it.
                None
            };
            by.unwrap_or_else(somebody)
        })?
    };
    let tool = gitops::tool(&by);
    Some((by, tool))
}

/// Which template a Deployment of a rollback has.
#[derive(PartialEq, Eq)]
enum Part {
    /// The one that failed, again.
    Failed,
    /// The one that it has by the rollback.
    Good,
}

/// `None` where it is neither: somebody wrote another.
fn part(look: &Look<'_>, event: &Event, workload: &Workload) -> Option<Part> {
    let write = event
        .status
        .steps
        .iter()
        .filter(|s| s.step.kind == StepKind::WriteTemplate && s.step.workload == workload.name)
        .find_map(|s| Some((&s.step, s.restored.as_ref()?)));
    let Some((step, restored)) = write else {
        let point = event.status.to.as_ref().map(|t| t.point.as_str());
        let held = look
            .seen
            .points
            .iter()
            .find(|p| Some(p.name.as_str()) == point);
        let as_held = held
            .and_then(|p| p.workload(&workload.name))
            .is_none_or(|h| h.release == workload.release);
        return as_held.then_some(Part::Good);
    };
    if workload.release == restored.hash || workload.release == step.to {
        return Some(Part::Good);
    }
    // An old picture shows the failed template too: from before it was taken back.
    let since = workload.generation > restored.generation;
    (workload.release == step.from && since).then_some(Part::Failed)
}
