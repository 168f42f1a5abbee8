//! The object of a GitOps tool is suspended while it would undo a rollback, and works again afterwards as before:
//! with the tools' own CRDs.

use anyhow::{Context as _, ensure};
use backstop_api::policy::{SuspendState, Suspended};
use backstop_api::{RollbackPoint, RollbackPolicy};
use backstop_e2e::gitops_objects::{
    APPLICATION, GIT_REPOSITORY, HELM_CHART, HELM_RELEASE, KUSTOMIZATION, Kind, give_rights,
    install_kinds, make, objects, set_status,
};
use backstop_e2e::people::{People, right};
use backstop_e2e::raw::{policy, refused, with};
use backstop_e2e::world::{APP, App, World, quick_policy};
use backstop_testenv::{Cluster, fate};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

const BY: &str = "backstop.dev/suspended-by";
const MARK: &str = "backstop.dev/suspended";

/// A world under a policy that suspends, whose Deployment has this metadata.
async fn good(world: World, metadata: Value) -> anyhow::Result<World> {
    install_kinds(world.cluster).await?;
    give_rights(world.cluster).await?;
    world.deploy(&App::version("v1")).await?;
    world
        .patch_deployment(json!({ "metadata": metadata }))
        .await?;
    let mut policy = quick_policy();
    policy["gitops"] = json!({"onConflict": "Suspend"});
    world.policy(policy).await?;
    world.good_point(1).await?;
    Ok(world)
}

fn api(world: &World, kind: Kind) -> Api<DynamicObject> {
    objects(&world.client, &world.namespace, kind)
}

/// Waits until what is suspended, or should be, is in this state.
async fn entry(world: &World, state: SuspendState) -> anyhow::Result<Suspended> {
    let what = format!("the first of status.suspended to be {state:?}");
    let status = world
        .policy_says(&what, |s| {
            s.suspended.first().is_some_and(|e| e.state == state)
        })
        .await?;
    status.suspended.into_iter().next().context("none")
}

/// Waits until the object has no mark of Backstop any more, and returns its spec.
async fn unmarked(world: &World, api: &Api<DynamicObject>, name: &str) -> anyhow::Result<Value> {
    world
        .eventually(&format!("{name} to have no mark"), async || {
            let object = api.get(name).await?;
            let annotations = object.metadata.annotations.unwrap_or_default();
            ensure!(
                !annotations.contains_key(MARK) && !annotations.contains_key(BY),
                "{annotations:?}"
            );
            Ok(object.data["spec"].clone())
        })
        .await
}

fn kustomization(namespace: &str) -> Value {
    json!({"labels": {
        "kustomize.toolkit.fluxcd.io/name": "apps",
        "kustomize.toolkit.fluxcd.io/namespace": namespace,
    }})
}

fn artifact(revision: &str) -> Value {
    json!({"artifact": {
        "digest": "sha256:0123456789012345678901234567890123456789012345678901234567890123",
        "lastUpdateTime": "2026-01-01T00:00:00Z", "path": "apps.tar.gz", "revision": revision,
        "url": "http://localhost/apps.tar.gz",
    }})
}

fn of_flux() -> Value {
    json!({
        "force": false, "interval": "1h", "path": "./", "prune": true,
        "sourceRef": {"kind": "GitRepository", "name": "apps"},
    })
}

/// A Kustomization that applies this Deployment, and where it comes from.
async fn flux_applies(world: &World, deployment: &str) -> anyhow::Result<()> {
    let id = format!("{}_{deployment}_apps_Deployment", world.namespace);
    let status = json!({"inventory": {"entries": [{"id": id, "v": "v1"}]}});
    let flux = api(world, KUSTOMIZATION);
    make(&flux, KUSTOMIZATION, "apps", of_flux(), status).await?;
    let spec = json!({"interval": "1h", "url": "https://example.test/apps"});
    let sources = api(world, GIT_REPOSITORY);
    make(
        &sources,
        GIT_REPOSITORY,
        "apps",
        spec,
        artifact("main@sha1:aaa"),
    )
    .await
}

/// A world of Flux.
async fn flux(name: &str) -> anyhow::Result<(World, Api<DynamicObject>)> {
    let world = World::new(name).await?;
    let metadata = kustomization(&world.namespace);
    let world = good(world, metadata).await?;
    flux_applies(&world, APP).await?;
    let objects = api(&world, KUSTOMIZATION);
    Ok((world, objects))
}

/// The same with a rollback, for which the Kustomization is suspended.
async fn suspended(name: &str) -> anyhow::Result<(World, Api<DynamicObject>)> {
    let (world, flux) = flux(name).await?;
    world.crashes_and_goes_back().await?;
    entry(&world, SuspendState::Suspended).await?;
    let object = flux.get("apps").await?;
    assert_eq!(object.data["spec"]["suspend"], true);
    Ok((world, flux))
}

#[tokio::test]
async fn flux_is_suspended_until_git_has_another_revision() -> anyhow::Result<()> {
    let (world, flux) = suspended("suspend-flux").await?;
    let entry_ = entry(&world, SuspendState::Suspended).await?;
    assert_eq!(
        (entry_.kind.as_str(), entry_.event.as_str()),
        ("Kustomization", "web-1")
    );
    let annotations = flux.get("apps").await?.metadata.annotations;
    let why = annotations.unwrap_or_default()[BY].clone();
    ensure!(why.contains("/web-1: release "), "{why}");
    world.said("RollbackPolicy", "GitOpsSuspended").await?;
    world
        .condition("GitOpsSuspended", true, "Suspended")
        .await?;

    let sources = api(&world, GIT_REPOSITORY);
    set_status(&sources, GIT_REPOSITORY, "apps", artifact("main@sha1:bbb")).await?;
    let works = entry(&world, SuspendState::Resumed).await?;
    let message = works.message.unwrap_or_default();
    ensure!(message.contains("main@sha1:bbb"), "{message}");
    assert_eq!(unmarked(&world, &flux, "apps").await?, of_flux());
    world.condition("GitOpsSuspended", false, "Resumed").await?;
    Ok(())
}

/// It was killed after it had suspended the Kustomization and before it had said so; meanwhile Git was mended.
#[tokio::test]
async fn an_operator_that_is_killed_midway_goes_on_with_what_it_has_suspended() -> anyhow::Result<()>
{
    let (world, flux) = suspended("suspend-killed").await?;
    world.operator.kill()?;
    let mut suspended = serde_json::to_value(world.status().await?.suspended)?;
    for key in ["since", "revision"] {
        suspended[0][key] = Value::Null;
    }
    suspended[0]["state"] = json!("Intended");
    // Nobody else may write there.
    let cluster = world.cluster;
    let backstop = cluster.client_for_service_account("backstop-system", "backstop");
    let policies: Api<RollbackPolicy> = Api::namespaced(backstop.await?, &world.namespace);
    let patch = Patch::Merge(json!({"status": {"suspended": suspended}}));
    policies
        .patch_status("web", &PatchParams::default(), &patch)
        .await?;
    let sources = api(&world, GIT_REPOSITORY);
    set_status(&sources, GIT_REPOSITORY, "apps", artifact("main@sha1:bbb")).await?;
    world.operator.restart()?;
    entry(&world, SuspendState::Resumed).await?;
    assert_eq!(unmarked(&world, &flux, "apps").await?, of_flux());
    Ok(())
}

/// What Argo CD's Application is asked to apply, and how.
fn of_argo(world: &World) -> Value {
    json!({
        "project": "default",
        "destination": {"server": "https://kubernetes.default.svc", "namespace": world.namespace},
        "source": {"repoURL": "https://example.test/apps", "path": ".", "targetRevision": "main"},
        "syncPolicy": {"automated": {"prune": true, "selfHeal": true}, "syncOptions": ["ServerSideApply=true"]},
    })
}

/// What Argo CD compares with in Git.
fn synced(revision: &str) -> Value {
    json!({"status": "OutOfSync", "comparedTo": {"destination": {}, "source": {"repoURL": "https://example.test/apps"}},
           "revision": revision})
}

/// An Application of another namespace, which the operator lists, that is suspended since a rollback.
async fn argo(name: &str) -> anyhow::Result<(World, Api<DynamicObject>)> {
    let cluster = Cluster::shared().await?;
    let argocd = cluster.namespace("argocd").await?;
    let flags = [format!("--gitops-namespaces={argocd}")];
    let world = World::with(name, &flags).await?;
    let metadata = json!({"annotations": {
        "argocd.argoproj.io/tracking-id": format!("shop:apps/Deployment:{}/web", world.namespace),
    }});
    let world = good(world, metadata).await?;
    let resources = json!([{
        "group": "apps", "version": "v1", "kind": "Deployment", "namespace": world.namespace, "name": APP,
    }]);
    let status = json!({"resources": resources, "sync": synced("aaa")});
    let argo = objects(&world.client, &argocd, APPLICATION);
    make(&argo, APPLICATION, "shop", of_argo(&world), status).await?;
    world.crashes_and_goes_back().await?;
    let resting = entry(&world, SuspendState::Suspended).await?;
    assert_eq!(
        (resting.kind.as_str(), resting.namespace),
        ("Application", argocd)
    );
    let object = argo.get("shop").await?;
    assert_eq!(
        object.data["spec"]["syncPolicy"],
        json!({"syncOptions": ["ServerSideApply=true"]})
    );
    Ok((world, argo))
}

#[tokio::test]
async fn argo_cd_is_suspended_in_a_listed_namespace_until_a_new_version_is_live()
-> anyhow::Result<()> {
    let (world, argo) = argo("suspend-argo").await?;
    world.deploy(&App::version("v3")).await?;
    world
        .policy_says("nothing to be suspended", |s| s.suspended.is_empty())
        .await?;
    assert_eq!(unmarked(&world, &argo, "shop").await?, of_argo(&world));
    world.said("RollbackPolicy", "GitOpsResumed").await?;
    Ok(())
}

/// Nobody but Argo CD applies the mended version, which it does not while its automated sync is off.
#[tokio::test]
async fn argo_cd_is_suspended_until_git_has_another_revision() -> anyhow::Result<()> {
    let (world, argo) = argo("suspend-argo-git").await?;
    set_status(&argo, APPLICATION, "shop", json!({"sync": synced("bbb")})).await?;
    let works = entry(&world, SuspendState::Resumed).await?;
    let message = works.message.unwrap_or_default();
    ensure!(message.contains("bbb"), "{message}");
    assert_eq!(unmarked(&world, &argo, "shop").await?, of_argo(&world));
    Ok(())
}

#[tokio::test]
async fn a_helm_release_is_suspended_until_the_record_of_what_failed_is_deleted()
-> anyhow::Result<()> {
    let world = World::new("suspend-helm").await?;
    let metadata = json!({"labels": {
        "helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": world.namespace,
    }});
    let world = good(world, metadata).await?;
    let chart = json!({
        "chart": "web", "interval": "1h", "sourceRef": {"kind": "HelmRepository", "name": "charts"},
    });
    let charts = api(&world, HELM_CHART);
    make(&charts, HELM_CHART, "web", chart, artifact("1.2.3")).await?;
    let spec = json!({"interval": "1h", "chart": {"spec": {"chart": "web"}}});
    let status = json!({"helmChart": format!("{}/web", world.namespace)});
    let flux = api(&world, HELM_RELEASE);
    make(&flux, HELM_RELEASE, "web", spec.clone(), status).await?;
    world.crashes_and_goes_back().await?;
    let resting = entry(&world, SuspendState::Suspended).await?;
    ensure!(
        resting
            .revision
            .as_deref()
            .is_some_and(|r| r.starts_with("1.2.3, ")),
        "{resting:?}"
    );
    assert_eq!(flux.get("web").await?.data["spec"]["suspend"], true);

    let record = world.points("Quarantined").await?;
    let record = record.first().and_then(|p| p.metadata.name.clone());
    let points = world.api::<RollbackPoint>();
    points
        .delete(&record.context("no record")?, &DeleteParams::default())
        .await?;
    assert_eq!(unmarked(&world, &flux, "web").await?, spec);
    world
        .policy_says("nothing to be suspended", |s| s.suspended.is_empty())
        .await?;
    Ok(())
}

async fn policy_deleted(world: &World) -> anyhow::Result<()> {
    let policies = world.api::<RollbackPolicy>();
    policies.delete("web", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_policy_has_suspended_works_again_when_it_is_deleted() -> anyhow::Result<()> {
    let (world, flux) = suspended("suspend-deleted").await?;
    policy_deleted(&world).await?;
    assert_eq!(unmarked(&world, &flux, "apps").await?, of_flux());
    Ok(())
}

#[tokio::test]
async fn what_a_policy_has_suspended_works_again_though_it_is_deleted_while_nobody_leads()
-> anyhow::Result<()> {
    let (world, flux) = suspended("suspend-orphan").await?;
    world.operator.kill()?;
    policy_deleted(&world).await?;
    world.operator.restart()?;
    assert_eq!(unmarked(&world, &flux, "apps").await?, of_flux());
    Ok(())
}

async fn set_suspend(flux: &Api<DynamicObject>, suspend: bool) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"spec": {"suspend": suspend}}));
    flux.patch("apps", &PatchParams::default(), &patch).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_person_has_suspended_or_made_work_again_stays_so() -> anyhow::Result<()> {
    let (world, flux) = flux("suspend-person").await?;
    set_suspend(&flux, true).await?;
    world.crashes_and_goes_back().await?;
    let left = entry(&world, SuspendState::LeftAlone).await?;
    let why = left.message.unwrap_or_default();
    ensure!(why.contains("somebody else has suspended it"), "{why}");
    // A new version ends the rollback's claim, and not the person's.
    world.deploy(&App::version("v3")).await?;
    world
        .policy_says("nothing to be suspended", |s| s.suspended.is_empty())
        .await?;
    let object = flux.get("apps").await?;
    assert_eq!(object.data["spec"]["suspend"], true);

    // And the other way round, at the next rollback.
    set_suspend(&flux, false).await?;
    world.proved("v3").await?;
    let worse = App::version("v4").fate(fate::CRASH_LOOP);
    world.deploy(&worse).await?;
    entry(&world, SuspendState::Suspended).await?;
    set_suspend(&flux, false).await?;
    let left = entry(&world, SuspendState::LeftAlone).await?;
    let why = left.message.unwrap_or_default();
    ensure!(why.contains("somebody has made it work again"), "{why}");
    assert_eq!(unmarked(&world, &flux, "apps").await?["suspend"], false);
    Ok(())
}

#[tokio::test]
async fn what_does_not_apply_the_deployment_or_is_elsewhere_is_left_alone() -> anyhow::Result<()> {
    let world = World::new("suspend-other").await?;
    let metadata = kustomization(&world.namespace);
    let world = good(world, metadata).await?;
    flux_applies(&world, "another").await?;
    world.crashes_and_goes_back().await?;
    let left = entry(&world, SuspendState::NotSuspended).await?;
    let why = left.message.unwrap_or_default();
    ensure!(
        why.contains("does not say that it applies Deployment web"),
        "{why}"
    );
    let object = api(&world, KUSTOMIZATION).get("apps").await?;
    ensure!(object.data["spec"].get("suspend").is_none());
    world
        .condition("GitOpsSuspended", false, "NotSuspended")
        .await?;

    let world = good(
        World::new("suspend-else").await?,
        kustomization("flux-system"),
    )
    .await?;
    world.crashes_and_goes_back().await?;
    let left = entry(&world, SuspendState::NotSuspended).await?;
    let why = left.message.unwrap_or_default();
    ensure!(
        why.contains("namespace flux-system is neither") && why.contains("--gitops-namespaces"),
        "{why}"
    );
    world.said("RollbackPolicy", "GitOpsNotSuspended").await?;
    Ok(())
}

/// Nobody would see that Git was mended.
#[tokio::test]
async fn what_comes_from_a_source_that_may_not_be_read_is_left_alone() -> anyhow::Result<()> {
    let (world, flux) = flux("suspend-source").await?;
    let source = json!({"kind": "GitRepository", "name": "apps", "namespace": "flux-system"});
    let patch = Patch::Merge(json!({"spec": {"sourceRef": source}}));
    flux.patch("apps", &PatchParams::default(), &patch).await?;
    world.crashes_and_goes_back().await?;
    let left = entry(&world, SuspendState::NotSuspended).await?;
    let why = left.message.unwrap_or_default();
    ensure!(
        why.contains("its source, GitRepository flux-system/apps, is neither"),
        "{why}"
    );
    ensure!(
        flux.get("apps").await?.data["spec"]
            .get("suspend")
            .is_none()
    );
    Ok(())
}

#[tokio::test]
async fn who_may_not_patch_the_tools_objects_may_not_have_them_suspended() -> anyhow::Result<()> {
    let people = People::new().await?;
    let suspends = with(policy(APP), json!({"gitops": {"onConflict": "Suspend"}}));
    let said = refused(
        people
            .policies(&people.alice)
            .create("web", suspends.clone())
            .await,
        "spec.gitops.onConflict: 'alice' may not patch every Kustomization",
    )?;
    ensure!(said.contains("or set it to 'Quarantine'"), "{said}");
    let rights = [
        right("apps", "deployments", &[APP]),
        right("", "configmaps", &[]),
        right("", "secrets", &[]),
        right("kustomize.toolkit.fluxcd.io", "kustomizations", &[]),
        right("helm.toolkit.fluxcd.io", "helmreleases", &[]),
        right("argoproj.io", "applications", &[]),
    ];
    let carol = people.person("carol", &rights).await?;
    backstop_testenv::eventually(
        "carol's rights",
        std::time::Duration::from_secs(30),
        async || {
            people
                .policies(&carol)
                .create("web", suspends.clone())
                .await
        },
    )
    .await?;
    Ok(())
}
