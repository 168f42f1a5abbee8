//! What was kept out is let in again when Backstop is uninstalled, and nobody's Deployment is refused for
//! another reason on the way.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_e2e::chart;
use backstop_e2e::raw::Raw;
use backstop_e2e::world::{APP, App};
use backstop_testenv::{Cluster, ClusterOptions, eventually};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

const SOON: Duration = Duration::from_mins(2);
/// What may not happen is looked for until so long after the end.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// Whether the failed template would be applied, and if not, in which words it is refused.
async fn tried(api: &Api<Deployment>) -> Option<String> {
    let params = PatchParams::apply("kustomize-controller").force().dry_run();
    let bad = Patch::Apply(App::version("v2").manifest());
    api.patch(APP, &params, &bad)
        .await
        .err()
        .map(|e| e.to_string())
}

/// Installs the chart, and has v2 of a Deployment kept out.
async fn keeps_out(cluster: &Cluster, api: &Api<Deployment>) -> anyhow::Result<()> {
    // Before it may be refused by what an earlier install left on record.
    let params = PatchParams::apply("kubectl").force();
    api.patch(APP, &params, &Patch::Apply(App::version("v1").manifest()))
        .await?;
    let bad = api
        .patch(
            APP,
            &params.clone().dry_run(),
            &Patch::Apply(App::version("v2").manifest()),
        )
        .await?;
    let template = serde_json::to_value(bad.spec.context("no spec")?.template)?;
    let chart = chart::path();
    let install = [
        "upgrade",
        "--install",
        "backstop",
        &chart,
        "--create-namespace",
        "--namespace",
        chart::NAMESPACE,
    ];
    cluster.helm(&install).await?.success()?;
    let operator = cluster
        .client_for_service_account(chart::NAMESPACE, "backstop")
        .await?;
    let policies = Raw::policies(&cluster.client().await?, "default");
    eventually("the policy to be taken", SOON, async || {
        let spec = json!({"workloads": [{"name": APP}]});
        match policies.create(APP, spec).await {
            Err(error) if !error.to_string().contains("already exists") => Err(error)?,
            _ => anyhow::Ok(()),
        }
    })
    .await?;
    let kept_out = json!({"quarantined": [{
        "workload": APP, "release": "0123456789abcdef", "event": "web-1", "template": template,
    }]});
    // The operator's rights are as new as its policy.
    eventually("the operator to write status", SOON, async || {
        let policies = Raw::policies(&operator, "default");
        policies.status(APP, kept_out.clone()).await
    })
    .await?;
    eventually("v2 to be refused", SOON, async || {
        let said = tried(api).await.context("it passes")?;
        ensure!(
            said.contains("taken back by RollbackEvent 'web-1'"),
            "{said}"
        );
        Ok(())
    })
    .await
}

/// Follows what is said of v2 while something goes on and until after it passes.
async fn let_in_by(
    api: &Api<Deployment>,
    what: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let watch = async {
        let mut passes = None;
        let began = Instant::now();
        loop {
            match tried(api).await {
                None => {
                    passes.get_or_insert_with(Instant::now);
                }
                Some(said) => ensure!(
                    said.contains("taken back by RollbackEvent 'web-1'"),
                    "refused for another reason: {said}"
                ),
            }
            if passes.is_some_and(|since| since.elapsed() > AFTERWARDS) {
                return Ok(());
            }
            ensure!(began.elapsed() < SOON, "v2 is still refused");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (done, watched) = tokio::join!(what, watch);
    done.and(watched)
}

#[tokio::test]
async fn an_uninstall_lets_in_what_was_kept_out_and_refuses_nothing_on_the_way()
-> anyhow::Result<()> {
    // Of its own, since a release is of the whole cluster.
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    let api: Api<Deployment> = Api::namespaced(cluster.client().await?, "default");
    keeps_out(&cluster, &api).await?;
    let_in_by(&api, async {
        let uninstall = ["uninstall", "backstop", "--namespace", chart::NAMESPACE];
        cluster.helm(&uninstall).await?.success().map(drop)
    })
    .await?;

    // The kind of the parameters may go before the policy that reads them.
    keeps_out(&cluster, &api).await?;
    let_in_by(&api, async {
        let delete = ["delete", "crd", "rollbackpolicies.backstop.dev"];
        cluster.kubectl(&delete).await?.success().map(drop)
    })
    .await?;

    // And so may the policy before its binding.
    keeps_out(&cluster, &api).await?;
    let_in_by(&api, async {
        let delete = ["delete", "validatingadmissionpolicy", "backstop-quarantine"];
        cluster.kubectl(&delete).await?.success().map(drop)
    })
    .await
}
