//! Whether the trigger that asked for a rollback still does, while nothing has been changed.

use backstop_api::{
    RollbackEventStatus,
    event::{Cause, EventPhase, Outcome},
    policy::{Severity, TriggerState},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    decide,
    guards::{self, Look},
    peers,
    policy::{Source, ValidTrigger},
    rollout,
    snapshot::Event,
    state::TriggerMemory,
    votes,
};

use super::{Next, end::ended, wait};

/// A container that crashes runs for a moment between its crashes, and pods that are replaced say
/// nothing yet: what the cluster says must be quiet for so long before it counts as recovered.
const BREATH: SignedDuration = SignedDuration::from_secs(15);

/// A Critical trigger does not wait for the delay of a Warning, nor go back gently: its own rollback
/// takes the place of one that has changed nothing yet. Why, if there is one.
pub(super) fn taken_over(look: &Look<'_>, event: &Event) -> Option<String> {
    let evidence = event.spec.evidence.as_ref()?;
    let urgent = evidence.severity == Severity::Critical;
    if event.spec.cause != Cause::Trigger || urgent || guards::goes_on(look) {
        return None;
    }
    let begins = event.spec.not_before.map_or(look.now, |t| t.max(look.now));
    let (trigger, memory) = decide::firing(look).into_iter().find(|(trigger, memory)| {
        let due = memory.since.checked_add(trigger.delay);
        trigger.severity == Severity::Critical
            && trigger.can_roll_back()
            && due.is_ok_and(|due| due <= begins)
            && guards::pass(look, trigger, memory).is_ok()
    })?;
    Some(format!(
        "trigger {}, which is Critical, fires too ({}); its own rollback takes the place of this one, \
         which {} asked for. Nothing was changed by this one",
        trigger.name, memory.message, evidence.trigger
    ))
}

/// For a rollback that a trigger asked for: whether the trigger still does.
pub(super) fn calmed_down(
    look: &Look<'_>,
    event: &Event,
    status: &RollbackEventStatus,
) -> Option<Next> {
    let name = &event.spec.evidence.as_ref()?.trigger;
    let over = |outcome, message| {
        Next::change(
            event,
            ended(
                status.clone(),
                EventPhase::Cancelled,
                outcome,
                message,
                look.now,
            ),
        )
    };
    let does_not_run = rollout::start_failure(look.workload).is_some();
    if (look.incident.continues && does_not_run) || look.incident.partial.is_some() {
        // Going further back needs no trigger: the live release does not run, or is half a release.
        return None;
    }
    let Some(trigger) = look.policy.triggers.iter().find(|t| &t.name == name) else {
        let message = format!("trigger {name} is not in the policy any more; nothing was changed");
        return Some(over(Outcome::PolicyNotInForce, message));
    };
    let Some(memory) = look.state.triggers.get(name) else {
        return Some(Next::wait(format!("waiting to see trigger {name}"), None));
    };
    let of_the_cluster = matches!(trigger.source, Source::Workload { .. });
    let breath = memory.since.checked_add(BREATH).unwrap_or(Timestamp::MAX);
    if memory.is_quiet() && of_the_cluster && look.now < breath {
        let message = format!(
            "waiting: trigger {name} is quiet ({}); called off if it is until {breath:.0}",
            memory.message
        );
        let status = RollbackEventStatus {
            message: Some(message),
            ..status.clone()
        };
        return Some(wait(event, status, Some(breath)));
    }
    if memory.is_quiet() {
        let message = format!(
            "trigger {name} is quiet again ({}); nothing was changed",
            memory.message
        );
        return Some(over(Outcome::RecoveredBeforeActing, message));
    }
    if let Some(tally) = votes::tally(look.policy, look.state, name, look.now)
        && !tally.is_open()
    {
        let message = format!("{}; nothing was changed", tally.in_words());
        return Some(over(Outcome::RecoveredBeforeActing, message));
    }
    waits_for(look, trigger, memory).map(|(why, again)| {
        let status = RollbackEventStatus {
            message: Some(format!("waiting: {why}")),
            ..status.clone()
        };
        wait(event, status, again)
    })
}

/// What is still needed before anything is changed, although the trigger is not quiet; and when to
/// look again, if time alone brings it.
fn waits_for(
    look: &Look<'_>,
    trigger: &ValidTrigger,
    memory: &TriggerMemory,
) -> Option<(String, Option<Timestamp>)> {
    let name = &trigger.name;
    if memory.state != TriggerState::Firing {
        let why = format!(
            "trigger {name} fired and is {:?} now ({}); nothing is changed on that",
            memory.state, memory.message
        );
        return Some((why, None));
    }
    if let Some(since) = memory.recovering_since {
        let why = format!(
            "the condition of trigger {name} does not hold since {since:.0}; called off when it is \
             quiet, begun when it holds again"
        );
        return Some((why, None));
    }
    if let Some(spared) = peers::spared(trigger, memory, look.now) {
        let why = format!(
            "what was not released is as bad as the release since {:.0}; judged again when that has \
             recovered, begun at {:.0} at the latest (peers.holdFor)",
            spared.since, spared.at_most_until
        );
        return Some((why, Some(spared.until)));
    }
    let tally = votes::tally(look.policy, look.state, name, look.now)?;
    (!tally.carries()).then(|| (tally.in_words(), None))
}
