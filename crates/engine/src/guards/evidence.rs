//! Whether what the triggers say is enough: whether it is the release's own, whether enough of them
//! agree, and whether it holds now.

use jiff::Timestamp;

use crate::{
    peers,
    policy::{ValidPolicy, ValidTrigger},
    state::{State, TriggerMemory},
    votes,
};

use super::{Hold, HoldReason, Look, hold};

/// When everything is bad, no release is to blame. Going further back does not depend on it: the
/// release that is live then does not run at all.
pub(super) fn peers_are_bad_too(
    look: &Look<'_>,
    trigger: &ValidTrigger,
    memory: &TriggerMemory,
) -> Option<Hold> {
    if goes_on(look) {
        return None;
    }
    spared(look, trigger, memory)
}

/// Whether going further back is part of a rollback that has begun, and needs no trigger.
pub(crate) fn goes_on(look: &Look<'_>) -> bool {
    look.incident.continues || look.incident.partial.is_some()
}

/// Nothing is begun on a condition that does not hold now.
pub(super) fn trigger_recovers(
    look: &Look<'_>,
    _: &ValidTrigger,
    memory: &TriggerMemory,
) -> Option<Hold> {
    let since = memory.recovering_since.filter(|_| !goes_on(look))?;
    Some(hold(
        HoldReason::Recovering,
        format!("its condition does not hold since {since:.0}; taken back if it does again"),
    ))
}

pub(super) fn too_few_votes(
    look: &Look<'_>,
    trigger: &ValidTrigger,
    _: &TriggerMemory,
) -> Option<Hold> {
    let tally = votes::tally(look.policy, look.state, &trigger.name, look.now)?;
    (!tally.carries() && !goes_on(look)).then(|| {
        hold(
            HoldReason::NotEnoughVotes,
            format!("{} (spec.decision.votes)", tally.in_words()),
        )
    })
}

/// Whether what a firing trigger says is enough to act on: what these guards ask of a rollback that has not begun.
pub(crate) fn is_enough(
    policy: &ValidPolicy,
    state: &State,
    trigger: &ValidTrigger,
    memory: &TriggerMemory,
    now: Timestamp,
) -> bool {
    peers::spared(trigger, memory, now).is_none()
        && memory.recovering_since.is_none()
        && votes::tally(policy, state, &trigger.name, now).is_none_or(|tally| tally.carries())
}

/// Whether the release is spared because what was not released is as bad.
fn spared(look: &Look<'_>, trigger: &ValidTrigger, memory: &TriggerMemory) -> Option<Hold> {
    let spared = peers::spared(trigger, memory, look.now)?;
    Some(Hold {
        until: Some(spared.until),
        ..hold(
            HoldReason::PeersAreBadToo,
            format!(
                "what was not released is as bad since {:.0} ({}), so release {} is not blamed; look \
                 at what they share, such as the network, a database or a node. It is judged again \
                 when they have recovered, and taken back if it is still bad at {:.0} (peers.holdFor)",
                spared.since, spared.words, look.workload.release, spared.at_most_until
            ),
        )
    })
}
