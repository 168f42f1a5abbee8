//! What the API server itself holds each kind to: the rules in the CRDs, in their words, and their defaults.

use anyhow::{Context as _, ensure};
use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy};
use backstop_e2e::people::People;
use backstop_e2e::raw::{Raw, event, point, policy, refused, release, with};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A policy whose one trigger is this one, with a name.
fn trigger(trigger: Value) -> Value {
    with(
        policy("web"),
        json!({"triggers": [with(json!({"name": "t"}), trigger)]}),
    )
}

/// The same with a source that is as it should be.
fn crashes(more: Value) -> Value {
    trigger(with(
        json!({"workload": {"signals": ["CrashLoopBackOff"]}}),
        more,
    ))
}

fn signals(signals: &[&str]) -> Value {
    trigger(json!({"workload": {"signals": signals}}))
}

/// So many Deployments.
fn names(count: usize) -> Value {
    (0..count)
        .map(|n| json!({"name": format!("web-{n}")}))
        .collect()
}

/// A policy with this strategy, which names its Deployments itself.
fn own(strategy: &Value) -> Value {
    with(
        policy("web"),
        json!({"workloads": [], "strategy": strategy}),
    )
}

/// A blue-green policy, with other parameters.
fn blue_green(more: Value) -> Value {
    let parameters = json!({"service": "web", "stacks": ["web-blue", "web-green"]});
    own(&json!({"type": "BlueGreen", "blueGreen": with(parameters, more)}))
}

/// A canary policy, with other parameters.
fn canary(more: Value) -> Value {
    let route = json!({"provider": "gateway-httproute", "name": "web"});
    let parameters = json!({"stable": "web", "canary": "web-canary", "route": route});
    own(&json!({"type": "Canary", "canary": with(parameters, more)}))
}

fn rolling(rolling: &Value) -> Value {
    with(policy("web"), json!({"strategy": {"rolling": rolling}}))
}

/// Specs that break one rule each, with what the API server says.
async fn all_refused(
    api: &Raw,
    broken: impl IntoIterator<Item = (Value, &str)>,
) -> anyhow::Result<()> {
    for (spec, words) in broken {
        let shown = spec.to_string();
        refused(api.create("broken", spec).await, words).with_context(|| shown)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_policy_that_says_too_much_or_too_little_is_refused() -> anyhow::Result<()> {
    let people = People::new().await?;
    let with = |more| with(policy("web"), more);
    let broken = [
        (json!({}), "workloads: name at least one Deployment"),
        (
            with(json!({"workloads": []})),
            "workloads: name at least one Deployment",
        ),
        (
            with(json!({"workloads": names(9)})),
            "spec.workloads: Too many: 9: must have at most 8 items",
        ),
        (
            with(json!({"workloads": [{"name": "a"}, {"name": "a"}]})),
            "spec.workloads[1]: Duplicate value: {\"name\":\"a\"}",
        ),
        (
            with(json!({"workloads": [{"name": "Web!"}]})),
            "spec.workloads[0].name: Invalid value: \"Web!\"",
        ),
        (
            with(json!({"mode": "Dry"})),
            "spec.mode: Unsupported value: \"Dry\": supported values: \"Enforce\", \"Observe\", \"Paused\"",
        ),
        (
            with(json!({"window": "10 minutes"})),
            "spec.window: Invalid value: \"10 minutes\"",
        ),
        (
            with(json!({"window": "-5m"})),
            "spec.window: Invalid value: \"-5m\"",
        ),
        (
            with(json!({"gates": {"freeze": {"windows": [{"name": "a"}]}}})),
            "a window is either weekly or once: set one of them",
        ),
        (
            with(json!({"gitops": {"onConflict": "Fight"}})),
            "spec.gitops.onConflict: Unsupported value: \"Fight\": supported values: \"Quarantine\", \"Suspend\", \"Notify\"",
        ),
        (
            with(json!({"gitops": {"quarantineFor": "721h"}})),
            "gitops.quarantineFor must be from 1s to 720h, for example 24h",
        ),
        (
            with(json!({"notifications": [{"name": "team"}]})),
            "a channel is of exactly one kind: set slack, email, webhook, teams or pagerDuty",
        ),
        (
            with(json!({"notifications": [{"name": "team", "webhook": {}}]})),
            "webhook.url is missing; write it, or name a Secret with a key url in webhook.secretName",
        ),
        (
            with(
                json!({"notifications": [{"name": "team", "teams": {"secretName": "a"}, "outcomes": ["Done"]}]}),
            ),
            "spec.notifications[0].outcomes[0]: Unsupported value: \"Done\"",
        ),
        (
            with(json!({"strategy": {"timeout": "500ms"}})),
            "strategy.timeout must be 1s or more, for example 300s",
        ),
        (
            with(json!({"limits": {"cooldown": "25h"}})),
            "limits.cooldown must be at most 24h",
        ),
        (
            with(json!({"limits": {"maxAttempts": 0}})),
            "spec.limits.maxAttempts in body should be greater than or equal to 1",
        ),
        (
            with(json!({"limits": {"maxAttempts": 11}})),
            "spec.limits.maxAttempts in body should be less than or equal to 10",
        ),
        (
            with(json!({"points": {"soak": "169h"}})),
            "points.soak must be at most 168h",
        ),
        (
            with(json!({"points": {"keep": 0}})),
            "spec.points.keep in body should be greater than or equal to 1",
        ),
    ];
    all_refused(&people.policies(&people.alice), broken).await
}

#[tokio::test]
async fn a_trigger_that_cannot_work_is_refused() -> anyhow::Result<()> {
    let people = People::new().await?;
    let query = json!({"query": "up"});
    let apart = "workload.signals: Restarts and UnreadyShare are numbers of their own; put each in a trigger of its own";
    let one = "a trigger has exactly one source: set prometheus, workload, web, probe, resource, alert or vulnerability";
    let mut broken = vec![
        (trigger(json!({})), one),
        (
            crashes(json!({"prometheus": query, "condition": "value > 0.05"})),
            one,
        ),
        (
            trigger(json!({"prometheus": query})),
            "condition or compare is required with prometheus",
        ),
        (
            trigger(json!({"web": {"url": "https://a/b", "jsonPath": "$.rate"}})),
            "condition or compare is required with web",
        ),
        (
            trigger(json!({
                "condition": "value > 0.05",
                "web": {"url": "https://a/b", "jsonPath": "$.rate", "range": "25h"},
            })),
            "web.range must be at most 24h",
        ),
        (
            trigger(json!({"alert": {}})),
            "alert needs matchLabels or matchers that say which alerts are meant, for example matchLabels: {alertname: HighErrorRate}",
        ),
        (
            trigger(json!({"alert": {"matchLabels": {"alertname": "A"}, "heartbeat": {}}})),
            "alert.heartbeat needs matchLabels or matchers, for example matchLabels: {alertname: Watchdog}",
        ),
        (
            trigger(json!({"alert": {"matchLabels": {"alertname": "A"}, "range": "25h"}})),
            "alert.range must be at most 24h",
        ),
        (
            trigger(json!({"alert": {"matchLabels": {"alertname": "A"}, "expireAfter": "1s"}})),
            "alert.expireAfter must be from 5s to 24h, and longer than Alertmanager's repeat_interval",
        ),
        (
            crashes(json!({"minimumSamples": {"query": "up", "atLeast": 1}})),
            "minimumSamples goes with prometheus.query only",
        ),
        (
            crashes(json!({"interval": "500ms"})),
            "interval must be from 1s to 1h, for example 10s",
        ),
        (
            crashes(json!({"interval": "2h"})),
            "interval must be from 1s to 1h, for example 10s",
        ),
        (crashes(json!({"for": "25h"})), "for must be at most 24h"),
        (
            crashes(json!({"for": "soon"})),
            "spec.triggers[0].for: Invalid value: \"soon\"",
        ),
        (
            crashes(json!({"delay": "25h"})),
            "delay must be at most 24h",
        ),
        (
            crashes(json!({"name": "Error Rate"})),
            "spec.triggers[0].name: Invalid value: \"Error Rate\"",
        ),
        (
            signals(&[]),
            "spec.triggers[0].workload.signals in body should have at least 1 items",
        ),
        (
            signals(&["Tired"]),
            "spec.triggers[0].workload.signals[0]: Unsupported value: \"Tired\"",
        ),
        (signals(&["Restarts", "OOMKilled"]), apart),
        (signals(&["UnreadyShare", "Restarts"]), apart),
        (
            with(
                policy("web"),
                json!({"triggers": [{"name": "t"}, {"name": "t"}]}),
            ),
            "spec.triggers[1]: Duplicate value: {\"name\":\"t\"}",
        ),
    ];
    broken.extend(probes());
    broken.push((
        trigger(json!({"resource": {"name": "cpu"}})),
        "condition is required with resource, for example: value > 0.9",
    ));
    all_refused(&people.policies(&people.alice), broken).await
}

/// Probes that cannot work, and what is said of them.
fn probes() -> Vec<(Value, &'static str)> {
    let http = json!({"port": 8080});
    let probe = |probe: Value| trigger(json!({"condition": "value >= 3", "probe": probe}));
    vec![
        (
            trigger(json!({"probe": {"http": http}})),
            "condition is required with probe, for example: value >= 3",
        ),
        (
            probe(json!({})),
            "a probe asks by one protocol: set http or grpc",
        ),
        (
            probe(json!({"http": http, "grpc": {}})),
            "a probe asks by one protocol: set http or grpc",
        ),
        (
            probe(json!({"http": http, "timeout": "11s"})),
            "probe.timeout must not be longer than interval",
        ),
        (
            probe(json!({"http": http, "timeout": "10ms"})),
            "probe.timeout must be from 100ms to 30s",
        ),
        (
            probe(json!({"http": http, "window": "25h"})),
            "probe.window must be from 1s to 24h",
        ),
        (
            probe(json!({"http": http, "startup": "2h"})),
            "probe.startup must be at most 1h",
        ),
        (
            probe(json!({"http": http, "measure": "FailureRate", "aggregate": "Max"})),
            "the failure rate is one of all results together",
        ),
        (
            probe(json!({"http": {"url": "https://a/b", "port": 80}})),
            "url says all of it; leave path, port and scheme out",
        ),
        (
            probe(json!({"http": {"secretName": "status"}})),
            "probe.http.secretName goes with url",
        ),
        (
            probe(json!({"http": {"path": "healthz"}})),
            "spec.triggers[0].probe.http.path",
        ),
        (
            probe(json!({"http": {"port": 70000}})),
            "spec.triggers[0].probe.http.port",
        ),
        (
            probe(json!({"grpc": {"url": "https://a"}})),
            "probe.grpc.url must begin with http://",
        ),
    ]
}

#[tokio::test]
async fn a_rolling_update_that_could_not_move_is_refused() -> anyhow::Result<()> {
    let people = People::new().await?;
    let policies = people.policies(&people.alice);
    let stuck = "strategy.rolling: maxUnavailable and maxSurge cannot both be 0, or the rollout could never move";
    let broken = [
        (rolling(&json!({"maxUnavailable": 0, "maxSurge": 0})), stuck),
        (
            rolling(&json!({"maxUnavailable": "0%", "maxSurge": 0})),
            stuck,
        ),
        (
            rolling(&json!({"maxSurge": -1})),
            "spec.strategy.rolling.maxSurge in body should be greater than or equal to 0",
        ),
        (
            rolling(&json!({"maxSurge": "few"})),
            "spec.strategy.rolling.maxSurge: Invalid value: \"few\"",
        ),
        (
            rolling(&json!({"maxUnavailable": "150%"})),
            "spec.strategy.rolling.maxUnavailable: Invalid value: \"150%\"",
        ),
    ];
    all_refused(&policies, broken).await?;
    for (n, good) in [
        json!({"maxUnavailable": 0, "maxSurge": 1}),
        json!({"maxUnavailable": "25%", "maxSurge": "0%"}),
        json!({"maxUnavailable": "100%"}),
    ]
    .into_iter()
    .enumerate()
    {
        policies.create(format!("good-{n}"), rolling(&good)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_strategy_goes_with_its_own_parameters_only() -> anyhow::Result<()> {
    let people = People::new().await?;
    let policies = people.policies(&people.admin);
    let strategy = |strategy| with(policy("web"), json!({"strategy": strategy}));
    let needs_blue_green = "strategy.blueGreen goes with type BlueGreen, and is required there: name the Service and its two stacks";
    let needs_canary = "strategy.canary goes with type Canary, and is required there: name the stable and the canary Deployment and the route";
    let apart =
        "workloads: leave it out with BlueGreen and Canary, whose strategy names the Deployments";
    let beside = |mut spec: Value| {
        spec["workloads"] = json!([{"name": "web"}]);
        spec
    };
    let parameters = |spec: Value| spec["strategy"].clone();
    let retyped = |spec: Value, name: &str| with(parameters(spec), json!({"type": name}));
    let broken = [
        (own(&json!({"type": "BlueGreen"})), needs_blue_green),
        (
            strategy(retyped(blue_green(json!({})), "Rolling")),
            needs_blue_green,
        ),
        (own(&json!({"type": "Canary"})), needs_canary),
        (
            strategy(retyped(canary(json!({})), "Recreate")),
            needs_canary,
        ),
        (
            strategy(json!({"type": "Recreate", "rolling": {"maxSurge": 1}})),
            "strategy.rolling goes with type Rolling",
        ),
        (
            strategy(json!({"type": "Recreate", "scale": {"by": 1}})),
            "strategy.scale goes with type Rolling",
        ),
        (
            own(&with(
                parameters(blue_green(json!({}))),
                json!({"scale": {"by": 1}}),
            )),
            "strategy.scale goes with type Rolling",
        ),
        (beside(blue_green(json!({}))), apart),
        (beside(canary(json!({}))), apart),
        (
            strategy(json!({"scale": {"by": "150%"}})),
            "spec.strategy.scale.by: Invalid value: \"150%\"",
        ),
        (
            strategy(json!({"scale": {}})),
            "spec.strategy.scale.by: Required value",
        ),
        (
            strategy(json!({"type": "Shadow"})),
            "spec.strategy.type: Unsupported value: \"Shadow\"",
        ),
    ];
    all_refused(&policies, broken).await?;
    for (name, good) in [
        (
            "several",
            with(policy("web"), json!({"workloads": names(8)})),
        ),
        ("recreate", strategy(json!({"type": "Recreate"}))),
        ("scale", strategy(json!({"scale": {"by": "50%"}}))),
        ("blue-green", blue_green(json!({}))),
        ("canary", canary(json!({}))),
    ] {
        policies.create(name, good).await?;
    }
    Ok(())
}

#[tokio::test]
async fn two_stacks_that_cannot_be_switched_between_are_refused() -> anyhow::Result<()> {
    let people = People::new().await?;
    let broken = [
        (
            blue_green(json!({"stacks": ["web", "web"]})),
            "strategy.blueGreen.stacks: name two different Deployments",
        ),
        (
            blue_green(json!({"stacks": ["web"]})),
            "spec.strategy.blueGreen.stacks in body should have at least 2 items",
        ),
        (
            blue_green(json!({"stacks": ["a", "b", "c"]})),
            "spec.strategy.blueGreen.stacks: Too many: 3: must have at most 2 items",
        ),
        (
            blue_green(json!({"stacks": ["web", "Web!"]})),
            "spec.strategy.blueGreen.stacks[1]: Invalid value: \"Web!\"",
        ),
        (
            blue_green(json!({"service": "1web"})),
            "spec.strategy.blueGreen.service: Invalid value: \"1web\"",
        ),
        (
            blue_green(json!({"service": null})),
            "spec.strategy.blueGreen.service: Required value",
        ),
    ];
    all_refused(&people.policies(&people.admin), broken).await
}

#[tokio::test]
async fn a_canary_that_cannot_be_shifted_is_refused() -> anyhow::Result<()> {
    let people = People::new().await?;
    let route = |more| {
        let route = json!({"provider": "gateway-httproute", "name": "web"});
        canary(json!({"route": with(route, more)}))
    };
    let broken = [
        (
            canary(json!({"canary": "web"})),
            "strategy.canary: stable and canary must be two different Deployments",
        ),
        (
            canary(json!({"stepInterval": "2h"})),
            "strategy.canary.stepInterval must be at most 1h, for example 60s",
        ),
        (
            canary(json!({"steps": []})),
            "spec.strategy.canary.steps in body should have at least 1 items",
        ),
        (
            canary(json!({"steps": [0, 100]})),
            "spec.strategy.canary.steps[0] in body should be greater than or equal to 1",
        ),
        (
            canary(json!({"steps": [50, 101]})),
            "spec.strategy.canary.steps[1] in body should be less than or equal to 100",
        ),
        (
            canary(json!({"stopWhen": ""})),
            "spec.strategy.canary.stopWhen in body should be at least 1 chars long",
        ),
        (
            canary(json!({"stable": null})),
            "spec.strategy.canary.stable: Required value",
        ),
        (
            canary(json!({"route": null})),
            "spec.strategy.canary.route: Required value",
        ),
        (
            route(json!({"name": "Web!"})),
            "spec.strategy.canary.route.name: Invalid value: \"Web!\"",
        ),
        (
            route(json!({"provider": ""})),
            "spec.strategy.canary.route.provider in body should be at least 1 chars long",
        ),
        (
            route(json!({"canaryBackend": {"subset": "v2"}})),
            "spec.strategy.canary.route.canaryBackend.name: Required value",
        ),
    ];
    all_refused(&people.policies(&people.admin), broken).await
}

#[tokio::test]
async fn a_point_stays_what_it_is() -> anyhow::Result<()> {
    let people = People::new().await?;
    let points = people.points(&people.operator);
    let quarantined = json!({"verdict": "Quarantined", "origin": "Quarantine"});
    refused(
        points.create("p", with(point("web"), quarantined)).await,
        "a Quarantined record names the release that failed; only Backstop makes one",
    )?;
    points
        .create("p", with(point("web"), json!({"release": release()})))
        .await?;
    for change in [
        json!({"workload": {"name": "db"}}),
        json!({"verdict": "Quarantined"}),
        json!({"origin": "Soak"}),
    ] {
        refused(
            points.patch("p", json!({"spec": change})).await,
            "a RollbackPoint is immutable; delete it and make another",
        )?;
    }
    for change in [
        json!({"release": {"hash": "other"}}),
        json!({"release": null}),
    ] {
        refused(
            points.patch("p", json!({"spec": change})).await,
            "release is immutable once it is filled; delete the point and make another",
        )?;
    }
    Ok(())
}

#[tokio::test]
async fn an_event_stays_what_it_is_and_asks_only_for_what_there_is() -> anyhow::Result<()> {
    let people = People::new().await?;
    let events = people.events(&people.alice);
    let with = |more| with(event("web", "alice"), more);
    let manual =
        "a Manual or Drill event has no evidence and no from: Backstop takes back what is live";
    let evidence = json!({"trigger": "t", "severity": "Critical", "condition": "value > 0.05"});
    let broken = [
        (
            with(json!({"endsDrill": "quarterly"})),
            "endsDrill: only with cause: Drill",
        ),
        (
            with(json!({"workloads": []})),
            "workloads: name the policy's Deployments",
        ),
        (
            with(json!({"workloads": names(9)})),
            "spec.workloads: Too many: 9: must have at most 8 items",
        ),
        (with(json!({"from": {"hash": "h"}})), manual),
        (with(json!({"evidence": evidence})), manual),
        (
            with(json!({"attempt": 0})),
            "spec.attempt in body should be greater than or equal to 1",
        ),
        (
            with(json!({"policy": ""})),
            "spec.policy in body should be at least 1 chars long",
        ),
        (
            with(json!({"requestedBy": null})),
            "spec.requestedBy: Required value",
        ),
    ];
    all_refused(&events, broken).await?;
    events.create("e", event("web", "alice")).await?;
    refused(
        events
            .patch("e", json!({"spec": {"reason": "another"}}))
            .await,
        "a RollbackEvent's spec is immutable; to call it off, annotate it with backstop.dev/cancel",
    )?;
    Ok(())
}

/// Sees to it that the API server fills in what reading the same object with Backstop's own types fills in.
async fn defaults_agree<K>(api: &Raw, spec: Value) -> anyhow::Result<()>
where
    K: DeserializeOwned + serde::Serialize,
{
    let stored = serde_json::to_value(api.create("defaults", spec.clone()).await?)?;
    let object = with(stored.clone(), json!({"spec": spec}));
    let read = serde_json::to_value(serde_json::from_value::<K>(object)?)?;
    ensure!(
        stored["spec"] == read["spec"],
        "stored: {}\nread:   {}",
        stored["spec"],
        read["spec"]
    );
    Ok(())
}

#[tokio::test]
async fn the_api_server_fills_in_the_same_defaults_as_backstop() -> anyhow::Result<()> {
    let people = People::new().await?;
    let metric = json!({
        "prometheus": {"query": "up"}, "condition": "value > 0.05",
        "minimumSamples": {"query": "up", "atLeast": 0.5},
    });
    let policies = people.policies(&people.admin);
    defaults_agree::<RollbackPolicy>(&policies, trigger(metric)).await?;
    for strategy in [blue_green(json!({})), canary(json!({}))] {
        policies.delete("defaults").await?;
        defaults_agree::<RollbackPolicy>(&policies, strategy).await?;
    }
    defaults_agree::<RollbackPoint>(&people.points(&people.admin), point("web")).await?;
    defaults_agree::<RollbackEvent>(&people.events(&people.admin), event("web", "admin")).await
}

#[tokio::test]
async fn kubectl_get_tells_the_story_by_itself() -> anyhow::Result<()> {
    let people = People::new().await?;
    let (events, namespace) = (people.events(&people.operator), people.namespace.as_str());
    let cause = json!({"cause": "Trigger", "requestedBy": "backstop"});
    events
        .create("web-1", with(event("web", "backstop"), cause))
        .await?;
    let status = json!({
        "phase": "Succeeded", "outcome": "Recovered", "causeText": "error-rate", "workloads": "web",
        "from": {"hash": "badbadbadbadbad0"}, "to": {"point": "web-a", "hash": "a0a0a0a0a0a0a0a0"},
        "durations": {"total": "42s"},
    });
    events.status("web-1", status).await?;
    let kubectl = async |args: &[&str]| {
        let mut all = vec!["get", "--namespace", namespace];
        all.extend(args);
        people.cluster.kubectl(&all).await?.success()
    };
    let table = kubectl(&["rollbackevents"]).await?;
    let lines: Vec<Vec<_>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    ensure!(
        lines[0]
            == [
                "NAME", "WORKLOAD", "CAUSE", "FROM", "TO", "PHASE", "OUTCOME", "DURATION", "AGE"
            ]
            && lines[1][..8]
                == [
                    "web-1",
                    "web",
                    "error-rate",
                    "badbadbadbadbad0",
                    "a0a0a0a0a0a0a0a0",
                    "Succeeded",
                    "Recovered",
                    "42s"
                ],
        "{table}"
    );
    let selected = kubectl(&["rbe", "--field-selector=spec.policy=web", "--output=name"]).await?;
    ensure!(selected.contains("web-1"), "{selected}");
    let all = kubectl(&["backstop", "--output=name"]).await?;
    ensure!(all.contains("rollbackevent.backstop.dev/web-1"), "{all}");
    Ok(())
}
