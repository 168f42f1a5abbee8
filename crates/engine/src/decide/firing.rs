//! Which triggers fire, and which of them is acted on first.

use backstop_api::{
    event::AlsoFiring,
    policy::{Severity, TriggerState},
};

use crate::{guards::Look, policy::ValidTrigger, state::TriggerMemory};

/// The firing triggers, the one to act on first: what can roll back before what only notifies,
/// Critical before Warning, then the one that fired first.
pub(crate) fn firing<'a>(look: &Look<'a>) -> Vec<(&'a ValidTrigger, &'a TriggerMemory)> {
    let mut firing: Vec<_> = look
        .policy
        .triggers
        .iter()
        .filter_map(|t| Some((t, look.state.triggers.get(&t.name)?)))
        .filter(|(_, m)| m.state == TriggerState::Firing)
        .collect();
    firing.sort_by_key(|(t, m)| {
        (
            !t.can_roll_back(),
            t.severity != Severity::Critical,
            m.since,
            &t.name,
        )
    });
    firing
}

/// The other triggers that fire now: whoever reads the event later sees all that was wrong.
pub(super) fn also_firing(look: &Look<'_>, acted_on: &ValidTrigger) -> Vec<AlsoFiring> {
    let others = firing(look).into_iter();
    others
        .filter(|(trigger, _)| trigger.name != acted_on.name)
        .map(|(trigger, memory)| AlsoFiring {
            trigger: trigger.name.clone(),
            severity: trigger.severity,
            message: memory.message.clone(),
        })
        .collect()
}
