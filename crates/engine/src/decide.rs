//! The decision: what is so, what to do, and what to say.

use std::collections::BTreeMap;

use backstop_api::{
    RollbackEventSpec,
    event::{Cause, EventPhase, Evidence, Outcome, ReleaseRef, Target},
    names::FIELD_MANAGER,
    point::{Origin, Verdict},
    policy::{Action, Mode, WorkloadRef},
    text::{EVENT_REASON, cut},
};
use jiff::Timestamp;

use crate::{
    baseline, daily, gates,
    guards::{self, Hold, Look},
    health::{self, Proof},
    incident,
    lifecycle::{self, EventChange},
    monitored, overrides, peers,
    policy::{ValidPolicy, ValidTrigger},
    rollout, score,
    snapshot::{Event, Measured, Point, Snapshot, Workload},
    state::{State, TriggerMemory},
    statistics::summary,
    target, track, trigger,
};

mod firing;
mod rest;
mod say;
mod wake;

use firing::also_firing;
pub(crate) use firing::firing;

pub use rest::Rest;
pub use say::{Notice, NoticeKind, Said, Say};

/// What to do, and what to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What to write, in this order.
    pub acts: Vec<Act>,
    /// The policy's status.
    pub say: Say,
    /// Kubernetes Events to emit.
    pub notices: Vec<Notice>,
    /// Whether the GitOps tool that applies the workload is to be suspended.
    pub rest: Rest,
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
        /// What each trigger measured meanwhile.
        baselines: BTreeMap<String, Measured>,
    },
    /// Record a new rollback.
    Start {
        /// What it is about.
        spec: Box<RollbackEventSpec>,
        /// UID and version of the rollbacks that this was decided on. Where there are others, or one
        /// has changed (one that was over may go on), it was decided on an old picture, and must be
        /// decided again.
        known: Vec<(String, String)>,
    },
    /// Change a rollback's status.
    Change(Box<EventChange>),
    /// Record the live release as one that failed; it stays where it is.
    Block {
        /// Identity of the release.
        release: String,
        /// The RollbackEvent that says why.
        event: String,
        /// The version of it that this was decided on. Where it is another by now, a person may have called it off.
        version: String,
        /// Why, in a sentence.
        reason: String,
    },
    /// The release was not the cause: take its record as one that failed away again, if it is this
    /// rollback's.
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
    let (mut state, mut decision) = judged(policy, state, seen, now);
    if let Some(workload) = seen.workload.as_ref().filter(|_| seen.conflict.is_none()) {
        let changed = overrides::follow(&mut state, workload, now);
        decision.notices.extend(changed);
        decision.say.conditions.extend(overrides::said(&state));
    }
    decision.say.gates = gates::status(policy, &state, seen, now);
    if let Some(status) = &decision.say.gates {
        let said = gates::said(status);
        decision.say.conditions.push(said);
    }
    (state, decision)
}

fn judged(
    policy: &ValidPolicy,
    state: &State,
    seen: &Snapshot,
    now: Timestamp,
) -> (State, Decision) {
    let mut state = state.clone();
    if let Some(misfit) = &seen.misfit {
        // What was known stays known: it may be a matter of a moment. A rollback that is under way
        // is brought to its end by its plan.
        return (state, say::misfit(policy, seen, misfit, now));
    }
    let Some(workload) = &seen.workload else {
        return without_workload(policy, state, seen, now);
    };
    let before = state.clone();
    track::track(&mut state, seen, workload, now);
    trigger::judge(policy, &mut state, seen, workload, now);
    peers::judge(policy, &mut state, seen, workload, now);
    let proof = health::follow(policy, &mut state, seen, workload, now);
    let verdict = monitored::follow(policy, &mut state, now);
    if let Some(value) = score::score(policy, &state, workload, now).value {
        score::remember(&mut state.scores, value, now);
    }
    let incident = incident::of(seen, &state, workload);
    let look = Look {
        policy,
        state: &state,
        seen,
        workload,
        incident: &incident,
        now,
    };

    if let Some(older) = &seen.conflict {
        let decision = Decision {
            acts: second_policy(&look, older),
            ..say::conflict(policy, older)
        };
        return (state, decision);
    }

    let mut acts = Vec::new();
    if proof != Proof::None {
        acts.push(capture(policy, &state, workload));
    }
    acts.extend(lifts(seen));
    let course = course(&look);
    acts.extend(match &course {
        Course::UnderWay { acts, .. } => acts.clone(),
        Course::Start { spec } => vec![Act::Start {
            spec: spec.clone(),
            known: versions(seen),
        }],
        Course::Held { .. } | Course::Quiet => Vec::new(),
    });
    let say = say::status(&look, &course);
    let notices = say::notices(&before, &look, &course, proof, verdict.as_ref());
    let needs_a_person =
        matches!(&course, Course::Held { hold, .. } if hold.reason.needs_a_person());
    let wake_at = wake::at(&look, &course, &say.quarantined);
    let rest = rest::wanted(&look);
    state.held.clone_from(&say.held);
    daily::count(&mut state, &before, seen, needs_a_person, now);
    (
        state,
        Decision {
            acts,
            say,
            notices,
            rest,
            wake_at,
        },
    )
}

/// UID and version of every rollback.
pub(crate) fn versions(seen: &Snapshot) -> Vec<(String, String)> {
    let events = seen.events.iter();
    events.map(|e| (e.uid.clone(), e.version.clone())).collect()
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
    /// There is reason to take the release back, as said in `why`, and it is not done.
    Held { why: String, hold: Hold },
    /// Nothing to do.
    Quiet,
}

fn course<'a>(look: &Look<'a>) -> Course<'a> {
    let mut open: Vec<&Event> = look.seen.events.iter().filter(|e| !e.is_over()).collect();
    // What has begun comes first, then what a person asks for, then in the order of creation.
    open.sort_by_key(|e| {
        (
            !e.has_acted(),
            e.spec.cause != Cause::Manual,
            e.created,
            &e.name,
        )
    });
    if let Some(event) = open.first() {
        let next = lifecycle::advance(look, event);
        return Course::UnderWay {
            event,
            acts: next.acts,
            message: next.message,
            again: next.again,
        };
    }
    if let Some((event, next)) = lifecycle::revert::after_the_end(look) {
        return Course::UnderWay {
            event,
            acts: next.acts,
            message: next.message,
            again: next.again,
        };
    }
    if let Some(course) = lifecycle::drill::way_back(look).or_else(|| further_back(look)) {
        return course;
    }
    let mut first = None;
    for (trigger, memory) in firing(look) {
        let hold = if trigger.action == Action::Notify {
            say::notify_only(trigger)
        } else if trigger.action == Action::BlockDeployment {
            match guards::against_a_block(look, trigger, memory) {
                None => {
                    return Course::Start {
                        spec: Box::new(asked_for(look, trigger, memory, None)),
                    };
                }
                Some(hold) => hold,
            }
        } else {
            match guards::pass(look, trigger, memory) {
                Ok(point) => {
                    return Course::Start {
                        spec: Box::new(rollback(look, trigger, memory, point)),
                    };
                }
                Err(hold) => hold,
            }
        };
        first.get_or_insert_with(|| Course::Held {
            why: format!("trigger {} fires ({})", trigger.name, memory.message),
            hold,
        });
    }
    first.unwrap_or(Course::Quiet)
}

/// The release that the newest rollback went back to cannot start. That alone is reason to go
/// further back: most triggers have nothing to measure on a release that does not run.
fn further_back<'a>(look: &Look<'a>) -> Option<Course<'a>> {
    if !(look.incident.continues || look.incident.partial.is_some()) {
        return None;
    }
    let words = rollout::start_failure(look.workload)
        .map(|words| format!("cannot start: {words}"))
        .or_else(|| {
            let partial = look.incident.partial.as_ref()?;
            Some(format!(
                "is half of one release and half of another: {partial} could not finish"
            ))
        })?;
    let before = track::restorer(look.state, look.seen)?;
    let asked = before.spec.evidence.as_ref().map(|e| e.trigger.as_str());
    let triggers = || look.policy.triggers.iter().filter(|t| t.can_roll_back());
    let trigger = triggers()
        .find(|t| Some(t.name.as_str()) == asked)
        .or_else(|| triggers().next())?;
    let memory = look.state.triggers.get(&trigger.name)?;
    let why = format!(
        "release {}, restored by {}, {words}",
        look.workload.release, before.name
    );
    Some(match guards::pass(look, trigger, memory) {
        Err(hold) => Course::Held { why, hold },
        Ok(point) => {
            let mut spec = rollback(look, trigger, memory, point);
            spec.reason = Some(cut(&why, EVENT_REASON));
            spec.fired_at = Some(look.now);
            spec.not_before = None;
            if let Some(evidence) = &mut spec.evidence {
                let words = look.workload.pods.cannot_start();
                evidence.details = words.take(DETAILS_KEPT).cloned().collect();
            }
            Course::Start {
                spec: Box::new(spec),
            }
        }
    })
}

/// What a policy does that is refused: what it began it brings to its end, and what it did not
/// begin it calls off.
fn second_policy(look: &Look<'_>, older: &str) -> Vec<Act> {
    let open = look.seen.events.iter().filter(|e| !e.is_over());
    open.flat_map(|event| {
        if event.has_acted() {
            lifecycle::advance(look, event).acts
        } else {
            vec![lifecycle::refused_policy(event, older, look.now)]
        }
    })
    .collect()
}

/// The records to take away: those of releases whose newest rollback found that they were not the
/// cause, or was called off before it took them back. Read from what is recorded, so that none is forgotten in a crash, and none is lifted on a
/// verdict that was not written.
fn lifts(seen: &Snapshot) -> Vec<Act> {
    let failed = seen
        .points
        .iter()
        .filter(|p| p.verdict == Verdict::Quarantined && p.origin == Origin::Quarantine);
    failed
        .filter_map(|point| {
            let release = point.release.as_deref()?;
            let newest = seen
                .events
                .iter()
                .filter(|e| e.has_acted() && e.from_hash() == Some(release))
                .max_by_key(|e| (e.status.times.decided, &e.name))?;
            let outcome = newest.status.outcome;
            let by_a_person = matches!(
                outcome,
                Some(Outcome::CancelledByPerson | Outcome::PolicyNotInForce)
            );
            let cleared = outcome == Some(Outcome::NotCausedByRelease)
                || (by_a_person && !newest.has_changed_what_is_live());
            let after_it = newest.status.times.ended >= Some(point.proved_at);
            (cleared && after_it).then(|| Act::LiftQuarantine {
                release: release.to_owned(),
                event: newest.name.clone(),
            })
        })
        .collect()
}

fn rollback(
    look: &Look<'_>,
    trigger: &ValidTrigger,
    memory: &TriggerMemory,
    point: &Point,
) -> RollbackEventSpec {
    asked_for(look, trigger, memory, Some(point))
}

/// What a trigger asks for: to go back to a point, or without one to block the live release.
fn asked_for(
    look: &Look<'_>,
    trigger: &ValidTrigger,
    memory: &TriggerMemory,
    point: Option<&Point>,
) -> RollbackEventSpec {
    let reason = format!("trigger {} fires: {}", trigger.name, memory.message);
    RollbackEventSpec {
        // A block is no attempt to mend anything.
        attempt: match point {
            Some(_) => look.incident.attempts + 1,
            None => look.incident.attempts.max(1),
        },
        evidence: Some(Evidence {
            trigger: trigger.name.clone(),
            severity: trigger.severity,
            condition: trigger.bad_when(),
            query: memory.query.clone(),
            samples: memory.samples.iter().copied().collect(),
            baseline: memory.baseline.filter(|_| trigger.uses_baseline()),
            classification: memory.classification,
            details: memory.details.iter().take(DETAILS_KEPT).cloned().collect(),
            also_firing: also_firing(look, trigger),
        }),
        fired_at: Some(memory.since),
        not_before: memory.since.checked_add(trigger.delay).ok(),
        ..own(look, Cause::Trigger, &reason, trigger.action, point)
    }
}

/// What Backstop records by itself, about what is live now: the first attempt, begun at once.
pub(crate) fn own(
    look: &Look<'_>,
    cause: Cause,
    reason: &str,
    action: Action,
    point: Option<&Point>,
) -> RollbackEventSpec {
    let names = look.policy.deployments.iter();
    RollbackEventSpec {
        policy: look.policy.name.clone(),
        workloads: names
            .map(|name| WorkloadRef { name: name.clone() })
            .collect(),
        cause,
        requested_by: FIELD_MANAGER.to_owned(),
        reason: Some(cut(reason, EVENT_REASON)),
        quarantine: false,
        action: Some(action),
        strategy: Some(look.policy.strategy.type_()),
        attempt: 1,
        from: Some(live(look.workload)),
        to: point.map(|point| Target {
            point: point.name.clone(),
            hash: point.release.clone(),
        }),
        evidence: None,
        fired_at: Some(look.now),
        not_before: None,
        ends_drill: None,
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
    let mut baselines = baseline::measured(policy, state);
    for (name, memory) in &state.triggers {
        let samples: Vec<f64> = memory.peers.samples.iter().map(|s| s.value).collect();
        let middle = summary::median(&samples);
        baselines.extend(middle.map(|value| (peers::baseline_name(name), value.into())));
    }
    Act::Capture {
        release: workload.release.clone(),
        baselines,
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
    // Who carries one out sees for himself, and puts back what was changed for its time.
    let carried_out = |e: &&Event| e.status.phase == Some(EventPhase::Executing);
    let acts = seen
        .events
        .iter()
        .filter(|e| !e.is_over() && !carried_out(e))
        .map(|e| Act::Change(Box::new(lifecycle::workload_is_gone(e, now))))
        .collect();
    state.held = None;
    if let Some(older) = &seen.conflict {
        let decision = Decision {
            acts,
            ..say::conflict(policy, older)
        };
        return (state, decision);
    }
    let decision = Decision {
        acts,
        say: say::no_workload(policy, seen, now),
        notices: Vec::new(),
        // Nothing is undone where nothing is.
        rest: Rest::No,
        wake_at: None,
    };
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
