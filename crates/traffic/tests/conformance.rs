//! What every provider is held to, each with its own fixture.

mod common;

use std::collections::BTreeSet;

use backstop_traffic::{AllZero, Backends, Problem, Table, Weights};
use common::{Case, apply, cases, names, patched, percent};
use proptest::prelude::*;
use serde_json::{Value, json};

const SHARES: [u8; 5] = [0, 25, 50, 75, 100];

/// The numbers that stand in the places, the stable side's first.
fn written(weights: &Weights) -> Vec<[Option<u32>; 2]> {
    let places = weights.places.iter();
    places
        .map(|place| [place.stable.written, place.canary.written])
        .collect()
}

/// Whether the canary's Ingress holds the only number.
fn is_share(case: &Case) -> bool {
    matches!(case.provider().backends, Backends::Share { .. })
}

#[test]
fn every_provider_has_a_fixture_and_every_fixture_a_provider() {
    let table = Table::builtin();
    let providers: BTreeSet<_> = table.iter().map(|provider| provider.name.clone()).collect();
    assert_eq!(providers, names());
    assert_eq!(
        table.iter().count(),
        providers.len(),
        "a name is there twice"
    );
}

#[test]
fn the_providers_that_come_with_backstop_are_held_to_the_rules_for_added_ones() {
    for provider in Table::builtin().iter() {
        let mut provider = provider.clone();
        provider.name = format!("my-{}", provider.name);
        let name = provider.name.clone();
        let table = Table::builtin().with(vec![provider]).unwrap();
        assert!(table.get(&name).is_ok());
    }
}

#[test]
fn the_weights_are_read_as_they_stand() {
    for case in cases() {
        let route = case.route(&case.object);
        assert_eq!(written(route.weights()), case.found, "{}", case.name);
        if let Some(share) = case.share {
            assert!(route.weights().holds(percent(share)), "{}", case.name);
        }
    }
}

#[test]
fn every_share_is_written_read_back_and_sums_to_100() {
    for case in cases() {
        for share in SHARES {
            let object = case.shifted(share);
            let route = case.route(&object);
            let stable = (!is_share(case)).then(|| u32::from(100 - share));
            let all = vec![[stable, Some(u32::from(share))]; case.found.len()];
            assert_eq!(written(route.weights()), all, "{}: {share}", case.name);
            for place in &route.weights().places {
                assert_eq!(
                    place.stable.counts + place.canary.counts,
                    100,
                    "{}",
                    case.name
                );
            }
            assert!(route.weights().holds(percent(share)), "{}", case.name);
            assert_eq!(route.weights().percent(), percent(share), "{}", case.name);
            assert!(
                !route.weights().holds(percent(share.abs_diff(1))),
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn what_is_so_already_is_not_written_again() {
    for case in cases() {
        for share in SHARES {
            let object = case.shifted(share);
            let again = case.route(&object).shift(percent(share));
            assert!(again.is_empty(), "{}: {again:?}", case.name);
        }
        let route = case.route(&case.object);
        let again = route.restore(route.weights()).unwrap();
        assert!(again.is_empty(), "{}: {again:?}", case.name);
    }
}

/// The object with the values that the fixture says, JSON in text as what it says.
fn expected(case: &Case, mut object: Value, from_fixture: bool) -> Value {
    for (pointer, value) in &case.after25 {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let name = name.replace("~1", "/");
        let parent = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if from_fixture {
            parent.insert(name.clone(), value.clone());
        }
        let parsed = parent[&name].as_str().map(serde_json::from_str);
        if let Some(Ok(parsed)) = parsed {
            parent.insert(name, parsed);
        }
    }
    object
}

#[test]
fn nothing_but_the_weights_is_changed() {
    for case in cases() {
        let is = expected(case, case.shifted(25), false);
        let should_be = expected(case, case.object.clone(), true);
        assert_eq!(is, should_be, "{}", case.name);
    }
}

#[test]
fn a_patch_of_a_route_that_was_edited_since_is_refused_as_a_whole() {
    for case in cases() {
        let old = case.route(&case.object).shift(percent(50));
        let third = case
            .refused
            .iter()
            .find(|broken| broken.name.contains("third"));
        let mut added = case.object.clone();
        json_patch::patch(&mut added, &third.unwrap().patch).unwrap();
        for edited in [case.shifted(33), added] {
            let mut object = edited.clone();
            assert!(apply(&mut object, old.clone()).is_err(), "{}", case.name);
            assert_eq!(object, edited, "{}", case.name);
        }
    }
}

#[test]
fn restoring_gives_back_the_very_same_object() {
    for case in cases() {
        let before = case.route(&case.object).weights().clone();
        // As it comes out of a record.
        let before: Weights = serde_json::from_value(json!(before)).unwrap();
        for share in SHARES {
            let object = case.shifted(share);
            let back = case.route(&object).restore(&before).unwrap();
            assert_eq!(
                patched(&object, back),
                case.object,
                "{}: {share}",
                case.name
            );
        }
    }
}

#[test]
fn somebody_elses_later_edit_is_noticed() {
    for case in cases() {
        let object = case.shifted(25);
        let written = case.route(&object).weights().clone();
        assert_eq!(written.edited_since(&written), None, "{}", case.name);
        let edited = case.shifted(26);
        let now = case.route(&edited).weights().clone();
        let said = written.edited_since(&now).unwrap();
        assert!(
            said.contains("26:74") && said.contains("25:75"),
            "{}: {said}",
            case.name
        );
    }
}

#[test]
fn a_broken_route_is_refused_with_its_field_named() {
    for case in cases() {
        for what in ["third", "broken weight"] {
            let known = case.refused.iter().any(|broken| broken.name.contains(what));
            assert!(known, "{}: no case of a {what}", case.name);
        }
        for broken in &case.refused {
            let mut object = case.object.clone();
            json_patch::patch(&mut object, &broken.patch).unwrap();
            let error = match case.read(&object) {
                Err(error) => error,
                Ok(route) => panic!("{}: {}: {:?}", case.name, broken.name, route.weights()),
            };
            let said = error.to_string();
            let of = (&case.name, &broken.name);
            assert_eq!(error.field, broken.field, "{of:?}: {said}");
            assert!(said.contains(&broken.says), "{of:?}: {said}");
            assert_eq!(error.kind, case.provider().kind, "{of:?}");
            let name = case.object["metadata"]["name"].as_str().unwrap();
            assert_eq!(error.object, format!("shop/{name}"), "{of:?}");
        }
    }
}

/// A weight that a person could have written, in thousandths of the largest; or none.
fn weight() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        1 => Just(None),
        2 => Just(Some(0)),
        1 => Just(Some(1000)),
        4 => (0..=1000u64).prop_map(Some),
    ]
}

/// Of the largest weight as much as the cube of the part, since most weights are small in real life.
fn number(maximum: u32, part: u64) -> u32 {
    u32::try_from(u64::from(maximum) * part.pow(3) / 1_000_000_000).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn from_any_weights_any_share_can_be_set_and_taken_back(
        pairs in prop::collection::vec((weight(), weight()), 2),
        share in 0u8..=100,
    ) {
        for case in cases() {
            let provider = case.provider();
            let maximum = if is_share(case) { 100 } else { provider.weights.maximum };
            let mut start = case.route(&case.object).weights().clone();
            for (place, (stable, canary)) in start.places.iter_mut().zip(&pairs) {
                place.canary.written = canary.map(|part| number(maximum, part));
                if !is_share(case) {
                    place.stable.written = stable.map(|part| number(maximum, part));
                }
            }
            let is_map = matches!(provider.backends, Backends::Map { .. });
            let names_both = |[stable, canary]: &[Option<u32>; 2]| stable.is_some() && canary.is_some();
            if is_map && !written(&start).iter().all(names_both) {
                // There, to have no weight is not to be there.
                continue;
            }
            let patch = case.route(&case.object).restore(&start).unwrap();
            let object = patched(&case.object, patch);
            let numbers = |pair: [Option<u32>; 2]| pair.map(|w| w.unwrap_or(provider.weights.default));
            let nobody = written(&start).into_iter().any(|pair| numbers(pair) == [0, 0]);
            if nobody && !is_share(case) && provider.weights.all_zero == AllZero::Nobody {
                prop_assert_eq!(*case.read(&object).unwrap_err().problem, Problem::NobodyGetsTraffic);
                continue;
            }
            let route = case.route(&object);
            prop_assert_eq!(written(route.weights()), written(&start));
            let after = patched(&object, route.shift(percent(share)));
            let shifted = case.route(&after);
            prop_assert!(shifted.weights().holds(percent(share)));
            let back = shifted.restore(route.weights()).unwrap();
            prop_assert_eq!(&patched(&after, back), &object);
        }
    }
}
