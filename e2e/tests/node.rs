//! Real pods on a real node, and Services that carry real requests.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_e2e::real::{PORT, RealApp};
use backstop_testenv::load::{Drawing, Outcome, output_folder};
use backstop_testenv::{Cluster, LoadGenerator, LoadOptions, Node, eventually};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, LogParams};
use serde_json::Value;

const SOON: Duration = Duration::from_mins(1);

#[tokio::test]
async fn node_a_service_is_answered_by_both_of_its_real_pods() -> anyhow::Result<()> {
    let Some(_node) = Node::shared().await? else {
        return Ok(());
    };
    let cluster = Cluster::shared().await?;
    let (client, namespace) = (cluster.client().await?, cluster.namespace("real").await?);
    let app = RealApp::new("web", "v1");
    cluster.apply(&namespace, &app.manifests()?).await?;
    app.rolled_out(&client, &namespace).await?;

    let url = app.url(&client, &namespace).await?;
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let mut names: Vec<_> = pods
        .list(&ListParams::default())
        .await?
        .into_iter()
        .filter_map(|pod| pod.metadata.name)
        .collect();
    names.sort();
    let mut answered = Vec::new();
    eventually("both pods to answer", SOON, async || {
        // A client each: a Service picks a pod for a connection, not for a request.
        let client = reqwest::Client::builder().no_proxy().build()?;
        let body: Value = client.get(&url).send().await?.json().await?;
        ensure!(body["version"] == "v1", "{body}");
        answered.push(body["pod"].as_str().context("no pod")?.to_owned());
        answered.sort();
        answered.dedup();
        ensure!(answered == names, "{answered:?} of {names:?} answered");
        Ok(())
    })
    .await?;

    // By way of the API server to the kubelet, which is how people look at a pod.
    let log = pods.logs(&names[0], &LogParams::default()).await?;
    ensure!(log.contains(&format!("version v1 on :{PORT}")), "{log}");
    Ok(())
}

#[tokio::test]
async fn node_a_rolling_update_loses_no_request_and_is_drawn() -> anyhow::Result<()> {
    let Some(_node) = Node::shared().await? else {
        return Ok(());
    };
    let cluster = Cluster::shared().await?;
    let (client, namespace) = (cluster.client().await?, cluster.namespace("rolling").await?);
    let app = RealApp::new("web", "v1");
    cluster.apply(&namespace, &app.manifests()?).await?;
    app.rolled_out(&client, &namespace).await?;
    let load = LoadGenerator::start(&app.url(&client, &namespace).await?, LoadOptions::default())?;
    eventually("answers of v1", SOON, async || {
        let seen = load.responses();
        ensure!(seen.len() > 100, "{} answers", seen.len());
        Ok(())
    })
    .await?;

    let released = load.now();
    let next = RealApp::new("web", "v2");
    cluster.apply(&namespace, &next.manifests()?).await?;
    next.rolled_out(&client, &namespace).await?;
    // What has been told to go goes on answering until everybody has heard of that.
    let mut settled = load.now();
    eventually("answers of v2 alone", SOON, async || {
        let seen = load.responses().after(settled);
        if seen.share("v2") < 1.0 {
            settled = load.now();
        }
        ensure!(seen.len() > 100, "{} answers", seen.len());
        Ok(())
    })
    .await?;

    let all = load.stop();
    let before = all.within(Duration::ZERO..released);
    ensure!(before.share("v1") > 0.999, "{:?}", before.shares());
    let after = all.after(settled);
    ensure!(after.share("v2") > 0.999, "{:?}", after.shares());
    let failed: Vec<_> = all.failed().collect();
    ensure!(failed.is_empty(), "{failed:?} of {}", all.len());
    Drawing::new("A rolling update, seen by those who ask")
        .mark(released, "released")
        .write(&all, &output_folder().join("node-rolling-update.svg"))
}

#[tokio::test]
async fn node_a_release_that_fails_one_request_in_four_is_seen_to() -> anyhow::Result<()> {
    let Some(_node) = Node::shared().await? else {
        return Ok(());
    };
    let cluster = Cluster::shared().await?;
    let (client, namespace) = (cluster.client().await?, cluster.namespace("faulty").await?);
    let app = RealApp::new("web", "bad")
        .replicas(1)
        .env("ERROR_RATE", "0.25")
        .env("LATENCY_MS", "30");
    cluster.apply(&namespace, &app.manifests()?).await?;
    app.rolled_out(&client, &namespace).await?;
    let load = LoadGenerator::start(&app.url(&client, &namespace).await?, LoadOptions::default())?;
    eventually("answers", SOON, async || {
        let seen = load.responses();
        ensure!(seen.len() >= 200, "{} answers", seen.len());
        Ok(())
    })
    .await?;
    let all = load.stop();
    ensure!(
        (all.failed_share() - 0.25).abs() < 0.02,
        "{}",
        all.failed_share()
    );
    let slow = Duration::from_millis(30);
    for response in &all {
        ensure!(response.latency >= slow, "{response:?}");
        ensure!(
            matches!(response.outcome, Outcome::Status(200 | 500)),
            "{response:?}"
        );
    }
    Ok(())
}

/// Waits until the one pod of a release is in a crash loop, for this reason and with this exit code.
async fn crash_loops(prefix: &str, app: RealApp, reason: &str, code: i32) -> anyhow::Result<()> {
    if Node::shared().await?.is_none() {
        return Ok(());
    }
    let cluster = Cluster::shared().await?;
    let (client, namespace) = (cluster.client().await?, cluster.namespace(prefix).await?);
    cluster
        .apply(&namespace, &app.replicas(1).manifests()?)
        .await?;
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    eventually("a crash loop", SOON, async || {
        let found = pods.list(&ListParams::default()).await?;
        let status = found
            .items
            .first()
            .and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref()?.first())
            .context("no status yet")?;
        let state = status.state.as_ref();
        let waiting = state.and_then(|state| state.waiting.as_ref()?.reason.as_deref());
        let last = status.last_state.as_ref();
        let ended = last.and_then(|state| state.terminated.as_ref());
        ensure!(
            waiting == Some("CrashLoopBackOff")
                && ended.is_some_and(|ended| {
                    ended.exit_code == code && ended.reason.as_deref() == Some(reason)
                })
                && status.restart_count > 0,
            "{status:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn node_a_release_that_crashes_is_restarted_by_the_kubelet() -> anyhow::Result<()> {
    let app = RealApp::new("web", "bad").env("CRASH_AFTER", "500ms");
    crash_loops("crashing", app, "Error", 1).await
}

#[tokio::test]
async fn node_a_release_that_takes_too_much_memory_is_killed_by_the_kernel() -> anyhow::Result<()> {
    let app = RealApp::new("web", "bad")
        .env("MEMORY_MB", "200")
        .memory_limit("64Mi");
    crash_loops("greedy", app, "OOMKilled", 137).await
}
