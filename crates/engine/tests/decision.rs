//! Several triggers: which is acted on, which must agree, which takes over, and when one is well again.

mod common;
mod life;

use backstop_api::{
    event::{EventPhase, Outcome},
    policy::{Action, Phase, Severity, TriggerState},
};
use backstop_engine::decide::{Act, Decision};
use common::{at, errors, event, refused, spec, with};
use life::{Life, started};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A trigger of that name, that fires on the first bad value.
fn trigger(name: &str, fields: Value) -> Value {
    with(with(errors(), json!({"name": name, "for": "0s"})), fields)
}

fn three(votes: &Value) -> Life {
    let triggers = ["a", "b", "c"].map(|name| trigger(name, json!({})));
    Life::new(&triggers, json!({"decision": {"votes": votes}}))
}

/// Looks once, with these triggers bad.
fn look(life: &mut Life, bad: &[&str], now: i64) -> Decision {
    let names: Vec<String> = life
        .policy
        .triggers
        .iter()
        .map(|t| t.name.clone())
        .collect();
    for name in names {
        let value = if bad.contains(&name.as_str()) {
            0.5
        } else {
            0.01
        };
        life.measure(&name, value, now);
    }
    life.look(now)
}

/// What became of the rollback that is there.
fn ended(decision: &Decision) -> Option<Outcome> {
    decision.acts.iter().find_map(|act| match act {
        Act::Change(change) => change.status.outcome,
        _ => None,
    })
}

#[test]
fn without_votes_any_trigger_is_enough() {
    let mut life = three(&json!([]));
    assert_eq!(
        started(&look(&mut life, &["b"], 100))
            .unwrap()
            .evidence
            .as_ref()
            .unwrap()
            .trigger,
        "b"
    );
}

#[test]
fn a_vote_needs_as_many_as_it_says() {
    for (vote, enough) in [
        (json!({"require": "All"}), 3),
        (json!({"require": "Any"}), 1),
        (json!({"require": "AtLeast", "atLeast": 2}), 2),
        (json!({}), 3),
    ] {
        for bad in 1..=3 {
            let mut life = three(&json!([vote]));
            let decision = look(&mut life, &["a", "b", "c"][..bad], 100);
            assert_eq!(started(&decision).is_some(), bad >= enough, "{vote}: {bad}");
            if bad < enough {
                assert_eq!(decision.say.held.as_deref(), Some("NotEnoughVotes"));
                let words = format!("{bad} of {enough} triggers that must agree fire");
                assert!(
                    decision.say.message.contains(&words),
                    "{}",
                    decision.say.message
                );
            }
        }
    }
}

#[test]
fn who_has_no_vote_acts_alone() {
    let mut life = three(&json!([{"triggers": ["a", "b"], "require": "All"}]));
    assert!(started(&look(&mut life, &["a"], 100)).is_none());
    let decision = look(&mut life, &["a", "c"], 110);
    assert_eq!(
        started(&decision)
            .unwrap()
            .evidence
            .as_ref()
            .unwrap()
            .trigger,
        "c"
    );
}

#[test]
fn a_vote_may_be_of_all_triggers_of_a_severity() {
    let warning = |name| trigger(name, json!({"severity": "Warning"}));
    let triggers = [warning("a"), warning("b"), trigger("c", json!({}))];
    let votes = json!({"decision": {"votes": [{"severity": "Warning"}]}});
    let mut life = Life::new(&triggers, votes);
    assert!(started(&look(&mut life, &["a"], 100)).is_none());
    assert!(started(&look(&mut life, &["a", "b"], 110)).is_some());
}

#[test]
fn a_voter_without_data_is_no_voice_for_a_rollback() {
    let mut life = three(&json!([{"require": "AtLeast", "atLeast": 3}]));
    look(&mut life, &["a", "b", "c"], 100);
    life.seen.readings.remove("c");
    life.measure("a", 0.5, 150);
    life.measure("b", 0.5, 150);
    let decision = life.look(150);
    assert!(started(&decision).is_none());
    assert!(
        decision.say.message.contains("2 of 3"),
        "{}",
        decision.say.message
    );
}

#[test]
fn a_rollback_that_waits_is_called_off_when_too_many_voters_are_quiet() {
    let mut life = three(&json!([{"require": "AtLeast", "atLeast": 2}]));
    let mut waiting = event(EventPhase::Pending);
    waiting.spec.evidence.as_mut().unwrap().trigger = "a".into();
    waiting.spec.not_before = Some(at(1000));
    life.seen.events.push(waiting);
    assert_eq!(ended(&look(&mut life, &["a", "b"], 100)), None);
    assert_eq!(
        ended(&look(&mut life, &["a"], 110)),
        Some(Outcome::RecoveredBeforeActing)
    );
}

#[test]
fn votes_that_cannot_be_counted_are_refused_with_their_field() {
    let triggers = [
        trigger("a", json!({})),
        trigger("b", json!({"action": "Notify"})),
        trigger("c", json!({})),
    ];
    for (votes, field, words) in [
        (
            json!([{"triggers": ["a", "x"]}]),
            "[0].triggers",
            "is no trigger of this policy",
        ),
        (
            json!([{"triggers": ["b"]}]),
            "[0].triggers",
            "takes no release back",
        ),
        (
            json!([{"triggers": ["a"]}, {"triggers": ["a"]}]),
            "[1].triggers",
            "in another vote",
        ),
        (
            json!([{"require": "AtLeast", "atLeast": 3}]),
            "[0].atLeast",
            "must be from 1 to 2",
        ),
        (json!([{"require": "AtLeast"}]), "[0].atLeast", "is missing"),
        (
            json!([{"require": "All", "atLeast": 1}]),
            "[0].atLeast",
            "remove it",
        ),
        (
            json!([{"severity": "Warning"}]),
            "[0]",
            "no trigger that takes releases back",
        ),
    ] {
        let wrong = refused(spec(&triggers, json!({"decision": {"votes": votes}})));
        assert!(
            wrong
                .iter()
                .any(|e| e.field == format!("spec.decision.votes{field}")
                    && e.problem.contains(words)),
            "{votes}: {wrong:?}"
        );
    }
}

#[test]
fn the_evidence_names_every_trigger_that_fires() {
    let triggers = [
        trigger("slow", json!({"severity": "Warning"})),
        trigger("errors", json!({})),
        trigger("told", json!({"action": "Notify"})),
        trigger("quiet", json!({})),
    ];
    let mut life = Life::new(&triggers, json!({}));
    let decision = look(&mut life, &["slow", "errors", "told"], 100);
    let evidence = started(&decision).unwrap().evidence.clone().unwrap();
    assert_eq!(evidence.trigger, "errors");
    let also: Vec<_> = evidence
        .also_firing
        .iter()
        .map(|a| (a.trigger.as_str(), a.severity))
        .collect();
    assert_eq!(
        also,
        [("slow", Severity::Warning), ("told", Severity::Critical)]
    );
    assert!(evidence.also_firing[0].message.contains("value = 0.5"));
}

/// A Warning asked for the rollback that waits until 1000 s.
fn warned(critical: Value) -> Life {
    let triggers = [
        trigger("slow", json!({"severity": "Warning", "delay": "15m"})),
        trigger("errors", critical),
    ];
    let mut life = Life::new(&triggers, json!({}));
    let mut waiting = event(EventPhase::Pending);
    let evidence = waiting.spec.evidence.as_mut().unwrap();
    evidence.trigger = "slow".into();
    evidence.severity = Severity::Warning;
    waiting.spec.action = Some(Action::GradualRollback);
    waiting.spec.not_before = Some(at(1000));
    life.seen.events.push(waiting);
    life
}

#[test]
fn a_critical_trigger_takes_over_from_a_warning_that_waits() {
    let mut life = warned(json!({}));
    assert_eq!(ended(&look(&mut life, &["slow"], 100)), None);
    let decision = look(&mut life, &["slow", "errors"], 110);
    assert_eq!(ended(&decision), Some(Outcome::TakenOver));
    for act in decision.acts {
        if let Act::Change(change) = act {
            life.seen.events[0].status = change.status;
        }
    }
    let decision = look(&mut life, &["slow", "errors"], 111);
    let spec = started(&decision).unwrap();
    assert_eq!(spec.evidence.as_ref().unwrap().trigger, "errors");
    assert_eq!(spec.action, Some(Action::Rollback));
    assert_eq!(spec.not_before, Some(at(110)), "the delay is its own");
    assert_eq!(spec.attempt, 1, "the first one changed nothing");
}

#[test]
fn a_critical_trigger_that_would_act_later_takes_nothing_over() {
    let mut life = warned(json!({"delay": "20m"}));
    assert_eq!(ended(&look(&mut life, &["slow", "errors"], 110)), None);
}

#[test]
fn a_critical_trigger_that_may_not_act_takes_nothing_over() {
    let mut life = warned(json!({"action": "Notify"}));
    assert_eq!(ended(&look(&mut life, &["slow", "errors"], 110)), None);
    let mut life = warned(json!({}));
    life.seen.workload.as_mut().unwrap().overridden = Some("Anna".into());
    assert_ne!(
        ended(&look(&mut life, &["slow", "errors"], 110)),
        Some(Outcome::TakenOver)
    );
}

#[test]
fn a_rollback_that_a_critical_trigger_asked_for_is_not_taken_over() {
    let triggers = [
        trigger("first", json!({"delay": "15m"})),
        trigger("second", json!({})),
    ];
    let mut life = Life::new(&triggers, json!({}));
    let mut waiting = event(EventPhase::Pending);
    waiting.spec.evidence.as_mut().unwrap().trigger = "first".into();
    waiting.spec.not_before = Some(at(1000));
    life.seen.events.push(waiting);
    assert_eq!(ended(&look(&mut life, &["first", "second"], 110)), None);
}

fn keeps(fields: Value) -> Life {
    Life::new(&[trigger("errors", fields)], json!({}))
}

#[test]
fn a_trigger_fires_on_until_it_has_been_well_for_long_enough() {
    let mut life = keeps(json!({"keepFiringFor": "30s"}));
    look(&mut life, &["errors"], 100);
    for now in [110, 120, 130] {
        look(&mut life, &[], now);
        assert_eq!(life.is("errors"), TriggerState::Firing, "at {now}");
    }
    look(&mut life, &["errors"], 135);
    assert_eq!(
        life.memory("errors").since,
        at(100),
        "it is the same firing"
    );
    for now in [140, 150, 160] {
        look(&mut life, &[], now);
        assert_eq!(life.is("errors"), TriggerState::Firing, "at {now}");
    }
    look(&mut life, &[], 170);
    assert_eq!(life.is("errors"), TriggerState::Inactive);
}

#[test]
fn a_trigger_fires_on_until_its_recovery_holds() {
    let mut life = keeps(json!({"recovery": "value < 0.02"}));
    look(&mut life, &["errors"], 100);
    life.measure("errors", 0.03, 110);
    life.look(110);
    assert_eq!(life.is("errors"), TriggerState::Firing);
    life.measure("errors", 0.01, 120);
    life.look(120);
    assert_eq!(life.is("errors"), TriggerState::Inactive);
    // From quiet it is the condition that counts.
    life.measure("errors", 0.03, 130);
    life.look(130);
    assert_eq!(life.is("errors"), TriggerState::Inactive);
}

#[test]
fn recovery_must_hold_for_as_long_as_it_keeps_firing() {
    let mut life = keeps(json!({"recovery": "value < 0.02", "keepFiringFor": "20s"}));
    look(&mut life, &["errors"], 100);
    for (value, now) in [(0.01, 110), (0.03, 120), (0.01, 130), (0.01, 140)] {
        life.measure("errors", value, now);
        life.look(now);
        assert_eq!(life.is("errors"), TriggerState::Firing, "at {now}");
    }
    life.measure("errors", 0.01, 150);
    life.look(150);
    assert_eq!(life.is("errors"), TriggerState::Inactive);
}

#[test]
fn no_data_never_keeps_a_trigger_firing() {
    let mut life = keeps(json!({"keepFiringFor": "10m"}));
    look(&mut life, &["errors"], 100);
    look(&mut life, &[], 110);
    life.read(
        "errors",
        common::answer(
            backstop_engine::reading::Reading::NoData {
                why: "empty".into(),
            },
            120,
        ),
    );
    life.look(120);
    assert_eq!(life.is("errors"), TriggerState::NoData);
}

#[test]
fn nothing_is_begun_on_a_condition_that_does_not_hold_now() {
    let mut life = keeps(json!({"keepFiringFor": "5m"}));
    life.seen.workload.as_mut().unwrap().overridden = Some("Anna".into());
    look(&mut life, &["errors"], 100);
    life.seen.workload.as_mut().unwrap().overridden = None;
    let decision = look(&mut life, &[], 110);
    assert_eq!(decision.say.held.as_deref(), Some("Recovering"));
    assert_eq!(decision.say.phase, Phase::Held);
    assert!(started(&look(&mut life, &["errors"], 120)).is_some());
}

#[test]
fn a_rollback_that_waits_is_neither_begun_nor_called_off_while_its_trigger_recovers() {
    let mut life = keeps(json!({"keepFiringFor": "30s", "delay": "20s"}));
    life.seen.events.push(event(EventPhase::Pending));
    look(&mut life, &["errors"], 100);
    for now in [110, 130] {
        let decision = look(&mut life, &[], now);
        assert_eq!(ended(&decision), None, "at {now}");
        assert_eq!(decision.say.phase, Phase::Pending);
    }
    assert_eq!(
        ended(&look(&mut life, &[], 140)),
        Some(Outcome::RecoveredBeforeActing)
    );
}

#[test]
fn a_new_operator_goes_on_counting_how_long_it_has_been_well() {
    let mut life = keeps(json!({"keepFiringFor": "30s"}));
    look(&mut life, &["errors"], 100);
    look(&mut life, &[], 110);
    life.restart();
    look(&mut life, &[], 130);
    assert_eq!(life.is("errors"), TriggerState::Firing);
    look(&mut life, &[], 140);
    assert_eq!(life.is("errors"), TriggerState::Inactive);
}

/// A container that crashes runs for a moment between its crashes.
#[test]
fn a_moment_between_two_crashes_does_not_begin_the_run_anew() {
    let crashes =
        |for_| json!({"name": "crash", "workload": {"signals": ["CrashLoopBackOff"]}, "for": for_});
    let mut life = Life::new(&[crashes("60s")], json!({}));
    let mut seen = |down: bool, now: i64| {
        life.seen.workload.as_mut().unwrap().pods.crash_looping = if down {
            vec!["pod web-1".into()]
        } else {
            Vec::new()
        };
        life.look(now);
        life.is("crash")
    };
    assert_eq!(seen(true, 100), TriggerState::Pending);
    assert_eq!(seen(false, 110), TriggerState::Pending);
    assert_eq!(seen(true, 115), TriggerState::Pending);
    assert_eq!(seen(false, 150), TriggerState::Pending);
    assert_eq!(
        seen(true, 160),
        TriggerState::Firing,
        "60 s after the first crash"
    );
}

#[test]
fn a_container_that_runs_on_begins_the_run_anew() {
    let crashes =
        json!({"name": "crash", "workload": {"signals": ["CrashLoopBackOff"]}, "for": "60s"});
    let mut life = Life::new(&[crashes], json!({}));
    life.seen.workload.as_mut().unwrap().pods.crash_looping = vec!["pod web-1".into()];
    life.look(100);
    life.seen
        .workload
        .as_mut()
        .unwrap()
        .pods
        .crash_looping
        .clear();
    let decision = life.look(110);
    assert_eq!(
        decision.wake_at,
        Some(at(125)),
        "looked at again when it is well"
    );
    life.look(125);
    assert_eq!(life.is("crash"), TriggerState::Inactive);
}

proptest! {
    /// A vote is never carried by fewer triggers than it needs, whatever they are and do.
    #[test]
    fn no_rollback_begins_with_fewer_votes_than_needed(
        needed in 1usize..=3,
        looks in prop::collection::vec(prop::collection::vec(any::<bool>(), 3), 1..30),
    ) {
        let mut life = three(&json!([{"require": "AtLeast", "atLeast": needed}]));
        for (index, bad) in looks.iter().enumerate() {
            let names: Vec<&str> = ["a", "b", "c"].into_iter().zip(bad).filter(|(_, b)| **b).map(|(n, _)| n).collect();
            let decision = look(&mut life, &names, 100 + 10 * i64::try_from(index).unwrap());
            prop_assert_eq!(started(&decision).is_some(), names.len() >= needed, "{:?}", names);
        }
    }

    /// Nothing is begun at a moment at which the condition does not hold, however long it fires on.
    #[test]
    fn whatever_fires_on_begins_nothing_unless_its_condition_holds(
        keep in 0u32..120,
        looks in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let mut life = keeps(json!({"keepFiringFor": format!("{keep}s")}));
        for (index, bad) in looks.iter().enumerate() {
            let names: &[&str] = if *bad { &["errors"] } else { &[] };
            let decision = look(&mut life, names, 100 + 10 * i64::try_from(index).unwrap());
            prop_assert_eq!(started(&decision).is_some(), *bad);
        }
    }
}
