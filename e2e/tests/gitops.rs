//! A release that failed is kept out: what the API server refuses, what it lets pass, and for how long.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::RollbackPoint;
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::QuarantinedTemplate;
use backstop_e2e::gitops::{FLUX, reason};
use backstop_e2e::install::install;
use backstop_e2e::raw::Raw;
use backstop_e2e::strategies::set_mode;
use backstop_e2e::world::{APP, App, World, quick_policy};
use backstop_testenv::fate;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DeleteParams;
use serde_json::{Value, json};

fn v1() -> App {
    App::version("v1")
}

fn v2() -> App {
    App::version("v2").fate(fate::CRASH_LOOP)
}

/// v2, by an administrator who has taken over.
fn overridden(why: &str) -> App {
    v2().deployment_annotation("backstop.dev/override", why)
        .deployment_annotation("backstop.dev/override-by", "admin")
}

/// The quick policy with these fields in `gitops`.
fn policy(gitops: Value) -> Value {
    let mut policy = quick_policy();
    policy["gitops"] = gitops;
    policy
}

/// A world in which v2 has been taken back by web-1, and v1 is live.
async fn taken_back(name: &str, policy: Value) -> anyhow::Result<World> {
    let (world, _) = World::with_good_release(name, policy, &v1()).await?;
    world.deploy(&v2()).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    Ok(world)
}

/// The one template that is kept out.
async fn kept_out(world: &World) -> anyhow::Result<QuarantinedTemplate> {
    let status = world
        .policy_says("a quarantined template", |s| !s.quarantined.is_empty())
        .await?;
    ensure!(status.quarantined.len() == 1, "{:#?}", status.quarantined);
    status.quarantined.into_iter().next().context("none")
}

#[tokio::test]
async fn a_template_that_failed_is_refused_in_words_that_say_why_and_what_to_do()
-> anyhow::Result<()> {
    let world = taken_back("gitops-words", quick_policy()).await?;
    let kept = kept_out(&world).await?;
    assert_eq!(
        (kept.workload.as_str(), kept.event.as_str()),
        (APP, "web-1")
    );
    let said = world.try_apply(&v2(), FLUX).refused().await?;
    for words in [
        "release ",
        &kept.release,
        "failed and was taken back by RollbackEvent 'web-1'",
        "CrashLoopBackOff",
        "Deploy a new version, or revert it where it comes from",
        &format!(
            "kubectl annotate deployment web --namespace {} backstop.dev/override=",
            world.namespace
        ),
        &format!(
            "kubectl delete rollbackpoint {}",
            kept.point.unwrap_or_default()
        ),
    ] {
        ensure!(said.contains(words), "'{words}' is not in: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn only_the_template_that_failed_is_refused() -> anyhow::Result<()> {
    let mut policy = quick_policy();
    policy["ignoreAnnotations"] = json!(["build"]);
    let world = taken_back("gitops-only", policy).await?;
    world.try_apply(&v2(), FLUX).refused().await?;
    // As if nothing were said about the release by these.
    let restarted = v2().annotation("kubectl.kubernetes.io/restartedAt", "2026-01-01T00:00:00Z");
    world.try_apply(&restarted, FLUX).refused().await?;
    world
        .try_apply(&v2().annotation("build", "17"), FLUX)
        .refused()
        .await?;

    for passes in [
        v1().replicas(Some(5)),
        v1().deployment_annotation("team", "shop"),
        v1().annotation("team", "shop"),
        App::version("v3"),
        v2().annotation("team", "shop"),
        v2().label("team", "shop"),
        v2().env("MENDED", "yes"),
        v2().called("another"),
        overridden("I know better"),
    ] {
        world
            .try_apply(&passes, FLUX)
            .passes()
            .await
            .with_context(|| passes.manifest().to_string())?;
    }
    let paused = json!({"spec": {"paused": true}});
    world.patch_deployment(paused).await?;
    world
        .patch_deployment(json!({"spec": {"paused": null}}))
        .await?;

    // Made anew it is the same release.
    let deployments = world.api::<Deployment>();
    deployments.delete(APP, &DeleteParams::default()).await?;
    world
        .eventually("the Deployment to be gone", async || {
            ensure!(deployments.get_opt(APP).await?.is_none());
            Ok(())
        })
        .await?;
    world.try_apply(&v2(), FLUX).refused().await?;
    world.try_apply(&v1(), FLUX).passes().await
}

#[tokio::test]
async fn an_override_lets_the_release_in_and_backstop_leaves_it_alone() -> anyhow::Result<()> {
    let world = taken_back("gitops-override", quick_policy()).await?;
    world.try_apply(&v2(), FLUX).refused().await?;
    world.deploy(&overridden("we need it for the demo")).await?;
    world
        .policy_says("the crash to be held", |s| {
            s.message
                .as_deref()
                .is_some_and(|m| m.contains("a person has taken over web"))
        })
        .await?;
    world.nothing_happens(Duration::from_secs(2)).await?;
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

#[tokio::test]
async fn deleting_the_record_lets_the_release_in_at_once() -> anyhow::Result<()> {
    let world = taken_back("gitops-lifted", quick_policy()).await?;
    world.try_apply(&v2(), FLUX).refused().await?;
    let record = kept_out(&world).await?.point.unwrap_or_default();
    world
        .api::<RollbackPoint>()
        .delete(&record, &DeleteParams::default())
        .await?;
    world
        .policy_says("nothing to be kept out", |s| s.quarantined.is_empty())
        .await?;
    world.try_apply(&v2(), FLUX).passes().await
}

#[tokio::test]
async fn after_its_time_the_release_is_let_in_and_is_taken_back_if_it_is_still_bad()
-> anyhow::Result<()> {
    let world = taken_back("gitops-expired", policy(json!({"quarantineFor": "40s"}))).await?;
    world.try_apply(&v2(), FLUX).refused().await?;
    world
        .policy_says("the quarantine to be over", |s| s.quarantined.is_empty())
        .await?;
    world.try_apply(&v2(), FLUX).passes().await?;
    world.deploy(&v2()).await?;
    world
        .ended("web-2", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    world.try_apply(&v2(), FLUX).refused().await?;
    Ok(())
}

#[tokio::test]
async fn a_policy_that_changes_nothing_keeps_nothing_out() -> anyhow::Result<()> {
    let world = taken_back("gitops-modes", quick_policy()).await?;
    for changed in [
        json!({"mode": "Observe"}),
        json!({"mode": "Paused"}),
        json!({"gitops": {"onConflict": "Notify"}}),
    ] {
        world.policy(quick_policy()).await?;
        world.try_apply(&v2(), FLUX).refused().await?;
        let mut policy = quick_policy();
        for (key, value) in changed.as_object().context("an object")? {
            policy[key] = value.clone();
        }
        world.policy(policy).await?;
        world.try_apply(&v2(), FLUX).passes().await?;
        let why = kept_out_and_let_pass(&world).await?;
        ensure!(
            why.contains("Notify") || why.contains("changes nothing"),
            "{why}"
        );
    }
    Ok(())
}

async fn kept_out_and_let_pass(world: &World) -> anyhow::Result<String> {
    let status = world
        .policy_says("why it is let pass", |s| {
            s.quarantined
                .first()
                .is_some_and(|q| q.let_pass.is_some() && q.template.is_none())
        })
        .await?;
    Ok(status.quarantined[0].let_pass.clone().unwrap_or_default())
}

#[tokio::test]
async fn what_a_person_takes_back_is_kept_out_only_if_the_person_says_so() -> anyhow::Result<()> {
    let (world, _) = World::with_good_release("gitops-manual", quick_policy(), &v1()).await?;
    let good = App::version("v2");
    world.deploy(&good).await?;
    world.good_point(2).await?;
    world.manual_event("by-hand", None).await?;
    world
        .ended("by-hand", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    let status = world.status().await?;
    ensure!(status.quarantined.is_empty(), "{:?}", status.quarantined);
    world.try_apply(&good, FLUX).passes().await?;

    world.deploy(&good).await?;
    world.proved("v2").await?;
    let mut spec = json!({
        "policy": APP, "workloads": [{"name": APP}], "cause": "Manual", "requestedBy": "admin",
        "reason": "customers\ncomplain",
    });
    spec["quarantine"] = json!(true);
    Raw::events(&world.client, &world.namespace)
        .create("for-good", spec)
        .await?;
    world
        .ended("for-good", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let said = world.try_apply(&good, FLUX).refused().await?;
    ensure!(said.contains("'for-good' (customers complain)"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_failure_of_configuration_alone_keeps_no_template_out() -> anyhow::Result<()> {
    let app = v1().config_map("web-config");
    let world = World::new("gitops-config").await?;
    set_mode(&world, "good").await?;
    world.deploy(&app).await?;
    world.policy(quick_policy()).await?;
    let before = world.good_point(1).await?.spec.release.map(|r| r.hash);
    set_mode(&world, "bad").await?;
    world
        .policy_says("another release", |s| {
            s.release.as_ref().map(|r| &r.hash) != before.as_ref()
        })
        .await?;
    world.crash("v1").await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let why = kept_out_and_let_pass(&world).await?;
    ensure!(why.contains("what failed is its configuration"), "{why}");
    world
        .try_apply(
            &app.clone()
                .annotation("kubectl.kubernetes.io/restartedAt", "now"),
            FLUX,
        )
        .passes()
        .await
}

#[tokio::test]
async fn a_template_that_is_too_large_is_said_to_be_let_pass() -> anyhow::Result<()> {
    let (world, _) = World::with_good_release("gitops-large", quick_policy(), &v1()).await?;
    world
        .deploy(&v2().env("LARGE", &"x".repeat(70_000)))
        .await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let why = kept_out_and_let_pass(&world).await?;
    ensure!(why.contains("bytes long, and none over 65536"), "{why}");
    // One that just fits is not too much for the API server to compare.
    let fits = App::version("v3")
        .fate(fate::CRASH_LOOP)
        .env("LARGE", &"x".repeat(60_000));
    world.deploy(&fits).await?;
    world
        .ended("web-2", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    world.try_apply(&fits, FLUX).refused().await?;
    Ok(())
}

/// Where the server has become another one since the record was made, it is asked what it would make
/// of the template.
#[tokio::test]
async fn a_template_from_before_the_server_changed_is_refused_with_the_new_defaults()
-> anyhow::Result<()> {
    let (world, _) = World::with_good_release("gitops-defaults", quick_policy(), &v1()).await?;
    let deployment = world.api::<Deployment>().get(APP).await?;
    let bare = v2().manifest()["spec"]["template"].clone();
    ensure!(bare["spec"].get("dnsPolicy").is_none());
    let account = install(world.cluster).await?;
    let operator = world
        .cluster
        .client_for_service_account(&account.namespace, &account.service_account)
        .await?;
    let workload = json!({
        "name": APP, "uid": deployment.metadata.uid, "hash": "0123456789abcdef", "template": bare, "replicas": 2,
    });
    let spec = json!({
        "workload": {"name": APP}, "origin": "Quarantine", "verdict": "Quarantined",
        "release": {"hash": "0123456789abcdef", "workloads": [workload]},
    });
    let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2);
    let metadata = json!({
        "name": "web-0123456789abcdef-quarantined",
        "annotations": {"backstop.dev/proved-at": long_ago.to_string()},
    });
    Raw::points(&operator, &world.namespace)
        .create(metadata, spec)
        .await?;
    let kept = kept_out(&world).await?;
    let template = kept.template.context("no template")?;
    assert_eq!(template["spec"]["dnsPolicy"], "ClusterFirst");
    let said = world.try_apply(&v2(), FLUX).refused().await?;
    ensure!(reason(&said).contains("0123456789abcdef"), "{said}");
    Ok(())
}
