//! The whole of it on a real node, as a team has it: from `helm install` to `helm uninstall`, with nothing of Backstop
//! outside the cluster.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::condition::ConditionStatus;
use backstop_api::policy::{RollbackPolicyStatus, TriggerState};
use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy};
use backstop_e2e::chart::NAMESPACE;
use backstop_e2e::inside::Inside;
use backstop_e2e::metrics::{changed, error_rate};
use backstop_e2e::real::{self, RealApp};
use backstop_e2e::receiver::{Mood, Receiver};
use backstop_e2e::stage::{self, Discovery};
use backstop_e2e::world::cannot_start;
use backstop_testenv::{LoadGenerator, LoadOptions};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Where the application is.
const SHOP: &str = "shop";
/// What may not happen is looked for until so long after a bad release has shown itself.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// The application. Its version also says which image people would have built.
fn web(version: &str) -> RealApp {
    RealApp::new("web", version).env("LATENCY_MS", "20")
}

/// A release of it that does not stay.
fn crashes() -> RealApp {
    web("v2").env("CRASH_AFTER", "200ms")
}

/// A policy that acts quickly, with these triggers, and tells the team's own web service.
fn policy(triggers: &Value) -> Value {
    json!({
        "workloads": [{"name": "web"}],
        "points": {"soak": "1s"},
        "limits": {"cooldown": "0s"},
        "triggers": triggers,
        "notifications": [{"name": "team", "webhook": {"url": "http://hooks.monitoring.svc/team"}}],
    })
}

/// The version that the Deployment names.
async fn live(inside: &Inside) -> anyhow::Result<String> {
    let deployment: Deployment = inside.api().get("web").await?;
    let spec = deployment.spec.context("no spec")?.template.spec;
    let container = spec.and_then(|pod| pod.containers.into_iter().next());
    let variables = container.and_then(|container| container.env);
    let version = variables
        .into_iter()
        .flatten()
        .find(|variable| variable.name == "VERSION");
    version
        .and_then(|variable| variable.value)
        .context("no version")
}

/// Sees to it that two replicas run as the chart's service account, and that one of them holds the lease; returns which.
async fn one_of_two_leads(inside: &Inside) -> anyhow::Result<String> {
    inside
        .eventually("one of two replicas to lead", async || {
            let replicas = inside.replicas().await?;
            ensure!(replicas.len() == 2, "{} pods", replicas.len());
            for replica in &replicas {
                let account = replica
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.service_account_name.as_deref());
                ensure!(account == Some("backstop"), "{account:?}");
            }
            let leases: Api<Lease> = Api::namespaced(inside.client.clone(), NAMESPACE);
            let holder = leases
                .get("backstop")
                .await?
                .spec
                .and_then(|spec| spec.holder_identity);
            let holder = holder.context("nobody holds the lease")?;
            let names: Vec<_> = replicas.iter().map(ResourceExt::name_any).collect();
            ensure!(names.contains(&holder), "{holder} holds it, of {names:?}");
            Ok(holder)
        })
        .await
}

/// Applies a release, and waits until it has been taken back.
async fn goes_back(inside: &Inside, bad: &RealApp, event: &str) -> anyhow::Result<RollbackEvent> {
    inside.release(bad).await?;
    let event = inside.recovered(event).await?;
    ensure!(live(inside).await? == "v1", "{}", live(inside).await?);
    web("v1").rolled_out(&inside.client, SHOP).await?;
    Ok(event)
}

fn accepted(status: &RollbackPolicyStatus) -> Option<(ConditionStatus, &str)> {
    let condition = status.conditions.iter().find(|c| c.type_ == "Accepted")?;
    Some((condition.status, &condition.message))
}

/// What is kept of a policy, its points and its events: by name, UID and, where it is not a policy, what it says.
async fn records(inside: &Inside) -> anyhow::Result<Vec<String>> {
    let policies = inside
        .api::<RollbackPolicy>()
        .list(&ListParams::default())
        .await?;
    let points = inside
        .api::<RollbackPoint>()
        .list(&ListParams::default())
        .await?;
    let events = inside
        .api::<RollbackEvent>()
        .list(&ListParams::default())
        .await?;
    let mut records: Vec<_> = policies
        .iter()
        .map(|p| format!("{} {:?}", p.name_any(), p.uid()))
        .collect();
    records.extend(
        points
            .iter()
            .map(|p| format!("{} {:?} {}", p.name_any(), p.uid(), json!(p.spec))),
    );
    records.extend(
        events
            .iter()
            .map(|e| format!("{} {:?} {}", e.name_any(), e.uid(), json!(e.spec))),
    );
    Ok(records)
}

/// What is left of the release in the whole cluster, CRDs aside.
async fn left_of_it(inside: &Inside) -> anyhow::Result<String> {
    let kinds = "validatingadmissionpolicies,validatingadmissionpolicybindings,clusterroles,clusterrolebindings,\
                 deployments,services,serviceaccounts,roles,rolebindings,poddisruptionbudgets";
    let args = [
        "get",
        kinds,
        "--all-namespaces",
        "--selector=app.kubernetes.io/instance=backstop",
        "--output=name",
    ];
    inside.cluster.kubectl(&args).await?.success()
}

/// Sees to it that for a while nothing is changed and nothing recorded beyond `records`.
async fn nobody_acts(inside: &Inside, on: &str, before: &[String]) -> anyhow::Result<()> {
    let until = Instant::now() + AFTERWARDS;
    while Instant::now() < until {
        ensure!(live(inside).await? == on, "somebody still acts");
        ensure!(records(inside).await? == before, "somebody still records");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// A release that crashes is taken back, and the team is told.
async fn a_crash_loop_goes_back(inside: &Inside, hooks: &Receiver) -> anyhow::Result<()> {
    inside.release(&web("v1")).await?;
    web("v1").rolled_out(&inside.client, SHOP).await?;
    inside.policy(policy(&json!([cannot_start()]))).await?;
    inside.good_points(1).await?;
    let event = goes_back(inside, &crashes(), "web-1").await?;
    let evidence = event.spec.evidence.context("no evidence")?;
    ensure!(evidence.trigger == "cannot-start", "{evidence:?}");
    let told = inside
        .eventually("the team to be told", async || {
            let told: Vec<_> = hooks
                .received("/team")
                .into_iter()
                .map(|r| r.body["type"].clone())
                .collect();
            ensure!(
                told.contains(&json!("dev.backstop.rollback.succeeded")),
                "{told:?}"
            );
            Ok(told)
        })
        .await?;
    ensure!(told[0] == "dev.backstop.rollback.started", "{told:?}");
    Ok(())
}

/// From the end of the release on nothing acts any more, what was kept out is let in, and what is on record stays.
async fn nothing_is_wrong_afterwards(inside: &Inside) -> anyhow::Result<()> {
    inside.was_refused_nothing()?;
    let before = records(inside).await?;
    inside.uninstall().await?;
    inside
        .eventually("the replicas to end", async || {
            let left = inside.replicas().await?.len();
            ensure!(left == 0, "{left} are left");
            Ok(())
        })
        .await?;
    let left = left_of_it(inside).await?;
    ensure!(left.is_empty(), "{left}");
    ensure!(records(inside).await? == before, "records are gone");
    inside.release(&crashes()).await?;
    let pods = inside.api::<Pod>();
    inside
        .eventually("the bad release to crash", async || {
            let restarts = |pod: &Pod| {
                let containers = pod
                    .status
                    .iter()
                    .flat_map(|s| s.container_statuses.iter().flatten());
                containers.map(|state| state.restart_count).sum::<i32>()
            };
            let most = pods
                .list(&ListParams::default())
                .await?
                .iter()
                .map(restarts)
                .max();
            ensure!(most >= Some(2), "{most:?} restarts");
            Ok(())
        })
        .await?;
    nobody_acts(inside, "v2", &before).await
}

#[tokio::test]
async fn node_from_helm_install_to_helm_uninstall() -> anyhow::Result<()> {
    let Some(inside) = Inside::start(SHOP).await? else {
        return Ok(());
    };
    let prometheus = stage::prometheus().await?;
    let hooks = Receiver::start(Mood::Well).await?;
    inside.cluster.namespace_called("monitoring").await?;
    let _prometheus = inside
        .publish(("monitoring", "prometheus"), 9090, prometheus.url())
        .await?;
    let _hooks = inside
        .publish(("monitoring", "hooks"), 80, &hooks.url)
        .await?;
    let _discovery = Discovery::of(inside.api::<Pod>(), SHOP, prometheus);

    // Installed, without a Prometheus.
    let may_tell = "notifications.allow={http://hooks.monitoring.svc}";
    inside.helm("install", &[may_tell]).await?;
    let first = one_of_two_leads(&inside).await?;
    let said = inside.helm_test().await?;
    ensure!(said.contains(&format!("ok: {first} leads")), "{said}");

    a_crash_loop_goes_back(&inside, &hooks).await?;

    // Nothing says yet which Prometheus is meant.
    let of_errors = changed(error_rate(), json!({"for": "2s"}));
    inside
        .policy(policy(&json!([cannot_start(), of_errors])))
        .await?;
    let status = inside
        .policy_says("the policy to be refused", |s| {
            accepted(s).is_some_and(|(status, _)| status == ConditionStatus::False)
        })
        .await?;
    let (_, message) = accepted(&status).context("no condition")?;
    ensure!(message.contains("prometheus"), "{message}");

    // An upgrade says it. What there is stays, and the policy is taken as it is.
    let before = records(&inside).await?;
    let url = "prometheus.url=http://prometheus.monitoring.svc:9090";
    inside.helm("upgrade", &[may_tell, url]).await?;
    ensure!(
        one_of_two_leads(&inside).await? != first,
        "{first} still leads"
    );
    inside
        .policy_says("the policy to be taken", |s| {
            accepted(s).is_some_and(|(status, _)| status == ConditionStatus::True)
        })
        .await?;
    ensure!(records(&inside).await? == before, "{before:#?}");

    // A release that answers with errors is taken back, by what Prometheus says.
    let _load = LoadGenerator::start(
        &real::url(&inside.client, SHOP, "web").await?,
        LoadOptions::default(),
    )?;
    inside
        .policy_says("errors to be counted", |s| {
            s.triggers.iter().any(|t| {
                t.name == "error-rate" && t.state == TriggerState::Inactive && t.value == Some(0.0)
            })
        })
        .await?;
    let event = goes_back(&inside, &web("v3").env("ERROR_RATE", "0.3"), "web-2").await?;
    let evidence = event.spec.evidence.context("no evidence")?;
    ensure!(evidence.trigger == "error-rate", "{evidence:?}");

    nothing_is_wrong_afterwards(&inside).await?;

    // Installed again: it goes on where it was, and the release that it knows is taken back.
    inside.helm("install", &[may_tell, url]).await?;
    inside.recovered("web-3").await?;
    ensure!(live(&inside).await? == "v1");
    Ok(())
}

#[tokio::test]
async fn node_with_rights_in_two_namespaces_it_works_in_these_and_in_no_other() -> anyhow::Result<()>
{
    let Some(mut inside) = Inside::start(SHOP).await? else {
        return Ok(());
    };
    for other in ["bakery", "market"] {
        inside.cluster.namespace_called(other).await?;
    }
    inside
        .helm("install", &["watchNamespaces={shop,bakery}"])
        .await?;
    let said = inside.helm_test().await?;
    ensure!(
        said.contains("can be read in the namespace bakery"),
        "{said}"
    );

    let mut policy = policy(&json!([cannot_start()]));
    policy["notifications"] = json!([]);
    inside.namespace = "market".to_owned();
    inside.policy(policy.clone()).await?;
    inside.release(&crashes()).await?;
    for watched in [SHOP, "bakery"] {
        inside.namespace = watched.to_owned();
        inside.release(&web("v1")).await?;
        web("v1").rolled_out(&inside.client, watched).await?;
        inside.policy(policy.clone()).await?;
        inside.good_points(1).await?;
        inside.release(&crashes()).await?;
        inside.recovered("web-1").await?;
        ensure!(live(&inside).await? == "v1", "{watched}");
    }
    inside.namespace = "market".to_owned();
    ensure!(live(&inside).await? == "v2");
    let ignored: RollbackPolicy = inside.api().get("web").await?;
    ensure!(ignored.status.is_none(), "{:?}", ignored.status);
    inside.was_refused_nothing()
}
