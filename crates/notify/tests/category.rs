//! What kind of trouble a rollback is about, by what asked for it.

mod common;

use backstop_api::{RollbackEvent, notification::Category};
use backstop_notify::category;
use common::{event, merged, policy};
use serde_json::{Value, json};

/// A rollback whose spec has these fields.
fn rollback(spec: &Value) -> RollbackEvent {
    let event = serde_json::to_value(event(json!({}))).expect("JSON");
    serde_json::from_value(merged(event, json!({"spec": spec}))).expect("an event")
}

#[test]
fn the_trigger_says_what_kind_of_trouble_it_is() {
    let query = json!({"query": "errors"});
    let limits = json!({"maxCritical": 0, "maxHigh": 10});
    let memory = json!({"name": "memory"});
    for (trigger, expected) in [
        (json!({"prometheus": query}), Category::Critical),
        (
            json!({"prometheus": query, "severity": "Warning"}),
            Category::Warning,
        ),
        (
            json!({"prometheus": query, "action": "IsolateAndRollback"}),
            Category::SecurityIncident,
        ),
        (
            json!({"prometheus": query, "severity": "Warning", "action": "IsolateAndRollback"}),
            Category::SecurityIncident,
        ),
        (json!({"vulnerability": limits}), Category::Security),
        (
            json!({"vulnerability": limits, "severity": "Warning", "action": "BlockDeployment"}),
            Category::Security,
        ),
        (json!({"resource": memory}), Category::Resource),
        (
            json!({"resource": memory, "severity": "Warning", "action": "ScaleAndRollback"}),
            Category::Resource,
        ),
        // What is written wins over all of them.
        (
            json!({"prometheus": query, "action": "IsolateAndRollback", "category": "Warning"}),
            Category::Warning,
        ),
        (
            json!({"vulnerability": limits, "category": "SecurityIncident"}),
            Category::SecurityIncident,
        ),
        (
            json!({"resource": memory, "severity": "Warning", "category": "Critical"}),
            Category::Critical,
        ),
        (
            json!({"prometheus": query, "category": "Resource"}),
            Category::Resource,
        ),
    ] {
        let trigger = merged(
            json!({"name": "error-rate", "condition": "value > 0.05"}),
            trigger,
        );
        let policy = policy(json!({"spec": {"triggers": [trigger]}}));
        assert_eq!(
            category(&event(json!({})), Some(&policy)),
            Some(expected),
            "{trigger}"
        );
    }
}

#[test]
fn without_its_trigger_a_rollback_says_it_by_its_action_and_severity() {
    let other = policy(json!({"spec": {"triggers": [{
        "name": "another", "category": "Resource", "condition": "value > 1", "prometheus": {"query": "a"},
    }]}}));
    for (action, severity, expected) in [
        ("Rollback", "Critical", Category::Critical),
        ("GradualRollback", "Warning", Category::Warning),
        ("IsolateAndRollback", "Critical", Category::SecurityIncident),
        ("IsolateAndRollback", "Warning", Category::SecurityIncident),
    ] {
        let event = rollback(&json!({"action": action, "evidence": {"severity": severity}}));
        for policy in [None, Some(&other)] {
            let found = category(&event, policy);
            assert_eq!(found, Some(expected), "{action}, {severity}");
        }
    }
}

#[test]
fn what_a_person_asks_for_is_no_kind_of_trouble() {
    let by_hand = rollback(&json!({
        "cause": "Manual", "requestedBy": "alice@example.com", "evidence": null, "from": null,
    }));
    assert_eq!(category(&by_hand, Some(&policy(json!({})))), None);
}
