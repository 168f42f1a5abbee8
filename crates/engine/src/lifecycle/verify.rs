//! Verifying: recovered, held, or not.

use backstop_api::event::{Cause, EventPhase, Outcome};
use backstop_api::policy::TriggerState;
use jiff::{SignedDuration, Timestamp};

use crate::{
    guards::Look,
    policy::ValidTrigger,
    rollout,
    snapshot::{Event, Workload},
    state::TriggerMemory,
};

use super::{Next, drill, ended, is_in_place, longest_interval, revert};

/// The restored release must stay in place for so long at least.
const STAYS_AT_LEAST: SignedDuration = SignedDuration::from_secs(5);
/// And for so many looks at the slowest source.
const STAYS_FOR_LOOKS: i32 = 2;
/// Data that prove the recovery are waited for: the longest range, or the samples to compare, `for` and silence, so many
/// looks, and
/// this much beside.
const WAITS_FOR_LOOKS: i32 = 6;
const WAITS_BESIDE: SignedDuration = SignedDuration::from_secs(30);

/// Looks at the restored release.
pub(super) fn verify(look: &Look<'_>, event: &Event) -> Next {
    let over = |phase, outcome, message| over(look, event, phase, outcome, message);
    let Some(workload) = rollout::still_there(event, Some(look.workload)) else {
        let message = "the Deployment was deleted while the rollback was verified".to_owned();
        return over(EventPhase::Failed, Outcome::WorkloadDeleted, message);
    };
    let unseen = |w: &Workload| {
        event
            .written(&w.name)
            .is_some_and(|written| w.generation < written.generation)
    };
    if workload.live().iter().chain(&workload.beside).any(unseen) {
        return Next::wait("waiting to see the restored template", None);
    }
    if !is_in_place(event, workload) {
        if let Some(next) = revert::again(look, event) {
            return next;
        }
        let (outcome, message) = rollout::replaced(event.from_hash().unwrap_or_default(), workload);
        let mut status = event.status.clone();
        revert::note(&mut status, look, event, false);
        let status = ended(status, EventPhase::Superseded, outcome, message, look.now);
        return Next::change(event, status);
    }
    if let Some(why) = rollout::cannot_start(event, workload) {
        return over(EventPhase::Failed, Outcome::TargetCannotStart, why);
    }
    let rolled_out = event.status.times.rolled_out.unwrap_or(look.now);
    let cause = event.spec.evidence.as_ref().map(|e| e.trigger.as_str());
    let watched = || {
        look.policy
            .triggers
            .iter()
            .filter(|t| t.can_roll_back())
            .filter_map(|t| Some((t, look.state.triggers.get(&t.name)?)))
    };
    let firing = |same: bool| {
        watched().find(|(t, m)| {
            m.state == TriggerState::Firing && (Some(t.name.as_str()) == cause) == same
        })
    };
    if let Some((trigger, memory)) = firing(true) {
        return not_the_cause(look, event, trigger, memory);
    }
    if let Some((trigger, memory)) = firing(false) {
        let next = if event.spec.cause == Cause::Drill {
            ""
        } else {
            "; nothing more is taken back, a person has to look"
        };
        let message = format!(
            "release {} is restored and runs, and trigger {}, which did not ask for this rollback, fires on it ({}){next}",
            workload.release, trigger.name, memory.message
        );
        return over(EventPhase::Failed, Outcome::TargetUnhealthy, message);
    }
    let unclear: Vec<String> = watched()
        .filter(|(t, m)| !(m.is_quiet() && is_fresh(t, m, rolled_out)))
        .map(|(t, m)| format!("{} ({})", t.name, m.message))
        .collect();
    let provable = watched().next().is_some();
    quiet_so_far(look, event, rolled_out, provable, &unclear)
}

/// It ends: as seen on the restored release.
fn over(
    look: &Look<'_>,
    event: &Event,
    phase: EventPhase,
    outcome: Outcome,
    message: String,
) -> Next {
    let message = message + &drill::comes_next(event, outcome);
    let status = ended(event.status.clone(), phase, outcome, message, look.now);
    Next::change(event, status)
}

/// Nothing fires on the restored release: whether that has lasted, and what it proves.
fn quiet_so_far(
    look: &Look<'_>,
    event: &Event,
    rolled_out: Timestamp,
    provable: bool,
    unclear: &[String],
) -> Next {
    let workload = look.workload;
    let over = |phase, outcome, message| over(look, event, phase, outcome, message);
    let stays = STAYS_AT_LEAST.max(longest_interval(look) * STAYS_FOR_LOOKS);
    let stayed = after(rolled_out, stays);
    if workload.is_complete() && look.now >= stayed && !provable {
        let message = format!(
            "release {} is live again and in place; no trigger of the policy takes releases back, so \
             there was nothing to prove the recovery by",
            workload.release
        );
        return over(EventPhase::Succeeded, Outcome::Held, message);
    }
    if workload.is_complete() && look.now >= stayed && unclear.is_empty() {
        let message = format!(
            "release {} is live again, in place for {} s, and every trigger is quiet",
            workload.release,
            look.now.duration_since(rolled_out).as_secs()
        );
        return over(EventPhase::Succeeded, Outcome::Recovered, message);
    }
    let deadline = after(rolled_out, stays.max(patience(look)));
    if look.now < deadline {
        let message = if unclear.is_empty() {
            format!("restored; watching that it stays until {stayed:.0}")
        } else {
            format!(
                "restored; waiting for triggers to be quiet on new samples: {}",
                unclear.join(", ")
            )
        };
        return Next::wait(
            message,
            Some(if look.now < stayed { stayed } else { deadline }),
        );
    }
    if !workload.is_complete() {
        let message = format!(
            "release {} was restored, and {} of {} replicas are available; kubectl describe \
             deployment/{} and its pods say what they wait for",
            workload.release, workload.available, workload.desired, workload.name
        );
        return over(EventPhase::Failed, Outcome::TimedOut, message);
    }
    let message = format!(
        "release {} is live again and in place; there was nothing to prove the recovery by, so see \
         for yourself: {}",
        workload.release,
        unclear.join(", ")
    );
    over(EventPhase::Succeeded, Outcome::Held, message)
}

/// Whether a trigger's newest reading speaks only of the time since the rollout.
fn is_fresh(trigger: &ValidTrigger, memory: &TriggerMemory, rolled_out: Timestamp) -> bool {
    memory
        .asked_at
        .is_some_and(|asked| asked >= after(rolled_out, trigger.range()))
}

/// The restored release runs, and what made us take the other back goes on: nothing more is taken
/// back, and the release that was blamed is cleared.
fn not_the_cause(
    look: &Look<'_>,
    event: &Event,
    trigger: &ValidTrigger,
    memory: &TriggerMemory,
) -> Next {
    let blamed = event.from_hash().unwrap_or_default();
    let message = format!(
        "release {} is restored and runs, and trigger {} still fires ({}): release {blamed} was \
         not the cause and is not held against it; nothing more is taken back, a person has to \
         look at what {} depends on",
        look.workload.release, trigger.name, memory.message, look.workload.name
    );
    let status = ended(
        event.status.clone(),
        EventPhase::Failed,
        Outcome::NotCausedByRelease,
        message,
        look.now,
    );
    // Its record is taken away when this is written: see `decide::lifts`.
    Next::change(event, status)
}

/// How long data that prove the recovery are waited for.
fn patience(look: &Look<'_>) -> SignedDuration {
    let triggers = || look.policy.triggers.iter();
    let longest = triggers()
        .map(|trigger| trigger.range().max(trigger.gathering()))
        .max()
        .unwrap_or_default();
    let for_ = triggers().map(|t| t.for_).max().unwrap_or_default();
    let silence = triggers()
        .map(ValidTrigger::silence)
        .max()
        .unwrap_or_default();
    longest + for_ + silence + longest_interval(look) * WAITS_FOR_LOOKS + WAITS_BESIDE
}

fn after(start: Timestamp, length: SignedDuration) -> Timestamp {
    start.checked_add(length).unwrap_or(Timestamp::MAX)
}
