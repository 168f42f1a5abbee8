//! What stands between a firing trigger and a rollback: one visible list.
//!
//! Each guard is a small function that says why not, and what to do about it. The first that
//! objects decides.

use jiff::Timestamp;

use backstop_api::{
    event::{Cause, Outcome, StepStatus},
    policy::{Action, Mode},
};

use crate::{
    incident::{self, Incident},
    plan::{self, Order},
    policy::{Source, ValidPolicy, ValidTrigger},
    quarantine,
    snapshot::{Point, Snapshot, Workload},
    state::{State, TriggerMemory},
    target, track,
};

mod evidence;

pub(crate) use evidence::{goes_on, is_enough};
use evidence::{peers_are_bad_too, too_few_votes, trigger_recovers};

/// What the guards look at.
pub struct Look<'a> {
    /// The policy.
    pub policy: &'a ValidPolicy,
    /// What is remembered.
    pub state: &'a State,
    /// What was seen.
    pub seen: &'a Snapshot,
    /// The Deployment.
    pub workload: &'a Workload,
    /// The incident that is going on.
    pub incident: &'a Incident,
    /// Now.
    pub now: Timestamp,
}

/// Why nothing is taken back although a trigger fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// In one word.
    pub reason: HoldReason,
    /// What is so, why, and what to do next.
    pub message: String,
    /// When to look again, if time alone can change it.
    pub until: Option<Timestamp>,
}

/// Why nothing is taken back, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HoldReason {
    /// Backstop is paused for the whole cluster.
    BackstopPaused,
    /// The policy is paused.
    PolicyPaused,
    /// A person has taken over.
    Overridden,
    /// A person has paused the Deployment's rollout.
    WorkloadPaused,
    /// The Deployment is being deleted.
    WorkloadDeleting,
    /// The release was taken back to already, and the trigger fires all the same.
    NotCausedByRelease,
    /// The live release is one that Backstop restored.
    RestoredRelease,
    /// Nothing was released within the window.
    NothingReleased,
    /// The live release must not be gone behind.
    Floor,
    /// So many rollbacks, and still bad.
    Exhausted,
    /// A rollback ended a moment ago.
    CoolingDown,
    /// There is no release that could be gone back to.
    NoGoodPoint,
    /// The trigger's action is to notify.
    NotifyOnly,
    /// The policy has said already what it would do, and does not act.
    Observed,
    /// A person called the rollback of this release off.
    CalledOff,
    /// What was not released is as bad.
    PeersAreBadToo,
    /// Too few of the triggers that must agree fire.
    NotEnoughVotes,
    /// The trigger fires on, and its condition does not hold at the moment.
    Recovering,
    /// Somebody puts the release back whenever it is taken back.
    Reverted,
    /// The live release is blocked: it stays, and is refused when it is deployed anew.
    Blocked,
    /// The live release was blocked, and a person has let it go.
    Cleared,
}

impl HoldReason {
    /// Whether a person has to act.
    #[must_use]
    pub fn needs_a_person(self) -> bool {
        !matches!(
            self,
            Self::BackstopPaused
                | Self::PolicyPaused
                | Self::Overridden
                | Self::CoolingDown
                | Self::Observed
                | Self::CalledOff
                | Self::WorkloadDeleting
                | Self::NotEnoughVotes
                | Self::Recovering
                | Self::Cleared
        )
    }
}

type Guard = fn(&Look<'_>, &ValidTrigger, &TriggerMemory) -> Option<Hold>;

/// Every guard before a rollback that a trigger asks for, in the order in which they are asked.
const GUARDS: [Guard; 16] = [
    policy_is_paused,
    person_has_taken_over,
    workload_is_paused,
    workload_is_being_deleted,
    person_called_it_off,
    release_is_put_back,
    release_was_not_the_cause,
    release_was_restored,
    nothing_was_released,
    release_is_a_floor,
    attempts_are_used_up,
    peers_are_bad_too,
    too_few_votes,
    cooling_down,
    observed_already,
    trigger_recovers,
];

/// The point to go back to, or why nothing is taken back.
pub fn pass<'a>(
    look: &Look<'a>,
    trigger: &ValidTrigger,
    memory: &TriggerMemory,
) -> Result<&'a Point, Hold> {
    if let Some(hold) = GUARDS.iter().find_map(|guard| guard(look, trigger, memory)) {
        return Err(hold);
    }
    good_point(look, trigger.action)
}

/// Every guard before a release is blocked: that it stays where it is needs no good point.
const GUARDS_OF_A_BLOCK: [Guard; 6] = [
    policy_is_paused,
    person_has_taken_over,
    workload_is_being_deleted,
    person_called_it_off,
    observed_already,
    blocked_already,
];

/// The guards that ask besides whether it is the release's fault. What is known of its images is, whenever it
/// was found out.
const GUARDS_OF_BLAME: [Guard; 3] = [
    release_was_not_the_cause,
    release_was_restored,
    nothing_was_released,
];

/// Why the live release is not blocked, if it is not.
#[must_use]
pub fn against_a_block(
    look: &Look<'_>,
    trigger: &ValidTrigger,
    memory: &TriggerMemory,
) -> Option<Hold> {
    let blame: &[Guard] = match trigger.source {
        Source::Vulnerability(_) => &[],
        _ => &GUARDS_OF_BLAME,
    };
    let mut guards = GUARDS_OF_A_BLOCK.iter().chain(blame);
    guards.find_map(|guard| guard(look, trigger, memory))
}

/// The guards that stand before a rollback that a person asks for: a person knows better than a
/// window or a cooldown, and no better than a pause or a floor.
#[must_use]
pub fn for_a_person(look: &Look<'_>) -> Option<Hold> {
    for_the_way_back(look).or_else(|| floor(look))
}

/// The guards that stand before the way back from a drill: it goes forward, so no floor is in its way.
#[must_use]
pub(crate) fn for_the_way_back(look: &Look<'_>) -> Option<Hold> {
    paused(look)
        .or_else(|| taken_over(look))
        .or_else(|| paused_workload(look))
        .or_else(|| deleted_workload(look))
}

fn hold(reason: HoldReason, message: String) -> Hold {
    Hold {
        reason,
        message,
        until: None,
    }
}

fn policy_is_paused(look: &Look<'_>, _: &ValidTrigger, _: &TriggerMemory) -> Option<Hold> {
    paused(look)
}

/// Whether nothing at all is to be done.
fn paused(look: &Look<'_>) -> Option<Hold> {
    if let Some(why) = &look.seen.paused {
        return Some(hold(HoldReason::BackstopPaused, why.clone()));
    }
    (look.policy.mode == Mode::Paused).then(|| {
        hold(
            HoldReason::PolicyPaused,
            "the policy is paused; set spec.mode to Enforce to let it act".into(),
        )
    })
}

fn person_has_taken_over(look: &Look<'_>, _: &ValidTrigger, _: &TriggerMemory) -> Option<Hold> {
    taken_over(look)
}

fn taken_over(look: &Look<'_>) -> Option<Hold> {
    let of = |w: &Workload| Some((w.name.clone(), w.overridden.clone()?));
    let (name, why) = look.workload.live().iter().find_map(of)?;
    Some(hold(
        HoldReason::Overridden,
        format!(
            "a person has taken over {name} (annotation backstop.dev/override: '{why}'); remove the \
             annotation to let Backstop act again"
        ),
    ))
}

fn workload_is_paused(look: &Look<'_>, _: &ValidTrigger, _: &TriggerMemory) -> Option<Hold> {
    paused_workload(look)
}

fn paused_workload(look: &Look<'_>) -> Option<Hold> {
    let paused = look.workload.live().iter().find(|w| w.paused)?;
    Some(hold(
        HoldReason::WorkloadPaused,
        format!(
            "the rollout of {0} is paused by a person, and nothing written to it would take effect; \
             kubectl rollout resume deployment/{0} lets Backstop act",
            paused.name
        ),
    ))
}

fn workload_is_being_deleted(look: &Look<'_>, _: &ValidTrigger, _: &TriggerMemory) -> Option<Hold> {
    deleted_workload(look)
}

fn deleted_workload(look: &Look<'_>) -> Option<Hold> {
    look.workload.deleting.then(|| {
        hold(
            HoldReason::WorkloadDeleting,
            format!("{} is being deleted", look.workload.name),
        )
    })
}

/// Who calls a rollback off does not want the next look to begin another.
fn person_called_it_off(look: &Look<'_>, _: &ValidTrigger, _: &TriggerMemory) -> Option<Hold> {
    let newest = look
        .seen
        .events
        .iter()
        .filter(|e| {
            e.spec.cause == Cause::Trigger
                && e.from_hash() == Some(&look.workload.release)
                && e.status.workload_uid.as_ref() == Some(&look.workload.uid)
        })
        .max_by_key(|e| (e.created, e.name.len(), &e.name))?;
    (newest.status.outcome == Some(Outcome::CancelledByPerson)).then(|| {
        hold(
            HoldReason::CalledOff,
            format!(
                "a person called {0} off, so release {1} is left alone; to take it back after all, \
                 create a RollbackEvent with cause Manual",
                newest.name, look.workload.release
            ),
        )
    })
}

/// Taking it back once more would be undone once more.
fn release_is_put_back(look: &Look<'_>, _: &ValidTrigger, _: &TriggerMemory) -> Option<Hold> {
    let live = &look.workload.release;
    let event = *incident::acted(look.seen).first()?;
    let given_up =
        event.status.outcome == Some(Outcome::Reverted) && event.from_hash() == Some(live);
    let kept_out = quarantine::keeps_out(look.policy, look.seen, live, look.now);
    (given_up && kept_out).then(|| {
        hold(
            HoldReason::Reverted,
            format!(
                "{}: {}",
                event.name,
                event.status.message.as_deref().unwrap_or_default()
            ),
        )
    })
}

fn release_was_not_the_cause(
    look: &Look<'_>,
    trigger: &ValidTrigger,
    _: &TriggerMemory,
) -> Option<Hold> {
    let event = track::restorer(look.state, look.seen)?;
    (event.status.outcome == Some(Outcome::NotCausedByRelease)).then(|| {
        hold(
            HoldReason::NotCausedByRelease,
            format!(
                "{} went back to a good release and trigger {} fired all the same: the release is \
                 not the cause; look at what {} depends on",
                event.name, trigger.name, look.workload.name
            ),
        )
    })
}

fn release_was_restored(look: &Look<'_>, _: &ValidTrigger, _: &TriggerMemory) -> Option<Hold> {
    let event = track::restorer(look.state, look.seen)?;
    let goes_on = look.incident.continues || look.incident.partial.is_some();
    // What a drill has brought back is as it was before; where its window never ends, it may be blamed on.
    let as_before = event.spec.ends_drill.is_some() && look.policy.window.is_none();
    (event.is_over() && !goes_on && !as_before).then(|| {
        hold(
            HoldReason::RestoredRelease,
            format!(
                "the live release was restored by {} and had proved itself before, so it is not \
                 blamed; look at what changed around it",
                event.name
            ),
        )
    })
}

fn nothing_was_released(look: &Look<'_>, _: &ValidTrigger, memory: &TriggerMemory) -> Option<Hold> {
    if look.incident.continues || look.incident.partial.is_some() {
        return None;
    }
    let release = look.state.release.as_ref()?;
    let (completed, window) = (release.completed_at?, look.policy.window?);
    let ends = completed.checked_add(window).ok()?;
    let began = memory.active_since.unwrap_or(look.now);
    (began > ends).then(|| {
        hold(
            HoldReason::NothingReleased,
            format!(
                "nothing was released: the live release was rolled out at {completed:.0}, and what \
                 began after {ends:.0} (window) is not held against it; look for another cause, or \
                 roll back by hand with a RollbackEvent"
            ),
        )
    })
}

fn release_is_a_floor(look: &Look<'_>, _: &ValidTrigger, _: &TriggerMemory) -> Option<Hold> {
    floor(look)
}

fn floor(look: &Look<'_>) -> Option<Hold> {
    let why = look.workload.floor.as_ref()?;
    Some(hold(
        HoldReason::Floor,
        format!(
            "the live release must not be gone behind (backstop.dev/rollback-floor: '{why}'); fix \
             forward with a new release"
        ),
    ))
}

fn attempts_are_used_up(look: &Look<'_>, _: &ValidTrigger, _: &TriggerMemory) -> Option<Hold> {
    let (made, allowed) = (look.incident.attempts, look.policy.max_attempts);
    (made >= allowed).then(|| {
        hold(
            HoldReason::Exhausted,
            format!(
                "{made} of {allowed} rollbacks were made and {} is still bad (releases that failed: \
                 {}); Backstop tries no more on this release: fix forward, or roll back by hand with \
                 a RollbackEvent",
                look.workload.name,
                look.incident
                    .failed
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        )
    })
}

fn cooling_down(look: &Look<'_>, _: &ValidTrigger, _: &TriggerMemory) -> Option<Hold> {
    if look.incident.continues {
        return None;
    }
    let until = look
        .incident
        .last_ended?
        .checked_add(look.policy.cooldown)
        .ok()?;
    (look.now < until).then(|| Hold {
        until: Some(until),
        ..hold(
            HoldReason::CoolingDown,
            format!(
                "a rollback ended a moment ago; the next one may start at {until:.0} \
                 (limits.cooldown), and starts by itself if this goes on"
            ),
        )
    })
}

/// In Observe mode a release is spoken of once, not at every look.
fn observed_already(look: &Look<'_>, _: &ValidTrigger, _: &TriggerMemory) -> Option<Hold> {
    let since = look.state.release.as_ref()?.since;
    let event = look.seen.events.iter().find(|e| {
        // By our clock, as the release's: the server's may be another.
        e.status.outcome == Some(Outcome::ObserveOnly)
            && e.spec.cause == Cause::Trigger
            && e.from_hash() == Some(&look.workload.release)
            && e.spec.fired_at >= Some(since)
    })?;
    (look.policy.mode == Mode::Observe).then(|| {
        hold(
            HoldReason::Observed,
            format!(
                "{} says what would have been done; mode Observe changes nothing",
                event.name
            ),
        )
    })
}

/// A release is blocked once. Whoever deletes its record means that it is good after all.
fn blocked_already(look: &Look<'_>, _: &ValidTrigger, _: &TriggerMemory) -> Option<Hold> {
    let live = &look.workload.release;
    let event = look.seen.events.iter().find(|e| {
        e.status.outcome == Some(Outcome::Blocked)
            && e.from_hash() == Some(live)
            && e.status.workload_uid.as_ref() == Some(&look.workload.uid)
    })?;
    let (reason, message) = if target::is_quarantined(look.seen, live) {
        let message = format!(
            "{} blocks release {live}: it stays live, and is never gone back to; release another one that \
             mends it, or delete its Quarantined record if it is good after all",
            event.name
        );
        (HoldReason::Blocked, message)
    } else {
        let message = format!(
            "{} blocked release {live}, and its record was deleted since: it counts as good, and is not blocked again; \
             nothing is to be done, and other limits of the trigger, or another release, make it quiet",
            event.name
        );
        (HoldReason::Cleared, message)
    };
    Some(hold(reason, message))
}

fn good_point<'a>(look: &Look<'a>, action: Action) -> Result<&'a Point, Hold> {
    let (may, floor) = target::candidates(look.seen, &look.workload.release, &look.incident.failed);
    let mut cannot = None;
    for point in may {
        match reachable(look, point, action) {
            Ok(()) => return Ok(point),
            Err(why) => cannot = cannot.or(Some(why)),
        }
    }
    Err(cannot.map_or_else(
        || nothing_to_go_back_to(look, floor),
        |why| {
            hold(
                HoldReason::NoGoodPoint,
                format!("no good release can be gone back to: {why}"),
            )
        },
    ))
}

/// Whether the policy's strategy knows a way to a point from what is there, or why not. What the checker would refuse is
/// no way: a rollback that is begun only to be refused would be begun again at every look.
pub fn reachable(look: &Look<'_>, point: &Point, action: Action) -> Result<(), String> {
    let wrong = plan::check::violations(look.seen, &way(look, point, action)?);
    possible(point, &wrong)
}

/// The same for what a drill has taken away.
pub(crate) fn can_be_brought_back(look: &Look<'_>, point: &Point) -> Result<(), String> {
    let steps = way(look, point, Action::Rollback)?;
    let wrong = plan::check::violations_going_forward(look.seen, &steps);
    possible(point, &wrong)
}

fn way(look: &Look<'_>, point: &Point, action: Action) -> Result<Vec<StepStatus>, String> {
    plan::plan(&Order {
        policy: look.policy,
        seen: look.seen,
        workload: look.workload,
        point,
        action,
        quarantine: false,
    })
}

fn possible(point: &Point, wrong: &[String]) -> Result<(), String> {
    match wrong {
        [] => Ok(()),
        _ => Err(format!("point {}: {}", point.name, wrong.join("; "))),
    }
}

fn nothing_to_go_back_to(look: &Look<'_>, floor: Option<&str>) -> Hold {
    let known = target::good_points(look.seen).len();
    let floor = floor.map_or(String::new(), |f| {
        format!("; what is older lies behind the floor '{f}'")
    });
    let message = match known {
        0 => format!(
            "no release of {} has proved itself yet, so there is nothing to go back to; fix \
                 forward, or name a good release with a RollbackPoint while it is live",
            look.workload.name
        ),
        _ => format!(
            "no point of {} may be gone back to ({known} good on record): each is live, \
                 quarantined or failed in this incident{floor}; fix forward, or delete the \
                 Quarantined record of one that is good after all",
            look.workload.name
        ),
    };
    hold(HoldReason::NoGoodPoint, message)
}
