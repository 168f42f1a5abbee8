use super::*;
use serde_json::{Value, json};

fn template(source: Value) -> AlertTemplate {
    let source = serde_json::from_value(source).unwrap();
    let refuse = &mut |field: &str, value: String, problem: String| {
        panic!("{field}: '{value}' {problem}");
    };
    AlertTemplate::parse(&source, refuse).unwrap()
}

fn alert(labels: &[(&str, &str)]) -> Alert {
    let at = Timestamp::UNIX_EPOCH;
    Alert {
        labels: labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        summary: None,
        starts_at: at,
        first_heard_at: at,
        heard_at: at,
        firing: true,
        own: false,
    }
}

fn release() -> QueryContext {
    QueryContext {
        workloads: vec!["web".into(), "web-worker".into()],
        namespace: "shop".into(),
        template_hashes: vec!["7d9f8c5b6".into(), "55d4".into()],
        release: "r1".into(),
    }
}

#[test]
fn matchers_compare_as_those_of_alertmanager_do() {
    let matchers = |type_: &str, value: &str| {
        template(json!({"matchLabels": {"alertname": "A"}, "matchers": [
            {"name": "severity", "matchType": type_, "value": value},
        ]}))
    };
    let with = |severity: &str| alert(&[("alertname", "A"), ("severity", severity)]);
    let without = alert(&[("alertname", "A")]);
    for (type_, value, critical, page, none) in [
        ("=", "critical", true, false, false),
        ("!=", "critical", false, true, true),
        // Both ends are anchored, and an alternative cannot get out of that.
        ("=~", "crit", false, false, false),
        ("=~", "page|crit.*", true, true, false),
        ("=~", "|page", false, true, true),
        ("!~", "page|crit", true, false, true),
        ("=", "", false, false, true),
        ("!=", "", true, true, false),
    ] {
        let it = matchers(type_, value);
        assert_eq!(it.means(&with("critical")), critical, "{type_}{value}");
        assert_eq!(it.means(&with("page")), page, "{type_}{value}");
        assert_eq!(it.means(&without), none, "{type_}{value}");
    }
    assert!(
        !matchers("=", "critical").means(&alert(&[("alertname", "B"), ("severity", "critical")]))
    );
}

#[test]
fn an_alert_is_about_a_pod_of_the_release_or_the_workload_or_something_else() {
    let it = template(json!({"matchLabels": {"alertname": "A"}}));
    for (labels, about) in [
        (vec![("pod", "web-7d9f8c5b6-abcde")], About::Pod),
        (vec![("pod", "web-55d4-x2z9q")], About::Pod),
        (vec![("pod", "web-worker-55d4-x2z9q")], About::Pod),
        (vec![("pod", "web-66aa-x2z9q")], About::Other),
        (vec![("pod", "web-55d4")], About::Other),
        (vec![("pod", "web-55d4-")], About::Other),
        (vec![("pod", "web-55d4-x2z9q-1")], About::Other),
        (vec![("pod", "my-web-55d4-x2z9q")], About::Other),
        (vec![("deployment", "web")], About::Workload),
        (vec![("deployment", "web-worker")], About::Workload),
        (vec![("deployment", "api")], About::Other),
        // A pod says more than a Deployment does.
        (
            vec![("pod", "web-66aa-x2z9q"), ("deployment", "web")],
            About::Other,
        ),
        (vec![("pod", ""), ("deployment", "web")], About::Workload),
        (vec![], About::Other),
    ] {
        let mut all = vec![("alertname", "A"), ("namespace", "shop")];
        all.extend(labels);
        assert_eq!(it.about(&alert(&all), &release()), Ok(about), "{all:?}");
    }
}

#[test]
fn an_alert_of_another_namespace_is_about_something_else() {
    let plain = template(json!({"matchLabels": {"alertname": "A"}}));
    let falco = template(json!({
        "matchLabels": {"alertname": "A"}, "namespaceLabel": "k8s_ns_name",
    }));
    let own = |mut it: Alert| {
        it.own = true;
        it
    };
    let with = |labels: &[(&str, &str)]| {
        let mut all = vec![("alertname", "A"), ("deployment", "web")];
        all.extend(labels);
        alert(&all)
    };
    let about = |it: &AlertTemplate, alert: &Alert| it.about(alert, &release()).unwrap();
    for (it, alert, expected) in [
        (&plain, with(&[("namespace", "shop")]), About::Workload),
        (&plain, with(&[("namespace", "bank")]), About::Other),
        (&plain, own(with(&[("namespace", "bank")])), About::Other),
        (&plain, with(&[]), About::Other),
        (&plain, own(with(&[])), About::Workload),
        (&falco, with(&[("k8s_ns_name", "shop")]), About::Workload),
        (&falco, with(&[("k8s_ns_name", "bank")]), About::Other),
        (&falco, with(&[("namespace", "shop")]), About::Other),
        (
            &falco,
            with(&[("k8s_ns_name", "shop"), ("namespace", "bank")]),
            About::Other,
        ),
    ] {
        assert_eq!(about(it, &alert), expected, "{:?}", alert.labels);
    }
}

#[test]
fn pods_whose_names_are_cut_are_an_error_and_not_another_release() {
    let it = template(json!({"matchLabels": {"alertname": "A"}}));
    let long = QueryContext {
        workloads: vec!["w".repeat(60)],
        ..release()
    };
    let alert = alert(&[("alertname", "A"), ("namespace", "shop"), ("pod", "w-1")]);
    assert!(matches!(
        it.about(&alert, &long),
        Err(QueryError::PodNamesCut { .. })
    ));
}
