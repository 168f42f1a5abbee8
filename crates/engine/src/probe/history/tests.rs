use serde_json::{Value, json};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn well(millis: u64) -> Answer {
    Answer::Well {
        took: Duration::from_millis(millis),
    }
}

fn ill(millis: u64) -> Answer {
    Answer::Ill {
        took: Some(Duration::from_millis(millis)),
        why: "HTTP 503".into(),
    }
}

fn not_reached() -> Answer {
    Answer::NotReached {
        why: "no connection within 5s".into(),
    }
}

/// Rounds of one probe, 30 s apart.
struct Rounds {
    probe: Probe,
    history: History,
    now: i64,
    ready: bool,
    beside: bool,
    started: i64,
}

impl Rounds {
    fn of(fields: &Value) -> Self {
        let mut source = json!({"http": {"port": 8080}});
        source
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let source = serde_json::from_value(source).unwrap();
        let interval = backstop_api::Duration::from_secs(30);
        let probe = Probe::parse(
            &source,
            interval,
            &mut |field: &str, _: String, problem: String| panic!("{field} {problem}"),
        );
        Self {
            probe: probe.unwrap(),
            history: History::default(),
            now: 0,
            ready: true,
            beside: false,
            started: -3600,
        }
    }

    /// What is read after a round in which the pods answer so.
    fn round(&mut self, answers: &[Answer]) -> Reading {
        self.now += 30;
        let round = answers.iter().enumerate().map(|(index, answer)| Answered {
            name: format!("web-{index}"),
            started_at: Some(at(self.started)),
            ready: self.ready,
            answer: answer.clone(),
        });
        let round = round.collect();
        self.history
            .take(&self.probe, round, self.beside, at(self.now));
        self.history.reading(&self.probe, at(self.now))
    }

    fn value(&mut self, answers: &[Answer]) -> f64 {
        let reading = self.round(answers);
        reading.value().unwrap_or_else(|| panic!("{reading:?}"))
    }
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9, "{a} is not {b}");
}

#[test]
fn failures_are_counted_in_a_row_and_one_good_answer_ends_the_row() {
    let mut rounds = Rounds::of(&json!({}));
    for (answer, run) in [
        (ill(1), 1.0),
        (ill(1), 2.0),
        (ill(1), 3.0),
        (well(1), 0.0),
        (ill(1), 1.0),
    ] {
        close(rounds.value(&[answer]), run);
    }
}

#[test]
fn the_worst_pod_counts_unless_another_is_asked_for() {
    for (aggregate, value) in [("Max", 2.0), ("Average", 1.0), ("Min", 0.0)] {
        let mut rounds = Rounds::of(&json!({"aggregate": aggregate}));
        rounds.value(&[ill(1), well(1)]);
        close(rounds.value(&[ill(1), well(1)]), value);
    }
}

#[test]
fn a_failure_that_is_older_than_the_window_does_not_count() {
    let mut rounds = Rounds::of(&json!({"window": "1m"}));
    for run in [1.0, 2.0, 3.0, 3.0, 3.0] {
        close(rounds.value(&[ill(1)]), run);
    }
}

#[test]
fn the_failure_rate_is_the_share_of_all_results_in_the_window() {
    let mut rounds = Rounds::of(&json!({"measure": "FailureRate", "minimumResults": 4}));
    rounds.round(&[well(1), ill(1)]);
    close(rounds.value(&[well(1), well(1)]), 0.25);
    // A pod that is gone has still failed.
    close(rounds.value(&[well(1)]), 0.2);
}

#[test]
fn a_failure_rate_of_too_few_results_is_inconclusive() {
    let mut rounds = Rounds::of(&json!({"measure": "FailureRate", "minimumResults": 3}));
    for _ in 0..2 {
        let Reading::Inconclusive { why } = rounds.round(&[ill(1)]) else {
            panic!("too few results make a rate");
        };
        assert!(why.contains("of at least 3 results in 5m"), "{why}");
    }
    close(rounds.value(&[ill(1)]), 1.0);
}

#[test]
fn the_response_time_is_that_of_the_newest_answer_in_milliseconds() {
    let mut rounds = Rounds::of(&json!({"measure": "ResponseTime"}));
    rounds.round(&[well(9000), well(9000)]);
    close(rounds.value(&[well(10), ill(5001)]), 5001.0);
}

#[test]
fn a_refused_connection_has_no_response_time() {
    let mut rounds = Rounds::of(&json!({"measure": "ResponseTime"}));
    close(rounds.value(&[well(10), Answer::Refused]), 10.0);
    rounds.ready = false;
    let reading = rounds.round(&[Answer::Refused]);
    assert!(
        matches!(reading, Reading::Inconclusive { .. }),
        "{reading:?}"
    );
}

/// Safety rule 5: an operator that is cut off takes nothing back.
#[test]
fn where_nothing_can_be_connected_to_there_is_no_reading() {
    for answer in [Answer::Refused, not_reached()] {
        for measure in ["ConsecutiveFailures", "FailureRate", "ResponseTime"] {
            let mut rounds = Rounds::of(&json!({"measure": measure, "minimumResults": 1}));
            for _ in 0..5 {
                let reading = rounds.round(&[answer.clone(), answer.clone()]);
                let Reading::Unavailable { reason, why } = reading else {
                    panic!("{measure}: {reading:?}");
                };
                assert_eq!(reason, Unavailable::Unreachable);
                assert!(why.contains("NetworkPolicy"), "{why}");
            }
        }
    }
}

#[test]
fn a_refused_connection_is_a_failure_once_another_pod_can_be_connected_to() {
    let mut rounds = Rounds::of(&json!({}));
    close(rounds.value(&[Answer::Refused, well(1)]), 1.0);
    rounds.beside = true;
    close(rounds.value(&[Answer::Refused]), 2.0);
    assert_eq!(rounds.history.details(), ["web-0: refuses connections"]);
}

#[test]
fn a_pod_that_cannot_be_reached_is_a_failure_only_with_its_kubelets_word() {
    let mut rounds = Rounds::of(&json!({}));
    // Others can be reached: this one may be on a node that the operator has no way to.
    close(rounds.value(&[not_reached(), well(1)]), 0.0);
    rounds.ready = false;
    close(rounds.value(&[not_reached(), well(1)]), 1.0);
}

#[test]
fn a_round_without_a_connection_ends_the_row() {
    let mut rounds = Rounds::of(&json!({}));
    rounds.value(&[ill(1)]);
    rounds.value(&[ill(1)]);
    rounds.round(&[not_reached()]);
    close(rounds.value(&[ill(1)]), 1.0);
}

#[test]
fn a_pod_that_is_starting_may_fail_and_one_that_has_been_well_may_not() {
    let mut rounds = Rounds::of(&json!({"startup": "2m"}));
    rounds.started = 0;
    let reading = rounds.round(&[ill(1)]);
    let Reading::Inconclusive { why } = reading else {
        panic!("{reading:?}");
    };
    assert!(why.contains("may be starting for 2m"), "{why}");
    rounds.value(&[well(1)]);
    close(rounds.value(&[ill(1)]), 1.0);

    let mut never_well = Rounds::of(&json!({"startup": "2m"}));
    never_well.started = 0;
    for _ in 0..3 {
        never_well.round(&[ill(1)]);
    }
    close(never_well.value(&[ill(1)]), 1.0);
}

#[test]
fn no_pod_is_no_reading() {
    let reading = Rounds::of(&json!({})).round(&[]);
    assert!(
        matches!(reading, Reading::Inconclusive { .. }),
        "{reading:?}"
    );
}
