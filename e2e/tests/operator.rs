//! The operator as a process: what it says of itself, which namespaces it looks after, and how it stops.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::RollbackPolicy;
use backstop_api::event::{EventPhase, Outcome};
use backstop_e2e::chart::NAMESPACE;
use backstop_e2e::operator::binary;
use backstop_e2e::world::{APP, App, SOON, World, quick_policy};
use backstop_testenv::{Cluster, eventually, fate};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

#[tokio::test]
async fn it_says_that_it_lives_and_is_ready_and_counts_what_it_has_done() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("itself", quick_policy(), &App::version("v1")).await?;
    for path in ["/healthz", "/readyz"] {
        let (status, _, text) = world.operator.answer(path).await?;
        ensure!(
            (status, text.as_str()) == (200, "ok"),
            "{path}: {status} {text}"
        );
    }
    world.crashes_and_goes_back().await?;
    let counted = [
        "backstop_leader 1",
        "backstop_rollback_triggered_total 1",
        r#"backstop_rollback_count_total{phase="Succeeded",outcome="Recovered"} 1"#,
        r#"backstop_steps_total{step="WriteTemplate",state="Done"} 1"#,
        r#"backstop_api_calls_total{operation="patch deployment",result="ok"} 1"#,
        "# EOF",
    ];
    // The end is written first, and counted when it has been read again.
    eventually("it is counted", SOON, async || {
        let (status, kind, text) = world.operator.answer("/metrics").await?;
        ensure!(
            status == 200 && kind.starts_with("application/openmetrics-text"),
            "{kind}"
        );
        for line in counted {
            ensure!(text.lines().any(|l| l == line), "no '{line}' in:\n{text}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn it_looks_after_the_namespaces_that_it_is_given_and_no_other() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let also = cluster.namespace("also").await?;
    let other = cluster.namespace("other").await?;
    let flags = ["--watch-namespace".to_owned(), also.clone()];
    let mut world = World::with("several", &flags).await?;
    let first = world.namespace.clone();

    // One after the other, by the same operator.
    for namespace in [first, also] {
        namespace.clone_into(&mut world.namespace);
        world.deploy(&App::version("v1")).await?;
        world.policy(quick_policy()).await?;
        world.good_point(1).await?;
        world
            .deploy(&App::version("v2").fate(fate::CRASH_LOOP))
            .await?;
        world
            .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
            .await?;
        assert_eq!(world.live().await?, "v1", "in {namespace}");
    }

    // Whoever had seen it would have answered before the answer to a later one.
    other.clone_into(&mut world.namespace);
    world.policy(quick_policy()).await?;
    let policies: Api<RollbackPolicy> = world.api();
    also_answers(&world).await?;
    let status = policies.get(APP).await?.status;
    ensure!(status.is_none(), "looked after: {status:#?}");
    Ok(())
}

/// Waits until a policy that is made now, in a namespace that is looked after, is answered.
async fn also_answers(world: &World) -> anyhow::Result<()> {
    let looked_after = world.operator.namespace();
    let policies: Api<RollbackPolicy> = Api::namespaced(world.client.clone(), looked_after);
    let policy = json!({
        "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackPolicy",
        "metadata": {"name": "later"},
        "spec": {"workloads": [{"name": "later"}]},
    });
    let params = PatchParams::apply("kubectl");
    policies
        .patch("later", &params, &Patch::Apply(policy))
        .await?;
    eventually("the later policy to be answered", SOON, async || {
        let status = policies.get("later").await?.status;
        ensure!(status.is_some(), "no status yet");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn it_gives_the_lease_back_when_it_is_told_to_stop() -> anyhow::Result<()> {
    let world = World::new("stopped").await?;
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), NAMESPACE);
    let name = format!("backstop-{}", world.namespace);
    let holder = async || {
        let spec = leases.get(&name).await?.spec.unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        anyhow::Ok(holder)
    };
    assert_eq!(holder().await?, "a");
    world.operator.stop();
    let log = world.operator.log();
    let said = log.lines().last().unwrap_or_default();
    ensure!(
        said.ends_with("run: stopped"),
        "it did not end by itself:\n{log}"
    );
    // Or the next one would have to wait until it has run out.
    assert_eq!(holder().await?, "");
    Ok(())
}

#[tokio::test]
async fn where_no_terminal_reads_its_log_each_line_is_a_json_object() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let account = backstop_e2e::install(cluster).await?;
    let namespace = cluster.namespace("logs").await?;
    let kubeconfig = cluster
        .service_account_kubeconfig(&account.namespace, &account.service_account)
        .await?;
    let lease = format!("backstop-{namespace}");
    let mut operator = Command::new(binary()?)
        .args(["--listen", "127.0.0.1:0", "--lease-name", &lease])
        .args(["--watch-namespace", &namespace])
        .env("KUBECONFIG", kubeconfig)
        .env("RUST_LOG", "info")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let log = operator.stderr.take().context("no log")?;
    let mut lines = BufReader::new(log).lines();
    let mut said = Vec::new();
    while !said.iter().any(|s: &String| s.starts_with("leading")) {
        let line = timeout(Duration::from_secs(30), lines.next_line()).await??;
        let line = line.with_context(|| format!("it ended after {said:#?}"))?;
        let entry: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        for field in ["timestamp", "level", "target"] {
            ensure!(entry[field].is_string(), "no {field}: {line}");
        }
        said.push(entry["message"].as_str().context("no message")?.to_owned());
    }
    operator.kill().await?;
    Ok(())
}
