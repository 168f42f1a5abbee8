//! What is put on record, and when it is over.

mod common;

use backstop_api::{
    condition::ConditionStatus,
    notification::{NotificationOutcome as Told, NotificationState, NotificationStatus},
};
use backstop_notify::{
    ValidChannel,
    health::health,
    queue::{give_up, message_of_policy, missing_for_event, next, records_of_policy},
};
use common::{at, channel, ended, event, policy, policy_that};
use serde_json::{Value, json};

fn team(spec: Value) -> Vec<ValidChannel> {
    vec![channel(common::merged(
        json!({"slack": {"secretName": "s"}}),
        spec,
    ))]
}

fn outcomes(records: &[NotificationStatus]) -> Vec<Told> {
    records.iter().map(|r| r.outcome).collect()
}

#[test]
fn each_outcome_of_a_rollback_is_put_on_record_once() {
    let (team, now) = (team(json!({})), at("12:01:03"));
    let running = event(json!({}));
    let first = missing_for_event(&running, None, &team, &[], now);
    assert_eq!(outcomes(&first), [Told::Started]);
    assert_eq!(missing_for_event(&running, None, &team, &first, now), []);
    let over = ended("Succeeded", "Recovered", "well again");
    let second = missing_for_event(&over, None, &team, &first, now);
    assert_eq!(outcomes(&second), [Told::Succeeded]);
    // Whoever was not there in between tells both.
    let both = missing_for_event(&over, None, &team, &[], now);
    assert_eq!(outcomes(&both), [Told::Started, Told::Succeeded]);
}

#[test]
fn what_nobody_put_on_record_in_time_is_no_news() {
    let over = ended("Succeeded", "Recovered", "well again");
    let late = missing_for_event(&over, None, &team(json!({})), &[], at("14:00:00"));
    assert_eq!(late, []);
}

#[test]
fn a_channel_is_told_what_it_asks_for() {
    let over = ended("Failed", "TimedOut", "too slow");
    for (spec, told) in [
        (json!({"outcomes": ["Failed"]}), vec![Told::Failed]),
        (json!({"severities": ["Warning"]}), vec![]),
        (
            json!({"categories": ["Critical"]}),
            vec![Told::Started, Told::Failed],
        ),
        (json!({"categories": ["Resource", "Security"]}), vec![]),
    ] {
        let missing = missing_for_event(&over, None, &team(spec.clone()), &[], at("12:02:00"));
        assert_eq!(outcomes(&missing), told, "{spec}");
    }
    let memory = policy(json!({"spec": {"triggers": [{
        "name": "error-rate", "category": "Resource", "condition": "value > 1", "prometheus": {"query": "a"},
    }]}}));
    let spec = json!({"categories": ["Resource"], "outcomes": ["Failed"]});
    let missing = missing_for_event(&over, Some(&memory), &team(spec), &[], at("12:02:00"));
    assert_eq!(outcomes(&missing), [Told::Failed]);
}

#[test]
fn pager_duty_is_told_what_is_urgent_and_that_it_is_over() {
    let pager = [channel(json!({"pagerDuty": {"secretName": "p"}}))];
    let good = ended("Succeeded", "Recovered", "well again");
    assert_eq!(
        missing_for_event(&good, None, &pager, &[], at("12:02:00")),
        []
    );
    let bad = ended("Failed", "TimedOut", "too slow");
    let missing = missing_for_event(&bad, None, &pager, &[], at("12:02:00"));
    assert_eq!(outcomes(&missing), [Told::Failed]);
    let spec = json!({"pagerDuty": {"secretName": "p"}, "outcomes": ["Started"]});
    let missing = missing_for_event(&good, None, &[channel(spec)], &[], at("12:02:00"));
    assert_eq!(outcomes(&missing), [Told::Started, Told::Succeeded]);
}

#[test]
fn that_a_person_has_to_act_is_told_once_and_is_over_when_it_has_been_over_for_a_while() {
    let team = team(json!({}));
    let held = policy_that("Held", "True", "NoGoodPoint", "12:00:00");
    let records = records_of_policy(&held, &team, &[], at("12:00:01"));
    let records = records.changed.expect("a record");
    assert_eq!(outcomes(&records), [Told::Held]);
    assert_eq!(records[0].reason.as_deref(), Some("NoGoodPoint"));
    let again = |policy, records: &[_], now| records_of_policy(policy, &team, records, at(now));
    assert_eq!(again(&held, &records, "12:00:02").changed, None);

    // It comes and goes.
    let over = policy_that("Monitoring", "False", "Nothing", "12:01:00");
    let soon = again(&over, &records, "12:02:00");
    assert_eq!((soon.changed, soon.again), (None, Some(at("12:06:00"))));
    let back = policy_that("Held", "True", "NoGoodPoint", "12:03:00");
    assert_eq!(again(&back, &records, "12:03:01").changed, None);

    // Another reason is news.
    let worse = policy_that("Held", "True", "Exhausted", "12:03:00");
    let both = again(&worse, &records, "12:03:02").changed.expect("news");
    assert_eq!(outcomes(&both), [Told::Held, Told::Held]);

    let settled = again(&over, &records, "12:06:00")
        .changed
        .expect("it is over");
    assert_eq!(outcomes(&settled), [Told::Held, Told::Resolved]);
    assert_eq!(again(&over, &settled, "12:06:01").changed, None);
    let incident =
        |records: &[_], of: usize| message_of_policy(&over, records, &records[of]).incident;
    assert_eq!(incident(&settled, 0), incident(&settled, 1));

    // And begins anew, while the end of the last time is still on its way.
    let anew = policy_that("Held", "True", "NoGoodPoint", "12:20:00");
    let anew_records = again(&anew, &settled, "12:20:01")
        .changed
        .expect("it begins anew");
    assert_eq!(
        outcomes(&anew_records),
        [Told::Held, Told::Resolved, Told::Held]
    );
    assert_eq!(again(&anew, &anew_records, "12:20:02").changed, None);
    assert_ne!(incident(&anew_records, 1), incident(&anew_records, 2));
}

#[test]
fn what_a_rollback_tells_is_not_told_by_the_policy_again() {
    let team = team(json!({}));
    for policy in [
        policy_that("Monitoring", "True", "TimedOut", "12:00:00"),
        policy_that("Held", "True", "NotCausedByRelease", "12:00:00"),
    ] {
        assert_eq!(
            records_of_policy(&policy, &team, &[], at("12:00:01")).changed,
            None
        );
    }
}

#[test]
fn whoever_was_not_told_that_it_began_is_not_told_that_it_is_over() {
    let held = policy_that("Held", "True", "NoGoodPoint", "12:00:00");
    let none = team(json!({"outcomes": ["Succeeded"]}));
    assert_eq!(
        records_of_policy(&held, &none, &[], at("12:00:01")).changed,
        None
    );
    let over = policy_that("Monitoring", "False", "Nothing", "12:01:00");
    assert_eq!(
        records_of_policy(&over, &none, &[], at("12:30:00")).changed,
        None
    );
}

#[test]
fn a_message_that_is_a_day_old_is_given_up() {
    let mut records = vec![NotificationStatus::waiting(
        "team".into(),
        Told::Started,
        at("12:00:00"),
    )];
    assert!(!give_up(&mut records, |_| true, at("23:59:59")));
    assert!(next(&records, "team").is_some());
    let tomorrow = "2026-11-26T12:00:01Z".parse().expect("a time");
    assert!(give_up(&mut records, |_| true, tomorrow));
    assert_eq!(records[0].state, NotificationState::GivenUp);
    assert!(next(&records, "team").is_none());
}

#[test]
fn the_condition_says_which_channel_fails_and_why_until_it_works_again() {
    let team = team(json!({}));
    let mut record = NotificationStatus::waiting("team".into(), Told::Started, at("12:00:00"));
    let says = |records: &[NotificationStatus], unusable: &[_]| {
        let records = records.iter().map(|r| ("web-1", r));
        health(&team, records, unusable).expect("there is a channel")
    };
    assert_eq!(says(&[record.clone()], &[]).reason, "NothingToTell");
    record.state = NotificationState::Retrying;
    record.error = Some("https://hooks.slack.com: HTTP 404 Not Found".to_owned());
    let failing = says(&[record.clone()], &[]);
    assert_eq!(
        (failing.status, failing.reason),
        (ConditionStatus::False, "ChannelFailing")
    );
    assert_eq!(
        failing.message,
        "channel team (slack) could not be told of web-1 Started: https://hooks.slack.com: HTTP 404 \
         Not Found; it is tried again until 2026-11-26T12:00:00Z. See its Secret and its address"
    );
    let mut later = NotificationStatus::waiting("team".into(), Told::Succeeded, at("12:01:00"));
    later.state = NotificationState::Sent;
    assert_eq!(says(&[record, later], &[]).reason, "Told");
    let unusable = [("team".to_owned(), "Secret s has no key `url`".to_owned())];
    let said = says(&[], &unusable);
    assert_eq!(
        (said.status, said.reason),
        (ConditionStatus::False, "ChannelUnusable")
    );
    assert!(
        said.message
            .ends_with("cannot be used: Secret s has no key `url`"),
        "{}",
        said.message
    );
    assert_eq!(health(&[], [], &unusable), None);
}
