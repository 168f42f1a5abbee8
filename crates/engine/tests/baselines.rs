//! What values are compared with: each kind of baseline, what makes one useless, comparing samples,
//! and counting where there is little traffic.

mod common;

use std::collections::BTreeMap;

use backstop_api::{
    RollbackPolicyStatus,
    point::{Distribution, Origin, Verdict},
    policy::{
        Classification,
        TriggerState::{self, Error, Firing, Inactive, NoData, Pending},
    },
};
use backstop_engine::{
    baseline::{complaints, measured, of_samples, too_old_at},
    policy::ValidPolicy,
    reading::{Reading, Unavailable},
    snapshot::{Beside, Measured, Observed, Point, Snapshot},
    state::{State, TriggerMemory},
    trigger,
};
use common::{LIVE, at, errors, point, policy, refused, seen, spec, state, value, with};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

/// One trigger, judged on one answer after the other.
struct Judged {
    policy: ValidPolicy,
    state: State,
    seen: Snapshot,
}

impl Judged {
    fn new(trigger: Value) -> Self {
        Self {
            policy: policy(&[trigger], json!({})),
            state: state(),
            seen: seen(),
        }
    }

    fn on(&mut self, answer: Observed) -> TriggerState {
        let now = answer.asked_at;
        self.seen.readings.insert("errors".into(), answer);
        let workload = self.seen.workload.clone().unwrap();
        trigger::judge(&self.policy, &mut self.state, &self.seen, &workload, now);
        self.memory().state
    }

    fn memory(&self) -> &TriggerMemory {
        &self.state.triggers["errors"]
    }

    fn says(&self, words: &str) {
        let said = &self.memory().message;
        assert!(said.contains(words), "{said}");
    }

    /// The good point measured this.
    fn measured(&mut self, it: impl Into<Measured>) {
        self.seen.points[0].baselines = BTreeMap::from([("errors".to_owned(), it.into())]);
    }

    /// The operator is started again and knows what the status tells.
    fn restart(&mut self) {
        let status = RollbackPolicyStatus {
            release: self.state.release_status(&self.policy),
            triggers: self.state.trigger_statuses(&self.policy),
            ..RollbackPolicyStatus::default()
        };
        let text = serde_json::to_string(&status).unwrap();
        self.state = State::from_status(&serde_json::from_str(&text).unwrap());
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "reads better where it is used"
)]
fn against(baseline: Value, condition: &str) -> Value {
    let fields = json!({"for": "0s", "baseline": baseline, "condition": condition});
    with(errors(), fields)
}

fn number(value: f64) -> Reading {
    Reading::Value { value, at: at(0) }
}

fn nothing() -> Reading {
    Reading::NoData {
        why: "the query selects no series".into(),
    }
}

fn unreachable() -> Reading {
    Reading::Unavailable {
        reason: Unavailable::Unreachable,
        why: "connection refused".into(),
    }
}

fn earlier(mut answer: Observed, reading: Reading) -> Observed {
    answer.beside.earlier = Some(reading);
    answer
}

fn beside_stable(mut answer: Observed, reading: Reading) -> Observed {
    answer.beside.stable = Some(reading);
    answer
}

fn distribution(samples: &[f64]) -> Measured {
    let count = samples.len() as u64;
    let many = f64::from(u32::try_from(samples.len()).unwrap());
    let mean = samples.iter().sum::<f64>() / many;
    let squares: f64 = samples.iter().map(|s| (s - mean).powi(2)).sum();
    Measured {
        value: mean,
        distribution: Some(Distribution {
            count,
            mean,
            deviation: (squares / (many - 1.0)).sqrt(),
            p5: None,
            median: None,
            p95: None,
            samples: samples.to_vec(),
            from: Some(at(-7200)),
            to: Some(at(-3600)),
        }),
    }
}

/// FEATURES T3 and T4, with their figures.
#[test]
fn relative_conditions_hold_at_their_figures_and_not_below() {
    for (condition, baseline, fine, bad) in [
        // Latency 30 % over.
        ("value > 1.3 * baseline", 0.2, 0.26, 0.261),
        // Memory 50 MB over, in bytes.
        (
            "value > baseline + 50.0 * 1024.0 * 1024.0",
            1e8,
            152_428_800.0,
            152_428_801.0,
        ),
        // Conversion below 0.8 times.
        ("value < 0.8 * baseline", 0.05, 0.0401, 0.0399),
        // User activity below 0.7 times.
        ("value < 0.7 * baseline", 1000.0, 700.0, 699.9),
        // Error rate above 5 %.
        ("value > 0.05", 0.0, 0.05, 0.0501),
    ] {
        let mut it = Judged::new(against(json!({}), condition));
        it.measured(baseline);
        assert_eq!(it.on(value(fine, 10)), Inactive, "{condition}");
        assert_eq!(it.on(value(bad, 20)), Firing, "{condition}");
    }
}

#[test]
fn a_number_can_be_the_baseline() {
    let mut it = Judged::new(against(
        json!({"from": "Static", "value": 0.2}),
        "value > 1.3 * baseline",
    ));
    assert_eq!(it.on(value(0.25, 10)), Inactive);
    assert_eq!(it.on(value(0.27, 20)), Firing);
    it.says("value = 0.27, baseline = 0.2: 'value > 1.3 * baseline' holds");
}

#[test]
fn last_week_is_compared_with_and_its_absence_is_never_bad() {
    let last_week = json!({"from": "Offset", "offset": "168h"});
    let mut it = Judged::new(against(last_week, "value < 0.7 * baseline"));
    assert_eq!(it.on(earlier(value(80.0, 10), number(100.0))), Inactive);
    assert_eq!(it.on(earlier(value(69.0, 20), number(100.0))), Firing);
    assert_eq!(it.on(earlier(value(1.0, 30), nothing())), NoData);
    it.says("the baseline of 168 h ago: the query selects no series");
    assert_eq!(it.on(earlier(value(1.0, 40), unreachable())), Error);
    assert_eq!(it.on(value(1.0, 50)), NoData);
    it.says("not asked yet");
}

#[test]
fn the_stable_side_is_compared_with_while_it_serves() {
    let mut it = Judged::new(against(json!({"from": "Stable"}), "value > 1.5 * baseline"));
    assert_eq!(it.on(beside_stable(value(0.2, 10), number(0.2))), Inactive);
    assert_eq!(it.on(beside_stable(value(0.4, 20), number(0.2))), Firing);
    assert_eq!(it.on(beside_stable(value(0.4, 30), nothing())), NoData);
    // The rollout is complete: nothing is left to compare with, and that is no lack.
    assert_eq!(it.on(value(0.4, 40)), Inactive);
    assert!(it.memory().is_quiet());
    it.says("no pods of another release serve beside it");
}

#[test]
fn a_canary_whose_stable_side_is_not_asked_yet_is_not_judged() {
    let mut it = Judged::new(against(json!({"from": "Stable"}), "value > 1.5 * baseline"));
    it.seen.workload.as_mut().unwrap().tried = true;
    assert_eq!(it.on(value(0.4, 10)), NoData);
}

#[test]
fn stable_is_a_variable_beside_any_baseline() {
    let mut it = Judged::new(against(
        json!({}),
        "value > 1.5 * stable && value > 2.0 * baseline",
    ));
    it.measured(0.1);
    assert_eq!(it.on(beside_stable(value(0.25, 10), number(0.2))), Inactive);
    assert_eq!(it.on(beside_stable(value(0.31, 20), number(0.2))), Firing);
    it.says("value = 0.31, baseline = 0.1, stable = 0.2");
}

#[test]
fn a_baseline_of_too_few_samples_is_said_and_never_leads_to_a_rollback() {
    let mut it = Judged::new(against(json!({}), "value > 1.3 * baseline"));
    it.measured(distribution(&[0.1, 0.1, 0.1, 0.1]));
    assert_eq!(it.on(value(9.0, 10)), NoData);
    it.says("point web-600d600d600d600d was made of too few samples: 4, of at least 5");
    assert!(
        it.memory().lacks_baseline,
        "it may prove itself all the same"
    );
    it.measured(distribution(&[0.1; 5]));
    assert_eq!(it.on(value(9.0, 20)), Firing);
}

#[test]
fn a_baseline_that_is_too_old_is_said_and_never_leads_to_a_rollback() {
    let mut it = Judged::new(against(json!({"maxAge": "1h"}), "value > 1.3 * baseline"));
    it.measured(distribution(&[0.1; 9]));
    assert_eq!(it.on(value(9.0, -10)), Firing);
    assert_eq!(it.on(value(9.0, 10)), NoData);
    it.says("is 1 h old, and may be 1 h (baseline.maxAge)");
}

#[test]
fn a_baseline_that_is_too_wild_is_said_and_never_leads_to_a_rollback() {
    let wild = [0.01, 0.01, 0.01, 0.01, 1.0, 0.01];
    let mut it = Judged::new(against(json!({}), "value > 1.3 * baseline"));
    it.measured(distribution(&wild));
    assert_eq!(it.on(value(9.0, 10)), NoData);
    it.says("is too wild to compare with");
    let mut it = Judged::new(against(
        json!({"maxVariation": 5.0}),
        "value > 1.3 * baseline",
    ));
    it.measured(distribution(&wild));
    assert_eq!(it.on(value(9.0, 10)), Firing);
}

#[test]
fn an_earlier_time_that_was_too_wild_is_not_compared_with() {
    let last_week = json!({"from": "Offset", "offset": "168h", "maxVariation": 0.4});
    let mut it = Judged::new(against(last_week, "value < 0.7 * baseline"));
    for (n, then) in [1000.0, 900.0, 1100.0, 1000.0].into_iter().enumerate() {
        let asked = 10 * (i64::try_from(n).unwrap() + 1);
        it.on(earlier(value(1000.0, asked), number(then)));
    }
    assert_eq!(it.on(earlier(value(1.0, 50), number(1000.0))), Firing);
    assert_eq!(it.on(earlier(value(1.0, 60), number(1.0))), NoData);
    it.says("too wild");
}

#[test]
fn a_point_with_one_number_still_works() {
    let mut it = Judged::new(against(json!({}), "value > 1.3 * baseline"));
    it.measured(0.1);
    assert_eq!(it.on(value(0.14, 10)), Firing);
}

#[test]
fn what_was_captured_of_a_release_comes_before_what_it_measured_while_it_soaked() {
    let mut it = Judged::new(against(json!({}), "value > 1.3 * baseline"));
    it.measured(0.1);
    // The same release soaked on after that.
    let mut captured = it.seen.points[0].clone();
    captured.name = "load-tested".into();
    captured.origin = Origin::Pipeline;
    captured.proved_at = at(-9000);
    captured.baselines = BTreeMap::from([("errors".to_owned(), 0.2.into())]);
    it.seen.points.push(captured.clone());
    assert_eq!(it.on(value(0.25, 10)), Inactive);
    assert_eq!(it.memory().baseline, Some(0.2));
    // What holds no value of the trigger is no baseline of it.
    it.seen.points[1].baselines.clear();
    it.on(value(0.05, 20));
    assert_eq!(it.memory().baseline, Some(0.1));
    // Of an earlier release it does not count.
    captured.release = Some("0000000000000000".into());
    it.seen.points[1] = captured;
    it.on(value(0.05, 30));
    assert_eq!(it.memory().baseline, Some(0.1));
}

#[test]
fn of_many_samples_the_newest_are_kept_and_all_are_reckoned_with() {
    let samples: Vec<f64> = (0..100).map(f64::from).collect();
    let times = (Some(at(0)), Some(at(990)));
    let found = of_samples(&samples, times).unwrap();
    assert!((found.value - 49.5).abs() < 1e-9);
    let distribution = found.distribution.unwrap();
    assert_eq!(distribution.count, 100);
    assert!((distribution.mean - 49.5).abs() < 1e-9);
    assert_eq!(distribution.samples, samples[40..]);
    assert_eq!((distribution.from, distribution.to), times);
    assert_eq!(of_samples(&[], (None, None)), None);
}

#[test]
fn what_is_no_good_to_compare_with_is_said_of_the_point() {
    let policy = policy(&[against(json!({}), "value > 1.3 * baseline")], json!({}));
    let with = |policy: &ValidPolicy, baselines: BTreeMap<String, Measured>| {
        let point = Point {
            baselines,
            ..point(LIVE, Verdict::Good)
        };
        complaints(policy, &point, at(3600))
    };
    let of = |it: Measured| with(&policy, BTreeMap::from([("errors".to_owned(), it)]));
    assert_eq!(of(distribution(&[0.1; 9])), Vec::<String>::new());
    assert_eq!(
        of(distribution(&[0.1; 2])),
        [
            "errors: its baseline was made of too few samples: 2, of at least 5 (baseline.minimumSamples)"
        ]
    );
    assert_eq!(
        with(&policy, BTreeMap::new()),
        ["errors: its baseline was not measured"]
    );
    let absolute = self::policy(&[errors()], json!({}));
    assert_eq!(with(&absolute, BTreeMap::new()), Vec::<String>::new());
}

#[test]
fn that_a_points_baseline_is_too_old_is_said_from_the_moment_on_at_which_it_is() {
    let aging = against(json!({"maxAge": "2h"}), "value > 1.3 * baseline");
    let policy = policy(&[aging], json!({}));
    let baselines = BTreeMap::from([("errors".to_owned(), distribution(&[0.1; 9]))]);
    let point = Point {
        baselines,
        ..point(LIVE, Verdict::Good)
    };
    let measured = point.baselines["errors"].distribution.as_ref().unwrap();
    let taken = measured.to.unwrap_or(point.proved_at);
    let last = taken + SignedDuration::from_hours(2);
    let after = last + SignedDuration::from_secs(1);
    assert_eq!(complaints(&policy, &point, last), Vec::<String>::new());
    assert_eq!(too_old_at(&policy, &point, last), Some(last));
    assert_eq!(
        complaints(&policy, &point, after),
        ["errors: its baseline is 2 h old, and may be 2 h (baseline.maxAge)"]
    );
    assert_eq!(too_old_at(&policy, &point, after), None);
}

#[test]
fn a_point_keeps_how_its_values_were_spread_while_it_was_healthy() {
    let mut it = Judged::new(errors());
    it.on(value(0.9, 10));
    for n in 0..20 {
        it.on(value(0.01 + 0.001 * f64::from(n), 20 + 10 * i64::from(n)));
    }
    it.state.release.as_mut().unwrap().healthy_since = Some(at(20));
    let found = &measured(&it.policy, &it.state)["errors"];
    assert!((found.value - 0.0195).abs() < 1e-9, "{found:?}");
    let distribution = found.distribution.as_ref().unwrap();
    assert_eq!((distribution.count, distribution.samples.len()), (20, 20));
    assert!((distribution.mean - 0.0195).abs() < 1e-9);
    assert!(distribution.p5.unwrap() < 0.011 && distribution.p95.unwrap() > 0.028);
    assert_eq!(
        (distribution.from, distribution.to),
        (Some(at(20)), Some(at(210)))
    );
}

/// A trigger that compares samples and has no condition.
#[expect(
    clippy::needless_pass_by_value,
    reason = "reads better where it is used"
)]
fn comparing(fields: Value) -> Value {
    let mut trigger = with(errors(), json!({"for": "20s", "compare": fields}));
    trigger.as_object_mut().unwrap().remove("condition");
    trigger["prometheus"]["query"] = json!(r#"sum(rate(errors{pod=~"{{ pods }}"}[10s]))"#);
    trigger
}

/// Twenty samples around a value.
fn around(middle: f64) -> Vec<f64> {
    (0..20)
        .map(|n| middle * (0.9 + 0.01 * f64::from(n)))
        .collect()
}

#[test]
fn samples_are_compared_with_those_of_the_last_healthy_release() {
    let mut it = Judged::new(comparing(json!({})));
    it.measured(distribution(&around(0.1)));
    for (n, sample) in around(0.2).into_iter().enumerate() {
        let asked = 10 * i64::try_from(n).unwrap();
        let state = it.on(value(sample, asked));
        if n < 19 {
            assert_eq!(state, Inactive, "{n}");
            assert!(!it.memory().is_quiet(), "it cannot be told yet");
            it.says("cannot compare yet: the release has");
        } else {
            assert_eq!(state, Pending);
        }
    }
    assert_eq!(it.memory().classification, Some(Classification::High));
    assert_eq!(it.on(value(0.2, 200)), Pending);
    assert_eq!(it.on(value(0.2, 210)), Firing);
    it.says("High: ");
    it.says("times the baseline of 0.0995");
}

#[test]
fn samples_that_are_alike_pass_and_too_few_of_the_point_are_no_data() {
    let mut it = Judged::new(comparing(json!({})));
    it.measured(distribution(&around(0.1)));
    for (n, sample) in around(0.1).into_iter().enumerate() {
        it.on(value(sample, 10 * i64::try_from(n).unwrap()));
    }
    assert_eq!(it.memory().classification, Some(Classification::Pass));
    assert!(it.memory().is_quiet());
    it.measured(distribution(&around(0.1)[..10]));
    assert_eq!(it.on(value(9.0, 200)), NoData);
    it.says("too few samples to compare: 10 of 20");
    // One number alone has no samples.
    it.measured(0.1);
    assert_eq!(it.on(value(9.0, 210)), NoData);
    it.says("is a number alone, and 20 samples are compared (compare.samples)");
    assert!(it.memory().lacks_baseline);
}

#[test]
fn far_off_fires_at_once() {
    let mut it = Judged::new(comparing(json!({"criticalIncrease": 5.0})));
    it.measured(distribution(&around(0.1)));
    for (n, sample) in around(0.7).into_iter().enumerate() {
        it.on(value(sample, 10 * i64::try_from(n).unwrap()));
    }
    assert_eq!(it.memory().state, Firing);
}

#[test]
fn samples_of_the_stable_side_are_gathered_beside() {
    let mut trigger = comparing(json!({"direction": "Either"}));
    trigger["baseline"] = json!({"from": "Stable"});
    let mut it = Judged::new(trigger);
    it.seen.workload.as_mut().unwrap().tried = true;
    for n in 0..22 {
        let asked = 10 * i64::from(n);
        let (ours, theirs) = (0.1 + 0.001 * f64::from(n), 0.2 + 0.001 * f64::from(n));
        it.on(beside_stable(value(ours, asked), number(theirs)));
    }
    assert_eq!(it.memory().state, Firing);
    assert_eq!(it.memory().classification, Some(Classification::Low));
}

#[test]
fn a_condition_and_a_comparison_must_both_say_that_it_is_bad() {
    let mut trigger = comparing(json!({}));
    trigger["condition"] = json!("value > 0.5");
    let mut it = Judged::new(trigger);
    it.measured(distribution(&around(0.1)));
    for (n, sample) in around(0.2).into_iter().enumerate() {
        it.on(value(sample, 10 * i64::try_from(n).unwrap()));
    }
    assert_eq!(it.memory().state, Inactive);
    assert_eq!(it.memory().classification, Some(Classification::High));
    it.says("'value > 0.5' does not hold; High: ");
}

/// A trigger that counts failed ones among all.
fn counting() -> Value {
    with(
        errors(),
        json!({
            "for": "0s",
            "prometheus": {"ratio": {
                "bad": r#"sum(requests{code="500",pod=~"{{ pods }}"})"#,
                "total": r#"sum(requests{pod=~"{{ pods }}"})"#,
            }},
        }),
    )
}

fn counted(bad: f64, total: f64, asked: i64) -> Observed {
    let mut answer = value(bad, asked);
    answer.beside.total = Some(number(total));
    answer
}

#[test]
fn one_failure_in_three_requests_takes_nothing_back_and_ten_in_thirty_do() {
    let mut it = Judged::new(counting());
    assert_eq!(it.on(counted(1.0, 3.0, 10)), Inactive);
    it.says("1 of 3 are bad");
    assert!(it.memory().is_quiet());
    assert_eq!(it.on(counted(10.0, 30.0, 1000)), Firing);
    it.says("10 of 30 are bad");
    it.says("99.9 % sure");
}

#[test]
fn what_was_counted_is_not_forgotten_when_the_operator_is_started_again() {
    let mut it = Judged::new(counting());
    it.on(counted(5.0, 16.0, 10));
    it.restart();
    assert_eq!(it.on(counted(10.0, 30.0, 20)), Firing);
    it.says("10 of 30 are bad");
}

#[test]
fn no_counter_of_failures_is_none_and_no_counter_at_all_says_nothing() {
    let mut it = Judged::new(counting());
    let mut answer = counted(0.0, 40.0, 10);
    answer.reading = nothing();
    assert_eq!(it.on(answer), Inactive);
    it.says("0 of 40 are bad");
    let mut answer = counted(0.0, 0.0, 70);
    answer.reading = nothing();
    answer.beside.total = Some(nothing());
    assert_eq!(it.on(answer), NoData);
    let mut answer = counted(39.0, 40.0, 80);
    answer.beside.total = Some(unreachable());
    assert_eq!(it.on(answer), Error);
    assert_eq!(it.on(value(39.0, 90)), NoData);
}

#[test]
fn more_bad_ones_than_there_are_is_a_mistake_and_not_a_disaster() {
    let mut it = Judged::new(counting());
    assert_eq!(it.on(counted(50.0, 40.0, 10)), NoData);
    it.says("total must count the bad ones too");
}

#[test]
fn counters_of_an_earlier_life_of_the_release_are_not_counted() {
    let mut it = Judged::new(counting());
    it.seen.points.push(point(LIVE, Verdict::Good));
    assert_eq!(it.on(counted(40.0, 50.0, 70)), Inactive);
    it.says("nothing was counted of this release yet");
    assert!(!it.memory().is_quiet());
    assert_eq!(it.on(counted(40.0, 100.0, 80)), Inactive);
    it.says("0 of 50 are bad");
}

#[test]
fn a_share_is_compared_with_what_it_was_at_most() {
    let fields = json!({"condition": "value > 2.0 * baseline"});
    let mut it = Judged::new(with(counting(), fields.clone()));
    it.measured(0.01);
    assert_eq!(it.on(counted(10.0, 30.0, 10)), Firing);
    // What is remembered of few requests is wide.
    let found = measured(&it.policy, &it.state)["errors"].clone();
    assert!(found.value > 0.5, "{found:?}");
    let mut next = Judged::new(with(counting(), fields));
    next.measured(found);
    assert_eq!(next.on(counted(10.0, 30.0, 10)), Inactive);
}

#[test]
fn what_cannot_be_compared_is_refused_naming_the_field_and_the_way_out() {
    let says = |trigger: Value, field: &str, words: &str| {
        let errors = refused(spec(&[trigger], json!({})));
        let found = errors
            .iter()
            .any(|e| e.field == format!("spec.triggers[0].{field}") && e.problem.contains(words));
        assert!(found, "{field}, {words}: {errors:#?}");
    };
    let offset = json!({"from": "Offset", "offset": "168h"});
    let query = |text: &str| json!({"prometheus": {"query": text}});
    let released = query(r#"sum(rate(errors{release="{{ release }}"}[1m]))"#);
    let relative = "value > 2.0 * baseline";
    says(
        with(against(offset.clone(), relative), released.clone()),
        "baseline.from",
        "another release was live then",
    );
    says(
        with(against(json!({"from": "Stable"}), relative), released),
        "baseline.from",
        "use {{ pods }} or {{ hash }}",
    );
    says(
        with(
            against(json!({"from": "Stable"}), relative),
            query("sum(rate(errors[1m]))"),
        ),
        "baseline.from",
        "does not tell the two sides apart",
    );
    says(
        with(
            against(json!({}), "value > stable"),
            query("sum(rate(errors[1m]))"),
        ),
        "condition",
        "does not tell the two sides apart",
    );
    says(
        with(counting(), json!({"baseline": offset})),
        "baseline.from",
        "counts only grow",
    );
    says(
        with(counting(), json!({"compare": {}})),
        "compare",
        "do not measure samples",
    );
    says(
        with(
            comparing(json!({})),
            json!({"baseline": {"from": "Static", "value": 1.0}}),
        ),
        "baseline.from",
        "compare needs samples",
    );
    says(
        with(
            comparing(json!({})),
            query(r#"sum(rate(errors{pod=~"{{ pods }}"}[10m]))"#),
        ),
        "compare",
        "can never say anything",
    );
    says(
        with(
            errors(),
            json!({"prometheus": {"ratio": {"bad": "sum(x)", "total": "sum("}}}),
        ),
        "prometheus.ratio.total",
        "PromQL",
    );
    says(
        with(errors(), json!({"baseline": {"from": "Offset"}})),
        "baseline",
        "needs an offset",
    );
    let minimum = json!({"minimumSamples": {"query": "sum(x)", "atLeast": 10.0}});
    says(
        with(counting(), minimum),
        "minimumSamples",
        "prometheus.query only",
    );
}

/// A reading that is no number, of any kind.
fn no_number() -> impl Strategy<Value = Option<Reading>> {
    prop_oneof![
        Just(None),
        Just(Some(nothing())),
        Just(Some(unreachable())),
        Just(Some(Reading::Inconclusive { why: "NaN".into() })),
        Just(Some(Reading::Stale { at: at(-600) })),
        Just(Some(number(f64::NAN))),
        Just(Some(number(f64::INFINITY))),
    ]
}

proptest! {
    /// Safety rule 5: what cannot be compared with never leads to a rollback, however bad the value is.
    #[test]
    fn without_a_number_to_compare_with_nothing_fires(
        missing in no_number(), from in prop_oneof![Just("Offset"), Just("Stable")],
        value_is in 1.0..1e9_f64, tried: bool, looks in 1_i64..40,
    ) {
        let mut baseline = json!({"from": from});
        if from == "Offset" {
            baseline["offset"] = json!("24h");
        }
        let mut it = Judged::new(against(baseline, "value > 0.0 * baseline"));
        it.seen.workload.as_mut().unwrap().tried = tried;
        for look in 0..looks {
            let mut answer = value(value_is, 10 * look);
            answer.beside = Beside { earlier: missing.clone(), stable: missing.clone(), ..Beside::default() };
            let state = it.on(answer);
            prop_assert!(!matches!(state, Firing | Pending), "{state:?}");
        }
    }

    /// The same of the two counts of a ratio.
    #[test]
    fn a_ratio_fires_on_two_numbers_alone(
        bad in no_number(), total in no_number(), which: bool, looks in 1_i32..20,
    ) {
        let mut it = Judged::new(counting());
        for look in 0..looks {
            let many = 1000.0 * f64::from(look + 1);
            let mut answer = counted(many, many, 10 * i64::from(look));
            if which {
                answer.beside.total = total.clone();
            } else if let Some(bad) = bad.clone().filter(|b| !matches!(b, Reading::NoData { .. })) {
                answer.reading = bad;
            } else {
                answer.reading = nothing();
            }
            let state = it.on(answer);
            prop_assert!(!matches!(state, Firing | Pending), "{state:?}");
        }
    }

    /// Counters may do what they like: a release none of whose requests failed is not taken back.
    #[test]
    fn without_a_failure_nothing_fires(totals in proptest::collection::vec(0_u32..10_000, 1..60)) {
        let mut it = Judged::new(counting());
        for (n, total) in totals.into_iter().enumerate() {
            let state = it.on(counted(0.0, f64::from(total), 10 * i64::try_from(n).unwrap()));
            prop_assert!(!matches!(state, Firing | Pending), "{state:?}");
        }
    }
}
