//! Watches a run, and says which rule was broken. It knows what is really so, and shares no code
//! with the engine.

use std::collections::BTreeMap;

use backstop_api::{
    RollbackEventSpec, RollbackEventStatus,
    condition::{ConditionStatus, DATA_AVAILABLE},
    event::{Cause, EventPhase, Outcome, Step, StepKind, StepStatus, Target},
    point::Verdict,
    policy::{Action, Mode, NoDataPolicy, OnConflict, TriggerState},
};
use backstop_engine::{
    decide::{Act, Decision, Rest, decide},
    plan::check::{violations, violations_going_forward},
    policy::{Source, ValidPolicy},
    reading::Reading,
    snapshot::{Event, Snapshot},
    state::State,
};
use jiff::Timestamp;

use super::{TICK, world::World};

/// What is watched; the numbers are those of the safety rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// 1
    Recorded,
    /// 2
    Once,
    /// 3
    OnlyGood,
    /// 4
    Window,
    /// 4
    OwnEvidence,
    /// 4
    BadDay,
    /// 5
    NoData,
    /// 5
    Visible,
    /// 7
    Replicas,
    /// 9
    Mode,
    /// 10
    Conflict,
    /// 12
    Person,
    /// 13
    Floor,
    Checker,
    Reverts,
    /// 9 and 12
    Suspends,
    Attempts,
    /// A drill takes away what can be brought back, blames nobody, and is ended once.
    Drill,
    Deterministic,
    Idempotence,
}

/// Whether a rollback begins again because its release was put back.
fn is_put_back(before: &RollbackEventStatus, now: &RollbackEventStatus) -> bool {
    now.reverts.len() == before.reverts.len() + 1
        && now.reverts.last().is_some_and(|r| r.written_back)
        && now.phase == Some(EventPhase::Executing)
}

fn event_from(status: &RollbackEventStatus) -> Option<&str> {
    status.from.as_ref().map(|from| from.hash.as_str())
}

/// After a completion it may take so long until it is seen: caches lag, and operators are down.
const SEEN_WITHIN: i64 = 60;

/// What was seen in a run.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    pub broken: Vec<(Rule, String)>,
    pub reach: BTreeMap<String, usize>,
    decisions: usize,
}

impl Monitor {
    pub fn reached(&mut self, what: &str) {
        *self.reach.entry(what.to_owned()).or_default() += 1;
    }

    pub fn holds(&mut self, rule: Rule, so: bool, otherwise: impl FnOnce() -> String) {
        if !so {
            self.broken.push((rule, otherwise()));
        }
    }

    /// The engine has decided.
    /// A GitOps tool is suspended only for a rollback that has acted, and whose release is still kept out;
    /// never where nobody asked for it, where a person has taken over, or once something newer is live.
    fn suspends(
        &mut self,
        policy: &ValidPolicy,
        seen: &Snapshot,
        now: Timestamp,
        decision: &Decision,
    ) {
        let workload = seen.workload.as_ref().filter(|_| seen.conflict.is_none());
        if policy.mode != Mode::Enforce && workload.is_some() {
            let untouched = decision.rest == Rest::AsItIs;
            self.holds(Rule::Suspends, untouched, || format!("{:?}", decision.rest));
        }
        let Rest::Yes { event, .. } = &decision.rest else {
            return;
        };
        self.reached("suspended");
        let wrong = || -> Option<&'static str> {
            if policy.on_conflict != OnConflict::Suspend {
                return Some("nobody asked for it");
            }
            let Some(workload) = workload else {
                return Some("there is nothing to undo");
            };
            if workload.overridden.is_some() {
                return Some("a person has taken over");
            }
            let Some(event) = seen.events.iter().find(|e| &e.name == event) else {
                return Some("there is no such rollback");
            };
            let (spec, status) = (&event.spec, &event.status);
            let from = status.from.as_ref().or(spec.from.as_ref());
            let Some(failed) = from.map(|from| from.hash.as_str()) else {
                return Some("it takes nothing back");
            };
            let to = status.to.as_ref().or(spec.to.as_ref());
            if status.times.decided.is_none() || to.is_none() {
                return Some("it has not begun");
            }
            let expires = |at: Timestamp| at.checked_add(policy.quarantine_for).unwrap();
            let kept_out = seen.points.iter().any(|p| {
                p.verdict == Verdict::Quarantined
                    && p.release.as_deref() == Some(failed)
                    && now < expires(p.proved_at)
            });
            if !kept_out {
                return Some("what failed is not kept out any more");
            }
            let live = workload.release.as_str();
            let restored = status.restored_hash.as_deref() == Some(live)
                || to.and_then(|to| to.hash.as_deref()) == Some(live);
            let newer = live != failed && !restored;
            (event.is_over() && newer).then_some("something newer is live")
        };
        let wrong = wrong();
        self.holds(Rule::Suspends, wrong.is_none(), || {
            format!("{wrong:?}: {:?}", decision.rest)
        });
    }

    pub fn decided(
        &mut self,
        policy: &ValidPolicy,
        before: &State,
        seen: &Snapshot,
        now: Timestamp,
        after: &State,
        decision: &Decision,
    ) {
        self.decisions += 1;
        if self.decisions.is_multiple_of(8) {
            let again = decide(policy, before, seen, now);
            let same = again.0 == *after && again.1 == *decision;
            self.holds(Rule::Deterministic, same, || format!("{decision:?}"));
            let on = decide(policy, after, seen, now).1;
            self.holds(Rule::Idempotence, on.acts == decision.acts, || {
                format!("decided again: {:?}\nfirst: {:?}", on.acts, decision.acts)
            });
        }
        self.reached(&format!("phase {:?}", decision.say.phase));
        if let Some(held) = &decision.say.held {
            self.reached(&format!("held {held}"));
        }
        self.suspends(policy, seen, now, decision);
        let starts = decision.acts.iter().filter_map(|a| match a {
            Act::Start { spec, .. } => Some(&**spec),
            _ => None,
        });
        let starts: Vec<_> = starts.collect();
        let begins = decision.acts.iter().filter_map(|a| match a {
            Act::Change(c) if c.status.phase == Some(EventPhase::Executing) => Some(&**c),
            _ => None,
        });
        for spec in &starts {
            self.picture_of_start(policy, seen, spec);
        }
        let mut number = 0;
        for change in begins {
            number += 1;
            let event = seen.events.iter().find(|e| e.uid == change.uid);
            self.holds(Rule::Recorded, event.is_some(), || change.name.clone());
            if let Some(event) = event {
                self.picture_of_beginning(policy, seen, event, &change.status);
            }
        }
        self.holds(Rule::Once, number + starts.len() <= 1, || {
            format!("{} starts and {number} beginnings at once", starts.len())
        });
        if seen.conflict.is_some() {
            let quiet = starts.is_empty()
                && number == 0
                && !decision
                    .acts
                    .iter()
                    .any(|a| matches!(a, Act::Capture { .. } | Act::LiftQuarantine { .. }));
            let said = decision.say.message.contains("an-older-policy");
            self.holds(Rule::Conflict, quiet && said, || format!("{decision:?}"));
        } else if seen.workload.is_some() {
            self.answers(policy, seen, now, after, decision);
        }
    }

    fn person_is_heeded(&mut self, seen: &Snapshot, what: &str) {
        let heeded = seen
            .workload
            .as_ref()
            .is_some_and(|w| !w.paused && w.overridden.is_none() && !w.deleting);
        self.holds(Rule::Person, heeded, || {
            format!("{what} although {:?}", seen.workload)
        });
    }

    fn target_may_be(&mut self, seen: &Snapshot, spec: &RollbackEventSpec, to: &Target) {
        let (point, to) = (to.point.as_str(), to.hash.as_deref().unwrap_or_default());
        let live = seen.workload.as_ref().map(|w| w.release.as_str());
        let mut of = seen
            .points
            .iter()
            .filter(|p| p.release.as_deref() == Some(to));
        let good = of
            .clone()
            .any(|p| p.name == point && p.verdict == Verdict::Good);
        let failed = of.any(|p| p.verdict == Verdict::Quarantined);
        self.holds(Rule::OnlyGood, good && !failed && live != Some(to), || {
            format!(
                "it goes to {to}, live is {live:?}, points: {:?}",
                seen.points
            )
        });
        // The end of a drill goes forward.
        if spec.ends_drill.is_some() {
            return;
        }
        let floor = seen.workload.as_ref().is_some_and(|w| w.floor.is_some());
        let proved = seen
            .points
            .iter()
            .find(|p| p.name == point)
            .map(|p| p.proved_at);
        let behind = seen
            .points
            .iter()
            .any(|p| p.verdict == Verdict::Good && p.floor.is_some() && Some(p.proved_at) > proved);
        self.holds(Rule::Floor, !floor && !behind, || {
            format!("it goes behind a floor to {to}: {:?}", seen.points)
        });
    }

    /// What is begun brings a release back that a drill took away, and nothing else has done so.
    fn ends_a_drill(&mut self, seen: &Snapshot, spec: &RollbackEventSpec) {
        self.reached("the end of a drill started");
        let drill = seen
            .events
            .iter()
            .find(|e| Some(&e.name) == spec.ends_drill.as_ref());
        let live = seen
            .workload
            .as_ref()
            .map(|w| w.release.as_str())
            .unwrap_or_default();
        let fits = drill.is_some_and(|drill| {
            drill.spec.cause == Cause::Drill
                && drill.spec.ends_drill.is_none()
                && drill.is_over()
                && drill.has_changed_what_is_live()
                && drill.restored(live)
                && drill.from_hash() == spec.to.as_ref().and_then(|to| to.hash.as_deref())
        });
        // What was called off before it began, as by a pause, is begun anew.
        let again = seen.events.iter().any(|e| {
            let off = e.status.outcome == Some(Outcome::CancelledByPerson);
            e.spec.ends_drill == spec.ends_drill && (!e.is_over() || e.has_acted() || off)
        });
        self.holds(Rule::Drill, fits && !again, || {
            format!("{spec:?} ends {drill:?}")
        });
    }

    fn picture_of_start(
        &mut self,
        policy: &ValidPolicy,
        seen: &Snapshot,
        spec: &RollbackEventSpec,
    ) {
        self.holds(Rule::Mode, policy.mode != Mode::Paused, || "started".into());
        // A block writes nothing to the workload: a paused rollout is no obstacle to it.
        let blocks = spec.action == Some(Action::BlockDeployment);
        if !(blocks
            && seen
                .workload
                .as_ref()
                .is_some_and(|w| w.paused && w.overridden.is_none() && !w.deleting))
        {
            self.person_is_heeded(seen, "started");
        }
        if blocks {
            self.holds(Rule::OnlyGood, spec.to.is_none(), || {
                format!("a block goes to {:?}", spec.to)
            });
        } else {
            let to = spec
                .to
                .as_ref()
                .expect("Backstop's own rollbacks name their targets");
            self.target_may_be(seen, spec, to);
        }
        let open = seen.events.iter().any(|e| !e.is_over());
        self.holds(Rule::Once, !open, || "started beside an open one".into());
        if spec.cause == Cause::Drill {
            self.ends_a_drill(seen, spec);
            return;
        }
        self.holds(Rule::Attempts, spec.attempt <= policy.max_attempts, || {
            format!("attempt {} of {}", spec.attempt, policy.max_attempts)
        });
        let evidence = spec
            .evidence
            .as_ref()
            .expect("a trigger's rollback has evidence");
        let trigger = policy.triggers.iter().find(|t| t.name == evidence.trigger);
        // What cannot be brought back from a drill is left for what it was in the drill, and needs no measurement.
        let came_back_broken = seen.workload.as_ref().is_some_and(|live| {
            let mut ends = seen.events.iter().filter(|e| e.spec.ends_drill.is_some());
            ends.any(|e| {
                e.restored(&live.release) && e.status.outcome == Some(Outcome::TargetCannotStart)
            })
        });
        let measured = trigger.is_some_and(|t| match t.source {
            Source::Workload { .. } | Source::Vulnerability(_) => true,
            // Nobody posts alerts in this world.
            Source::Alert(_) => false,
            _ => {
                t.no_data == NoDataPolicy::Fire
                    || spec.attempt > 1
                    || came_back_broken
                    || evidence.samples.iter().any(|s| s.value > 0.05)
            }
        });
        self.holds(Rule::NoData, measured, || format!("{evidence:?}"));
    }

    fn picture_of_beginning(
        &mut self,
        policy: &ValidPolicy,
        seen: &Snapshot,
        event: &Event,
        status: &RollbackEventStatus,
    ) {
        self.holds(Rule::Mode, policy.mode == Mode::Enforce, || {
            format!("begun in mode {:?}", policy.mode)
        });
        self.holds(Rule::Person, event.cancel.is_none(), || {
            "begun although called off".into()
        });
        self.person_is_heeded(seen, "begun");
        let goes_on = is_put_back(&event.status, status);
        let recorded = goes_on || matches!(event.status.phase, None | Some(EventPhase::Pending));
        self.holds(Rule::Recorded, recorded, || {
            format!("{:?}", event.status.phase)
        });
        let to = status.to.as_ref().expect("it goes somewhere");
        self.target_may_be(seen, &event.spec, to);
        if event.spec.cause == Cause::Drill {
            let quarantines = |s: &StepStatus| s.step.kind == StepKind::QuarantineRelease;
            let blames = status.steps.iter().any(quarantines);
            self.holds(Rule::Drill, !blames, || format!("{:?}", status.steps));
            let mut of_live = seen
                .points
                .iter()
                .filter(|p| p.release.as_deref() == event_from(status));
            let comes_back = !of_live.clone().any(|p| p.verdict == Verdict::Quarantined)
                && of_live.any(|p| p.verdict == Verdict::Good);
            let asked_for = event.spec.ends_drill.is_none();
            self.holds(Rule::Drill, !asked_for || comes_back, || {
                format!("it could not be brought back: {:?}", seen.points)
            });
        }
        let wrong = if event.spec.ends_drill.is_some() {
            violations_going_forward(seen, &status.steps)
        } else {
            violations(seen, &status.steps)
        };
        self.holds(Rule::Checker, wrong.is_empty(), || wrong.join("; "));
        let plan = serde_json::to_string(&status.steps).unwrap();
        self.holds(Rule::Replicas, !plan.contains("replicas"), || plan.clone());
        let live = seen.workload.as_ref().map(|w| w.release.as_str());
        let kept_out = seen.points.iter().any(|p| {
            p.verdict == Verdict::Quarantined && p.release.as_deref() == event.from_hash()
        });
        self.holds(
            Rule::Reverts,
            !goes_on || (kept_out && live == event.from_hash()),
            || format!("taken back again, and live is {live:?}: {event:?}"),
        );
        let about_live = status
            .steps
            .iter()
            .all(|s| Some(s.step.from.as_str()) == live);
        self.holds(Rule::OnlyGood, about_live, || format!("{live:?}: {plan}"));
    }

    /// Answers that are none never make a trigger fire, and are always said.
    fn answers(
        &mut self,
        policy: &ValidPolicy,
        seen: &Snapshot,
        now: Timestamp,
        after: &State,
        decision: &Decision,
    ) {
        let live = seen.workload.as_ref().map(|w| w.release.as_str());
        for trigger in &policy.triggers {
            if matches!(trigger.source, Source::Workload { .. }) {
                continue;
            }
            let answer = seen
                .readings
                .get(&trigger.name)
                .filter(|o| Some(o.release.as_str()) == live)
                .filter(|o| now.duration_since(o.asked_at).as_secs() <= 15);
            let (number, may_fire, must_say) = match answer.map(|o| &o.reading) {
                Some(Reading::Value { .. }) => (true, true, false),
                Some(Reading::NoData { .. }) => (
                    false,
                    trigger.no_data == NoDataPolicy::Fire,
                    trigger.no_data == NoDataPolicy::Hold,
                ),
                Some(Reading::Inconclusive { .. }) => {
                    (false, false, trigger.no_data != NoDataPolicy::Ignore)
                }
                Some(Reading::Stale { .. } | Reading::Unavailable { .. }) | None => {
                    (false, false, true)
                }
            };
            let Some(memory) = after.triggers.get(&trigger.name) else {
                continue;
            };
            if !number {
                self.reached("decided without a number");
            }
            let fires = memory.state == TriggerState::Firing;
            self.holds(Rule::NoData, may_fire || !fires, || {
                format!("{} fires on {answer:?}", trigger.name)
            });
            let said = decision
                .say
                .conditions
                .iter()
                .any(|c| c.type_ == DATA_AVAILABLE && c.status != ConditionStatus::True);
            self.holds(Rule::Visible, !must_say || said, || {
                format!("nothing said of {}: {answer:?}", trigger.name)
            });
        }
    }

    /// A rollback is recorded, decided on by a trigger.
    pub fn starts(&mut self, world: &World, policy: &ValidPolicy, spec: &RollbackEventSpec) {
        self.reached("started");
        if spec.attempt > 1 {
            self.reached("started another attempt");
        }
        let open = world.events.iter().any(|e| !e.is_over());
        self.holds(Rule::Once, !open, || "recorded beside an open one".into());
        let Some(span) = world.span().filter(|_| spec.cause == Cause::Trigger) else {
            return;
        };
        if spec.from.as_ref().map(|f| f.hash.clone()) != Some(super::hash(span.release)) {
            return;
        }
        self.holds(Rule::Person, !span.called_off, || {
            format!("a person called the rollback of {} off", span.release)
        });
        let cannot_start = world.deployment.as_ref().is_some_and(|d| d.cannot_start);
        // What has come back from a drill is as it was before: where a window never ends, it may be blamed on.
        let newest = world.events.iter().filter(|e| e.has_acted());
        let newest = newest.max_by_key(|e| (e.status.times.decided, e.name.clone()));
        let came_back =
            newest.is_some_and(|e| e.spec.ends_drill.is_some()) && policy.window.is_none();
        self.holds(
            Rule::OwnEvidence,
            !span.written_by_backstop || cannot_start || came_back,
            || {
                format!(
                    "the restored release {} is blamed: {:?}",
                    span.release, spec.evidence
                )
            },
        );
        self.is_no_bad_day(world, policy, spec, span.bad);
        let silence = policy
            .triggers
            .iter()
            .any(|t| t.no_data == NoDataPolicy::Fire);
        if silence {
            return;
        }
        // What a GitOps tool puts back again and again was live a moment ago too, and what was measured
        // then is about the same release.
        let lives = world.spans.iter().filter(|s| s.release == span.release);
        // While a rollout is paused the pods of an earlier life of the release go on serving.
        let lately = world.traffic.iter().rev();
        let served_badly = lately
            .take_while(|(when, _, _)| world.now - when <= SEEN_WITHIN)
            .any(|(_, serving, bad)| *bad && *serving == span.release);
        let own = span.bad.is_some()
            || served_badly
            || lives
                .filter_map(|s| s.bad)
                .any(|(_, last)| world.now - last <= SEEN_WITHIN);
        self.holds(Rule::OwnEvidence, own, || {
            format!(
                "release {} was never bad: {:?}",
                span.release, spec.evidence
            )
        });
        let (Some((began, _)), Some(window), Some(completed)) =
            (span.bad, policy.window, span.completed_at)
        else {
            return;
        };
        let ends = completed + window.as_secs() + SEEN_WITHIN;
        self.holds(
            Rule::Window,
            began <= ends || span.written_by_backstop,
            || format!("bad from {began} on, blamed although its window ended before {ends}"),
        );
    }

    /// What all depend on was down for as long as the release was bad: where the peers were asked,
    /// the release is not blamed.
    fn is_no_bad_day(
        &mut self,
        world: &World,
        policy: &ValidPolicy,
        spec: &RollbackEventSpec,
        bad: Option<(i64, i64)>,
    ) {
        let trigger = spec.evidence.as_ref().map(|e| e.trigger.as_str());
        let compared = policy
            .triggers
            .iter()
            .any(|t| Some(t.name.as_str()) == trigger && t.peers.is_some());
        let (Some((began, _)), true, 1) = (bad, compared, spec.attempt) else {
            return;
        };
        let mut since = (began..=world.now).step_by(usize::try_from(TICK).unwrap());
        let all_the_time = since.all(|tick| world.outages.contains(&tick));
        if world.outages.contains(&world.now) {
            self.reached("started while what all depend on was down");
        }
        self.holds(Rule::BadDay, !all_the_time, || {
            format!(
                "blamed for what happened to all since {began}: {:?}",
                spec.evidence
            )
        });
    }

    /// A rollback passes the point of no return.
    pub fn begins(&mut self, world: &mut World, event: &Event, status: &RollbackEventStatus) {
        self.reached(&format!("begun: {:?}", event.spec.cause));
        if event.spec.to.as_ref().is_some_and(|t| t.hash.is_none()) {
            self.reached("begun: to a point that a person named");
        }
        let beside = world
            .events
            .iter()
            .any(|e| e.name != event.name && !e.is_over() && e.status.times.decided.is_some());
        self.holds(Rule::Once, !beside, || {
            format!("{} beside another", event.name)
        });
        let from = status.from.as_ref().map(|f| f.hash.clone());
        let live = world.span().map(|s| super::hash(s.release));
        if event.spec.cause != Cause::Trigger || from != live || live.is_none() {
            return;
        }
        let span = world.spans.last_mut().expect("something is live");
        let (name, attempt) = (event.name.clone(), event.spec.attempt);
        let again = span
            .taken_by
            .iter()
            .any(|(n, a)| *a == attempt && *n != name);
        span.taken_by.push((name, attempt));
        self.holds(Rule::Once, !again, || {
            format!("release {from:?} is taken back twice in attempt {attempt}")
        });
    }

    /// A release is recorded as one that failed, and stays where it is.
    pub fn blocks(&mut self, world: &World, policy: &ValidPolicy, release: &str, event: &str) {
        self.reached("blocked");
        self.holds(Rule::Mode, policy.mode == Mode::Enforce, || {
            format!("blocked in mode {:?}", policy.mode)
        });
        let recorded = world.events.iter().any(|e| {
            e.name == event
                && !e.is_over()
                && e.spec.action == Some(Action::BlockDeployment)
                && e.from_hash() == Some(release)
        });
        self.holds(Rule::Recorded, recorded, || {
            format!("{release} is blocked, and {event} does not say so")
        });
    }

    /// A rollback may end by a decision.
    pub fn ends(world: &mut World, event: &Event, status: &RollbackEventStatus) {
        let called_off = status.outcome == Some(Outcome::CancelledByPerson);
        if !called_off || event.spec.cause != Cause::Trigger {
            return;
        }
        let from = status.from.as_ref().map(|f| f.hash.clone());
        if let Some(span) = world.spans.last_mut()
            && from == Some(super::hash(span.release))
        {
            span.called_off = true;
        }
    }

    /// The executor is about to write a template.
    pub fn writes(&mut self, world: &World, event: &Event, step: &Step) {
        self.reached("template written");
        let recorded = event.status.phase == Some(EventPhase::Executing)
            && event.status.times.decided.is_some();
        self.holds(Rule::Recorded, recorded, || format!("{event:?}"));
        let good = world
            .points
            .iter()
            .any(|p| p.verdict == Verdict::Good && p.release.as_deref() == Some(step.to.as_str()));
        let fine = good && !world.is_quarantined(&step.to) && step.from != step.to;
        self.holds(Rule::OnlyGood, fine, || format!("{step:?}"));
    }

    /// A rollback's status is written.
    pub fn status_written(&mut self, before: &RollbackEventStatus, now: &RollbackEventStatus) {
        if let Some(outcome) = now.outcome.filter(|o| before.outcome != Some(*o)) {
            self.reached(&format!("outcome {outcome:?}"));
        }
        let over = before.phase.is_some_and(EventPhase::is_terminal);
        let put_back = now.reverts.len() == before.reverts.len() + 1;
        if put_back {
            self.reached("the failed release was put back");
        }
        let goes_on = is_put_back(before, now);
        if goes_on {
            self.reached("the failed release was taken back again");
        }
        let given_up = put_back && now.outcome == Some(Outcome::Reverted);
        let unusable = now.outcome == Some(Outcome::PointUnusable);
        self.holds(Rule::Once, !over || goes_on || given_up || unusable, || {
            format!("{:?} goes on", before.phase)
        });
        let times = now.reverts.iter().filter(|r| r.written_back).count();
        self.holds(Rule::Reverts, times <= 5, || {
            format!("the release is taken back again {times} times")
        });
    }
}
