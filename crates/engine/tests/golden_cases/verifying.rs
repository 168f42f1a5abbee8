//! A rollback has been executed: it is watched, and ends.

use backstop_api::event::EventPhase;
use backstop_engine::reading::{Reading, Unavailable};
use serde_json::json;

use super::{Case, case, restorer};
use crate::common::{LIVE, answer, at, wrote};

/// A case in which the live release was restored by the rollback, and rolled out at 60 s.
fn restored(
    name: &'static str,
    now: i64,
    measured: f64,
    make: impl FnOnce(&mut Case),
) -> (&'static str, Case) {
    case(name, |c| {
        c.seen.events.push(restorer(EventPhase::Verifying, None));
        let release = c.release();
        release.since = at(42);
        release.completed_at = Some(at(60));
        release.restored_by = Some("web-1".into());
        c.now = now;
        c.measure(measured);
        make(c);
    })
}

pub fn verifying() -> Vec<(&'static str, Case)> {
    vec![
        restored("waits for new samples", 70, 0.01, |_| {}),
        restored("waits for the picture to be new", 70, 0.01, |c| {
            wrote(&mut c.seen.events[0].status, LIVE, 8);
        }),
        restored("succeeded Recovered", 140, 0.01, |_| {}),
        restored("succeeded Held: Prometheus is gone", 900, 0.01, |c| {
            let gone = Reading::Unavailable {
                reason: Unavailable::Unreachable,
                why: "connection refused".into(),
            };
            c.seen.readings.insert("errors".into(), answer(gone, 900));
        }),
        restored("failed NotCausedByRelease", 140, 0.25, |_| {}),
        restored("failed TargetUnhealthy", 140, 0.01, |c| {
            c.triggers.push(json!({
                "name": "memory", "workload": {"signals": ["OOMKilled"]},
            }));
            c.workload().pods.oom_killed = vec!["pod web-5c4-9d2: container app".into()];
        }),
        restored("failed TargetCannotStart", 70, 0.01, |c| {
            c.workload().pods.image_pull =
                vec!["pod web-5c4-9d2: image shop/web:1.3 not found".into()];
        }),
        restored("failed TimedOut", 900, 0.01, |c| c.workload().available = 1),
        restored("failed WorkloadDeleted", 140, 0.01, |c| {
            c.workload().deleting = true;
        }),
        restored("failed WorkloadDeleted: none there", 140, 0.01, |c| {
            c.seen.workload = None;
        }),
        restored("superseded: the failed release is back", 140, 0.01, |c| {
            c.workload().release = "0bad0bad0bad0bad".into();
            c.workload().last_writer = Some("argocd-controller".into());
        }),
        restored("superseded: another release", 140, 0.01, |c| {
            c.workload().release = "f1f1f1f1f1f1f1f1".into();
        }),
        case("executing", |c| {
            let mut event = restorer(EventPhase::Executing, None);
            event.status.message = Some("waiting for the Deployment controller".into());
            c.seen.events.push(event);
        }),
    ]
}
