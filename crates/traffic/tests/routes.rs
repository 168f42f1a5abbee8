//! Which places of a route are meant, and what is left alone.

mod common;

use backstop_traffic::{Backend, Percent, Problem, Provider, Route, Rule, Selection, Table};
use common::{apply, patched, percent};
use serde_json::{Value, json};

fn provider(name: &str) -> Provider {
    Table::builtin().get(name).unwrap().clone()
}

/// An HTTPRoute with these rules, each a name and its backends with their weights.
fn route(rules: &[(&str, &[(&str, u32)])]) -> Value {
    let rules = rules.iter().map(|(name, backends)| {
        let refs = backends
            .iter()
            .map(|(name, weight)| json!({"name": name, "port": 80, "weight": weight}));
        json!({"name": name, "backendRefs": refs.collect::<Vec<_>>()})
    });
    json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"rules": rules.collect::<Vec<_>>()},
    })
}

fn web() -> Selection {
    Selection::new("web", "canary")
}

fn problem(provider: &Provider, selection: &Selection, object: &Value) -> Problem {
    let error = Route::read(provider, selection, object).unwrap_err();
    *error.problem
}

#[test]
fn only_the_chosen_rule_is_changed() {
    let http = provider("gateway-httproute");
    let both: &[(&str, u32)] = &[("web", 1), ("canary", 1)];
    let object = route(&[("one", both), ("two", both)]);
    for rule in [Rule::Name("two".to_owned()), Rule::Number(1)] {
        let selection = web().in_rule(rule);
        let route = Route::read(&http, &selection, &object).unwrap();
        let after = patched(&object, route.shift(Percent::NONE));
        assert_eq!(after["spec"]["rules"][0], object["spec"]["rules"][0]);
        assert_eq!(after["spec"]["rules"][1]["backendRefs"][0]["weight"], 100);
    }
}

#[test]
fn rules_with_one_of_the_two_are_left_alone() {
    let object = route(&[
        ("testers", &[("canary", 1)]),
        ("split", &[("web", 9), ("canary", 1)]),
        ("admin", &[("web", 1), ("admin", 1)]),
    ]);
    let http = provider("gateway-httproute");
    let route = Route::read(&http, &web(), &object).unwrap();
    assert_eq!(route.weights().places.len(), 1);
    assert_eq!(
        route.weights().places[0].at.to_string(),
        "/spec/rules/1/backendRefs"
    );
    let after = patched(&object, route.shift(percent(50)));
    for alone in [0, 2] {
        assert_eq!(
            after["spec"]["rules"][alone],
            object["spec"]["rules"][alone]
        );
    }
}

#[test]
fn two_backends_that_can_be_the_same_are_refused() {
    let same = |stable: Backend, canary: Backend, provider: &Provider| {
        let selection = Selection::new(stable, canary);
        let found = problem(provider, &selection, &route(&[]));
        assert!(matches!(found, Problem::SameBackend { .. }), "{found}");
    };
    same("web".into(), "web".into(), &provider("gateway-httproute"));
    let istio = provider("istio");
    same("web".into(), "web.shop.svc.cluster.local".into(), &istio);
    same("web".into(), Backend::subset("web", "v2"), &istio);
    same(
        Backend::subset("web", "v2"),
        Backend::subset("web.shop", "v2"),
        &istio,
    );
}

#[test]
fn a_subset_is_refused_where_there_are_none() {
    let selection = Selection::new("web", Backend::subset("web", "v2"));
    let error = Route::read(&provider("contour"), &selection, &route(&[])).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("HTTPProxy shop/web: /spec/routes/*/services"),
        "{said}"
    );
    assert!(
        said.contains("web (subset v2) is asked for, but HTTPProxy has no subsets"),
        "{said}"
    );
}

#[test]
fn something_else_where_the_backends_should_be_is_refused() {
    let mut object = route(&[("one", &[])]);
    object["spec"]["rules"][0]["backendRefs"] = json!({"name": "web"});
    let error = Route::read(&provider("gateway-httproute"), &web(), &object).unwrap_err();
    assert_eq!(error.field, "/spec/rules/0/backendRefs");
    assert!(
        error.to_string().contains("should be a list of backends"),
        "{error}"
    );
    let none = problem(&provider("gateway-httproute"), &web(), &json!({}));
    assert_eq!(none, Problem::Nothing);
}

#[test]
fn weights_that_have_to_be_100_together_are_refused_when_they_are_not() {
    let mut hundred = provider("gateway-httproute");
    hundred.weights.sum = backstop_traffic::Sum::Hundred;
    let sum = |stable, canary| route(&[("one", &[("web", stable), ("canary", canary)])]);
    assert!(Route::read(&hundred, &web(), &sum(70, 30)).is_ok());
    let found = problem(&hundred, &web(), &sum(70, 31));
    assert_eq!(found, Problem::NotHundred { sum: 101 });
}

#[test]
fn a_place_that_is_gone_is_not_restored() {
    let http = provider("gateway-httproute");
    let both: &[(&str, u32)] = &[("web", 1), ("canary", 1)];
    let two = route(&[("one", both), ("two", both)]);
    let before = Route::read(&http, &web(), &two).unwrap().weights().clone();
    let one = route(&[("one", both)]);
    let now = Route::read(&http, &web(), &one).unwrap();
    let error = now.restore(&before).unwrap_err();
    assert_eq!(*error.problem, Problem::PlaceGone);
    assert_eq!(error.field, "/spec/rules/1/backendRefs");
}

#[test]
fn a_rule_that_is_new_is_left_as_it_is_by_restoring() {
    let http = provider("gateway-httproute");
    let read = |object: &Value| {
        Route::read(&http, &web(), object)
            .unwrap()
            .weights()
            .clone()
    };
    let before = read(&route(&[("one", &[("web", 9), ("canary", 1)])]));
    let now = route(&[
        ("one", &[("web", 0), ("canary", 100)]),
        ("two", &[("web", 3), ("canary", 4)]),
    ]);
    let back = Route::read(&http, &web(), &now)
        .unwrap()
        .restore(&before)
        .unwrap();
    let after = route(&[
        ("one", &[("web", 9), ("canary", 1)]),
        ("two", &[("web", 3), ("canary", 4)]),
    ]);
    assert_eq!(patched(&now, back), after);
}

#[test]
fn another_edit_of_the_same_text_survives_restoring() {
    let alb = provider("alb");
    let text = |weights: [u32; 2], seconds| {
        format!(
            r#"{{"forwardConfig": {{"targetGroups": [{{"serviceName": "web", "weight": {}}},
            {{"serviceName": "canary", "weight": {}}}], "seconds": {seconds}}}}}"#,
            weights[0], weights[1]
        )
    };
    let annotation = "alb.ingress.kubernetes.io/actions.web";
    let object = |text: String| json!({"metadata": {"annotations": {annotation: text}}});
    let before = object(text([9, 1], 10));
    let recorded = Route::read(&alb, &web(), &before)
        .unwrap()
        .weights()
        .clone();
    let edited = object(text([0, 100], 20));
    let back = Route::read(&alb, &web(), &edited)
        .unwrap()
        .restore(&recorded)
        .unwrap();
    let after = patched(&edited, back);
    let said = |object: &Value| -> Value {
        serde_json::from_str(
            object["metadata"]["annotations"][annotation]
                .as_str()
                .unwrap(),
        )
        .unwrap()
    };
    assert_eq!(said(&after), said(&object(text([9, 1], 20))));
}

/// The canary's Ingress of Ingress NGINX, with these annotations besides the one that marks it.
fn ingress(annotations: &[(&str, &str)]) -> Value {
    let all = annotations.iter().chain(&[("canary", "true")]);
    let all = all.map(|(name, value)| {
        let name = format!("nginx.ingress.kubernetes.io/{name}");
        (name, Value::from(*value))
    });
    json!({
        "metadata": {"annotations": Value::Object(all.collect())},
        "spec": {"rules": [{"http": {"paths": [{"backend": {"service": {"name": "canary"}}}]}}]},
    })
}

#[test]
fn a_share_that_is_not_there_is_none_and_can_be_added_and_taken_away() {
    let (nginx, object) = (provider("nginx"), ingress(&[]));
    let route = Route::read(&nginx, &web(), &object).unwrap();
    assert!(route.weights().holds(Percent::NONE));
    let after = patched(&object, route.shift(percent(25)));
    assert_eq!(after, ingress(&[("canary-weight", "25")]));
    let now = Route::read(&nginx, &web(), &after).unwrap();
    let back = now.restore(route.weights()).unwrap();
    assert_eq!(patched(&after, back), object);
}

#[test]
fn a_total_that_comes_in_between_is_noticed() {
    let (nginx, object) = (provider("nginx"), ingress(&[("canary-weight", "10")]));
    let route = Route::read(&nginx, &web(), &object).unwrap();
    let mut edited = ingress(&[("canary-weight", "10"), ("canary-weight-total", "1000")]);
    assert!(apply(&mut edited, route.shift(percent(25))).is_err());
}

#[test]
fn a_route_that_was_made_again_is_another_one() {
    let http = provider("gateway-httproute");
    let mut object = route(&[("one", &[("web", 9), ("canary", 1)])]);
    object["metadata"]["uid"] = json!("a");
    let patch = Route::read(&http, &web(), &object)
        .unwrap()
        .shift(percent(25));
    object["metadata"]["uid"] = json!("b");
    assert!(apply(&mut object, patch).is_err());
}

#[test]
fn a_weight_that_is_null_is_one_that_is_not_there() {
    let annotation = "alb.ingress.kubernetes.io/actions.web";
    let text = r#"{"forwardConfig": {"targetGroups": [{"serviceName": "web", "weight": null}, {"serviceName": "canary"}]}}"#;
    let object = json!({"metadata": {"annotations": {annotation: text}}});
    let alb = provider("alb");
    let route = Route::read(&alb, &web(), &object).unwrap();
    assert!(route.weights().holds(percent(50)));
    let after = patched(&object, route.shift(percent(25)));
    let now = Route::read(&alb, &web(), &after).unwrap();
    assert!(now.weights().holds(percent(25)));
}
