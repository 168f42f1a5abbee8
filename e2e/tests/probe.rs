//! The health that real pods, or an address, tell of themselves takes a release back; that the operator
//! cannot reach them never does.

use std::time::Duration;

use anyhow::ensure;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use backstop_api::RollbackEvent;
use backstop_api::event::{EventPhase, Outcome};
use backstop_e2e::metrics::{changed, policy_with};
use backstop_e2e::real::RealApp;
use backstop_e2e::stage::Stage;
use backstop_e2e::world::{APP, App, World, cannot_start};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;

/// Asks the path that releases spoil, unlike that of the kubelet's own probes.
fn probe(fields: Value, condition: &str) -> Value {
    let probe = json!({"http": {"path": "/", "port": "http"}, "timeout": "1s", "startup": "5s"});
    json!({
        "name": "health", "interval": "1s", "condition": condition,
        "probe": changed(probe, fields),
    })
}

fn good() -> RealApp {
    RealApp::new(APP, "v1")
}

/// A release whose pods the kubelet finds well.
fn bad() -> RealApp {
    RealApp::new(APP, "v2")
}

/// Takes `bad` back by what a probe says, and returns the record of it.
async fn goes_back(
    name: &str,
    trigger: &Value,
    bad: &RealApp,
) -> anyhow::Result<Option<RollbackEvent>> {
    let Some(stage) = Stage::new(name).await? else {
        return Ok(None);
    };
    stage.released(&good()).await?;
    stage.policy(policy_with(trigger)).await?;
    stage.good_point(1).await?;
    stage.release(bad).await?;
    let event = stage
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    good().rolled_out(&stage.client, &stage.namespace).await?;
    Ok(Some(event))
}

fn evidence(event: &RollbackEvent) -> String {
    serde_json::to_string(&event.spec.evidence).unwrap_or_default()
}

#[tokio::test]
async fn node_pods_that_fail_three_times_in_a_row_are_taken_back() -> anyhow::Result<()> {
    let bad = bad().env("ERROR_RATE", "1");
    let trigger = probe(json!({}), "value >= 3");
    if let Some(event) = goes_back("probe-row", &trigger, &bad).await? {
        let evidence = evidence(&event);
        ensure!(
            evidence.contains("GET / (http) on port http of each pod"),
            "{evidence}"
        );
        ensure!(
            evidence.contains("HTTP 500 Internal Server Error"),
            "{evidence}"
        );
        // What was answered besides the status is nobody's business.
        ensure!(!evidence.contains("\"path\""), "{evidence}");
    }
    Ok(())
}

#[tokio::test]
async fn node_pods_that_fail_too_often_are_taken_back() -> anyhow::Result<()> {
    // One in four: hardly ever three in a row.
    let bad = bad().env("ERROR_RATE", "0.25");
    let fields = json!({"measure": "FailureRate", "window": "10s"});
    goes_back("probe-rate", &probe(fields, "value > 0.1"), &bad).await?;
    Ok(())
}

#[tokio::test]
async fn node_pods_that_take_too_long_are_taken_back() -> anyhow::Result<()> {
    let bad = bad().env("LATENCY_MS", "700");
    let fields = json!({"measure": "ResponseTime"});
    let trigger = changed(probe(fields, "value > 500"), json!({"for": "2s"}));
    goes_back("probe-slow", &trigger, &bad).await?;
    Ok(())
}

/// Nobody listens where the release was healthy, and the kubelet asks nothing: only that others answer
/// there says that it is the release's fault.
#[tokio::test]
async fn node_a_port_that_nobody_listens_on_any_more_counts_while_other_pods_answer()
-> anyhow::Result<()> {
    let Some(stage) = Stage::new("probe-port").await? else {
        return Ok(());
    };
    stage.released(&good()).await?;
    stage
        .policy(policy_with(&probe(json!({"startup": "1s"}), "value >= 3")))
        .await?;
    stage.good_point(1).await?;
    // Its readiness fails too, so the old pods stay.
    stage.release(&bad().env("LISTEN", ":9999")).await?;
    let event = stage
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let evidence = evidence(&event);
    ensure!(evidence.contains("refuses connections"), "{evidence}");
    Ok(())
}

/// Safety rule 5. The kubelet finds the pods well, and whether nobody listens there or something keeps
/// the operator away cannot be told apart.
#[tokio::test]
async fn node_an_operator_that_can_connect_to_no_pod_takes_nothing_back_and_says_so()
-> anyhow::Result<()> {
    let Some(stage) = Stage::new("probe-cut-off").await? else {
        return Ok(());
    };
    stage.released(&good()).await?;
    stage.policy(policy_with(&cannot_start())).await?;
    stage.good_point(1).await?;
    let trigger = probe(
        json!({"http": {"port": 7000}, "startup": "10s"}),
        "value >= 1",
    );
    stage.policy(policy_with(&trigger)).await?;
    stage.released(&bad()).await?;
    let said = stage.condition("DataAvailable", false, "Error").await?;
    ensure!(
        said.contains("nothing can be connected to") && said.contains("NetworkPolicy"),
        "{said}"
    );
    stage.nothing_happens(Duration::from_secs(5)).await?;
    ensure!(stage.events().await?.is_empty());
    bad().rolled_out(&stage.client, &stage.namespace).await
}

/// Safety rule 11.
#[tokio::test]
async fn node_a_pod_that_shares_its_nodes_address_is_not_asked() -> anyhow::Result<()> {
    let Some(stage) = Stage::new("probe-host").await? else {
        return Ok(());
    };
    stage.released(&good().replicas(1)).await?;
    let on_the_node = json!({"spec": {"template": {"spec": {
        "hostNetwork": true,
        "containers": [{
            "name": "app", "env": [{"name": "LISTEN", "value": ":18080"}],
            "readinessProbe": null, "livenessProbe": null,
        }],
    }}}});
    stage
        .api::<Deployment>()
        .patch(APP, &PatchParams::default(), &Patch::Strategic(on_the_node))
        .await?;
    let trigger = probe(
        json!({"http": {"port": 10250, "scheme": "HTTPS"}}),
        "value >= 1",
    );
    stage.policy(policy_with(&trigger)).await?;
    let said = stage.condition("DataAvailable", false, "Error").await?;
    ensure!(
        said.contains("the address of its node (hostNetwork)"),
        "{said}"
    );
    Ok(())
}

/// A service of this process, and how it answers from now on.
async fn service() -> anyhow::Result<(String, tokio::sync::watch::Sender<u16>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/healthz", listener.local_addr()?);
    let (status, answers) = tokio::sync::watch::channel(200);
    let router = Router::new().route(
        "/healthz",
        get(async move || StatusCode::from_u16(*answers.borrow()).expect("a status")),
    );
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((url, status))
}

#[tokio::test]
async fn an_address_that_fails_takes_the_release_back() -> anyhow::Result<()> {
    let (url, status) = service().await?;
    let world = World::with("probe-url", &["--web-allow".to_owned(), url.clone()]).await?;
    world.deploy(&App::version("v1")).await?;
    let trigger = probe(json!({"http": {"url": url}, "window": "3s"}), "value >= 3");
    world.policy(policy_with(&trigger)).await?;
    world.good_point(1).await?;
    world.deploy(&App::version("v2")).await?;
    status.send(503)?;
    let event = world.event_in("web-1", EventPhase::Verifying).await?;
    ensure!(
        evidence(&event).contains("HTTP 503"),
        "{}",
        evidence(&event)
    );
    status.send(200)?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn a_grpc_service_that_serves_no_more_takes_the_release_back() -> anyhow::Result<()> {
    let (reporter, service) = tonic_health::server::health_reporter();
    let is = async |status| {
        reporter.set_service_status("shop.Payments", status).await;
    };
    is(ServingStatus::Serving).await;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let incoming = TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));

    let world = World::with("probe-grpc", &["--web-allow".to_owned(), url.clone()]).await?;
    world.deploy(&App::version("v1")).await?;
    let grpc = json!({
        "name": "health", "interval": "1s", "condition": "value >= 3",
        "probe": {
            "grpc": {"url": url, "service": "shop.Payments"},
            "timeout": "1s", "startup": "5s", "window": "3s",
        },
    });
    world.policy(policy_with(&grpc)).await?;
    world.good_point(1).await?;
    world.deploy(&App::version("v2")).await?;
    is(ServingStatus::NotServing).await;
    let event = world.event_in("web-1", EventPhase::Verifying).await?;
    let said = evidence(&event);
    ensure!(said.contains("NOT_SERVING"), "{said}");
    is(ServingStatus::Serving).await;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn an_address_that_the_operator_does_not_allow_is_not_asked() -> anyhow::Result<()> {
    let world = World::new("probe-allow").await?;
    world.deploy(&App::version("v1")).await?;
    for (protocol, url) in [
        ("http", "https://status.example.com/healthz"),
        ("grpc", "http://web.other.svc:9000"),
    ] {
        let trigger = json!({
            "name": "health", "condition": "value >= 3", "probe": {protocol: {"url": url}},
        });
        world.policy(policy_with(&trigger)).await?;
        let field = format!("spec.triggers[0].probe.{protocol}.url: `{url}` is not allowed");
        world
            .policy_says(&format!("Accepted=False: {field}"), |status| {
                status.conditions.iter().any(|c| {
                    c.type_ == "Accepted" && c.reason == "Invalid" && c.message.contains(&field)
                })
            })
            .await?;
    }
    Ok(())
}
