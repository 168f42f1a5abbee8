//! Between two steps of a gradual rollback: wait, stop because it is well, or go on at once because
//! it gets worse.

use backstop_api::{
    event::StepKind,
    policy::{Severity, TriggerState},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    condition::Variables,
    guards,
    policy::ValidPolicy,
    rollout,
    snapshot::{Event, Workload},
    state::State,
    strategy::Canary,
};

/// What to do between two steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Between {
    /// Wait on.
    Wait(String),
    /// Take the next step.
    GoOn(String),
    /// It is well: leave the rest of the way.
    Stop(String),
}

/// How the message of a step begins that was not waited for because it got worse.
const WORSE: &str = "it gets worse: ";

/// Looks at a canary whose share was made smaller at `since`.
#[must_use]
pub fn between(
    policy: &ValidPolicy,
    canary: &Canary,
    state: &State,
    event: &Event,
    workload: &Workload,
    since: Timestamp,
    now: Timestamp,
) -> Between {
    if let Some(words) = rollout::start_failure(workload) {
        return Between::GoOn(format!("{WORSE}{words}"));
    }
    let asked = event.spec.evidence.as_ref().map(|e| e.trigger.as_str());
    let worse = policy.triggers.iter().find(|t| {
        t.severity == Severity::Critical
            && t.can_roll_back()
            && Some(t.name.as_str()) != asked
            && state.triggers.get(&t.name).is_some_and(|m| {
                m.state == TriggerState::Firing && guards::is_enough(policy, state, t, m, now)
            })
    });
    if let Some(trigger) = worse {
        return Between::GoOn(format!(
            "{WORSE}trigger {}, which is Critical, fires too",
            trigger.name
        ));
    }
    // Once it got worse it goes all the way: with fewer and fewer requests there may be nothing left
    // to judge by. Read from the record, so that no restart forgets it.
    let taken_over = event.status.steps.iter().find_map(|s| {
        let message = s.message.as_deref()?;
        (s.step.kind == StepKind::HoldWeight && message.starts_with(WORSE)).then_some(message)
    });
    if let Some(message) = taken_over {
        return Between::GoOn(message.to_owned());
    }
    if let Some(words) = is_well(canary, state, asked, workload, since) {
        return Between::Stop(words);
    }
    let left = canary.step_interval - now.duration_since(since);
    if left <= SignedDuration::ZERO {
        return Between::GoOn(format!("{} s are over", canary.step_interval.as_secs()));
    }
    let until = now.checked_add(left).unwrap_or(Timestamp::MAX);
    Between::Wait(format!("the next step is taken at {until:.0}"))
}

/// Whether the policy's `stopWhen` holds on a value that was asked for since the last step.
fn is_well(
    canary: &Canary,
    state: &State,
    asked: Option<&str>,
    workload: &Workload,
    since: Timestamp,
) -> Option<String> {
    let condition = canary.stop_when.as_ref()?;
    let memory = state.triggers.get(asked?)?;
    let fresh = memory.settled && memory.asked_at.is_some_and(|at| at > since);
    let newest = memory.samples.back().filter(|s| fresh && s.at > since)?;
    let on = Variables {
        value: newest.value,
        baseline: memory.baseline,
        stable: memory.stable,
        workload: workload.numbers(),
    };
    // What cannot be evaluated stops nothing: the rollback goes its way.
    condition.holds(&on).ok().filter(|holds| *holds).map(|_| {
        format!(
            "it is well again ({} on {}): {} holds",
            newest.value,
            asked.unwrap_or_default(),
            condition.text()
        )
    })
}
