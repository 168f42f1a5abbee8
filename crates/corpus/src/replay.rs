//! The engine lives through a trace, by a simulated clock.
//!
//! The picture is that of a Deployment in a rolling update: how a release is judged does not depend on the strategy.
//! The replay ends with the first rollback that is decided on.

use std::collections::BTreeMap;

use backstop_api::point::{Origin, Verdict as PointVerdict};
use backstop_engine::{
    decide::{Act, decide},
    policy::{ValidPolicy, validate},
    reading::Reading,
    snapshot::{Beside, Measured, Observed, Pods, Point, PointWorkload, Snapshot, Workload},
    state::State,
    trigger::with_minimum,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::measure::{COUNTING, Measure, counts};
use crate::promql::Answer;
use crate::trace::{Side, Trace};

/// The policy that the engine decides by.
pub const POLICY: &str = include_str!("policy.yaml");
/// How often is decided, in seconds: the interval of the policy's triggers.
const INTERVAL: i64 = 10;
/// The release before.
const EARLIER: &str = "600d600d600d600d";
/// The release.
const RELEASE: &str = "bad0bad0bad0bad0";

/// What became of a release.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// When it was taken back; `None` if it was not.
    pub taken_back_at: Option<i64>,
    /// How long the condition had to hold for that, in seconds.
    pub held_for: i64,
    /// How often was looked, in seconds.
    pub interval: i64,
    /// What asked for it.
    pub reason: Option<String>,
}

/// Lets the engine decide on a trace; in words, what is wrong with the policy.
pub fn replay(trace: &Trace) -> Result<Verdict, String> {
    let policy = policy()?;
    let mut state = State::default();
    let mut points = Vec::new();
    let watched = (0..trace.watched_until).chain(trace.watched_again..trace.ends_at);
    for at in watched.filter(|at| at % INTERVAL == 0) {
        if at >= trace.released_at && points.is_empty() {
            // What could not prove itself, such as for want of traffic, is named good by a person.
            points.push(point(Origin::Manual, at, BTreeMap::new()));
        }
        let seen = picture(&policy, trace, at, &points);
        let (next, decision) = decide(&policy, &state, &seen, time(at));
        state = next;
        for act in decision.acts {
            match act {
                Act::Capture { release, baselines } if release == EARLIER => {
                    points = vec![point(Origin::Soak, at, baselines)];
                }
                Act::Start { spec, .. } => {
                    let name = spec.evidence.map(|e| e.trigger).unwrap_or_default();
                    let trigger = policy.triggers.iter().find(|t| t.name == name);
                    let held = |t: &SignedDuration| t.as_secs();
                    return Ok(Verdict {
                        taken_back_at: Some(at),
                        held_for: trigger.map_or(0, |t| held(&t.for_)),
                        interval: trigger.map_or(INTERVAL, |t| held(&t.interval)),
                        reason: Some(name),
                    });
                }
                _ => {}
            }
        }
    }
    Ok(Verdict::default())
}

fn policy() -> Result<ValidPolicy, String> {
    let spec = serde_yaml_ng::from_str(POLICY).map_err(|e| e.to_string())?;
    validate("web", &spec).map_err(|errors| format!("{errors:?}"))
}

fn time(at: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_700_000_000 + at)
}

/// What is seen at a time.
fn picture(policy: &ValidPolicy, trace: &Trace, at: i64, points: &[Point]) -> Snapshot {
    let (side, release) = if at < trace.released_at {
        (Side::Earlier, EARLIER)
    } else {
        (Side::Release, RELEASE)
    };
    let readings = Measure::ALL.into_iter().map(|measure| {
        let observed = Observed {
            release: release.to_owned(),
            query: measure.trigger().to_owned(),
            reading: reading(policy, measure, trace, side, at),
            beside: Beside::default(),
            asked_at: time(at),
            details: Vec::new(),
        };
        (measure.trigger().to_owned(), observed)
    });
    let (bad, total) = counts(trace, side, at);
    let counted = COUNTING.map(|trigger| {
        let observed = Observed {
            release: release.to_owned(),
            query: trigger.to_owned(),
            reading: as_reading(bad, at),
            beside: Beside {
                total: Some(as_reading(total, at)),
                ..Beside::default()
            },
            asked_at: time(at),
            details: Vec::new(),
        };
        (trigger.to_owned(), observed)
    });
    Snapshot {
        workload: Some(workload(trace, side, release, at)),
        readings: readings.chain(counted).collect(),
        peers: peers(policy, trace, release, at),
        points: points.to_vec(),
        ..Snapshot::default()
    }
}

/// What is answered about the pods of other applications.
fn peers(
    policy: &ValidPolicy,
    trace: &Trace,
    release: &str,
    at: i64,
) -> BTreeMap<String, Observed> {
    let asked = Measure::ALL.into_iter().filter(|measure| {
        let trigger = policy.triggers.iter().find(|t| t.name == measure.trigger());
        trigger.is_some_and(|t| t.peers.is_some())
    });
    // Failures are asked about in the same words by all triggers.
    let names = asked.map(|measure| (measure, measure.trigger()));
    names
        .chain(COUNTING.map(|trigger| (Measure::ErrorShare, trigger)))
        .map(|(measure, name)| {
            let observed = Observed {
                release: release.to_owned(),
                query: format!("{name} of the others"),
                reading: as_reading(measure.ask(trace, Side::Other, at), at),
                beside: Beside::default(),
                asked_at: time(at),
                details: Vec::new(),
            };
            (name.to_owned(), observed)
        })
        .collect()
}

fn reading(policy: &ValidPolicy, measure: Measure, trace: &Trace, side: Side, at: i64) -> Reading {
    let answer = as_reading(measure.ask(trace, side, at), at);
    let trigger = policy.triggers.iter().find(|t| t.name == measure.trigger());
    let minimum = trigger.and_then(|t| match &t.source {
        backstop_engine::policy::Source::Prometheus { minimum, .. } => minimum.as_ref(),
        _ => None,
    });
    match (minimum, measure.samples(trace, side, at)) {
        (Some(minimum), Some(samples)) => {
            with_minimum(answer, &as_reading(samples, at), minimum.at_least)
        }
        _ => answer,
    }
}

/// As `backstop-sources` reads Prometheus' answers.
fn as_reading(answer: Answer, at: i64) -> Reading {
    match answer {
        None => Reading::NoData {
            why: "the query selects no series".into(),
        },
        Some(value) if value.is_finite() => Reading::Value {
            value,
            at: time(at),
        },
        Some(value) => Reading::Inconclusive {
            why: format!("the value is {value}"),
        },
    }
}

fn workload(trace: &Trace, side: Side, release: &str, at: i64) -> Workload {
    let pods = trace.side(side);
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let desired = number(trace.side(side).count());
    let live: Vec<_> = trace.side(side).filter(|p| p.ready_at <= at).collect();
    let ready = number(live.len());
    let restarts = live
        .iter()
        .map(|p| number(p.restarts.iter().filter(|r| **r <= at).count()))
        .max();
    let first = pods.map(|p| p.ready_at).min().filter(|first| *first <= at);
    Workload {
        name: "web".into(),
        uid: "uid-1".into(),
        generation: 1,
        observed_generation: 1,
        deleting: false,
        release: release.into(),
        revision: None,
        images: Vec::new(),
        paused: false,
        overridden: None,
        overridden_by: None,
        floor: None,
        desired,
        replicas: desired,
        updated: ready,
        ready: desired,
        available: desired,
        rollout_completed_at: (ready == desired).then(|| time(0)),
        progress_deadline_exceeded: None,
        pods: Pods {
            ready,
            first_ready_at: first.map(time),
            restarts: restarts.unwrap_or(0),
            ..Pods::default()
        },
        strategy: json!({"type": "RollingUpdate"}),
        strategy_owners: Vec::new(),
        last_writer: None,
        labels: BTreeMap::new(),
        members: Vec::new(),
        config: Vec::new(),
        tried: false,
        beside: Vec::new(),
    }
}

/// The release before, as something to go back to.
fn point(origin: Origin, at: i64, baselines: BTreeMap<String, Measured>) -> Point {
    Point {
        name: format!("web-{EARLIER}"),
        release: Some(EARLIER.into()),
        verdict: PointVerdict::Good,
        origin,
        floor: None,
        proved_at: time(at),
        baselines,
        workloads: vec![PointWorkload {
            name: "web".into(),
            release: EARLIER.into(),
            replicas: 3,
        }],
        stack: None,
        config: Vec::new(),
    }
}
