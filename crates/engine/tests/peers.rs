//! A bad day is told from a bad release, and not for longer than is good.

mod common;
mod life;

use backstop_api::{
    condition::{ACTION_REQUIRED, ConditionStatus, DATA_AVAILABLE},
    policy::{Phase, TriggerState},
};
use backstop_engine::decide::{Decision, NoticeKind};
use common::{GOOD, at, errors, refused, spec, with};
use life::{Life, started};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Asked about a minute, at an interval of 10 s, and must hold for 30 s.
fn compared(peers: Value) -> Value {
    let query = r#"sum(rate(errors{pod!~"{{ pods }}"}[1m]))"#;
    let peers = with(json!({"query": query}), peers);
    with(errors(), json!({"peers": peers}))
}

/// The release before had 1 % of errors, and so had its peers.
fn life(trigger: Value) -> Life {
    let mut life = Life::new(&[trigger], json!({"window": "Always"}));
    life.seen.points[0]
        .baselines
        .insert("errors/peers".into(), 0.01.into());
    life
}

/// Looks every 10 s from `from` to before `to`, at the release's and its peers' value.
fn during(life: &mut Life, from: i64, to: i64, own: f64, peers: f64) -> Option<Decision> {
    let mut last = None;
    for now in (from..to).step_by(10) {
        life.measure("errors", own, now);
        life.peers("errors", peers, now);
        last = Some(life.look(now));
    }
    last
}

fn is_held(decision: &Decision) -> bool {
    decision.say.held.as_deref() == Some("PeersAreBadToo")
}

#[test]
fn when_everything_is_bad_nothing_is_taken_back_and_a_person_is_called() {
    let mut life = life(compared(json!({})));
    during(&mut life, 100, 130, 0.3, 0.25);
    let decision = during(&mut life, 130, 140, 0.3, 0.25).unwrap();
    assert_eq!(life.is("errors"), TriggerState::Firing);
    assert!(is_held(&decision), "{:?}", decision.say);
    assert_eq!(decision.say.phase, Phase::Held);
    assert!(started(&decision).is_none());
    let action = decision
        .say
        .conditions
        .iter()
        .find(|c| c.type_ == ACTION_REQUIRED);
    let action = action.unwrap();
    assert_eq!(action.status, ConditionStatus::True);
    for figure in ["0.3", "0.25", "0.01"] {
        assert!(action.message.contains(figure), "{}", action.message);
    }
    let told = decision
        .notices
        .iter()
        .any(|n| n.reason == "RollbackHeld" && n.kind == NoticeKind::Warning);
    assert!(told, "{:?}", decision.notices);
}

#[test]
fn a_release_that_is_bad_alone_is_taken_back_in_no_more_time_than_without_peers() {
    let mut life = life(compared(json!({})));
    during(&mut life, 100, 130, 0.3, 0.01);
    let decision = during(&mut life, 130, 140, 0.3, 0.01).unwrap();
    let spec = started(&decision).unwrap();
    assert_eq!(spec.to.as_ref().unwrap().hash.as_deref(), Some(GOOD));
}

#[test]
fn a_release_that_is_far_worse_than_its_peers_is_taken_back() {
    let mut life = life(compared(json!({})));
    during(&mut life, 100, 130, 0.4, 0.1);
    assert!(started(&during(&mut life, 130, 140, 0.4, 0.1).unwrap()).is_some());
}

#[test]
fn what_counts_is_how_much_worse_they_got_and_not_how_bad_they_are() {
    let mut life = life(compared(json!({})));
    // They always were that bad.
    life.seen.points[0]
        .baselines
        .insert("errors/peers".into(), 0.25.into());
    during(&mut life, 100, 130, 0.3, 0.25);
    assert!(started(&during(&mut life, 130, 140, 0.3, 0.25).unwrap()).is_some());
}

#[test]
fn slower_peers_are_compared_in_times() {
    let relative = with(
        compared(json!({})),
        json!({"condition": "value > 1.5 * baseline"}),
    );
    for (theirs, spared) in [(1.2, false), (1.9, true)] {
        let mut life = life(relative.clone());
        life.seen.points[0]
            .baselines
            .insert("errors".into(), 0.1.into());
        life.seen.points[0]
            .baselines
            .insert("errors/peers".into(), 1.0.into());
        during(&mut life, 100, 130, 0.2, theirs);
        let decision = during(&mut life, 130, 140, 0.2, theirs).unwrap();
        assert_eq!(is_held(&decision), spared, "{theirs}");
        assert_eq!(started(&decision).is_none(), spared, "{theirs}");
    }
}

#[test]
fn where_lower_is_worse_the_peers_must_be_lower_too() {
    let conversion = with(
        compared(json!({})),
        json!({"condition": "value < 0.8 * baseline"}),
    );
    for (theirs, spared) in [(0.16, false), (0.01, false), (0.003, true)] {
        let mut life = life(conversion.clone());
        life.seen.points[0]
            .baselines
            .insert("errors".into(), 0.02.into());
        during(&mut life, 100, 130, 0.005, theirs);
        let decision = during(&mut life, 130, 140, 0.005, theirs).unwrap();
        assert_eq!(is_held(&decision), spared, "{theirs}");
    }
}

#[test]
fn a_condition_of_their_own_says_when_the_peers_are_bad() {
    for (theirs, spared) in [(0.06, false), (0.11, true)] {
        let mut life = life(compared(json!({"condition": "value > 0.1"})));
        during(&mut life, 100, 130, 0.9, theirs);
        let decision = during(&mut life, 130, 140, 0.9, theirs).unwrap();
        assert_eq!(is_held(&decision), spared, "{theirs}");
    }
}

#[test]
fn without_an_answer_about_the_peers_the_release_is_judged_alone_and_that_is_said() {
    let mut life = life(compared(json!({})));
    for now in [100, 110, 120] {
        life.measure("errors", 0.3, now);
        life.no_peers("errors", now);
        let decision = life.look(now);
        let data = decision
            .say
            .conditions
            .iter()
            .find(|c| c.type_ == DATA_AVAILABLE)
            .unwrap();
        assert_eq!(data.reason, "PeersUnknown");
        assert!(
            data.message.contains("selects no series"),
            "{}",
            data.message
        );
    }
    life.measure("errors", 0.3, 130);
    life.no_peers("errors", 130);
    assert!(started(&life.look(130)).is_some());
}

#[test]
fn when_the_peers_recover_and_the_release_does_not_it_is_taken_back() {
    let mut life = life(compared(json!({})));
    during(&mut life, 100, 400, 0.3, 0.3);
    // The range (60 s), `for` (30 s) and an interval (10 s) after 390.
    let decision = during(&mut life, 400, 490, 0.3, 0.01).unwrap();
    assert!(is_held(&decision));
    assert!(started(&during(&mut life, 490, 500, 0.3, 0.01).unwrap()).is_some());
}

#[test]
fn when_both_recover_nothing_comes_of_it() {
    let mut life = life(compared(json!({})));
    during(&mut life, 100, 400, 0.3, 0.3);
    // The release needs a little longer.
    during(&mut life, 400, 450, 0.3, 0.01);
    let decision = during(&mut life, 450, 900, 0.01, 0.01).unwrap();
    assert_eq!(life.is("errors"), TriggerState::Inactive);
    assert_eq!(decision.say.held, None);
}

#[test]
fn a_release_is_not_spared_for_longer_than_the_policy_says() {
    let mut life = life(compared(json!({"holdFor": "5m"})));
    let decision = during(&mut life, 100, 400, 0.3, 0.3).unwrap();
    assert!(is_held(&decision));
    assert!(started(&during(&mut life, 400, 410, 0.3, 0.3).unwrap()).is_some());
}

/// The bad release overloads a database that all need.
#[test]
fn a_release_that_was_bad_alone_before_its_peers_is_not_spared() {
    let slow = with(compared(json!({})), json!({"delay": "5m"}));
    let mut life = life(slow);
    during(&mut life, 100, 180, 0.3, 0.01);
    let decision = during(&mut life, 180, 300, 0.3, 0.3).unwrap();
    assert!(!is_held(&decision), "{:?}", decision.say);
    let peers = &life.memory("errors").peers;
    assert!(
        peers
            .message
            .as_ref()
            .unwrap()
            .contains("before its peers were")
    );
}

#[test]
fn silence_is_compared_with_silence() {
    let silent = with(compared(json!({})), json!({"noData": "Fire", "for": "0s"}));
    for (peers_are_silent, spared) in [(true, true), (false, false)] {
        let mut life = life(silent.clone());
        let nothing = common::answer(
            backstop_engine::reading::Reading::NoData {
                why: "empty".into(),
            },
            200,
        );
        life.read("errors", nothing);
        if peers_are_silent {
            life.no_peers("errors", 200);
        } else {
            life.peers("errors", 0.01, 200);
        }
        assert_eq!(is_held(&life.look(200)), spared);
    }
}

#[test]
fn a_new_operator_still_knows_that_the_peers_were_bad() {
    let mut life = life(compared(json!({})));
    during(&mut life, 100, 200, 0.3, 0.3);
    life.restart();
    let decision = during(&mut life, 200, 240, 0.3, 0.01).unwrap();
    assert_eq!(life.is("errors"), TriggerState::Firing);
    assert!(is_held(&decision), "{:?}", decision.say);
}

#[test]
fn what_the_peers_were_like_is_kept_with_the_point() {
    let mut life = Life::new(&[compared(json!({}))], json!({"points": {"soak": "30s"}}));
    let captured = (100..200).step_by(10).find_map(|now| {
        life.measure("errors", 0.02, now);
        life.peers("errors", 0.03, now);
        life.look(now).acts.into_iter().find_map(|act| match act {
            backstop_engine::decide::Act::Capture { baselines, .. } => Some(baselines),
            _ => None,
        })
    });
    let baselines = captured.unwrap();
    let value = |name: &str| baselines.get(name).map(|it| it.value);
    assert_eq!(value("errors"), Some(0.02));
    assert_eq!(value("errors/peers"), Some(0.03));
}

#[test]
fn the_stable_side_of_a_canary_is_compared_without_being_asked_for() {
    let trigger = json!({"name": "cannot-start", "workload": {"signals": ["ImagePullBackOff"]}});
    for (of_stable, spared) in [(0, false), (1, false), (2, true)] {
        let mut life = Life::new(std::slice::from_ref(&trigger), json!({}));
        let words = |n: usize| vec!["pod web: no registry".to_owned(); n];
        let mut stable = common::workload();
        stable.desired = 4;
        stable.pods.image_pull = words(of_stable);
        let canary = life.seen.workload.as_mut().unwrap();
        canary.tried = true;
        canary.desired = 2;
        canary.pods.image_pull = words(2);
        canary.beside = vec![stable];
        let decision = life.look(100);
        assert_eq!(is_held(&decision), spared, "{of_stable} of 4");
    }
}

#[test]
fn peers_that_cannot_work_are_refused_with_their_field() {
    for (peers, field, words) in [
        (
            json!({"query": r#"sum(errors{pod=~"{{ pods }}"})"#}),
            "peers.query",
            "limited to the release itself",
        ),
        (json!({"query": "sum("}), "peers.query", "invalid PromQL"),
        (
            json!({"query": "errors", "share": 1.5}),
            "peers.share",
            "at most 1",
        ),
        (
            json!({"query": "errors", "condition": "value >"}),
            "peers.condition",
            "no CEL",
        ),
        (
            json!({"query": "errors", "condition": "value > 1", "share": 0.5}),
            "peers.condition",
            "remove one",
        ),
    ] {
        let errors = refused(spec(&[with(errors(), json!({"peers": peers}))], json!({})));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].field, format!("spec.triggers[0].{field}"));
        assert!(errors[0].problem.contains(words), "{}", errors[0]);
    }
    let told =
        json!({"name": "x", "workload": {"signals": ["Restarts"]}, "peers": {"query": "errors"}});
    let errors = refused(spec(&[told], json!({})));
    assert!(
        errors[0].problem.contains("prometheus only"),
        "{}",
        errors[0]
    );
}

/// What release and peers measure, every 10 s.
fn measured() -> impl Strategy<Value = Vec<(f64, f64)>> {
    let value = || prop_oneof![Just(0.01), Just(0.06), Just(0.3), Just(0.9)];
    prop::collection::vec((value(), value()), 1..60)
}

proptest! {
    /// While both are as bad as each other from the beginning, no release is taken back before
    /// `holdFor` is over.
    #[test]
    fn what_happens_to_all_takes_nothing_back(values in prop::collection::vec(prop_oneof![Just(0.01), Just(0.2), Just(0.9)], 1..90)) {
        let mut life = life(compared(json!({})));
        for (index, value) in values.iter().enumerate() {
            let now = 100 + 10 * i64::try_from(index).unwrap();
            life.measure("errors", *value, now);
            life.peers("errors", *value, now);
            prop_assert!(started(&life.look(now)).is_none(), "at {now}");
        }
    }

    /// Peers only ever delay: what is taken back with them would have been without them, and what is
    /// taken back without them is with them, at the latest when `holdFor` is over.
    #[test]
    fn peers_delay_and_never_cause_a_rollback(values in measured()) {
        let mut with_peers = life(compared(json!({"holdFor": "2m"})));
        let mut without = life(errors());
        let mut began = [None, None];
        for (index, (own, theirs)) in values.iter().enumerate() {
            let now = 100 + 10 * i64::try_from(index).unwrap();
            for (life, began) in [&mut with_peers, &mut without].into_iter().zip(&mut began) {
                life.measure("errors", *own, now);
                life.peers("errors", *theirs, now);
                if started(&life.look(now)).is_some() {
                    began.get_or_insert(now);
                }
            }
        }
        prop_assert!(began[0].is_none_or(|with| began[1].is_some_and(|alone| alone <= with)));
    }

    /// However the peers do, a release that stays bad goes back when `holdFor` is over.
    #[test]
    fn a_release_that_stays_bad_goes_back_in_the_end(peers in prop::collection::vec(prop_oneof![Just(0.01), Just(0.9)], 40)) {
        let mut life = life(compared(json!({"holdFor": "2m"})));
        let mut began = None;
        for (index, theirs) in peers.iter().enumerate() {
            let now = 100 + 10 * i64::try_from(index).unwrap();
            life.measure("errors", 0.9, now);
            life.peers("errors", *theirs, now);
            if started(&life.look(now)).is_some() {
                began.get_or_insert(now);
            }
        }
        prop_assert!(began.is_some_and(|at| at <= 100 + 30 + 120 + 100 + 10), "{began:?}");
    }
}

#[test]
fn a_rollback_that_waits_for_its_delay_waits_on_while_the_peers_are_as_bad() {
    let slow = with(compared(json!({})), json!({"delay": "1m"}));
    let mut life = life(slow);
    during(&mut life, 100, 140, 0.3, 0.3);
    // Decided on before the peers were known to be bad.
    let mut event = common::event(backstop_api::event::EventPhase::Pending);
    event.spec.not_before = Some(at(150));
    life.seen.events.push(event);
    let decision = during(&mut life, 140, 200, 0.3, 0.3).unwrap();
    assert_eq!(decision.say.phase, Phase::Pending);
    assert!(
        decision.say.message.contains("as bad as the release"),
        "{}",
        decision.say.message
    );
}
