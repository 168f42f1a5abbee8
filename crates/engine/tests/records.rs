//! What the status keeps: the score, the verdict at the end of the window, and what happened each day.

mod common;
mod life;

use backstop_api::{
    condition::{ConditionStatus, MONITORED},
    event::{EventPhase, Outcome},
    policy::{Monitored, ScoreAt, Trend},
};
use backstop_engine::{
    decide::{Decision, NoticeKind},
    reading::Reading,
    score::HISTORY_KEPT,
    snapshot::Event,
};
use common::{GOOD, LIVE, answer, at, errors, event, with};
use life::Life;
use proptest::prelude::*;
use serde_json::{Value, json};

fn trigger(name: &str, fields: Value) -> Value {
    with(with(errors(), json!({"name": name, "for": "0s"})), fields)
}

fn two() -> Life {
    let triggers = [
        trigger("errors", json!({})),
        trigger("slow", json!({"severity": "Warning"})),
    ];
    // Nothing to go back to: what fires is held, and goes on firing.
    let mut life = Life::new(&triggers, json!({}));
    life.seen.points.clear();
    life
}

fn nothing(now: i64) -> backstop_engine::snapshot::Observed {
    answer(
        Reading::NoData {
            why: "empty".into(),
        },
        now,
    )
}

#[test]
fn the_score_is_what_is_left_of_100() {
    for (errors, slow, available, score) in [
        (0.01, 0.01, 3, 100),
        (0.5, 0.01, 3, 50),
        (0.01, 0.5, 3, 80),
        (0.5, 0.5, 3, 30),
        (0.5, 0.5, 0, 0),
        (0.01, 0.01, 0, 50),
        (0.01, 0.01, 2, 83),
    ] {
        let mut life = two();
        life.measure("errors", errors, 100);
        life.measure("slow", slow, 100);
        life.seen.workload.as_mut().unwrap().available = available;
        assert_eq!(
            life.look(100).say.score.value,
            Some(score),
            "{errors} {slow} {available}"
        );
    }
}

#[test]
fn what_is_pending_counts_half() {
    let mut life = Life::new(&[trigger("errors", json!({"for": "1m"}))], json!({}));
    life.measure("errors", 0.5, 100);
    assert_eq!(life.look(100).say.score.value, Some(75));
}

#[test]
fn no_data_is_said_and_is_no_good_sign() {
    let mut life = two();
    life.read("errors", nothing(200));
    life.measure("slow", 0.5, 200);
    let score = life.look(200).say.score;
    assert_eq!(score.value, Some(80));
    assert!(
        score.message.contains("not judged, so not in it: errors"),
        "{}",
        score.message
    );
    life.read("errors", nothing(210));
    life.read("slow", nothing(210));
    let score = life.look(210).say.score;
    assert_eq!((score.value, score.trend), (None, None));
    assert_eq!(score.message, "no trigger can be judged");
}

#[test]
fn the_history_has_changes_alone_and_of_each_minute_the_lowest() {
    let mut life = two();
    // 1_700_000_000 is 20 s after a full minute.
    for (value, now) in [
        (0.01, 100),
        (0.5, 110),
        (0.01, 120),
        (0.01, 180),
        (0.01, 300),
        (0.5, 400),
    ] {
        life.measure("errors", value, now);
        life.measure("slow", 0.01, now);
        life.look(now);
    }
    let scores: Vec<_> = life.state.scores.iter().map(|s| s.score).collect();
    assert_eq!(scores, [50, 100, 50]);
    let times: Vec<_> = life.state.scores.iter().map(|s| s.at).collect();
    assert_eq!(times, [at(100), at(160), at(400)]);
}

#[test]
fn the_trend_is_against_ten_minutes_ago() {
    for (before, now, trend) in [
        (0.5, 0.01, Trend::Better),
        (0.01, 0.5, Trend::Worse),
        (0.01, 0.01, Trend::Steady),
    ] {
        let mut life = two();
        for (value, when) in [(before, 100), (now, 800)] {
            life.measure("errors", value, when);
            life.measure("slow", 0.01, when);
            life.look(when);
        }
        assert_eq!(life.look(800).say.score.trend, Some(trend));
    }
}

proptest! {
    #[test]
    fn the_history_is_bounded_and_in_order(values in prop::collection::vec((0.0..1.0f64, 1i64..400), 1..300)) {
        let mut life = two();
        let mut now = 100;
        for (value, step) in values {
            now += step;
            life.measure("errors", value, now);
            life.measure("slow", value * 0.1, now);
            let score = life.look(now).say.score.value.unwrap();
            prop_assert!(score <= 100);
        }
        let scores: Vec<ScoreAt> = life.state.scores.iter().copied().collect();
        prop_assert!(scores.len() <= HISTORY_KEPT);
        prop_assert!(scores.windows(2).all(|w| w[0].at < w[1].at));
    }
}

/// Looks every minute until after the window of ten minutes, which began at 0.
fn through_the_window(life: &mut Life, read: impl Fn(&mut Life, i64)) -> Vec<Decision> {
    (60..=660)
        .step_by(60)
        .map(|now| {
            read(life, now);
            life.look(now)
        })
        .collect()
}

fn about_monitoring(decision: &Decision) -> (ConditionStatus, &str, &str) {
    let said = decision
        .say
        .conditions
        .iter()
        .find(|c| c.type_ == MONITORED)
        .unwrap();
    (said.status, &said.reason, &said.message)
}

#[test]
fn a_release_that_is_well_has_passed_when_its_window_ends_and_that_is_told_once() {
    let mut life = two();
    let decisions = through_the_window(&mut life, |life, now| {
        life.measure(
            "errors",
            0.01 + 0.0001 * f64::from(i32::try_from(now).unwrap() / 60),
            now,
        );
        life.measure("slow", 0.02, now);
    });
    assert_eq!(about_monitoring(&decisions[0]).1, "Monitoring");
    let last = decisions.last().unwrap();
    let (status, reason, message) = about_monitoring(last);
    assert_eq!((status, reason), (ConditionStatus::True, "Passed"));
    assert!(
        message.contains("monitored for 10m0s after its rollout, passed"),
        "{message}"
    );
    assert!(message.contains("errors 0.0101 to 0.011"), "{message}");
    assert!(message.contains("slow 0.02"), "{message}");
    let told: Vec<_> = decisions
        .iter()
        .flat_map(|d| &d.notices)
        .filter(|n| n.reason == "ReleaseMonitored")
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].kind, NoticeKind::Normal);
    // What comes later is not the window's.
    life.measure("errors", 0.5, 700);
    assert_eq!(about_monitoring(&life.look(700)).1, "Passed");
    let kept = life.state.release.as_ref().unwrap().verdict.clone();
    life.restart();
    life.measure("errors", 0.01, 710);
    life.look(710);
    assert_eq!(life.state.release.as_ref().unwrap().verdict, kept);
}

#[test]
fn what_had_no_data_is_not_said_to_have_passed() {
    let mut life = two();
    let decisions = through_the_window(&mut life, |life, now| {
        life.read("errors", nothing(now));
        life.measure("slow", 0.01, now);
    });
    let (status, reason, message) = about_monitoring(decisions.last().unwrap());
    assert_eq!((status, reason), (ConditionStatus::Unknown, "PartlyJudged"));
    assert!(
        message.contains("not judged for want of data by errors"),
        "{message}"
    );

    let mut life = two();
    let decisions = through_the_window(&mut life, |life, now| {
        life.read("errors", nothing(now));
        life.read("slow", nothing(now));
    });
    let (status, reason, message) = about_monitoring(decisions.last().unwrap());
    assert_eq!((status, reason), (ConditionStatus::Unknown, "NotJudged"));
    assert!(message.contains("no trigger had data"), "{message}");
    let told = decisions.iter().flat_map(|d| &d.notices);
    assert_eq!(told.filter(|n| n.reason == "ReleaseNotJudged").count(), 1);
}

#[test]
fn what_is_bad_at_the_end_of_the_window_has_not_passed() {
    let mut life = two();
    let decisions = through_the_window(&mut life, |life, now| {
        life.measure("errors", if now > 500 { 0.5 } else { 0.01 }, now);
        life.measure("slow", 0.01, now);
    });
    let (status, reason, message) = about_monitoring(decisions.last().unwrap());
    assert_eq!((status, reason), (ConditionStatus::False, "Failing"));
    assert!(message.contains("still bad by errors"), "{message}");
}

#[test]
fn a_release_whose_window_was_over_when_it_was_first_seen_was_watched_by_nobody() {
    let mut life = two();
    life.state.release = None;
    life.seen.workload.as_mut().unwrap().rollout_completed_at = Some(at(-7200));
    life.measure("errors", 0.01, 100);
    life.measure("slow", 0.01, 100);
    let decision = life.look(100);
    let verdict = life
        .state
        .release
        .as_ref()
        .unwrap()
        .verdict
        .clone()
        .unwrap();
    assert_eq!(verdict.result, Monitored::NotJudged);
    assert!(
        decision
            .notices
            .iter()
            .all(|n| !n.reason.starts_with("Release"))
    );
}

/// A rollback of that number, that was begun and ended then.
fn rollback(number: i64, begun: i64, phase: EventPhase, outcome: Outcome) -> Event {
    let mut event = event(phase);
    event.name = format!("web-{number}");
    event.uid = format!("event-{number}");
    event.created = at(begun);
    event.status.outcome = Some(outcome);
    event.status.times.decided = Some(at(begun));
    event.status.times.first_write = Some(at(begun + 1));
    event.status.times.ended = Some(at(begun + 20));
    event
}

#[test]
fn a_new_release_is_counted_once_and_a_restored_one_never() {
    let mut life = two();
    life.look(100);
    assert_eq!(
        life.today().releases,
        0,
        "what was there first is not counted"
    );
    life.seen.workload.as_mut().unwrap().release = "0ther0ther0ther0".into();
    life.look(110);
    life.look(120);
    assert_eq!(life.today().releases, 1);
    // Backstop puts the good one back; its template is seen before the event is.
    let mut event = event(EventPhase::Executing);
    event.status.from.as_mut().unwrap().hash = "0ther0ther0ther0".into();
    life.seen.events.push(event);
    life.seen.workload.as_mut().unwrap().release = GOOD.into();
    life.look(130);
    assert_eq!(life.today().releases, 1);
    life.restart();
    life.look(140);
    assert_eq!(life.today().releases, 1);
}

#[test]
fn rollbacks_are_counted_by_how_they_ended() {
    let mut life = two();
    life.seen.events = vec![
        rollback(1, 10, EventPhase::Succeeded, Outcome::Recovered),
        rollback(2, 40, EventPhase::Failed, Outcome::TimedOut),
    ];
    life.look(100);
    let mut observed = event(EventPhase::Cancelled);
    observed.status.outcome = Some(Outcome::ObserveOnly);
    observed.status.times.ended = Some(at(105));
    life.seen.events.push(observed);
    life.look(110);
    life.restart();
    life.look(120);
    let today = life.today();
    assert_eq!(
        (
            today.rollbacks,
            today.succeeded,
            today.failed,
            today.observed
        ),
        (2, 1, 1, 1)
    );
}

#[test]
fn a_rollback_that_a_person_must_see_to_is_counted_when_it_begins_to_be_held() {
    let mut life = two();
    for now in [100, 110, 120] {
        life.measure("errors", 0.5, now);
        life.look(now);
    }
    assert_eq!(life.state.held.as_deref(), Some("NoGoodPoint"));
    assert_eq!(life.today().held, 1);
}

#[test]
fn days_are_utc_and_31_are_kept() {
    let mut life = two();
    let day = 86_400;
    for number in 0..40 {
        let begun = number * day + 100;
        let event = rollback(number, begun, EventPhase::Succeeded, Outcome::Recovered);
        life.seen.events.push(event);
        life.look(begun + 50);
    }
    assert_eq!(life.state.daily.len(), 31);
    assert!(
        life.state
            .daily
            .iter()
            .all(|d| (d.rollbacks, d.succeeded) == (1, 1))
    );
    // 1_700_000_000 is 2023-11-14, 22:13:20 UTC.
    assert_eq!(life.today().date, "2023-12-23");
}

proptest! {
    /// Whatever is lost or done twice, a rollback is counted once: an operator that is killed before
    /// its status is written knows nothing of what it counted.
    #[test]
    fn nothing_is_counted_twice_and_nothing_is_lost(
        steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0usize..3), 1..25),
    ) {
        let mut life = two();
        life.look(50);
        let (mut rollbacks, mut releases, mut now) = (0, 0, 100);
        for (index, (written, restarted, what)) in steps.into_iter().enumerate() {
            now += 100;
            match what {
                0 => {
                    rollbacks += 1;
                    let number = i64::try_from(index).unwrap();
                    let event = rollback(number, now - 50, EventPhase::Succeeded, Outcome::Recovered);
                    life.seen.events.push(event);
                }
                1 => {
                    releases += 1;
                    life.seen.workload.as_mut().unwrap().release = format!("release-{index}");
                }
                _ => {}
            }
            let before = life.state.clone();
            life.look(now);
            if !written {
                // The write was lost, and it is decided again on what was known before.
                life.state = before;
                life.look(now + 1);
            }
            if restarted {
                life.restart();
            }
        }
        let total = |of: fn(&backstop_api::policy::DailyCounts) -> u32| life.state.daily.iter().map(of).sum::<u32>();
        prop_assert_eq!(total(|d| d.rollbacks), rollbacks);
        prop_assert_eq!(total(|d| d.succeeded), rollbacks);
        prop_assert_eq!(total(|d| d.releases), releases);
        prop_assert_eq!(life.seen.workload.as_ref().unwrap().release.as_str() == LIVE, releases == 0);
    }
}
