//! A trigger fires: a rollback begins, or why none does.

use backstop_api::{
    event::{EventPhase, Outcome},
    point::Verdict,
    policy::TriggerState,
};
use backstop_engine::{snapshot::Point, state::TriggerMemory};
use serde_json::json;

use super::{Case, TARGET, case, ended, restorer};
use crate::common::{LIVE, at, errors, event, point, value, with};

pub fn firing() -> Vec<(&'static str, Case)> {
    vec![
        case("a rollback begins", |_| {}),
        case("a rollback begins after a delay", |c| {
            c.trigger(json!({"delay": "2m"}));
        }),
        case("a warning goes back gradually", |c| {
            c.trigger(json!({"severity": "Warning"}));
        }),
        case("against a baseline", |c| {
            c.trigger(json!({"condition": "value > 3.0 * baseline"}));
        }),
        case("on what the cluster says", |c| {
            c.triggers = vec![json!({
                "name": "cannot-start", "workload": {"signals": ["CrashLoopBackOff"]},
            })];
            c.workload().pods.crash_looping =
                vec!["pod web-7d9f-x2k: container app exits with 1, 4 restarts".into()];
        }),
        case("held PolicyPaused", |c| {
            c.fields = json!({"mode": "Paused"});
        }),
        case("held Overridden", |c| {
            c.workload().overridden = Some("Anna is on it, INC-42".into());
        }),
        case("held WorkloadPaused", |c| c.workload().paused = true),
        case("held WorkloadDeleting", |c| c.workload().deleting = true),
        case("held CalledOff", |c| {
            let mut event = ended(EventPhase::Cancelled, Outcome::CancelledByPerson);
            event.status.times.decided = None;
            c.seen.events.push(event);
        }),
        case("held NotCausedByRelease", |c| {
            let outcome = Some(Outcome::NotCausedByRelease);
            c.seen.events.push(restorer(EventPhase::Failed, outcome));
            c.release().restored_by = Some("web-1".into());
            c.now = 600;
            c.measure(0.25);
        }),
        case("held RestoredRelease", |c| {
            let outcome = Some(Outcome::Recovered);
            c.seen.events.push(restorer(EventPhase::Succeeded, outcome));
            c.release().restored_by = Some("web-1".into());
            c.now = 600;
            c.measure(0.25);
        }),
        case("held NothingReleased", |c| {
            c.now = 3600;
            c.measure(0.25);
        }),
        case("held Floor", |c| {
            c.workload().floor = Some("schema 42 has no way back".into());
        }),
        case("held Exhausted", |c| {
            let mut event = ended(EventPhase::Failed, Outcome::WriteRefused);
            event.spec.attempt = 3;
            c.seen.events.push(event);
        }),
        case("held CoolingDown", |c| {
            let event = ended(EventPhase::Failed, Outcome::WriteRefused);
            c.seen.events.push(event);
        }),
        case("held NoGoodPoint: none yet", |c| c.seen.points.clear()),
        case("held NoGoodPoint: only one that failed", |c| {
            c.seen.points.push(point(TARGET, Verdict::Quarantined));
        }),
        case("held NoGoodPoint: only behind a floor", |c| {
            c.seen.points.push(Point {
                floor: Some("schema 42".into()),
                proved_at: at(-60),
                ..point(LIVE, Verdict::Good)
            });
        }),
        case("held NotifyOnly", |c| {
            c.trigger(json!({"action": "Notify"}));
        }),
        case("held Observed", |c| {
            c.fields = json!({"mode": "Observe"});
            let mut event = ended(EventPhase::Cancelled, Outcome::ObserveOnly);
            event.status.times.decided = None;
            c.seen.events.push(event);
        }),
        case("further back from a target that cannot start", |c| {
            further_back(c);
        }),
        case("no further back than allowed", |c| {
            further_back(c);
            c.fields = json!({"limits": {"maxAttempts": 1}});
        }),
        case("the second policy", |c| {
            c.seen.conflict = Some("web-strict".into());
            c.seen.events.push(event(EventPhase::Pending));
        }),
    ]
}

/// It fires, and what the others say stands against it.
pub fn firing_among_others() -> Vec<(&'static str, Case)> {
    vec![
        case("held PeersAreBadToo", |c| {
            let query = r#"sum(rate(errors{pod!~"{{ pods }}"}[1m]))"#;
            c.trigger(json!({"peers": {"query": query}}));
            let baselines = &mut c.seen.points[0].baselines;
            baselines.insert("errors/peers".into(), 0.004.into());
            let answer = value(0.2, c.now);
            c.seen.peers.insert("errors".into(), answer);
        }),
        case("held NotEnoughVotes", |c| {
            let slow = with(errors(), json!({"name": "slow"}));
            c.triggers.push(slow);
            c.fields = json!({"decision": {"votes": [{"require": "All"}]}});
            let answer = value(0.01, c.now);
            c.seen.readings.insert("slow".into(), answer);
        }),
        case("held Recovering", |c| {
            c.trigger(json!({"keepFiringFor": "1m"}));
            let mut memory = TriggerMemory::new(at(60));
            memory.state = TriggerState::Firing;
            memory.active_since = Some(at(60));
            memory.asked_at = Some(at(90));
            memory.recovering_since = Some(at(90));
            c.state.triggers.insert("errors".into(), memory);
            c.measure(0.01);
        }),
    ]
}

/// The live release was restored, and cannot start.
fn further_back(case: &mut Case) {
    let outcome = Some(Outcome::TargetCannotStart);
    let event = restorer(EventPhase::Failed, outcome);
    case.seen.events.push(event);
    case.release().restored_by = Some("web-1".into());
    case.release().completed_at = None;
    case.workload().available = 0;
    case.workload().pods.image_pull = vec!["pod web-5c4-9d2: image shop/web:1.3 not found".into()];
}
