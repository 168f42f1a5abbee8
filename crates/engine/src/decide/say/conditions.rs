//! The policy's conditions.

use backstop_api::{
    condition::{self, ConditionStatus},
    event::EventPhase,
    policy::TriggerState,
};

use super::Said;
use crate::{
    decide::{Course, newest_point},
    guards::Look,
    snapshot::Workload,
    target, track,
};

pub(super) fn said(
    type_: &'static str,
    status: impl Into<ConditionStatus>,
    reason: impl Into<String>,
    message: impl Into<String>,
) -> Said {
    Said {
        type_,
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
    }
}

pub(super) fn accepted() -> Said {
    said(
        condition::ACCEPTED,
        true,
        "Valid",
        "the policy is valid and in force",
    )
}

pub(super) fn ready(look: &Look<'_>) -> Said {
    let workload: &Workload = look.workload;
    if let Some(why) = &look.seen.paused {
        return said(condition::READY, false, "BackstopPaused", why);
    }
    if workload.paused {
        return said(
            condition::READY,
            false,
            "WorkloadPaused",
            format!(
                "the rollout of {0} is paused; kubectl rollout resume deployment/{0}",
                workload.name
            ),
        );
    }
    said(
        condition::READY,
        true,
        "Watching",
        format!("Deployment {} is watched", workload.name),
    )
}

pub(super) fn data_available(look: &Look<'_>) -> Said {
    let list = unjudged(look);
    if list.is_empty() {
        return settling(look);
    }
    let failed = look.state.triggers.values();
    let reason = if failed.into_iter().any(|m| m.state == TriggerState::Error) {
        "Error"
    } else {
        "NoData"
    };
    let message = format!(
        "cannot be judged, so nothing is taken back on them: {}",
        list.join("; ")
    );
    said(condition::DATA_AVAILABLE, false, reason, message)
}

/// The triggers that cannot be judged, and why.
pub(super) fn unjudged(look: &Look<'_>) -> Vec<String> {
    look.policy
        .triggers
        .iter()
        .filter_map(|t| Some((t, look.state.triggers.get(&t.name)?)))
        .filter(|(_, m)| matches!(m.state, TriggerState::NoData | TriggerState::Error))
        .map(|(t, m)| format!("{}: {}", t.name, m.message))
        .collect()
}

/// No trigger lacks data; some may have none yet that are about this release.
fn settling(look: &Look<'_>) -> Said {
    let waiting: Vec<String> = look
        .policy
        .triggers
        .iter()
        .filter_map(|t| Some((t, look.state.triggers.get(&t.name)?)))
        .filter(|(_, m)| !m.settled)
        .map(|(t, m)| format!("{}: {}", t.name, m.message))
        .collect();
    if waiting.is_empty() {
        return said(
            condition::DATA_AVAILABLE,
            true,
            "Data",
            "every trigger can be judged",
        );
    }
    said(
        condition::DATA_AVAILABLE,
        ConditionStatus::Unknown,
        "Settling",
        format!(
            "not to be judged yet, so nothing is taken back on them: {}",
            waiting.join("; ")
        ),
    )
}

pub(super) fn protected(look: &Look<'_>) -> Said {
    let live = &look.workload.release;
    if let Some(why) = &look.workload.floor {
        let message = format!(
            "the live release must not be gone behind (backstop.dev/rollback-floor: '{why}'): if it \
             is bad it is not taken back, and a person is called"
        );
        return said(condition::PROTECTED, false, "Floor", message);
    }
    let (may, _) = target::candidates(look.seen, live, &look.incident.failed);
    if let Some(point) = may.first() {
        let message = format!("a bad release goes back to point {}", point.name);
        return said(condition::PROTECTED, true, "GoodPoint", message);
    }
    if newest_point(look.seen).is_some_and(|p| p.release.as_ref() == Some(live)) {
        let message =
            "the live release has proved itself; the next one goes back to it if it is bad";
        return said(condition::PROTECTED, true, "LiveIsGood", message);
    }
    let what = if target::good_points(look.seen).is_empty() {
        "no release has proved itself yet"
    } else {
        "every release that proved itself is quarantined or failed in this incident"
    };
    let message = format!(
        "{what}: a bad one could not be taken back. A release proves itself when it is healthy for \
         points.soak, or when a RollbackPoint names it while it is live"
    );
    said(condition::PROTECTED, false, "NoGoodPoint", message)
}

/// A rollback that failed, whose target is live and has not proved itself since, calls for a person
/// even while no trigger fires.
fn failed_rollback(look: &Look<'_>) -> Option<Said> {
    let event = track::restorer(look.state, look.seen)?;
    let unproved = look.state.release.as_ref()?.proved_at.is_none();
    let failed = event.status.phase == Some(EventPhase::Failed) && unproved;
    failed.then(|| {
        let outcome = event.status.outcome.map(|o| format!("{o:?}"));
        said(
            condition::ACTION_REQUIRED,
            true,
            outcome.unwrap_or_else(|| "RollbackFailed".into()),
            format!(
                "{} failed: {}",
                event.name,
                event.status.message.as_deref().unwrap_or_default()
            ),
        )
    })
}

pub(super) fn action_required(look: &Look<'_>, course: &Course<'_>) -> Said {
    if matches!(course, Course::Quiet)
        && let Some(failed) = failed_rollback(look)
    {
        return failed;
    }
    match course {
        Course::Held { why, hold } if hold.reason.needs_a_person() => said(
            condition::ACTION_REQUIRED,
            true,
            format!("{:?}", hold.reason),
            format!("{why}, and nothing is taken back: {}", hold.message),
        ),
        _ => said(
            condition::ACTION_REQUIRED,
            false,
            "Nothing",
            "nothing is to be done",
        ),
    }
}
