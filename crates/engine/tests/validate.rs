//! What is wrong with a policy is said: the field, what stands there, and what would be right.

mod common;

use backstop_api::policy::{Action, StrategyType};
use backstop_engine::policy::Source;
use common::{errors, policy, refused, spec, with};
use serde_json::{Value, json};

/// The one thing that is wrong names the field, the value and a way out.
fn says(spec: Value, field: &str, value: &str, way_out: &str) {
    let errors = refused(spec);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let error = &errors[0];
    assert_eq!(error.field, field);
    assert!(error.value.contains(value), "{error}");
    assert!(error.problem.contains(way_out), "{error}");
    let text = error.to_string();
    assert!(text.contains(field) && text.contains(value), "{text}");
}

/// A policy whose one trigger has these fields.
fn trigger(fields: Value) -> Value {
    spec(&[with(errors(), fields)], json!({}))
}

/// Fields of a policy whose strategy names its Deployments itself.
fn own(type_: &str, name: &str, parameters: &Value) -> Value {
    json!({"workloads": [], "strategy": {"type": type_, name: parameters}})
}

fn blue_green(more: Value) -> Value {
    let parameters = json!({"service": "web", "stacks": ["web-blue", "web-green"]});
    own("BlueGreen", "blueGreen", &with(parameters, more))
}

fn canary(more: Value) -> Value {
    let route = json!({"provider": "gateway-httproute", "name": "web"});
    let parameters = json!({"stable": "web", "canary": "web-canary", "route": route});
    own("Canary", "canary", &with(parameters, more))
}

#[test]
fn workloads_that_are_missing_or_named_twice_are_refused() {
    says(
        spec(&[errors()], json!({"workloads": []})),
        "spec.workloads",
        "[]",
        "at least one",
    );
    let twice = json!({"workloads": [{"name": "web"}, {"name": "db"}, {"name": "web"}]});
    for (fields, name) in [
        (twice, "web"),
        (blue_green(json!({"stacks": ["blue", "blue"]})), "blue"),
        (canary(json!({"canary": "web"})), "web"),
    ] {
        says(
            spec(&[errors()], fields),
            "spec.workloads",
            name,
            "name each Deployment once",
        );
    }
}

#[test]
fn workloads_beside_those_of_the_strategy_are_refused() {
    let beside = json!({"workloads": [{"name": "other"}]});
    for fields in [blue_green(json!({})), canary(json!({}))] {
        says(
            spec(&[errors()], with(fields, beside.clone())),
            "spec.workloads",
            "1 entries",
            "must be left out",
        );
    }
}

#[test]
fn a_strategy_without_its_parameters_is_refused() {
    for (type_, field, way_out) in [
        (
            "BlueGreen",
            "spec.strategy.blueGreen",
            "the Service and its two stacks",
        ),
        (
            "Canary",
            "spec.strategy.canary",
            "the stable and the canary Deployment and the route",
        ),
    ] {
        let fields = json!({"workloads": [], "strategy": {"type": type_}});
        says(spec(&[errors()], fields), field, "", way_out);
    }
    let one = blue_green(json!({"stacks": ["web-blue"]}));
    says(
        spec(&[errors()], one),
        "spec.strategy.blueGreen",
        "1 stacks",
        "two stacks",
    );
}

#[test]
fn steps_that_do_not_lead_all_the_way_are_refused() {
    for steps in [
        json!([25, 50]),
        json!([50, 25, 100]),
        json!([50, 50, 100]),
        json!([]),
    ] {
        let shown = serde_json::from_value::<Vec<u8>>(steps.clone()).unwrap();
        says(
            spec(&[errors()], canary(json!({"steps": steps}))),
            "spec.strategy.canary.steps",
            &format!("{shown:?}"),
            "must rise and end with 100",
        );
    }
}

#[test]
fn a_reason_to_stop_that_cannot_be_evaluated_is_refused() {
    for (stop_when, way_out) in [
        ("value <", "no CEL expression"),
        (
            "error_rate < 0.02",
            "known are value, baseline, stable, workload",
        ),
        ("value + 1.0", "neither true nor false"),
    ] {
        says(
            spec(&[errors()], canary(json!({"stopWhen": stop_when}))),
            "spec.strategy.canary.stopWhen",
            stop_when,
            way_out,
        );
    }
}

#[test]
fn more_capacity_and_isolation_are_for_rolling_alone() {
    for (action, strategy) in [
        (Action::ScaleAndRollback, json!({"scale": {"by": 2}})),
        (Action::IsolateAndRollback, json!({"isolate": {"keep": 1}})),
    ] {
        let wish = || with(errors(), json!({"action": action}));
        for fields in [
            json!({"strategy": {"type": "Recreate"}}),
            blue_green(json!({})),
            canary(json!({})),
        ] {
            says(
                spec(&[wish()], fields),
                "spec.triggers[0].action",
                &format!("{action:?}"),
                "Rolling only",
            );
        }
        let rolling = policy(&[wish()], json!({"strategy": strategy}));
        assert_eq!(rolling.triggers[0].action, action);
    }
}

#[test]
fn every_strategy_is_read_with_its_parameters() {
    let two = json!({"workloads": [{"name": "web"}, {"name": "worker"}]});
    let rolling = policy(&[errors()], two.clone());
    assert_eq!(rolling.strategy.type_(), StrategyType::Rolling);
    assert_eq!(rolling.deployments, ["web", "worker"]);
    let recreate = with(two, json!({"strategy": {"type": "Recreate"}}));
    let recreate = policy(&[errors()], recreate);
    assert_eq!(recreate.strategy.type_(), StrategyType::Recreate);
    let stacks = policy(&[errors()], blue_green(json!({})));
    assert_eq!(stacks.deployments, ["web-blue", "web-green"]);
    assert_eq!(stacks.strategy.service(), Some("web"));
    let tried = policy(&[errors()], canary(json!({"stopWhen": "value < 0.02"})));
    assert_eq!(tried.deployments, ["web", "web-canary"]);
    let canary = tried.strategy.canary().unwrap();
    assert_eq!(canary.steps, [25, 50, 75, 100]);
    assert_eq!(canary.step_interval.as_secs(), 60);
    assert!(canary.stop_when.is_some());
}

#[test]
fn a_quarantine_lasts_for_a_second_to_a_month() {
    for wrong in ["0s", "721h"] {
        let gitops = json!({"gitops": {"quarantineFor": wrong}});
        says(
            spec(&[errors()], gitops),
            "spec.gitops.quarantineFor",
            "",
            "from 1s to 720h",
        );
    }
    assert_eq!(
        policy(&[errors()], json!({})).quarantine_for.as_secs(),
        86_400
    );
}

#[test]
fn two_triggers_of_one_name_are_refused() {
    let twice = spec(&[errors(), errors()], json!({}));
    says(
        twice,
        "spec.triggers[1].name",
        "errors",
        "a name of its own",
    );
}

#[test]
fn a_query_that_cannot_work_is_refused() {
    for (query, way_out) in [
        ("sum(rate(errors[1m])", "invalid PromQL"),
        (
            r#"errors{pod=~"{{ pod }}"}"#,
            "known: workload, namespace, pods",
        ),
        (r#"errors{pod="{{ pods }}"}"#, "use =~"),
        ("errors[1m]", "instant vector or a scalar"),
        ("sum({{ pods }})", "quoted string"),
        ("errors @ 1700000000", "must ask about now"),
    ] {
        let spec = trigger(json!({"prometheus": {"query": query}}));
        says(spec, "spec.triggers[0].prometheus.query", query, way_out);
    }
}

#[test]
fn a_minimum_that_cannot_work_is_refused() {
    let minimum = json!({"minimumSamples": {"query": "sum(", "atLeast": 100}});
    says(
        trigger(minimum),
        "spec.triggers[0].minimumSamples.query",
        "sum(",
        "invalid PromQL",
    );
}

#[test]
fn a_minimum_without_a_query_to_count_is_refused() {
    let wrong = json!({
        "name": "cannot-start",
        "workload": {"signals": ["CrashLoopBackOff"]},
        "minimumSamples": {"query": "sum(requests)", "atLeast": 100},
    });
    says(
        spec(&[wrong], json!({})),
        "spec.triggers[0].minimumSamples",
        "sum(requests)",
        "prometheus.query only",
    );
}

#[test]
fn a_trigger_without_a_source_or_with_two_is_refused() {
    let none = json!({"name": "nothing", "condition": "value > 1.0"});
    says(
        spec(&[none], json!({})),
        "spec.triggers[0].prometheus",
        "nothing",
        "exactly one source",
    );
    let two = json!({"workload": {"signals": ["CrashLoopBackOff"]}});
    says(
        trigger(two),
        "spec.triggers[0].prometheus",
        "errors",
        "exactly one source",
    );
}

#[test]
fn a_probe_that_cannot_work_is_refused() {
    let probe = |fields: Value| {
        let probe = with(json!({"http": {"port": 8080}}), fields);
        let trigger = json!({"name": "health", "probe": probe, "condition": "value >= 3"});
        spec(&[trigger], json!({}))
    };
    for (fields, field, value, way_out) in [
        (json!({"http": null}), "", "…", "set either http or grpc"),
        (json!({"grpc": {}}), "", "…", "set either http or grpc"),
        (
            json!({"http": {"path": "healthz"}}),
            ".http.path",
            "healthz",
            "must begin with a slash",
        ),
        (
            json!({"timeout": "11s"}),
            ".timeout",
            "11s",
            "must not be longer than interval, which is 10s",
        ),
        (json!({"timeout": "0s"}), ".timeout", "0s", "100ms or more"),
        (json!({"window": "25h"}), ".window", "25h", "from 1s to 24h"),
    ] {
        let path = format!("spec.triggers[0].probe{field}");
        says(probe(fields), &path, value, way_out);
    }
}

#[test]
fn a_probe_and_a_resource_need_a_condition() {
    for source in [
        json!({"probe": {"http": {}}}),
        json!({"resource": {"name": "cpu"}}),
    ] {
        let trigger = with(json!({"name": "t"}), source);
        let spec = spec(&[trigger], json!({}));
        says(
            spec,
            "spec.triggers[0].condition",
            "",
            "write for example: value",
        );
    }
}

#[test]
fn alerts_that_cannot_be_told_apart_are_refused() {
    let alert = |alert: Value| spec(&[json!({"name": "errors", "alert": alert})], json!({}));
    for (matchers, field, value, way_out) in [
        (
            json!({"matchers": [{"name": "severity", "matchType": "!=", "value": "none"}]}),
            "alert.matchLabels",
            "{severity!=\"none\"}",
            "name one, such as alertname",
        ),
        (
            json!({"matchers": [{"name": "severity", "matchType": "=~", "value": ".*"}]}),
            "alert.matchLabels",
            "{severity=~\".*\"}",
            "name one, such as alertname",
        ),
        (
            json!({"matchLabels": {"alertname": "A"}, "matchers": [
                {"name": "severity", "matchType": "=~", "value": "critical("},
            ]}),
            "alert.matchers[0].value",
            "critical(",
            "is no regular expression that can be used",
        ),
        (
            json!({"matchLabels": {"alertname": "A"}, "heartbeat": {"matchLabels": {"a": ""}}}),
            "alert.heartbeat.matchLabels",
            "{a=\"\"}",
            "name one, such as alertname",
        ),
        (
            json!({"matchLabels": {"alertname": "A"}, "range": "25h"}),
            "alert.range",
            "25h0m0s",
            "must be at most 24h",
        ),
    ] {
        let field = format!("spec.triggers[0].{field}");
        says(alert(matchers), &field, value, way_out);
    }
}

#[test]
fn a_condition_that_cannot_work_is_refused() {
    for (condition, way_out) in [
        ("value >", "no CEL expression"),
        (
            "error_rate > 0.05",
            "known are value, baseline, stable, workload",
        ),
        ("value + 1.0", "neither true nor false"),
        ("value > workload.nonsense", "write for example"),
    ] {
        let spec = trigger(json!({"condition": condition}));
        says(spec, "spec.triggers[0].condition", condition, way_out);
    }
}

#[test]
fn a_query_without_a_condition_is_refused() {
    says(
        trigger(json!({"condition": null})),
        "spec.triggers[0].condition",
        "",
        "write for example: value > 0.05",
    );
}

#[test]
fn an_interval_below_a_second_is_refused() {
    for interval in ["0s", "500ms"] {
        let spec = trigger(json!({"interval": interval}));
        says(spec, "spec.triggers[0].interval", interval, "1s or more");
    }
}

#[test]
fn a_strategy_that_could_never_move_is_refused() {
    for (unavailable, surge) in [(json!(0), json!(0)), (json!("0%"), json!(0))] {
        let rolling = json!({"maxUnavailable": unavailable, "maxSurge": surge});
        let fields = json!({"strategy": {"rolling": rolling}});
        says(
            spec(&[errors()], fields),
            "spec.strategy.rolling",
            "0",
            "cannot both be 0",
        );
    }
}

#[test]
fn no_attempts_at_all_are_refused() {
    let fields = json!({"limits": {"maxAttempts": 0}});
    says(
        spec(&[errors()], fields),
        "spec.limits.maxAttempts",
        "0",
        "mode: Observe",
    );
}

#[test]
fn numbers_of_the_workload_stand_alone() {
    let both = json!({
        "name": "t",
        "workload": {"signals": ["Restarts", "CrashLoopBackOff"]},
    });
    says(
        spec(&[both], json!({})),
        "spec.triggers[0].workload.signals",
        "Restarts",
        "a trigger of its own",
    );
    let none = json!({"name": "t", "workload": {"signals": []}});
    says(
        spec(&[none], json!({})),
        "spec.triggers[0].workload.signals",
        "",
        "for example CrashLoopBackOff",
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let wrong = with(errors(), json!({"interval": "0s", "condition": "nonsense"}));
    let fields = json!({
        "gates": {"freeze": {"timeZone": "Mars/Olympus", "windows": []}},
        "workloads": [], "strategy": {"type": "Canary"},
    });
    let errors = refused(spec(&[wrong], fields));
    let fields: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.triggers[0].condition",
            "spec.triggers[0].interval",
            "spec.gates.freeze.timeZone",
            "spec.strategy.canary",
        ]
    );
}

#[test]
fn what_is_not_said_is_what_the_documentation_promises() {
    let plain = json!({"name": "cannot-start", "workload": {"signals": ["CrashLoopBackOff"]}});
    let warning = with(errors(), json!({"severity": "Warning"}));
    let images = json!({"name": "images", "vulnerability": {}});
    let policy = policy(
        &[plain, errors(), warning_named(warning), images],
        json!({}),
    );
    assert_eq!(policy.triggers[0].condition.text(), "value > 0.0");
    assert!(matches!(policy.triggers[0].source, Source::Workload { .. }));
    assert_eq!(policy.triggers[1].action, Action::Rollback);
    assert_eq!(policy.triggers[2].action, Action::GradualRollback);
    assert_eq!(policy.triggers[3].action, Action::BlockDeployment);
    assert_eq!(policy.window.map(|w| w.as_secs()), Some(600));
    assert_eq!(policy.max_attempts, 3);
    assert_eq!(policy.cooldown.as_secs(), 300);
    assert_eq!(policy.soak.as_secs(), 300);
    assert_eq!(policy.timeout.as_secs(), 300);
}

fn warning_named(trigger: Value) -> Value {
    with(trigger, json!({"name": "slow"}))
}
