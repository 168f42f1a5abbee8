//! The object of a GitOps tool rests while it would undo a rollback, and works again afterwards as before:
//! with the tools' own CRDs.

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::Suspended;
use backstop_e2e::people::{People, right};
use backstop_e2e::raw::{policy, refused, with};
use backstop_e2e::world::{APP, App, World, quick_policy};
use backstop_e2e::{chart, crds};
use backstop_testenv::fate;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

const BY: &str = "backstop.dev/suspended-by";

/// A kind of a GitOps tool: group, version, kind and plural.
type Kind = (&'static str, &'static str, &'static str, &'static str);

const KUSTOMIZATION: Kind = (
    "kustomize.toolkit.fluxcd.io",
    "v1",
    "Kustomization",
    "kustomizations",
);
const GIT_REPOSITORY: Kind = (
    "source.toolkit.fluxcd.io",
    "v1",
    "GitRepository",
    "gitrepositories",
);
const APPLICATION: Kind = ("argoproj.io", "v1alpha1", "Application", "applications");

fn api(world: &World, (group, version, kind, plural): Kind) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: format!("{group}/{version}"),
        kind: kind.into(),
        plural: plural.into(),
    };
    Api::namespaced_with(world.client.clone(), &world.namespace, &resource)
}

/// The tools' kinds are there, and the operator has the rights that `rbac.gitops` gives.
async fn installed(world: &World) -> anyhow::Result<()> {
    for (group, _, _, plural) in [KUSTOMIZATION, GIT_REPOSITORY, APPLICATION] {
        let crd = crds::published(group, plural)?.context("no CRD")?;
        crds::install(world.cluster, &crd).await?;
    }
    let rendered = chart::render(world.cluster, &["--set", "rbac.gitops=true"]).await?;
    let rights = rendered
        .iter()
        .filter(|o| o["metadata"]["name"] == "backstop-gitops");
    let apply = ["apply", "--server-side", "--filename=-"];
    world
        .cluster
        .kubectl_with(
            world.cluster.kubeconfig_path(),
            &apply,
            &chart::yaml(rights)?,
        )
        .await?
        .success()
        .map(drop)
}

/// Makes an object, with a status as its controller would write it.
async fn make(
    world: &World,
    kind: Kind,
    name: &str,
    spec: Value,
    status: Value,
) -> anyhow::Result<()> {
    let (group, version, of, _) = kind;
    let object = json!({
        "apiVersion": format!("{group}/{version}"), "kind": of, "metadata": {"name": name}, "spec": spec,
    });
    let params = PatchParams::apply("test").force();
    let api = api(world, kind);
    api.patch(name, &params, &Patch::Apply(object)).await?;
    // Argo CD's has no subresource for its status.
    let patch = Patch::Merge(json!({ "status": status }));
    let params = PatchParams::default();
    if kind == APPLICATION {
        api.patch(name, &params, &patch).await?;
    } else {
        api.patch_status(name, &params, &patch).await?;
    }
    Ok(())
}

fn artifact(revision: &str) -> Value {
    json!({"artifact": {
        "digest": "sha256:0123456789012345678901234567890123456789012345678901234567890123",
        "lastUpdateTime": "2026-01-01T00:00:00Z", "path": "apps.tar.gz", "revision": revision,
        "url": "http://localhost/apps.tar.gz",
    }})
}

/// A world under a policy that suspends, whose Deployment has these labels.
async fn good(name: &str, labels: impl Fn(&str) -> Value) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    installed(&world).await?;
    world.deploy(&App::version("v1")).await?;
    let metadata = labels(&world.namespace);
    world
        .patch_deployment(json!({ "metadata": metadata }))
        .await?;
    let mut policy = quick_policy();
    policy["gitops"] = json!({"onConflict": "Suspend"});
    world.policy(policy).await?;
    world.good_point(1).await?;
    Ok(world)
}

async fn bad(world: &World) -> anyhow::Result<()> {
    world
        .deploy(&App::version("v2").fate(fate::CRASH_LOOP))
        .await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    Ok(())
}

async fn entry(
    world: &World,
    what: &str,
    holds: impl Fn(&Suspended) -> bool,
) -> anyhow::Result<Suspended> {
    let status = world
        .policy_says(what, |s| s.suspended.first().is_some_and(&holds))
        .await?;
    status.suspended.into_iter().next().context("none")
}

fn kustomization(namespace: &str) -> Value {
    json!({"labels": {
        "kustomize.toolkit.fluxcd.io/name": "apps",
        "kustomize.toolkit.fluxcd.io/namespace": namespace,
    }})
}

async fn flux_applies(world: &World, deployment: &str) -> anyhow::Result<()> {
    let id = format!("{}_{deployment}_apps_Deployment", world.namespace);
    let spec = json!({
        "interval": "1h", "path": "./", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "apps"},
    });
    let status = json!({"inventory": {"entries": [{"id": id, "v": "v1"}]}});
    make(world, KUSTOMIZATION, "apps", spec, status).await?;
    let spec = json!({"interval": "1h", "url": "https://example.test/apps"});
    make(
        world,
        GIT_REPOSITORY,
        "apps",
        spec,
        artifact("main@sha1:aaa"),
    )
    .await
}

#[tokio::test]
async fn flux_rests_until_git_has_another_revision() -> anyhow::Result<()> {
    let world = good("suspend-flux", kustomization).await?;
    flux_applies(&world, APP).await?;
    bad(&world).await?;
    let rests = entry(&world, "the Kustomization to rest", |s| s.since.is_some()).await?;
    assert_eq!(
        (rests.kind.as_str(), rests.event.as_str()),
        ("Kustomization", "web-1")
    );
    let flux = api(&world, KUSTOMIZATION);
    let object = flux.get("apps").await?;
    assert_eq!(object.data["spec"]["suspend"], true);
    let why = object.metadata.annotations.unwrap_or_default()[BY].clone();
    ensure!(why.contains("/web-1: release "), "{why}");
    world.said("RollbackPolicy", "GitOpsSuspended").await?;

    let patch = Patch::Merge(json!({"status": artifact("main@sha1:bbb")}));
    api(&world, GIT_REPOSITORY)
        .patch_status("apps", &PatchParams::default(), &patch)
        .await?;
    let works = entry(&world, "the Kustomization to work", |s| {
        s.resumed_at.is_some()
    })
    .await?;
    ensure!(works.message.unwrap_or_default().contains("main@sha1:bbb"));
    let object = flux.get("apps").await?;
    ensure!(
        object.data["spec"].get("suspend").is_none(),
        "{}",
        object.data
    );
    ensure!(
        !object
            .metadata
            .annotations
            .unwrap_or_default()
            .contains_key(BY)
    );
    Ok(())
}

#[tokio::test]
async fn argo_cd_rests_until_a_new_version_is_live_and_syncs_as_before() -> anyhow::Result<()> {
    let world = good("suspend-argo", |namespace| {
        json!({"annotations": {
            "argocd.argoproj.io/tracking-id": format!("shop:apps/Deployment:{namespace}/web"),
        }})
    })
    .await?;
    let spec = json!({
        "project": "default",
        "destination": {"server": "https://kubernetes.default.svc", "namespace": world.namespace},
        "source": {"repoURL": "https://example.test/apps", "path": ".", "targetRevision": "main"},
        "syncPolicy": {"automated": {"prune": true, "selfHeal": true}, "syncOptions": ["ServerSideApply=true"]},
    });
    let status = json!({"resources": [{
        "group": "apps", "version": "v1", "kind": "Deployment", "namespace": world.namespace, "name": APP,
    }]});
    make(&world, APPLICATION, "shop", spec.clone(), status).await?;
    bad(&world).await?;
    entry(&world, "the Application to rest", |s| s.since.is_some()).await?;
    let argo = api(&world, APPLICATION);
    let resting = argo.get("shop").await?;
    assert_eq!(
        resting.data["spec"]["syncPolicy"],
        json!({"syncOptions": ["ServerSideApply=true"]})
    );

    world.deploy(&App::version("v3")).await?;
    world
        .policy_says("nothing to rest", |s| s.suspended.is_empty())
        .await?;
    let works = argo.get("shop").await?;
    assert_eq!(works.data["spec"], spec);
    Ok(())
}

#[tokio::test]
async fn what_does_not_apply_the_deployment_or_is_elsewhere_is_left_alone() -> anyhow::Result<()> {
    let world = good("suspend-other", kustomization).await?;
    flux_applies(&world, "another").await?;
    bad(&world).await?;
    let left = entry(&world, "why nothing rests", |s| s.message.is_some()).await?;
    let why = left.message.unwrap_or_default();
    ensure!(
        why.contains("does not say that it applies Deployment web"),
        "{why}"
    );
    let object = api(&world, KUSTOMIZATION).get("apps").await?;
    ensure!(object.data["spec"].get("suspend").is_none());

    let world = good("suspend-elsewhere", |_| kustomization("flux-system")).await?;
    bad(&world).await?;
    let left = entry(&world, "why nothing rests", |s| s.message.is_some()).await?;
    let why = left.message.unwrap_or_default();
    ensure!(
        why.contains("it is in namespace flux-system") && why.contains("--gitops-namespaces"),
        "{why}"
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
