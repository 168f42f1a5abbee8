//! Rollbacks and policies as they are in a cluster, and channels that are told of them.

#![allow(dead_code, reason = "each test program uses a part of it")]

use backstop_api::{RollbackEvent, RollbackPolicy, notification::NotificationOutcome};
use backstop_notify::{
    Allowed, Message, ValidChannel, category, channels, due, of_event, of_policy,
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// `patch` merged into `value`.
pub fn merged(mut value: Value, patch: Value) -> Value {
    merge(&mut value, patch);
    value
}

fn merge(value: &mut Value, patch: Value) {
    match (value, patch) {
        (Value::Object(value), Value::Object(patch)) => {
            for (key, new) in patch {
                merge(value.entry(key).or_insert(Value::Null), new);
            }
        }
        (value, new) => *value = new,
    }
}

/// A time of the day.
pub fn at(time: &str) -> Timestamp {
    format!("2026-11-25T{time}Z").parse().expect("a time")
}

/// A policy with a trigger on errors.
pub fn policy(patch: Value) -> RollbackPolicy {
    let policy = json!({
        "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackPolicy",
        "metadata": {"name": "web", "namespace": "shop", "uid": "policy-uid", "generation": 1},
        "spec": {
            "workloads": [{"name": "web"}],
            "triggers": [{
                "name": "error-rate", "condition": "value > 0.05",
                "prometheus": {"query": "errors"},
            }],
        },
    });
    serde_json::from_value(merged(policy, patch)).expect("a policy")
}

/// The same, with its condition ActionRequired and its phase.
pub fn policy_that(phase: &str, status: &str, reason: &str, since: &str) -> RollbackPolicy {
    policy(json!({"status": {
        "phase": phase,
        "conditions": [{
            "type": "ActionRequired", "status": status, "reason": reason,
            "message": "trigger error-rate fires (value 0.5), and nothing is taken back: there is no good point",
            "lastTransitionTime": at(since),
        }],
        "triggers": [{
            "name": "error-rate", "severity": "Critical", "state": "Firing", "since": at(since),
            "value": 0.5, "at": at(since), "message": "value 0.5 for 30s", "query": "errors",
        }],
    }}))
}

/// A rollback that a trigger asked for, with a status.
pub fn event(status: Value) -> RollbackEvent {
    let event = json!({
        "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackEvent",
        "metadata": {"name": "web-3", "namespace": "shop", "uid": "event-uid"},
        "spec": {
            "policy": "web", "workloads": [{"name": "web"}], "cause": "Trigger",
            "requestedBy": "backstop", "action": "Rollback", "attempt": 1,
            "reason": "trigger error-rate fires: value 0.5 > 0.05 for 30s",
            "from": {"hash": "bad0bad0bad0bad0", "images": [
                {"container": "app", "image": "example.com/web:<v2>&co"},
            ]},
            "to": {"point": "web-900d900d900d900d", "hash": "900d900d900d900d"},
            "evidence": {
                "trigger": "error-rate", "severity": "Critical", "condition": "value > 0.05",
                "query": "rate(errors{pod=~\"web-.*\"}[1m])", "baseline": 0.01,
                "samples": [
                    {"at": at("12:00:00"), "value": 0.01},
                    {"at": at("12:00:10"), "value": 0.2},
                    {"at": at("12:00:20"), "value": 0.512_345},
                ],
                "details": ["pod web-<1>: *CrashLoopBackOff* & `more`"],
            },
            "firedAt": at("12:00:20"),
        },
        "status": merged(json!({
            "phase": "Executing",
            "to": {"point": "web-900d900d900d900d", "hash": "900d900d900d900d"},
            "times": {"fired": at("12:00:20"), "decided": at("12:00:21")},
            "message": "taking web from release bad0bad0bad0bad0 back to 900d900d900d900d",
        }), status),
    });
    serde_json::from_value(event).expect("an event")
}

/// A rollback that has ended like this.
pub fn ended(phase: &str, outcome: &str, message: &str) -> RollbackEvent {
    event(json!({
        "phase": phase, "outcome": outcome, "message": message,
        "times": {"ended": at("12:01:02")}, "durations": {"total": "42s"},
        "steps": [
            step("QuarantineRelease", "Done", "release bad0bad0bad0bad0 is recorded as one that failed"),
            step("WriteTemplate", "Done", "the template of 900d900d900d900d is written"),
            step("HandBackOwnership", "Done", "the fields belong to whom they belonged"),
        ],
    }))
}

/// A step of a plan.
pub fn step(kind: &str, state: &str, message: &str) -> Value {
    json!({
        "state": state, "message": message,
        "step": {
            "kind": kind, "workload": "web", "workloadUid": "uid", "point": "web-900d900d900d900d",
            "from": "bad0bad0bad0bad0", "to": "900d900d900d900d",
        },
    })
}

/// A message for every outcome.
pub fn messages() -> Vec<Message> {
    let last = |event: RollbackEvent| {
        let (outcome, at) = due(&event).pop().expect("something to tell");
        let category = category(&event, Some(&policy(json!({}))));
        of_event(&event, outcome, at, category)
    };
    let pending = serde_json::to_value(event(json!({
        "phase": "Pending", "times": {"decided": null},
        "message": "will take web back to release 900d900d900d900d at 2026-11-25T12:01:20Z, unless it recovers before",
    })))
    .expect("JSON");
    let pending = merged(pending, json!({"spec": {"notBefore": at("12:01:20")}}));
    let by_hand = serde_json::to_value(ended(
        "Cancelled",
        "CancelledByPerson",
        "called off by a person before anything was changed: wrong one",
    ))
    .expect("JSON");
    let by_hand = merged(
        by_hand,
        json!({"spec": {
            "cause": "Manual", "requestedBy": "alice@example.com", "evidence": null, "from": null,
            "reason": "support says so",
        }}),
    );
    let failed = ended(
        "Failed",
        "TimedOut",
        "the rollout did not complete within 5m",
    );
    let mut failed = serde_json::to_value(failed).expect("JSON");
    failed["status"]["steps"][2] = step("AwaitRollout", "Failed", "1 of 2 replicas are available");
    let held = policy_that("Held", "True", "NoGoodPoint", "12:00:20");
    let (since, reason) = (at("12:00:20"), Some("NoGoodPoint"));
    vec![
        last(serde_json::from_value(pending).expect("an event")),
        last(event(json!({}))),
        last(ended(
            "Succeeded",
            "Recovered",
            "web does well again with release 900d900d900d900d",
        )),
        last(serde_json::from_value(failed).expect("an event")),
        last(ended(
            "Failed",
            "NotCausedByRelease",
            "the good release runs, and error-rate still fires",
        )),
        last(serde_json::from_value(by_hand).expect("an event")),
        last(ended(
            "Succeeded",
            "Blocked",
            "release bad0bad0bad0bad0 of web stays live and is blocked",
        )),
        last(ended(
            "Superseded",
            "NewerRelease",
            "release f00df00d is live by now",
        )),
        last(ended(
            "Cancelled",
            "ObserveOnly",
            "mode Observe: would have taken web back",
        )),
        of_policy(&held, NotificationOutcome::Held, reason, since, since),
        of_policy(
            &held,
            NotificationOutcome::Resolved,
            None,
            at("12:10:00"),
            since,
        ),
    ]
}

/// Everything that channels in tests may reach.
pub fn allowed() -> Allowed {
    Allowed::new([
        "https://hooks.slack.com",
        "https://slack.com",
        "https://events.pagerduty.com",
        "https://hooks.example.com",
        "smtp://mail.example.com:587",
    ])
    .expect("a valid list")
}

/// A channel, parsed.
pub fn channel(spec: Value) -> ValidChannel {
    let spec = merged(json!({"name": "team"}), spec);
    let spec = serde_json::from_value(spec).expect("a channel");
    channels(&[spec], &allowed())
        .expect("a valid channel")
        .remove(0)
}

/// A channel of each kind.
pub fn every_kind() -> [ValidChannel; 5] {
    [
        json!({"slack": {"secretName": "slack", "channel": "#web"}}),
        json!({"email": {
            "server": "mail.example.com:587", "from": "Backstop <backstop@example.com>",
            "to": ["sre@example.com"],
        }}),
        json!({"webhook": {"url": "https://hooks.example.com/backstop"}}),
        json!({"teams": {"secretName": "teams"}}),
        json!({"pagerDuty": {"secretName": "pager"}}),
    ]
    .map(channel)
}
