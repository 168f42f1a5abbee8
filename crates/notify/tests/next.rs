//! What is left to do, by how a rollback has ended.

mod common;

use backstop_api::{RollbackEvent, notification::NotificationOutcome};
use backstop_notify::of_event;
use common::{at, event, merged};
use serde_json::{Value, json};

/// What is left to do first, after a rollback that differs so from one by a trigger.
fn first(outcome: NotificationOutcome, phase: &str, ended: &str, patch: Value) -> String {
    let event = serde_json::to_value(event(json!({"phase": phase, "outcome": ended})));
    let event: RollbackEvent =
        serde_json::from_value(merged(event.expect("a value"), patch)).expect("an event");
    of_event(&event, outcome, at("12:00:00"), None)
        .next
        .remove(0)
}

#[test]
fn a_person_is_called_only_where_backstop_does_not_go_on() {
    let failed = |ended, patch| first(NotificationOutcome::Failed, "Failed", ended, patch);
    let by_hand = json!({"spec": {"cause": "Manual"}});
    assert_eq!(
        failed("TimedOut", json!({})),
        "mend web by hand, or deploy a fix"
    );
    assert!(failed("TargetCannotStart", json!({})).starts_with("nothing, unless it is held up"));
    assert_eq!(
        failed("TargetCannotStart", by_hand),
        "mend web by hand, or deploy a fix"
    );
}

#[test]
fn a_drill_that_was_called_off_brings_nothing_back() {
    let drill = json!({"spec": {"cause": "Drill"}});
    let off = json!({"metadata": {"annotations": {"backstop.dev/cancel": "we keep it"}}});
    let ended = |patch| {
        let outcome = NotificationOutcome::Succeeded;
        first(outcome, "Succeeded", "Recovered", patch)
    };
    assert!(ended(drill.clone()).contains("is brought back now"));
    assert!(ended(merged(drill, off)).contains("the drill was called off, so it stays away"));
}

#[test]
fn a_rollback_that_was_taken_over_leaves_nothing_to_do() {
    let superseded = |ended| {
        let outcome = NotificationOutcome::Superseded;
        first(outcome, "Superseded", ended, json!({}))
    };
    assert!(superseded("TakenOver").starts_with("nothing: the rollback that took over"));
    assert!(superseded("NewerRelease").contains("does well with that change"));
}
