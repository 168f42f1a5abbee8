//! What a log has of policies is read from the log, so that each record is written once.

use backstop_api::RollbackPolicy;
use backstop_audit::{Head, PolicyRecord, Record, Written, append, of_policy};
use serde_json::{Value, json};

/// A policy that was changed once, and whose Deployment somebody has taken over.
fn policy(until: Option<&str>) -> RollbackPolicy {
    let mut policy = json!({
        "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackPolicy",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u-1", "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"workloads": [{"name": "web"}]},
        "status": {
            "specHistory": {"generation": 2, "changes": [{
                "at": "2026-01-02T00:00:00.123456789Z", "by": "night-shift", "generation": 2, "fields": ["spec.window"],
            }]},
            "overrides": [{
                "workload": "web", "by": "alice", "reason": "INC-17", "since": "2026-01-03T00:00:00.5Z",
            }],
        },
    });
    if let Some(until) = until {
        policy["status"]["overrides"][0]["until"] = json!(until);
    }
    serde_json::from_value(policy).unwrap()
}

fn rollback() -> Value {
    json!({"kind": "Rollback", "uid": "e-1", "namespace": "shop", "policy": "web", "at": "2026-01-01T00:00:00Z"})
}

/// A log with these records, after a rollback.
fn log(records: &[Record]) -> String {
    let (mut text, mut head) = append(&Head::default(), &rollback());
    text.push('\n');
    for record in records {
        let (line, next) = append(&head, record);
        text.push_str(&line);
        text.push('\n');
        head = next;
    }
    text
}

fn read(text: &str) -> Written {
    Written::read(text.as_bytes()).unwrap()
}

fn missing(written: &Written, policy: &RollbackPolicy) -> Vec<Record> {
    let mut records = of_policy(policy);
    records.retain(|record| !written.has(record));
    records
}

fn gone() -> Record {
    Record::PolicyDeleted(PolicyRecord {
        at: "2026-02-01T00:00:00Z".parse().unwrap(),
        namespace: "shop".into(),
        policy: "web".into(),
        uid: "u-1".into(),
    })
}

#[test]
fn every_record_of_a_policy_is_found_again_and_only_what_is_new_is_missing() {
    let records = of_policy(&policy(None));
    let kinds: Vec<Value> = records.iter().map(|r| json!(r)["kind"].clone()).collect();
    assert_eq!(kinds, ["PolicyCreated", "PolicyChanged", "Override"]);
    assert_eq!(missing(&Written::default(), &policy(None)).len(), 3);
    let mut written = read(&log(&records));
    assert_eq!(missing(&written, &policy(None)), []);
    // That it was given back is news.
    let given_back = policy(Some("2026-01-03T01:00:00Z"));
    let news = missing(&written, &given_back);
    assert_eq!(news.len(), 1);
    assert_eq!(json!(news[0])["until"], "2026-01-03T01:00:00Z");
    written.note(&news[0]);
    assert_eq!(missing(&written, &given_back), []);
}

#[test]
fn a_namesake_that_was_made_since_is_another_policy() {
    let written = read(&log(&of_policy(&policy(None))));
    let mut namesake = policy(None);
    namesake.metadata.uid = Some("u-2".into());
    assert_eq!(missing(&written, &namesake).len(), 3);
}

#[test]
fn a_line_that_was_changed_or_torn_is_none() {
    let whole = log(&of_policy(&policy(None)));
    let changed = whole.replace("night-shift", "day-shift");
    assert_ne!(changed, whole);
    let of_what = |text: &str| json!(missing(&read(text), &policy(None)))[0]["kind"].clone();
    assert_eq!(of_what(&changed), "PolicyChanged");
    assert_eq!(of_what(&whole[..whole.len() - 10]), "Override");
}

#[test]
fn a_policy_that_is_gone_is_told_of_once_and_never_again() {
    let mut written = read(&log(&of_policy(&policy(None))));
    let known = |written: &Written| {
        let uids = written.policies().map(|policy| policy.uid.clone());
        uids.collect::<Vec<_>>()
    };
    assert_eq!(known(&written), ["u-1"], "and no rollback");
    written.note(&gone());
    assert!(known(&written).is_empty());
    // An old picture of it is no news.
    assert_eq!(missing(&written, &policy(None)), []);
    assert!(written.has(&gone()));
    let mut records = of_policy(&policy(None));
    records.push(gone());
    assert!(known(&read(&log(&records))).is_empty());
}
