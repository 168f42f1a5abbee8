//! What a user adds to the table, and what is said of it when it cannot work.

mod common;

use backstop_traffic::{Route, Selection, Table};
use common::{patched, percent};
use serde_json::json;

const GLOO: &str = "
providers:
- name: gloo
  group: gateway.solo.io
  version: v1
  kind: RouteTable
  plural: routetables
  rules: /spec/routes/*
  ruleName: /name
  backends:
    shape: List
    at: /routeAction/multi/destinations
    name: /destination/upstream/name
    namespace: /destination/upstream/namespace
    weight: weight
";

/// What is wrong with a file, one line each.
fn wrong(file: &str) -> Vec<String> {
    let errors = Table::builtin().with_file(file).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_provider_that_is_added_works_like_one_that_was_there() {
    let table = Table::builtin().with_file(GLOO).unwrap();
    let object = json!({
        "apiVersion": "gateway.solo.io/v1", "kind": "RouteTable",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"routes": [{"name": "all", "routeAction": {"multi": {"destinations": [
            {"destination": {"upstream": {"name": "web", "namespace": "shop"}}, "weight": 9},
            {"destination": {"upstream": {"name": "canary", "namespace": "shop"}}, "weight": 1},
        ]}}}]},
    });
    let provider = table.get("gloo").unwrap();
    let route = Route::read(provider, &Selection::new("web", "canary"), &object).unwrap();
    let after = patched(&object, route.shift(percent(25)));
    let destinations = &after["spec"]["routes"][0]["routeAction"]["multi"]["destinations"];
    assert_eq!(destinations[0]["weight"], 75);
    assert_eq!(destinations[1]["weight"], 25);
}

#[test]
fn a_provider_that_is_not_there_is_answered_with_those_that_are() {
    let said = Table::builtin().get("envoy").unwrap_err().to_string();
    assert!(
        said.starts_with("there is no provider envoy; there are "),
        "{said}"
    );
    for provider in Table::builtin().iter() {
        assert!(said.contains(&provider.name), "{said}");
    }
}

#[test]
fn everything_that_is_wrong_with_an_entry_is_said_at_once() {
    let file = GLOO
        .replace("name: gloo", "name: Gloo!")
        .replace("version: v1", "version: ''")
        .replace(
            "at: /routeAction/multi/destinations",
            "at: /routeAction/*/destinations",
        )
        .replace(
            "weight: weight",
            "weight: /weight\n  weights: {maximum: 10}",
        );
    let said = wrong(&file);
    for (field, problem) in [
        ("providers[0].name: 'Gloo!'", "lower-case letters"),
        ("providers[0].version: ''", "must not be empty"),
        ("providers[0].weights.maximum: '10'", "must be 100 or more"),
        (
            "providers[0].backends.weight: '/weight'",
            "the name of one field",
        ),
        (
            "providers[0].backends.at: '/routeAction/*/destinations'",
            "may not have a '*'",
        ),
    ] {
        let is_there = said
            .iter()
            .any(|line| line.starts_with(field) && line.contains(problem));
        assert!(is_there, "{field}: {problem}: {said:#?}");
    }
    assert_eq!(said.len(), 5, "{said:#?}");
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let said = wrong(&GLOO.replace("name: gloo", "name: istio"));
    assert_eq!(
        said,
        ["providers[0].name: 'istio' is taken; choose another name"]
    );
    let twice = format!("{GLOO}{}", GLOO.replace("\nproviders:", ""));
    assert_eq!(
        wrong(&twice),
        ["providers[1].name: 'gloo' is taken; choose another name"]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_refused_in_words() {
    for (file, words) in [
        ("providers: {}", "the file"),
        ("routes: []", "unknown field `routes`"),
        (
            &GLOO.replace("plural: routetables", "plurals: x"),
            "unknown field `plurals`",
        ),
        (
            &GLOO.replace("/spec/routes/*", "spec.routes"),
            "'spec.routes' is no path",
        ),
        (
            &GLOO.replace("shape: List", "shape: Tree"),
            "unknown variant `Tree`",
        ),
    ] {
        let said = wrong(file);
        assert!(
            said.len() == 1 && said[0].contains(words),
            "{words}: {said:?}"
        );
    }
}

#[test]
fn one_number_goes_with_neither_text_nor_rules() {
    let file = "
providers:
- {name: mine, group: g, version: v1, kind: K, plural: ks, rules: /spec/rules/*,
   backends: {shape: Share, at: /weight, backend: /name}}
";
    let said = wrong(file);
    assert!(
        said.len() == 1 && said[0].contains("neither text nor rules"),
        "{said:?}"
    );
}
