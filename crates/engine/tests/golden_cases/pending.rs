//! A rollback is recorded: it waits, begins, or is called off.

use backstop_api::{
    event::{Cause, EventPhase, Outcome, Target},
    point::Verdict,
    policy::Severity,
};
use backstop_engine::{reading::Reading, snapshot::Point};
use serde_json::json;

use super::{Case, TARGET, case, restorer};
use crate::common::{GOOD, LIVE, answer, at, errors, event, point, value, with};

/// A case in which the rollback is Pending.
fn pending(name: &'static str, make: impl FnOnce(&mut Case)) -> (&'static str, Case) {
    case(name, |c| {
        c.seen.events.push(event(EventPhase::Pending));
        make(c);
    })
}

/// A case in which a person asks for a rollback to this point.
fn asked(
    name: &'static str,
    to: Option<&str>,
    make: impl FnOnce(&mut Case),
) -> (&'static str, Case) {
    case(name, |c| {
        c.measure(0.01);
        let mut it = event(EventPhase::Pending);
        it.name = "fix-the-shop".into();
        it.spec.cause = Cause::Manual;
        it.spec.requested_by = "anna".into();
        it.spec.evidence = None;
        it.spec.from = None;
        it.spec.fired_at = None;
        it.spec.to = to.map(|point| Target {
            point: point.into(),
            hash: None,
        });
        it.status = backstop_api::RollbackEventStatus::default();
        c.seen.events.push(it);
        make(c);
    })
}

/// It is recorded, and other triggers have a say in it.
pub fn pending_among_others() -> Vec<(&'static str, Case)> {
    vec![
        pending("waits while what was not released is as bad", |c| {
            let query = r#"sum(rate(errors{pod!~"{{ pods }}"}[1m]))"#;
            c.trigger(json!({"peers": {"query": query}}));
            let baselines = &mut c.seen.points[0].baselines;
            baselines.insert("errors/peers".into(), 0.004.into());
            let answer = value(0.2, c.now);
            c.seen.peers.insert("errors".into(), answer);
        }),
        pending("waits while too few agree", |c| {
            let slow = with(errors(), json!({"name": "slow"}));
            c.triggers.push(slow);
            c.fields = json!({"decision": {"votes": [{"require": "All"}]}});
        }),
        pending("superseded TakenOver", |c| {
            c.triggers.push(with(
                errors(),
                json!({"name": "slow", "severity": "Warning"}),
            ));
            let evidence = c.seen.events[0].spec.evidence.as_mut().unwrap();
            evidence.trigger = "slow".into();
            evidence.severity = Severity::Warning;
            c.seen.events[0].spec.not_before = Some(at(600));
        }),
    ]
}

pub fn pending_cases() -> Vec<(&'static str, Case)> {
    vec![
        pending("begins", |_| {}),
        pending("waits for its delay", |c| {
            c.seen.events[0].spec.not_before = Some(at(160));
        }),
        pending("waits while there is no data", |c| {
            let nothing = Reading::NoData {
                why: "empty result".into(),
            };
            c.seen
                .readings
                .insert("errors".into(), answer(nothing, 100));
        }),
        pending("cancelled RecoveredBeforeActing", |c| c.measure(0.01)),
        pending("cancelled CancelledByPerson", |c| {
            c.seen.events[0].cancel = Some("false alarm, load test".into());
        }),
        pending("cancelled PolicyNotInForce: paused", |c| {
            c.fields = json!({"mode": "Paused"});
        }),
        pending("cancelled PolicyNotInForce: overridden", |c| {
            c.workload().overridden = Some("Anna is on it, INC-42".into());
        }),
        pending("cancelled PolicyNotInForce: rollout paused", |c| {
            c.workload().paused = true;
        }),
        pending("cancelled PolicyNotInForce: floor", |c| {
            c.workload().floor = Some("schema 42 has no way back".into());
        }),
        pending("cancelled PolicyNotInForce: trigger removed", |c| {
            c.trigger(json!({"name": "latency"}));
        }),
        pending("cancelled PolicyNotInForce: another workload", |c| {
            c.seen.events[0].spec.workloads[0].name = "worker".into();
        }),
        pending("cancelled NoTarget: point deleted", |c| {
            c.seen.points.clear();
        }),
        pending("cancelled NoTarget: point failed meanwhile", |c| {
            c.seen.points.push(point(TARGET, Verdict::Quarantined));
        }),
        pending("cancelled ObserveOnly", |c| {
            c.fields = json!({"mode": "Observe"});
        }),
        pending("superseded NewerRelease", |c| {
            c.workload().release = "f1f1f1f1f1f1f1f1".into();
        }),
        pending("superseded WorkloadDeleted: another of its name", |c| {
            c.workload().uid = "uid-2".into();
        }),
        pending("superseded WorkloadDeleted: none there", |c| {
            c.seen.workload = None;
        }),
        asked("asked for: begins", None, |_| {}),
        asked(
            "asked for: begins, to a point by name",
            Some("web-600d600d600d600d"),
            |_| {},
        ),
        asked("asked for: no such point", Some("web-yesterday"), |_| {}),
        asked("asked for: no good point", None, |c| c.seen.points.clear()),
        asked("asked for: point not captured yet", Some("named"), |c| {
            c.seen.points.push(Point {
                name: "named".into(),
                release: None,
                ..point(GOOD, Verdict::Good)
            });
        }),
        asked("asked for: is live already", Some("live"), |c| {
            c.seen.points.push(Point {
                name: "live".into(),
                ..point(LIVE, Verdict::Good)
            });
        }),
        asked("asked for: failed", Some("web-600d600d600d600d"), |c| {
            c.seen.points.push(point(GOOD, Verdict::Quarantined));
        }),
        asked(
            "asked for: behind a floor",
            Some("web-600d600d600d600d"),
            |c| {
                c.seen.points.push(Point {
                    floor: Some("schema 42".into()),
                    proved_at: at(-60),
                    ..point("f100f100f100f100", Verdict::Good)
                });
            },
        ),
        asked("asked for: overtaken", None, |c| {
            let outcome = Some(Outcome::Recovered);
            let mut other = restorer(EventPhase::Succeeded, outcome);
            other.uid = "event-2".into();
            c.seen.events.push(other);
        }),
    ]
}
