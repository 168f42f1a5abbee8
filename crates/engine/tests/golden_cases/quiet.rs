//! No trigger fires.

use backstop_api::event::{EventPhase, Outcome};
use backstop_api::point::Verdict;
use backstop_engine::reading::{Reading, Unavailable};
use serde_json::json;

use super::{Case, case, restorer};
use crate::common::{LIVE, answer, at, point};

/// A case in which the value is good.
fn good(name: &'static str, make: impl FnOnce(&mut Case)) -> (&'static str, Case) {
    case(name, |c| {
        c.measure(0.01);
        make(c);
    })
}

pub fn quiet() -> Vec<(&'static str, Case)> {
    vec![
        good("watched in its window", |_| {}),
        good("watched always", |c| c.fields = json!({"window": "Always"})),
        good("after its window", |c| {
            c.now = 3600;
            c.measure(0.01);
            c.release().proved_at = Some(at(300));
            c.seen.points.push(point(LIVE, Verdict::Good));
        }),
        good("it proves itself", |c| {
            c.now = 400;
            c.measure(0.01);
            c.release().healthy_since = Some(at(100));
        }),
        good("rolling out", |c| {
            c.release().completed_at = None;
            c.workload().available = 1;
        }),
        good("its controller is behind", |c| c.workload().generation = 8),
        good("paused policy", |c| c.fields = json!({"mode": "Paused"})),
        good("paused rollout", |c| c.workload().paused = true),
        good("no Deployment", |c| c.seen.workload = None),
        good("nothing to go back to", |c| c.seen.points.clear()),
        good("no answer yet", |c| c.seen.readings.clear()),
        good("no data", |c| {
            let nothing = Reading::NoData {
                why: "empty result".into(),
            };
            c.seen
                .readings
                .insert("errors".into(), answer(nothing, 100));
        }),
        good("Prometheus is gone", |c| {
            let gone = Reading::Unavailable {
                reason: Unavailable::Unreachable,
                why: "connection refused".into(),
            };
            c.seen.readings.insert("errors".into(), answer(gone, 100));
        }),
        good("no answer for long", |c| c.now = 200),
        good("bad, not for long enough", |c| {
            c.trigger(json!({"for": "1m"}));
            c.measure(0.25);
        }),
        good("after a rollback that did not come to its end", |c| {
            let outcome = Some(Outcome::TimedOut);
            let mut event = restorer(EventPhase::Failed, outcome);
            event.status.message =
                Some("the restored release did not roll out within 300 s".into());
            c.seen.events.push(event);
            c.release().restored_by = Some("web-1".into());
            c.release().completed_at = None;
            c.workload().available = 1;
        }),
        good("after the release was cleared", |c| {
            let outcome = Some(Outcome::NotCausedByRelease);
            let mut event = restorer(EventPhase::Failed, outcome);
            event.status.message = Some("release 0bad0bad0bad0bad was not the cause".into());
            c.seen.events.push(event);
            let record = point("0bad0bad0bad0bad", Verdict::Quarantined);
            c.seen.points.push(record);
        }),
    ]
}
