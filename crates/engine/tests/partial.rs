//! A rollback that could restore one Deployment and not the other: it is tried again, without any
//! trigger, and not for ever.

mod common;
mod stage;

use backstop_api::{
    RollbackEventStatus,
    event::{EventPhase, Outcome, StepState, Target},
};
use backstop_engine::{
    decide::{Act, Decision, decide},
    incident,
    snapshot::{Event, Snapshot},
    state::State,
};
use common::{at, errors, event, policy, state, with};
use serde_json::json;
use stage::Stage;

/// `worker` was restored and `web` was not, at 90 s; no trigger has anything to say.
struct Case {
    stage: Stage,
    seen: Snapshot,
    state: State,
}

/// A rollback that failed, `written` of whose templates were written.
fn failed(number: u32, from: &str, point: &str, written: &[&str], ended: i64) -> Event {
    let mut it = event(EventPhase::Failed);
    it.name = format!("web-{number}");
    it.uid = format!("event-{number}");
    it.created = at(ended - 50);
    it.spec.attempt = number;
    for from_ref in [&mut it.spec.from, &mut it.status.from] {
        from_ref.as_mut().unwrap().hash = from.into();
    }
    let target = Some(Target {
        point: "good".into(),
        hash: Some(point.into()),
    });
    it.spec.to.clone_from(&target);
    it.status.to = target;
    it.status.workload_uid = Some("uid-web+uid-worker".into());
    it.status.outcome = Some(Outcome::WriteRefused);
    it.status.restored_hash = None;
    it.status.times.decided = Some(at(ended - 40));
    it.status.times.first_write = (!written.is_empty()).then(|| at(ended - 39));
    it.status.times.rolled_out = None;
    it.status.times.ended = Some(at(ended));
    it.status.steps.clear();
    for name in ["worker", "web"] {
        let mut one = RollbackEventStatus::default();
        common::wrote(&mut one, &format!("good-{name}"), 7);
        let mut step = one.steps.remove(0);
        step.step.workload = name.into();
        if !written.contains(&name) {
            step.state = StepState::Waiting;
            step.restored = None;
        }
        it.status.steps.push(step);
    }
    it
}

impl Case {
    fn new() -> Self {
        let bad = Stage::several("Rolling", &["web", "worker"]).changed("web");
        let stage = bad.clone();
        let bad = bad.changed("worker").live().unwrap().release;
        let mut case = Self {
            seen: stage.seen(),
            state: state(),
            stage,
        };
        let half = case.live();
        let mut first = failed(1, &bad, &case.point(), &["worker"], 90);
        first.status.restored_hash = Some(half.clone());
        case.seen.events.push(first);
        let release = case.state.release.as_mut().unwrap();
        release.workload_uid = "uid-web+uid-worker".into();
        release.hash = half;
        release.since = at(60);
        release.completed_at = Some(at(80));
        release.restored_by = Some("web-1".into());
        case
    }

    fn live(&self) -> String {
        self.seen.workload.as_ref().unwrap().release.clone()
    }

    fn point(&self) -> String {
        self.seen.points[0].release.clone().unwrap()
    }

    /// Another attempt, which changed nothing.
    fn in_vain(&mut self, number: u32, ended: i64) -> &mut Event {
        let it = failed(number, &self.live(), &self.point(), &[], ended);
        self.seen.events.push(it);
        self.seen.events.last_mut().unwrap()
    }

    fn decide(&self, now: i64) -> Decision {
        let calm = with(errors(), json!({"condition": "value > 0.05"}));
        let policy = policy(&[calm], self.stage.fields.clone());
        decide(&policy, &self.state, &self.seen, at(now)).1
    }

    fn starts(&self, now: i64, attempt: u32) {
        let decision = self.decide(now);
        match decision.acts.as_slice() {
            [Act::Start { spec, .. }] => {
                assert_eq!(spec.attempt, attempt);
                assert_eq!(spec.to.as_ref().unwrap().point, "good");
                let reason = spec.reason.as_deref().unwrap();
                assert!(reason.contains("half of one release"), "{reason}");
            }
            other => panic!("{other:?}, and it says {}", decision.say.message),
        }
    }

    fn holds(&self, now: i64, words: &str) {
        let decision = self.decide(now);
        assert_eq!(decision.acts, Vec::new());
        let said = &decision.say.message;
        assert!(said.contains(words), "expected '{words}': {said}");
    }
}

#[test]
fn half_a_rollback_goes_on_at_once_without_a_trigger() {
    let case = Case::new();
    let workload = case.seen.workload.as_ref().unwrap();
    let incident = incident::of(&case.seen, &case.state, workload);
    assert_eq!(incident.attempts, 1);
    assert!(incident.continues);
    assert_eq!(incident.partial.as_deref(), Some("web-1"));
    case.starts(91, 2);
}

#[test]
fn an_attempt_in_vain_is_made_again_after_the_cooldown() {
    let mut case = Case::new();
    case.in_vain(2, 150);
    let workload = case.seen.workload.as_ref().unwrap();
    let incident = incident::of(&case.seen, &case.state, workload);
    assert_eq!(incident.attempts, 2);
    assert!(!incident.continues);
    assert_eq!(incident.partial.as_deref(), Some("web-1"));
    case.holds(449, "limits.cooldown");
    case.starts(450, 3);
}

#[test]
fn attempts_in_vain_come_to_an_end() {
    let mut case = Case::new();
    case.in_vain(2, 150);
    case.in_vain(3, 300);
    case.holds(650, "3 of 3 rollbacks were made");
}

#[test]
fn a_person_who_called_it_off_is_not_gone_against() {
    // While it was executed.
    let mut case = Case::new();
    case.seen.events[0].status.outcome = Some(Outcome::CancelledByPerson);
    assert_eq!(case.decide(91).acts, Vec::new());
    assert_eq!(case.decide(500).acts, Vec::new());
    // The attempt after it.
    let mut case = Case::new();
    let second = case.in_vain(2, 150);
    second.status.phase = Some(EventPhase::Cancelled);
    second.status.outcome = Some(Outcome::CancelledByPerson);
    second.status.times.decided = None;
    case.holds(500, "a person called web-2 off");
}

#[test]
fn a_rollback_that_restored_all_is_not_half() {
    let mut case = Case::new();
    for step in &mut case.seen.events[0].status.steps {
        step.state = StepState::Done;
    }
    assert_eq!(case.decide(91).acts, Vec::new());
}

/// What is half of one release and half of another does not become good by waiting.
#[test]
fn half_a_rollback_is_mended_after_the_window_too() {
    let mut case = Case::new();
    case.in_vain(2, 600);
    case.starts(900, 3);
}
