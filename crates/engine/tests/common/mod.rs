//! Policies, Deployments and pictures to test with, each as plain as can be.

#![allow(dead_code, reason = "no test needs all of it")]

use std::collections::BTreeMap;

use backstop_api::{
    RollbackEventSpec, RollbackEventStatus,
    event::{
        Cause, EventPhase, Evidence, ReleaseRef, Restored, Sample, StepState, StepStatus, Target,
    },
    point::{Origin, Verdict},
    policy::{Severity, WorkloadRef},
};
use backstop_engine::{
    policy::{FieldError, ValidPolicy, validate},
    reading::Reading,
    snapshot::{Beside, Event, Observed, Pods, Point, PointWorkload, Snapshot, Workload},
    state::{Release, State},
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The release that is live unless a test says otherwise.
pub const LIVE: &str = "bad0bad0bad0bad0";
/// The release that is a good point.
pub const GOOD: &str = "600d600d600d600d";

/// Seconds after the beginning, as a time.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

/// A trigger that asks Prometheus about the release's pods.
pub fn errors() -> Value {
    json!({
        "name": "errors",
        "prometheus": {"query": r#"sum(rate(errors{pod=~"{{ pods }}"}[1m]))"#},
        "condition": "value > 0.05",
        "for": "30s",
        "interval": "10s",
    })
}

/// `value` with these fields instead.
pub fn with(mut value: Value, fields: Value) -> Value {
    let (Value::Object(into), Value::Object(from)) = (&mut value, fields) else {
        panic!("two objects are merged");
    };
    into.extend(from);
    value
}

/// The spec of a policy for `web` with these triggers.
pub fn spec(triggers: &[Value], fields: Value) -> Value {
    let spec = json!({"workloads": [{"name": "web"}], "triggers": triggers});
    with(spec, fields)
}

/// A policy that is valid.
pub fn policy(triggers: &[Value], fields: Value) -> ValidPolicy {
    let spec = serde_json::from_value(spec(triggers, fields)).unwrap();
    validate("web", &spec).unwrap()
}

/// What is wrong with a policy.
pub fn refused(spec: Value) -> Vec<FieldError> {
    let spec = serde_json::from_value(spec).unwrap();
    validate("web", &spec).unwrap_err()
}

/// A Deployment that is fully rolled out, since the beginning.
pub fn workload() -> Workload {
    Workload {
        name: "web".into(),
        uid: "uid-1".into(),
        generation: 7,
        observed_generation: 7,
        deleting: false,
        release: LIVE.into(),
        revision: Some("7".into()),
        images: Vec::new(),
        paused: false,
        overridden: None,
        overridden_by: None,
        floor: None,
        desired: 3,
        replicas: 3,
        updated: 3,
        ready: 3,
        available: 3,
        rollout_completed_at: Some(at(0)),
        progress_deadline_exceeded: None,
        pods: Pods {
            ready: 3,
            first_ready_at: Some(at(0)),
            ..Pods::default()
        },
        strategy: json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}),
        strategy_owners: Vec::new(),
        last_writer: Some("kubectl-client-side-apply".into()),
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        members: Vec::new(),
        beside: Vec::new(),
        tried: false,
        config: Vec::new(),
    }
}

/// A Deployment as a point holds it.
pub fn held(name: &str, release: &str) -> PointWorkload {
    PointWorkload {
        name: name.into(),
        release: release.into(),
        replicas: 3,
    }
}

/// Says that the template was written, and that the Deployment has this generation since.
pub fn wrote(status: &mut RollbackEventStatus, release: &str, generation: i64) {
    status.restored_hash = Some(release.into());
    let step = json!({
        "kind": "WriteTemplate", "workload": "web", "workloadUid": "uid-1",
        "from": LIVE, "to": release, "point": format!("web-{release}"),
    });
    status.steps = vec![StepStatus {
        step: serde_json::from_value(step).unwrap(),
        state: StepState::Done,
        started_at: None,
        finished_at: None,
        message: None,
        restored: Some(Restored {
            hash: release.into(),
            generation,
        }),
        left: Vec::new(),
        found: None,
    }];
}

/// A point of a release that proved itself long ago.
pub fn point(release: &str, verdict: Verdict) -> Point {
    let (name, origin) = match verdict {
        Verdict::Good => (format!("web-{release}"), Origin::Soak),
        Verdict::Quarantined => (format!("web-{release}-quarantined"), Origin::Quarantine),
    };
    Point {
        name,
        release: Some(release.into()),
        verdict,
        origin,
        floor: None,
        proved_at: at(-3600),
        baselines: BTreeMap::from([("errors".to_owned(), 0.01.into())]),
        workloads: vec![held("web", release)],
        stack: None,
        config: Vec::new(),
    }
}

/// The Deployment, and one good point to go back to.
pub fn seen() -> Snapshot {
    Snapshot {
        workload: Some(workload()),
        points: vec![point(GOOD, Verdict::Good)],
        ..Snapshot::default()
    }
}

/// What is remembered of a release that was rolled out at the beginning.
pub fn state() -> State {
    State {
        release: Some(Release {
            workload_uid: "uid-1".into(),
            hash: LIVE.into(),
            since: at(-10),
            first_ready_at: Some(at(0)),
            completed_at: Some(at(0)),
            healthy_since: None,
            proved_at: None,
            restored_by: None,
            verdict: None,
            previous: None,
        }),
        ..State::default()
    }
}

/// An answer about the live release.
pub fn answer(reading: Reading, asked: i64) -> Observed {
    Observed {
        release: LIVE.into(),
        query: "sum(rate(errors[1m]))".into(),
        reading,
        beside: Beside::default(),
        asked_at: at(asked),
        details: Vec::new(),
    }
}

/// A number, measured then.
pub fn value(value: f64, asked: i64) -> Observed {
    answer(
        Reading::Value {
            value,
            at: at(asked),
        },
        asked,
    )
}

/// A rollback of the live release to the good one, as a trigger asks for it.
pub fn event(phase: EventPhase) -> Event {
    let target = Target {
        point: format!("web-{GOOD}"),
        hash: Some(GOOD.into()),
    };
    let from = ReleaseRef {
        hash: LIVE.into(),
        images: Vec::new(),
        revision: Some("7".into()),
    };
    let mut status = RollbackEventStatus {
        phase: Some(phase),
        from: Some(from.clone()),
        to: Some(target.clone()),
        workload_uid: Some("uid-1".into()),
        cause_text: Some("Trigger errors".into()),
        ..RollbackEventStatus::default()
    };
    status.times.fired = Some(at(40));
    if !matches!(phase, EventPhase::Pending | EventPhase::Cancelled) {
        status.times.decided = Some(at(41));
        status.times.first_write = Some(at(42));
        status.times.rolled_out = Some(at(60));
        wrote(&mut status, GOOD, 8);
    }
    Event {
        name: "web-1".into(),
        uid: "event-1".into(),
        created: at(40),
        spec: RollbackEventSpec {
            policy: "web".into(),
            workloads: vec![WorkloadRef { name: "web".into() }],
            cause: Cause::Trigger,
            requested_by: "backstop".into(),
            reason: Some("trigger errors fires".into()),
            quarantine: false,
            action: None,
            strategy: None,
            attempt: 1,
            from: Some(from),
            to: Some(target),
            evidence: Some(Evidence {
                trigger: "errors".into(),
                severity: Severity::Critical,
                condition: "value > 0.05".into(),
                query: None,
                samples: vec![Sample {
                    at: at(40),
                    value: 0.5,
                }],
                baseline: None,
                classification: None,
                details: Vec::new(),
                also_firing: Vec::new(),
            }),
            fired_at: Some(at(40)),
            not_before: None,
            ends_drill: None,
        },
        status,
        version: "1".into(),
        cancel: None,
    }
}
