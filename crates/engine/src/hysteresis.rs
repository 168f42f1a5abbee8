//! When a trigger goes back to quiet: at once, or only when it has been well for a while.

use backstop_api::policy::{Signal, TriggerState};
use jiff::{SignedDuration, Timestamp};

use crate::{
    condition::Variables,
    policy::{Source, ValidTrigger},
    state::TriggerMemory,
};

/// A container that crashes again and again runs for a moment between its crashes: so short a moment
/// does not break the run of its trigger.
const BETWEEN_CRASHES: SignedDuration = SignedDuration::from_secs(15);

/// The condition does not hold on this reading. Why the trigger stays as it is all the same; `None`
/// where it goes back to quiet.
///
/// `on` is what the condition was evaluated on; `None` where silence counts as good, which is no
/// reading to fire on.
pub(crate) fn stays(
    trigger: &ValidTrigger,
    memory: &mut TriggerMemory,
    on: Option<&Variables>,
    asked_at: Timestamp,
) -> Option<String> {
    let on = on?;
    let fires = memory.state == TriggerState::Firing;
    let between_crashes = memory.state == TriggerState::Pending && crashes(trigger);
    if !fires && !between_crashes {
        return None;
    }
    if fires
        && let Some(recovery) = &trigger.recovery
        && !matches!(recovery.holds(on), Ok(true))
    {
        memory.recovering_since.get_or_insert(asked_at);
        memory.well_since = None;
        return Some(format!("it fires until '{}' holds", recovery.text()));
    }
    let length = patience(trigger, memory);
    if length.is_zero() {
        return None;
    }
    memory.recovering_since.get_or_insert(asked_at);
    let since = *memory.well_since.get_or_insert(asked_at);
    if asked_at.duration_since(since) >= length {
        return None;
    }
    let until = since.checked_add(length).unwrap_or(Timestamp::MAX);
    Some(if fires {
        format!(
            "it fires until it has been well for {} s, at {until:.0}",
            length.as_secs()
        )
    } else {
        format!(
            "a container that crashes runs for a moment between its crashes; well at {until:.0}"
        )
    })
}

/// How long it must be well before the trigger goes back to quiet.
fn patience(trigger: &ValidTrigger, memory: &TriggerMemory) -> SignedDuration {
    if memory.state == TriggerState::Firing {
        trigger.keep_firing_for
    } else {
        BETWEEN_CRASHES
    }
}

fn crashes(trigger: &ValidTrigger) -> bool {
    matches!(&trigger.source, Source::Workload { signals } if signals.contains(&Signal::CrashLoopBackOff))
}

/// When a trigger that is well goes back to quiet, if nothing changes; for those that are told and
/// not asked.
pub(crate) fn quiet_at(trigger: &ValidTrigger, memory: &TriggerMemory) -> Option<Timestamp> {
    memory
        .well_since?
        .checked_add(patience(trigger, memory))
        .ok()
}
