//! The state machine of a trigger: when it is pending, when it fires, and what breaks the run.

mod common;

use backstop_api::{
    RollbackPolicyStatus,
    event::{EventPhase, Outcome},
    point::Verdict,
    policy::TriggerState::{self, Error, Firing, Inactive, NoData, Pending},
};
use backstop_engine::{
    policy::ValidPolicy,
    reading::{Reading, Unavailable},
    snapshot::{Observed, Snapshot},
    state::{State, TriggerMemory},
    trigger::{self, with_minimum},
};
use common::{GOOD, LIVE, answer, at, errors, event, point, policy, seen, state, value, with};
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

    /// Judges at this time on an answer that came just now.
    fn on(&mut self, answer: Observed) -> TriggerState {
        let now = answer.asked_at;
        let name = self.policy.triggers[0].name.clone();
        self.seen.readings.insert(name, answer);
        self.look(now.duration_since(at(0)).as_secs())
    }

    /// The same, where parts of a second matter.
    fn on_at(&mut self, answer: Observed) -> TriggerState {
        let now = answer.asked_at;
        let name = self.policy.triggers[0].name.clone();
        self.seen.readings.insert(name, answer);
        self.look_at(now)
    }

    /// Judges at this time on what is there.
    fn look(&mut self, now: i64) -> TriggerState {
        self.look_at(at(now))
    }

    fn look_at(&mut self, now: jiff::Timestamp) -> TriggerState {
        let workload = self.seen.workload.clone().unwrap();
        trigger::judge(&self.policy, &mut self.state, &self.seen, &workload, now);
        self.memory().state
    }

    fn memory(&self) -> &TriggerMemory {
        &self.state.triggers[&self.policy.triggers[0].name]
    }

    /// The operator is started again and knows what the status tells.
    fn restart(&mut self) {
        let status = RollbackPolicyStatus {
            release: self.state.release_status(&self.policy),
            triggers: self.state.trigger_statuses(&self.policy),
            ..RollbackPolicyStatus::default()
        };
        self.state = State::from_status(&status);
        self.seen.readings.clear();
    }
}

/// What is bad, at this time.
fn bad(asked: i64) -> Observed {
    value(0.5, asked)
}

/// What is good, at this time.
fn good(asked: i64) -> Observed {
    value(0.01, asked)
}

fn nothing(asked: i64) -> Observed {
    answer(
        Reading::NoData {
            why: "empty result".into(),
        },
        asked,
    )
}

fn unreachable(asked: i64) -> Observed {
    answer(
        Reading::Unavailable {
            reason: Unavailable::Unreachable,
            why: "connection refused".into(),
        },
        asked,
    )
}

fn stale(asked: i64) -> Observed {
    answer(
        Reading::Stale {
            at: at(asked - 600),
        },
        asked,
    )
}

#[test]
fn a_condition_must_hold_for_so_long_and_not_less() {
    let mut it = Judged::new(errors());
    assert_eq!(it.on(good(10)), Inactive);
    assert_eq!(it.on(bad(20)), Pending);
    assert_eq!(it.on(bad(30)), Pending);
    assert_eq!(it.on(bad(40)), Pending);
    assert_eq!(it.on(bad(49)), Pending, "29 s are less than 30 s");
    assert_eq!(it.on(bad(50)), Firing);
    assert_eq!(it.memory().active_since, Some(at(20)));
    assert_eq!(it.memory().since, at(50));
}

#[test]
fn without_for_the_first_bad_answer_fires() {
    let mut it = Judged::new(with(errors(), json!({"for": "0s"})));
    assert_eq!(it.on(bad(10)), Firing);
}

#[test]
fn one_good_answer_begins_the_run_anew() {
    let mut it = Judged::new(errors());
    for asked in [10, 20, 30] {
        assert_eq!(it.on(bad(asked)), Pending);
    }
    assert_eq!(it.on(good(35)), Inactive);
    assert_eq!(it.on(bad(40)), Pending);
    assert_eq!(it.on(bad(50)), Pending);
    assert_eq!(it.on(bad(60)), Pending);
    assert_eq!(it.on(bad(70)), Firing);
}

#[test]
fn time_that_passes_without_an_answer_does_not_count() {
    let mut it = Judged::new(errors());
    assert_eq!(it.on(bad(10)), Pending);
    assert_eq!(
        it.look(40),
        Pending,
        "one bad answer is one, however long ago"
    );
    assert_eq!(it.look(41), Error, "and then it is too old");
    assert!(it.memory().message.contains("the newest answer is from"));
}

#[test]
fn a_gap_of_more_than_three_intervals_begins_the_run_anew() {
    let mut it = Judged::new(errors());
    it.on(bad(10));
    assert_eq!(it.on(bad(40)), Firing, "30 s are three intervals");
    let mut it = Judged::new(errors());
    it.on(bad(10));
    assert_eq!(it.on(bad(41)), Pending);
    assert_eq!(it.memory().active_since, Some(at(41)));
}

#[test]
fn an_answer_that_cannot_be_used_begins_the_run_anew() {
    for (useless, expected) in [
        (nothing as fn(i64) -> Observed, NoData),
        (unreachable, Error),
        (stale, NoData),
    ] {
        let mut it = Judged::new(errors());
        it.on(bad(110));
        it.on(bad(120));
        assert_eq!(it.on(useless(130)), expected);
        assert_eq!(it.on(bad(140)), Pending);
        assert_eq!(it.on(bad(169)), Pending);
        assert_eq!(it.on(bad(170)), Firing);
    }
}

#[test]
fn no_data_is_what_the_policy_says() {
    for (policy, expected) in [("Hold", NoData), ("Fire", Firing), ("Ignore", Inactive)] {
        let mut it = Judged::new(with(errors(), json!({"for": "0s", "noData": policy})));
        assert_eq!(it.on(nothing(60)), expected, "{policy}");
    }
}

/// A release that has just begun has no samples yet.
#[test]
fn silence_is_news_only_a_range_after_the_first_ready_pod() {
    for policy in ["Hold", "Fire", "Ignore"] {
        let trigger = with(errors(), json!({"for": "0s", "noData": policy}));
        let mut it = Judged::new(trigger);
        assert_eq!(it.on(nothing(59)), Inactive, "{policy}");
        assert!(!it.memory().is_quiet(), "{policy}");
        it.state.release.as_mut().unwrap().first_ready_at = None;
        assert_eq!(it.on(nothing(600)), Inactive, "{policy}");
    }
}

/// Rule 5.
#[test]
fn what_is_not_an_empty_answer_never_fires_and_is_never_quiet() {
    for policy in ["Hold", "Fire", "Ignore"] {
        let no_number = value(f64::NAN, 10);
        for (answer, what) in [(unreachable(10), Error), (stale(10), NoData)] {
            let mut it = Judged::new(with(errors(), json!({"for": "0s", "noData": policy})));
            assert_eq!(it.on(answer), what, "{policy}");
            assert!(!it.memory().is_quiet());
        }
        let inverted = json!({"for": "0s", "condition": "!(value < 0.95)", "noData": "Hold"});
        let mut it = Judged::new(with(errors(), inverted));
        assert_eq!(it.on(no_number), NoData, "NaN is no evidence");
    }
}

/// Rule 5.
#[test]
fn what_cannot_be_judged_never_fires_even_where_silence_does() {
    let too_few = with_minimum(
        bad(60).reading,
        &Reading::Value {
            value: 3.0,
            at: at(60),
        },
        100.0,
    );
    let no_number = Reading::Inconclusive {
        why: "the value is NaN".into(),
    };
    for reading in [too_few, no_number, value(f64::NAN, 60).reading] {
        for (policy, expected) in [("Hold", NoData), ("Fire", NoData), ("Ignore", Inactive)] {
            let mut it = Judged::new(with(errors(), json!({"for": "0s", "noData": policy})));
            assert_eq!(
                it.on(answer(reading.clone(), 60)),
                expected,
                "{policy}: {reading:?}"
            );
        }
        let mut it = Judged::new(with(errors(), json!({"noData": "Fire"})));
        it.on(nothing(60));
        it.on(answer(reading.clone(), 70));
        assert_eq!(
            it.on(nothing(90)),
            Pending,
            "it breaks the run: {reading:?}"
        );
    }
}

/// Nobody is asked on the nanosecond.
#[test]
fn a_reading_that_comes_a_little_early_does_not_make_for_an_interval_longer() {
    let every_second = json!({"interval": "1s", "for": "2s"});
    let early = |asked: i64, by: i64| {
        let mut observed = bad(asked);
        observed.asked_at -= jiff::SignedDuration::from_millis(by);
        observed
    };
    let third = |by| {
        let mut it = Judged::new(with(errors(), every_second.clone()));
        it.on_at(bad(10));
        assert_eq!(it.on_at(early(11, by)), Pending);
        it.on_at(early(12, by))
    };
    assert_eq!(third(1), Firing);
    assert_eq!(third(100), Firing);
    assert_eq!(
        third(101),
        Pending,
        "more than a tenth of the interval is early"
    );
    let mut it = Judged::new(with(errors(), json!({"interval": "1s", "for": "50ms"})));
    assert_eq!(
        it.on_at(bad(10)),
        Pending,
        "one reading has not held for any time"
    );
}

#[test]
fn silence_must_last_for_so_long_too() {
    let mut it = Judged::new(with(errors(), json!({"noData": "Fire"})));
    assert_eq!(it.on(nothing(60)), Pending);
    assert_eq!(it.on(nothing(89)), Pending);
    assert_eq!(it.on(nothing(90)), Firing);
}

#[test]
fn an_answer_about_another_release_is_no_evidence() {
    let mut it = Judged::new(with(errors(), json!({"for": "0s"})));
    let about_another = Observed {
        release: GOOD.into(),
        ..bad(10)
    };
    assert_eq!(it.on(about_another), Inactive);
    assert!(!it.memory().is_quiet());
    assert!(it.memory().message.contains("waiting for the first answer"));
}

#[test]
fn a_query_of_the_releases_own_pods_counts_at_once() {
    let mut it = Judged::new(with(errors(), json!({"for": "0s"})));
    it.state.release.as_mut().unwrap().first_ready_at = None;
    assert_eq!(it.on(bad(10)), Firing);
}

#[test]
fn an_unscoped_query_counts_a_range_after_the_first_ready_pod() {
    let unscoped = json!({"for": "0s", "prometheus": {"query": "sum(rate(errors[1m]))"}});
    let mut it = Judged::new(with(errors(), unscoped.clone()));
    assert_eq!(it.on(bad(59)), Inactive);
    assert!(
        it.memory()
            .message
            .contains("reach back before this release")
    );
    assert!(!it.memory().is_quiet());
    assert_eq!(it.on(bad(60)), Firing);

    let mut it = Judged::new(with(errors(), unscoped));
    it.state.release.as_mut().unwrap().first_ready_at = None;
    assert_eq!(it.on(bad(600)), Inactive);
    assert!(it.memory().message.contains("first ready pod"));
}

#[test]
fn a_web_service_is_believed_at_once_only_about_a_release_that_the_question_names() {
    let asking = |url: &str| {
        json!({
            "name": "errors", "condition": "value > 0.05", "interval": "10s",
            "web": {"url": url, "jsonPath": "$.rate", "range": "1m"},
        })
    };
    let mut it = Judged::new(asking("https://a/b?of={{ release }}"));
    it.state.release.as_mut().unwrap().first_ready_at = None;
    assert_eq!(it.on(bad(10)), Firing);

    let mut it = Judged::new(asking("https://a/b?of={{ workload }}"));
    assert_eq!(it.on(bad(59)), Inactive);
    assert!(!it.memory().is_quiet());
    assert_eq!(it.on(bad(60)), Firing);
}

#[test]
fn minimum_samples_that_are_not_scoped_make_the_trigger_unscoped() {
    let minimum =
        json!({"for": "0s", "minimumSamples": {"query": "sum(rate(requests[5m]))", "atLeast": 10}});
    let mut it = Judged::new(with(errors(), minimum));
    assert_eq!(it.on(bad(299)), Inactive);
    assert_eq!(it.on(bad(300)), Firing);
}

/// Its pods have the names that they had in its life before.
#[test]
fn a_release_that_was_live_before_is_judged_a_range_after_its_first_ready_pod() {
    for verdict in [Verdict::Good, Verdict::Quarantined] {
        let mut it = Judged::new(with(errors(), json!({"for": "0s"})));
        it.seen.points.push(point(LIVE, verdict));
        assert_eq!(it.on(bad(59)), Inactive);
        assert_eq!(it.on(bad(60)), Firing);
    }
}

#[test]
fn a_restored_release_is_judged_a_range_after_its_rollout() {
    let mut it = Judged::new(with(errors(), json!({"for": "0s"})));
    it.seen.events.push(event(EventPhase::Verifying));
    let release = it.state.release.as_mut().unwrap();
    release.restored_by = Some("web-1".into());
    release.completed_at = None;
    assert_eq!(it.on(bad(600)), Inactive);
    it.state.release.as_mut().unwrap().completed_at = Some(at(610));
    assert_eq!(it.on(bad(669)), Inactive);
    assert_eq!(it.on(bad(670)), Firing);
}

#[test]
fn without_a_baseline_nothing_is_judged_against_one() {
    let against = json!({"for": "0s", "condition": "value > 3.0 * baseline"});
    let mut it = Judged::new(with(errors(), against));
    assert_eq!(it.on(bad(10)), Firing, "0.5 against 0.01");
    assert_eq!(it.memory().baseline, Some(0.01));
    it.seen.points[0].release = Some(LIVE.into());
    it.seen.points.clear();
    assert_eq!(it.on(bad(20)), NoData);
    assert!(it.memory().message.contains("no baseline yet"));
    assert!(!it.memory().is_quiet());
}

#[test]
fn a_restored_release_is_compared_with_itself_when_it_was_good() {
    let against = json!({"for": "0s", "condition": "value > 3.0 * baseline"});
    let mut it = Judged::new(with(errors(), against));
    let mut restorer = event(EventPhase::Succeeded);
    restorer.status.outcome = Some(Outcome::Recovered);
    it.seen.events.push(restorer);
    it.state.release.as_mut().unwrap().restored_by = Some("web-1".into());
    it.seen.points[0].release = Some(LIVE.into());
    assert_eq!(it.on(bad(60)), Firing);
}

#[test]
fn a_restart_keeps_the_run() {
    let mut it = Judged::new(errors());
    it.on(bad(10));
    it.on(bad(20));
    it.restart();
    assert_eq!(it.look(25), Inactive, "no answer is there yet");
    let mut it = Judged::new(errors());
    it.on(bad(10));
    it.on(bad(20));
    it.restart();
    assert_eq!(it.on(bad(30)), Pending);
    assert_eq!(it.on(bad(40)), Firing, "bad since 10");
}

#[test]
fn a_long_stop_breaks_the_run() {
    let mut it = Judged::new(errors());
    it.on(bad(10));
    it.restart();
    assert_eq!(it.on(bad(600)), Pending);
    let mut silent = Judged::new(with(errors(), json!({"noData": "Fire"})));
    silent.on(nothing(60));
    silent.restart();
    assert_eq!(
        silent.on(nothing(600)),
        Pending,
        "who knows what was between"
    );
}

#[test]
fn a_spec_that_its_controller_has_not_seen_neither_fires_nor_breaks_the_run() {
    for trigger in [errors(), cannot_start(json!({"for": "30s"}))] {
        let mut it = Judged::new(trigger);
        it.seen.workload.as_mut().unwrap().pods.crash_looping = vec!["pod web-1".into()];
        it.on(bad(10));
        it.on(bad(20));
        it.seen.workload.as_mut().unwrap().generation += 1;
        assert_eq!(it.on(bad(30)), Pending);
        assert_eq!(it.on(bad(40)), Pending, "nothing fires on what is behind");
        assert!(!it.memory().settled);
        it.seen.workload.as_mut().unwrap().observed_generation += 1;
        assert_eq!(it.on(bad(45)), Firing, "bad since 10");
        it.seen.workload.as_mut().unwrap().generation += 1;
        assert_eq!(it.on(bad(50)), Pending);
    }
}

fn cannot_start(fields: Value) -> Value {
    let trigger = json!({
        "name": "cannot-start",
        "workload": {"signals": ["CrashLoopBackOff", "ImagePullBackOff", "ProgressDeadlineExceeded"]},
    });
    with(trigger, fields)
}

#[test]
fn what_the_cluster_says_is_counted_and_told() {
    let mut it = Judged::new(cannot_start(json!({})));
    assert_eq!(it.look(10), Inactive);
    let workload = it.seen.workload.as_mut().unwrap();
    workload.pods.crash_looping = vec!["pod a exits with 1".into(), "pod b exits with 1".into()];
    workload.progress_deadline_exceeded = Some("timed out progressing".into());
    assert_eq!(it.look(11), Firing);
    let memory = it.memory();
    assert_eq!(memory.samples.back().map(|s| s.value), Some(3.0));
    assert!(
        memory.message.contains("pod a exits with 1 (and 2 more)"),
        "{}",
        memory.message
    );
    assert_eq!(memory.details.len(), 3);
}

#[test]
fn numbers_of_the_workload_are_compared() {
    for (signal, condition) in [
        ("Restarts", "value >= 5.0"),
        ("UnreadyShare", "value > 0.5"),
    ] {
        let trigger =
            json!({"name": "t", "workload": {"signals": [signal]}, "condition": condition});
        let mut it = Judged::new(trigger);
        assert_eq!(it.look(10), Inactive, "{signal}");
        let pods = &mut it.seen.workload.as_mut().unwrap().pods;
        (pods.restarts, pods.ready) = (5, 1);
        assert_eq!(it.look(11), Firing, "{signal}");
    }
}

#[test]
fn too_few_samples_are_inconclusive_and_an_unknown_number_of_them_is_unknown() {
    let number = |value| Reading::Value { value, at: at(0) };
    assert_eq!(
        with_minimum(number(0.5), &number(100.0), 100.0),
        number(0.5)
    );
    let few = with_minimum(number(0.5), &number(99.0), 100.0);
    assert!(
        matches!(&few, Reading::Inconclusive { why } if why.contains("only 99 of at least 100"))
    );
    let none = Reading::NoData {
        why: "empty".into(),
    };
    assert!(matches!(
        with_minimum(number(0.5), &none, 1.0),
        Reading::Inconclusive { .. }
    ));
    for unusable in [unreachable(0).reading, stale(0).reading] {
        assert_eq!(with_minimum(number(0.5), &unusable, 1.0), unusable);
    }
    let no_answer = unreachable(0).reading;
    assert_eq!(
        with_minimum(no_answer.clone(), &number(100.0), 1.0),
        no_answer
    );
}

#[test]
fn a_condition_that_cannot_be_evaluated_is_an_error() {
    let mut it = Judged::new(with(
        errors(),
        json!({"for": "0s", "condition": "value > (baseline > 0.0 ? 1.0 : 2.0)"}),
    ));
    assert_eq!(it.on(bad(10)), Inactive);
    it.seen.points.clear();
    assert_eq!(it.on(bad(20)), NoData, "its baseline is missing");
}

#[test]
fn only_so_many_samples_are_kept_as_evidence() {
    let mut it = Judged::new(errors());
    for asked in 1..200 {
        it.on(value(f64::from(i32::try_from(asked).unwrap()), asked));
    }
    let samples = &it.memory().samples;
    assert_eq!(samples.len(), 60);
    assert_eq!(samples.back().map(|s| s.value), Some(199.0));
}

#[test]
fn a_trigger_that_left_the_policy_is_forgotten() {
    let mut it = Judged::new(errors());
    it.on(bad(10));
    it.policy = policy(&[cannot_start(json!({}))], json!({}));
    it.look(20);
    assert_eq!(
        it.state.triggers.keys().collect::<Vec<_>>(),
        ["cannot-start"]
    );
}

/// A trigger that counts failures in a row, of these.
fn health(http: &Value) -> Value {
    json!({
        "name": "health", "probe": {"http": http, "window": "1m"}, "condition": "value >= 3",
        "interval": "10s",
    })
}

/// Safety rule 4: others may have answered at an address in the time before.
#[test]
fn pods_health_counts_at_once_and_an_addresss_a_window_after_the_first_ready_pod() {
    let three = |asked| value(3.0, asked);
    let mut pods = Judged::new(health(&json!({"port": 8080})));
    assert_eq!(pods.on(three(-5)), Firing);
    let mut address = Judged::new(health(&json!({"url": "https://web.example.com"})));
    assert_eq!(address.on(three(59)), Inactive);
    assert!(address.memory().message.contains("still reach back"));
    assert_eq!(address.on(three(60)), Firing);
}

/// A release that Backstop restored had pods before: what they used then is not looked at.
#[test]
fn what_a_restored_release_uses_counts_when_all_of_it_was_measured_after_its_rollout() {
    let trigger = json!({
        "name": "memory", "resource": {"name": "memory"}, "condition": "value > 100",
        "interval": "10s",
    });
    let mut it = Judged::new(trigger);
    it.seen.points = vec![point(LIVE, Verdict::Good)];
    assert_eq!(it.on(value(200.0, 119)), Inactive);
    assert_eq!(it.on(value(200.0, 120)), Firing);
}

#[test]
fn what_is_wrong_with_which_pod_is_said() {
    let mut it = Judged::new(health(&json!({"port": 8080})));
    let mut bad = value(3.0, 1);
    bad.details = vec!["web-a: HTTP 503".into(), "web-b: HTTP 500".into()];
    it.on(bad);
    let message = &it.memory().message;
    assert!(
        message.ends_with("holds; web-a: HTTP 503 (and 1 more)"),
        "{message}"
    );
}
