//! The decision: what is so, what to do, and what to say.

use backstop_api::{
    RollbackEventSpec,
    event::{Cause, Evidence, ReleaseRef, Target},
    names::FIELD_MANAGER,
    policy::{Action, Health, Mode, Phase, Severity, StrategyType, TriggerState},
};
use jiff::Timestamp;

use crate::{
    guards::{self, Hold, Look},
    health, incident,
    lifecycle::{self, EventChange},
    policy::{ValidPolicy, ValidTrigger},
    snapshot::{Event, Point, Snapshot, Workload},
    state::{State, TriggerMemory},
    target, track, trigger,
};

mod say;
mod wake;

pub use say::{Notice, NoticeKind, Say};

/// What to do, and what to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What to write, in this order.
    pub acts: Vec<Act>,
    /// The policy's status.
    pub say: Say,
    /// Kubernetes Events to emit.
    pub notices: Vec<Notice>,
    /// When to look again at the latest.
    pub wake_at: Option<Timestamp>,
}

/// One thing to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Record the live release as a good point, or record that it proved itself again.
    Capture {
        /// Identity of the release.
        release: String,
        /// The value of each trigger now.
        baselines: std::collections::BTreeMap<String, f64>,
    },
    /// Record a new rollback.
    Start {
        /// What it is about.
        spec: Box<RollbackEventSpec>,
        /// The UIDs of the rollbacks that this was decided on. Where there are others, it was
        /// decided on an old picture, and must be decided again.
        known: Vec<String>,
    },
    /// Change a rollback's status.
    Change(Box<EventChange>),
    /// The release was not the cause: take its record as one that failed away again.
    LiftQuarantine {
        /// Identity of the release.
        release: String,
        /// The rollback that quarantined it.
        event: String,
    },
}

/// Decides what to do about one policy.
///
/// Synchronous, deterministic, without side effects: the same input gives the same answer, and
/// deciding twice does no harm.
#[must_use]
pub fn decide(
    policy: &ValidPolicy,
    state: &State,
    seen: &Snapshot,
    now: Timestamp,
) -> (State, Decision) {
    let mut state = state.clone();
    if let Some(older) = &seen.conflict {
        return (state, say::conflict(policy, older));
    }
    let Some(workload) = &seen.workload else {
        return without_workload(policy, state, seen, now);
    };
    let before = state.clone();
    track::track(&mut state, seen, workload, now);
    trigger::judge(policy, &mut state, seen, workload, now);
    let proved = health::follow(policy, &mut state, seen, workload, now);
    let incident = incident::of(seen, &state, workload);
    let look = Look {
        policy,
        state: &state,
        seen,
        workload,
        incident: &incident,
        now,
    };

    let mut acts = Vec::new();
    if proved {
        acts.push(capture(policy, &state, workload));
    }
    let course = course(&look);
    acts.extend(match &course {
        Course::UnderWay { acts, .. } => acts.clone(),
        Course::Start { spec } => vec![Act::Start {
            spec: spec.clone(),
            known: seen.events.iter().map(|e| e.uid.clone()).collect(),
        }],
        Course::Held { .. } | Course::Quiet => Vec::new(),
    });
    let say = say::status(&look, &course);
    let notices = say::notices(&before, &look, &course, proved);
    let wake_at = wake::at(&look, &course);
    state.held.clone_from(&say.held);
    (
        state,
        Decision {
            acts,
            say,
            notices,
            wake_at,
        },
    )
}

/// Where things go from here.
pub(crate) enum Course<'a> {
    /// A rollback is under way.
    UnderWay {
        event: &'a Event,
        acts: Vec<Act>,
        message: String,
        again: Option<Timestamp>,
    },
    /// A new rollback.
    Start { spec: Box<RollbackEventSpec> },
    /// A trigger fires, and nothing is taken back.
    Held { trigger: String, hold: Hold },
    /// Nothing to do.
    Quiet,
}

fn course<'a>(look: &Look<'a>) -> Course<'a> {
    let mut open: Vec<&Event> = look.seen.events.iter().filter(|e| !e.is_over()).collect();
    // What has begun comes first; then in the order of creation.
    open.sort_by_key(|e| (!e.has_acted(), e.created, &e.name));
    if let Some(event) = open.first() {
        let next = lifecycle::advance(look, event);
        return Course::UnderWay {
            event,
            acts: next.acts,
            message: next.message,
            again: next.again,
        };
    }
    let Some((trigger, memory)) = loudest(look) else {
        return Course::Quiet;
    };
    if trigger.action == Action::Notify {
        return Course::Held {
            trigger: trigger.name.clone(),
            hold: say::notify_only(trigger, memory),
        };
    }
    match guards::pass(look, trigger, memory) {
        Err(hold) => Course::Held {
            trigger: trigger.name.clone(),
            hold,
        },
        Ok(point) => Course::Start {
            spec: Box::new(rollback(look, trigger, memory, point)),
        },
    }
}

/// The firing trigger to act on: what can roll back before what only notifies, Critical before
/// Warning, then the one that fired first.
fn loudest<'a>(look: &Look<'a>) -> Option<(&'a ValidTrigger, &'a TriggerMemory)> {
    look.policy
        .triggers
        .iter()
        .filter_map(|t| Some((t, look.state.triggers.get(&t.name)?)))
        .filter(|(_, m)| m.state == TriggerState::Firing)
        .min_by_key(|(t, m)| {
            (
                !t.can_roll_back(),
                t.severity != Severity::Critical,
                m.since,
                &t.name,
            )
        })
}

fn rollback(
    look: &Look<'_>,
    trigger: &ValidTrigger,
    memory: &TriggerMemory,
    point: &Point,
) -> RollbackEventSpec {
    RollbackEventSpec {
        policy: look.policy.name.clone(),
        workloads: vec![backstop_api::policy::WorkloadRef {
            name: look.workload.name.clone(),
        }],
        cause: Cause::Trigger,
        requested_by: FIELD_MANAGER.to_owned(),
        reason: Some(format!(
            "trigger {} fires: {}",
            trigger.name, memory.message
        )),
        quarantine: false,
        action: Some(trigger.action),
        strategy: Some(StrategyType::Rolling),
        attempt: look.incident.attempts + 1,
        from: Some(live(look.workload)),
        to: Some(Target {
            point: point.name.clone(),
            hash: point.release.clone(),
        }),
        evidence: Some(Evidence {
            trigger: trigger.name.clone(),
            severity: trigger.severity,
            condition: trigger.condition.text().to_owned(),
            query: memory.query.clone(),
            samples: memory.samples.iter().copied().collect(),
            baseline: memory
                .baseline
                .filter(|_| trigger.condition.uses_baseline()),
            details: memory.details.iter().take(DETAILS_KEPT).cloned().collect(),
        }),
        fired_at: Some(memory.since),
        not_before: memory.since.checked_add(trigger.delay).ok(),
    }
}

/// How many of the cluster's own words go into the evidence: an event stays readable.
const DETAILS_KEPT: usize = 10;

/// The live release, named.
#[must_use]
pub(crate) fn live(workload: &Workload) -> ReleaseRef {
    ReleaseRef {
        hash: workload.release.clone(),
        images: workload.images.clone(),
        revision: workload.revision.clone(),
    }
}

fn capture(policy: &ValidPolicy, state: &State, workload: &Workload) -> Act {
    let baselines = policy
        .triggers
        .iter()
        .filter_map(|t| Some((t.name.clone(), median(state.triggers.get(&t.name)?)?)))
        .collect();
    Act::Capture {
        release: workload.release.clone(),
        baselines,
    }
}

/// The middle of what was measured: one odd sample does not move it.
fn median(memory: &TriggerMemory) -> Option<f64> {
    let mut values: Vec<f64> = memory.samples.iter().map(|s| s.value).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn without_workload(
    policy: &ValidPolicy,
    mut state: State,
    seen: &Snapshot,
    now: Timestamp,
) -> (State, Decision) {
    state.release = None;
    state.triggers.clear();
    let acts = seen
        .events
        .iter()
        .filter(|e| !e.is_over())
        .map(|e| Act::Change(Box::new(lifecycle::workload_is_gone(e, now))))
        .collect();
    let decision = Decision {
        acts,
        say: Say {
            phase: Phase::Waiting,
            health: Health::Unknown,
            ..say::no_workload(policy, seen)
        },
        notices: Vec::new(),
        wake_at: None,
    };
    state.held = None;
    (state, decision)
}

/// Whether the policy only says what it would do.
pub(crate) fn only_observes(policy: &ValidPolicy) -> bool {
    policy.mode == Mode::Observe
}

/// The newest good point, for the status.
pub(crate) fn newest_point(seen: &Snapshot) -> Option<&Point> {
    target::good_points(seen).into_iter().find(|p| {
        p.release
            .as_deref()
            .is_some_and(|r| !target::is_quarantined(seen, r))
    })
}
