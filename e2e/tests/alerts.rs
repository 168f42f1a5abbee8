//! Alerts that a team already has take a release back, by way of a real Alertmanager; whatever else is posted never
//! does.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::condition::ConditionStatus;
use backstop_api::event::{EventPhase, Outcome, StepKind};
use backstop_api::names::ALERTS_SECRET;
use backstop_e2e::alerts::{Alerted, Door, TOKEN, errors, falco, falco_for};
use backstop_e2e::metrics::{Metered, Metrics, changed, failing, policy_with};
use backstop_e2e::operator::Running;
use backstop_e2e::world::{App, World};
use backstop_testenv::PrometheusOptions;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use reqwest::StatusCode;
use serde_json::{Value, json};

/// Long enough for an alert to get from Alertmanager to the policy, several times.
const A_WHILE: Duration = Duration::from_secs(3);

/// The rules of a team: one about its pods, and one that always fires.
const RULES: &str = r#"
groups:
- name: shop
  rules:
  - alert: HighErrorRate
    expr: |
      sum by (namespace, pod) (rate(http_requests_total{code="500"}[5s]))
        / sum by (namespace, pod) (rate(http_requests_total[5s])) > 0.05
    labels: {severity: critical}
    annotations: {summary: "{{ $value | humanizePercentage }} of the requests of {{ $labels.pod }} fail"}
  - alert: Watchdog
    expr: vector(1)
"#;

async fn goes_back(world: &World) -> anyhow::Result<()> {
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

/// Looks back far enough for an alert about the release that was taken back to be resolved in time.
fn looking_back() -> Value {
    let mut trigger = errors();
    trigger["alert"]["range"] = json!("8s");
    trigger
}

async fn is_live(world: &World, version: &str) -> anyhow::Result<()> {
    world
        .eventually(&format!("{version} to be live"), async || {
            let live = world.live().await?;
            ensure!(live == version, "{live} is");
            Ok(())
        })
        .await
}

async fn nothing_is_taken_back(world: &World) -> anyhow::Result<()> {
    world.nothing_happens(A_WHILE).await?;
    let events = world.events().await?;
    ensure!(events.is_empty(), "{events:#?}");
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

/// Posts straight to the operator.
async fn post(url: &str, token: &str, body: &str) -> anyhow::Result<(StatusCode, String)> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut request = client.post(url).body(body.to_owned());
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await?;
    Ok((answer.status(), answer.text().await?))
}

/// As Alertmanager posts it.
fn posted(labels: &Value, status: &str) -> String {
    let now = jiff::Timestamp::now().to_string();
    json!({"version": "4", "status": status, "receiver": "backstop", "alerts": [{
        "status": status, "labels": labels, "annotations": {}, "startsAt": now,
    }]})
    .to_string()
}

#[tokio::test]
async fn an_alert_rule_of_prometheus_takes_a_release_back_by_way_of_alertmanager()
-> anyhow::Result<()> {
    let door = Door::new()?;
    let alertmanager = door.alertmanager().await?;
    let metrics = Metrics::with(PrometheusOptions {
        rules: RULES.to_owned(),
        alertmanagers: vec![alertmanager.target().to_owned()],
        ..PrometheusOptions::default()
    })
    .await?;
    let flags = door.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let url = metrics.prometheus.url();
    let world = Metered::asking("alert-story", &metrics, url, &flags).await?;
    let trigger = json!({"name": "alerts", "interval": "1s", "alert": {
        "matchers": [
            {"name": "alertname", "value": "HighErrorRate"},
            {"name": "severity", "matchType": "=~", "value": "critical|page"},
        ],
        "range": "5s", "expireAfter": "8s",
        "heartbeat": {"matchLabels": {"alertname": "Watchdog"}},
    }});
    world.prove(policy_with(&trigger)).await?;
    world.release("v2", failing()).await?;
    goes_back(&world).await?;
    let events = world.events().await?;
    let evidence = events[0].spec.evidence.clone().context("no evidence")?;
    ensure!(
        evidence.query.as_deref()
            == Some(r#"{alertname="HighErrorRate",severity=~"critical|page"}"#),
        "{evidence:?}"
    );
    let details = evidence.details.join("\n");
    ensure!(
        details.contains("alert HighErrorRate about pod web-"),
        "{details}"
    );
    ensure!(
        details.contains("% of the requests of web-"),
        "the alert's own words: {details}"
    );
    ensure!(
        evidence.samples.iter().any(|s| s.value >= 1.0),
        "{evidence:?}"
    );
    Ok(())
}

#[tokio::test]
async fn alerts_about_something_else_take_nothing_back() -> anyhow::Result<()> {
    let world = Alerted::with_good_release("alert-else", &errors()).await?;
    let old = world.pod_of("v1").await?;
    world.deploy(&App::version("v2")).await?;
    world.rolled_out("v2").await?;
    let new = world.pod_of_new("v2").await?;
    for labels in [
        json!({"namespace": "elsewhere", "pod": new}),
        json!({"namespace": "elsewhere", "deployment": "web"}),
        json!({"pod": "api-7d9f8c5b6-x2z9q"}),
        json!({"deployment": "api"}),
        json!({"pod": old}),
        json!({"alertname": "Other", "pod": new}),
        json!({"service": "web"}),
    ] {
        world.fires(&world.about(labels)).await?;
    }
    nothing_is_taken_back(&world).await?;
    // It would be one about the release that is gone back to.
    world.is_resolved(&world.about(json!({"pod": old}))).await?;
    world.fires(&world.about(json!({"pod": new}))).await?;
    goes_back(&world).await
}

#[tokio::test]
async fn an_alert_that_names_the_deployment_alone_takes_it_back() -> anyhow::Result<()> {
    let world = Alerted::with_good_release("alert-workload", &looking_back()).await?;
    world.deploy(&App::version("v2")).await?;
    world.rolled_out("v2").await?;
    let about = world.about(json!({"deployment": "web"}));
    world.fires(&about).await?;
    world
        .policy_says("the alert is too early", |status| {
            let messages = status.triggers.iter().filter_map(|t| t.message.as_deref());
            messages
                .into_iter()
                .any(|it| it.contains("what it looks at still reaches back before this release"))
        })
        .await?;
    is_live(&world, "v1").await?;
    world.is_resolved(&about).await?;
    goes_back(&world).await
}

#[tokio::test]
async fn an_alert_that_is_resolved_in_time_calls_the_rollback_off() -> anyhow::Result<()> {
    let trigger = changed(errors(), json!({"delay": "60s"}));
    let world = Alerted::with_good_release("alert-resolved", &trigger).await?;
    world.deploy(&App::version("v2")).await?;
    let about = world.about(json!({"pod": world.pod_of_new("v2").await?}));
    world.fires(&about).await?;
    world.event_in("web-1", EventPhase::Pending).await?;
    world.is_resolved(&about).await?;
    world
        .ended(
            "web-1",
            EventPhase::Cancelled,
            Outcome::RecoveredBeforeActing,
        )
        .await?;
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

#[tokio::test]
async fn an_alertmanager_that_is_down_is_said_and_takes_nothing_back() -> anyhow::Result<()> {
    let world = Alerted::with_good_release("alert-down", &errors()).await?;
    world.deploy(&App::version("v2")).await?;
    world.alertmanager.stop();
    let said = world.condition("DataAvailable", false, "NoData").await?;
    ensure!(
        said.contains(r#"the heartbeat {alertname="Watchdog"} was last heard at"#),
        "{said}"
    );
    nothing_is_taken_back(&world).await?;
    world.alertmanager.restart().await?;
    // Alertmanager forgets what fires, and is told again by whoever watches.
    world.fires(&json!({"alertname": "Watchdog"})).await?;
    world.condition("DataAvailable", true, "Data").await?;
    Ok(())
}

#[tokio::test]
async fn an_operator_that_was_started_again_hears_what_fires_before_it_trusts_silence()
-> anyhow::Result<()> {
    let long = json!({
        "matchLabels": {"alertname": "Errors"}, "range": "0s", "expireAfter": "20s",
        "heartbeat": {"matchLabels": {"alertname": "Watchdog"}},
    });
    let trigger = changed(errors(), json!({"delay": "15s", "alert": long}));
    let world = Alerted::with_good_release("alert-restart", &trigger).await?;
    world.deploy(&App::version("v2")).await?;
    let about = world.about(json!({"pod": world.pod_of_new("v2").await?}));
    world.fires(&about).await?;
    world.event_in("web-1", EventPhase::Pending).await?;
    world.operator.kill()?;
    world.alertmanager.stop();
    world.operator.restart()?;
    world
        .policy_says("silence means nothing yet", |status| {
            status.conditions.iter().any(|c| {
                c.type_ == "DataAvailable"
                    && c.status == ConditionStatus::Unknown
                    && c.message.contains("alerts are listened for since")
            })
        })
        .await?;
    let waiting = world.event_in("web-1", EventPhase::Pending).await?;
    ensure!(waiting.status.is_some());
    world.alertmanager.restart().await?;
    world.fires(&json!({"alertname": "Watchdog"})).await?;
    world.fires(&about).await?;
    goes_back(&world).await
}

#[tokio::test]
async fn nobody_posts_alerts_without_the_right_credentials() -> anyhow::Result<()> {
    let world = Alerted::with_good_release("alert-token", &errors()).await?;
    world.deploy(&App::version("v2")).await?;
    let about = world.about(json!({"pod": world.pod_of_new("v2").await?}));
    let url = world.door.url();
    let own = format!("{url}/{}", world.namespace);
    let body = posted(&about, "firing");
    for (url, token) in [
        (&url, ""),
        (&url, "t0ken-of-somebody"),
        // There is no Secret by which posts about this namespace alone sign in, and none elsewhere.
        (&own, TOKEN),
        (&format!("{url}/kube-system"), TOKEN),
    ] {
        let (status, said) = post(url, token, &body).await?;
        ensure!(status == StatusCode::UNAUTHORIZED, "{url}: {status} {said}");
        ensure!(said == "the credentials are missing or wrong", "{said}");
    }
    for (body, status) in [
        ("no JSON", StatusCode::BAD_REQUEST),
        (r#"{"version": "5", "alerts": []}"#, StatusCode::BAD_REQUEST),
    ] {
        let (found, said) = post(&url, TOKEN, body).await?;
        ensure!(found == status, "{found} {said}");
    }
    // The connection may end before the answer is read.
    if let Ok((status, said)) = post(&url, TOKEN, &"x".repeat(5 << 20)).await {
        ensure!(status == StatusCode::PAYLOAD_TOO_LARGE, "{status} {said}");
    }
    let log = world.operator.log();
    ensure!(log.contains("alerts that were posted were too many or too slow"));
    ensure!(!log.contains(TOKEN));
    nothing_is_taken_back(&world).await?;
    let (status, said) = post(&url, TOKEN, &body).await?;
    ensure!(status == StatusCode::OK, "{status} {said}");
    ensure!(said == "1 alerts taken in", "{said}");
    goes_back(&world).await
}

#[tokio::test]
async fn a_namespaces_own_secret_lets_in_alerts_about_it_alone() -> anyhow::Result<()> {
    let world = Alerted::with_good_release("alert-own", &looking_back()).await?;
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": ALERTS_SECRET}, "stringData": {"token": "of-the-team"},
    }))?;
    world.api().create(&PostParams::default(), &secret).await?;
    world.deploy(&App::version("v2")).await?;
    world.rolled_out("v2").await?;
    let url = format!("{}/{}", world.door.url(), world.namespace);
    let foreign = json!({"alertname": "Errors", "namespace": "elsewhere", "deployment": "web"});
    let taken_in = world
        .eventually("the Secret to be read", async || {
            let (status, said) = post(&url, "of-the-team", &posted(&foreign, "firing")).await?;
            ensure!(status == StatusCode::OK, "{status} {said}");
            Ok(said)
        })
        .await?;
    ensure!(
        taken_in == "0 alerts taken in, 1 left out because their label namespace names another one",
        "{taken_in}"
    );
    let (status, _) = post(
        &world.door.url(),
        "of-the-team",
        &posted(&foreign, "firing"),
    )
    .await?;
    ensure!(status == StatusCode::UNAUTHORIZED, "{status}");
    nothing_is_taken_back(&world).await?;
    // It need not name the namespace: its door does.
    let about = json!({"alertname": "Errors", "deployment": "web"});
    world
        .eventually("v1 to be live", async || {
            // As Alertmanager repeats it.
            let (status, said) = post(&url, "of-the-team", &posted(&about, "firing")).await?;
            ensure!(status == StatusCode::OK, "{status} {said}");
            ensure!(world.live().await? == "v1");
            Ok(())
        })
        .await?;
    post(&url, "of-the-team", &posted(&about, "resolved")).await?;
    goes_back(&world).await
}

#[tokio::test]
async fn a_replica_that_waits_sends_alertmanager_to_another() -> anyhow::Result<()> {
    let world = Alerted::with_good_release("alert-replica", &errors()).await?;
    let other = Door::new()?;
    let waiting = Running::start(world.cluster, &world.namespace, "b", &other.flags()).await?;
    let body = posted(&json!({"alertname": "Errors"}), "firing");
    let (status, said) = world
        .eventually("the other replica to answer", async || {
            post(&other.url(), TOKEN, &body).await
        })
        .await?;
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status} {said}");
    ensure!(said.contains("does not lead"), "{said}");
    // It takes over, and Alertmanager's next try comes through.
    world.operator.stop();
    waiting.leads().await?;
    world
        .eventually("the other replica to take alerts in", async || {
            let (status, said) = post(&other.url(), TOKEN, &body).await?;
            ensure!(status == StatusCode::OK, "{status} {said}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn more_than_five_intrusions_a_minute_isolate_the_release_that_falco_saw_them_in()
-> anyhow::Result<()> {
    let trigger = json!({
        "name": "intrusion", "interval": "1s", "condition": "value > 5.0",
        "action": "IsolateAndRollback",
        "alert": {
            "matchLabels": {"source": "falco"},
            "matchers": [{"name": "priority", "matchType": "=~", "value": "Warning|Error|Critical|Alert|Emergency"}],
            "namespaceLabel": "k8s_ns_name", "podLabel": "k8s_pod_name",
            "range": "0s", "expireAfter": "8s",
            "heartbeat": {"matchLabels": {"alertname": "Watchdog"}},
        },
    });
    let world = Alerted::with_good_release("alert-falco", &trigger).await?;
    world.deploy(&App::version("v2")).await?;
    let pod = world.pod_of_new("v2").await?;
    for number in 0..5 {
        let event = falco(&world.namespace, &pod, number);
        world.alertmanager.post(&json!([event])).await?;
    }
    // Many more elsewhere are not this release's.
    for number in 0..8 {
        let event = falco("elsewhere", &pod, number);
        world.alertmanager.post(&json!([event])).await?;
    }
    world
        .policy_says("five events are seen", |status| {
            status.triggers.iter().any(|t| t.value == Some(5.0))
        })
        .await?;
    nothing_is_taken_back(&world).await?;
    let sixth = falco(&world.namespace, &pod, 5);
    world.alertmanager.post(&json!([sixth])).await?;
    goes_back(&world).await?;
    let event = world.events().await?.remove(0);
    let steps = event.status.unwrap_or_default().steps;
    ensure!(
        steps
            .iter()
            .any(|s| s.step.kind == StepKind::IsolateSuspects),
        "{steps:#?}"
    );
    let details = event.spec.evidence.context("no evidence")?.details;
    ensure!(
        details[0].contains("alert Read sensitive file untrusted about pod web-"),
        "{details:?}"
    );
    Ok(())
}

#[tokio::test]
async fn intrusions_that_are_over_count_no_more_however_many_there_were() -> anyhow::Result<()> {
    let trigger = json!({
        "name": "intrusion", "interval": "1s", "condition": "value > 5.0",
        "alert": {
            "matchLabels": {"source": "falco"},
            "namespaceLabel": "k8s_ns_name", "podLabel": "k8s_pod_name",
            "range": "0s", "expireAfter": "8s",
            "heartbeat": {"matchLabels": {"alertname": "Watchdog"}},
        },
    });
    let world = Alerted::with_good_release("alert-over", &trigger).await?;
    world.deploy(&App::version("v2")).await?;
    let pod = world.pod_of_new("v2").await?;
    let counted = async |wanted: f64| {
        let what = format!("{wanted} events are counted");
        let is = |value: Option<f64>| value.is_some_and(|v| (v - wanted).abs() < 0.5);
        world
            .policy_says(&what, |status| status.triggers.iter().any(|t| is(t.value)))
            .await
    };
    let seen = async |numbers: std::ops::Range<u32>, expires_after: Duration| {
        let events = numbers.map(|n| falco_for(&world.namespace, &pod, n, expires_after));
        let events: Vec<_> = events.collect();
        world.alertmanager.post(&json!(events)).await
    };
    // A value that changes nothing is written to the status now and then.
    seen(0..4, Duration::from_secs(40)).await?;
    counted(4.0).await?;
    counted(0.0).await?;
    seen(4..8, Duration::from_mins(10)).await?;
    counted(4.0).await?;
    nothing_is_taken_back(&world).await
}

#[tokio::test]
async fn a_policy_that_listens_to_an_operator_that_hears_no_alerts_is_refused() -> anyhow::Result<()>
{
    let world = World::new("alert-deaf").await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(policy_with(&errors())).await?;
    let said = world.condition("Accepted", false, "Invalid").await?;
    ensure!(
        said == "spec.triggers[0].alert: the operator hears no alerts; set alerts.enabled in the \
                 chart's values, or --alerts-listen",
        "{said}"
    );
    Ok(())
}
