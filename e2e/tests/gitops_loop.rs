//! A rollback under a GitOps tool that puts the failed release back every second, by server-side apply
//! under its field manager.
//!
//! `BACKSTOP_SELFHEAL_SECONDS` says how long it tries; 300 for the figures in the docs.

use anyhow::{Context as _, ensure};
use backstop_api::RollbackEvent;
use backstop_api::event::{EventPhase, GitOpsTool, Outcome};
use backstop_e2e::gitops::{ARGO_CD, FLUX, OUT_WITHIN, Reapplied, reason, trying, v2, v3_passes};
use backstop_e2e::strategies::blue_green;
use backstop_e2e::world::{APP, App, World, quick_policy};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use serde_json::json;

async fn holds_under(name: &str, manager: &str) -> anyhow::Result<()> {
    let world = World::new(name).await?;
    world.deploy_as(&App::version("v1"), manager).await?;
    world.policy(quick_policy()).await?;
    world.good_point(1).await?;
    world.deploy_as(&v2(), manager).await?;
    let tool = Reapplied::start(&world, &v2(), manager);
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    tokio::time::sleep(trying(45)?).await;
    let (attempts, sights) = tool.stop().await;

    let taken_back = sights
        .iter()
        .find(|s| s.version == "v1")
        .context("v1 was never live again")?
        .at;
    let after: Vec<_> = attempts.iter().filter(|a| a.at > taken_back).collect();
    let first = after.first().context("nobody tried")?.at;
    let out_since = sights.last().context("nothing was seen")?;
    ensure!(
        out_since.version == "v1",
        "in the end {} is live",
        out_since.version
    );
    let lasted = out_since.at.saturating_duration_since(first);
    let passed = after.iter().filter(|a| a.refused.is_none()).count();
    println!(
        "{manager}: {} attempts in {:?} after the rollback, {passed} passed; out for good {lasted:?} after the first",
        after.len(),
        trying(45)?,
    );
    ensure!(
        lasted <= OUT_WITHIN,
        "v2 was out for good only {lasted:?} after the first attempt"
    );
    // Whatever passed, passed before that.
    for attempt in after.iter().filter(|a| a.at > first + OUT_WITHIN) {
        let said = attempt.refused.as_deref().unwrap_or_default();
        ensure!(
            reason(said).contains("taken back by RollbackEvent 'web-1'"),
            "{attempt:?}"
        );
    }
    world
        .deploy_as(&App::version("v3"), manager)
        .await
        .context("a new version is refused")?;
    v3_passes(&world).await
}

#[tokio::test]
async fn a_rollback_holds_under_flux() -> anyhow::Result<()> {
    holds_under("gitops-flux", FLUX).await
}

#[tokio::test]
async fn a_rollback_holds_under_argo_cd() -> anyhow::Result<()> {
    holds_under("gitops-argo", ARGO_CD).await
}

/// A template that the API server does not refuse, because it is too large to be held in a status.
fn large() -> App {
    v2().env("LARGE", &"x".repeat(70_000))
}

#[tokio::test]
async fn what_comes_back_all_the_same_is_taken_back_five_times_by_the_same_rollback()
-> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("gitops-back", quick_policy(), &App::version("v1")).await?;
    world.deploy_as(&large(), FLUX).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    for times in 1..=5 {
        world.deploy_as(&large(), FLUX).await?;
        let event = taken_back_again(&world, "web-1", times).await?;
        let last = event
            .status
            .unwrap_or_default()
            .reverts
            .pop()
            .context("none")?;
        assert_eq!(
            (last.by.as_str(), last.tool),
            (FLUX, Some(GitOpsTool::Flux))
        );
        assert_eq!(world.live().await?, "v1");
    }
    let said = world.said("Deployment", "ReleasePutBack").await?;
    ensure!(
        said.contains("Flux (kustomize-controller) put release"),
        "{said}"
    );

    world.deploy_as(&large(), FLUX).await?;
    let event = world
        .ended("web-1", EventPhase::Superseded, Outcome::Reverted)
        .await?;
    let status = event.status.unwrap_or_default();
    assert_eq!(status.reverts.len(), 6);
    let message = status.message.unwrap_or_default();
    ensure!(
        message.contains("Backstop does so no more") && message.contains("flux suspend"),
        "{message}"
    );
    world.condition("ActionRequired", true, "Reverted").await?;
    assert_eq!(world.live().await?, "v2");
    ensure!(
        world.events().await?.len() == 1,
        "another rollback was begun"
    );
    Ok(())
}

/// Waits until a rollback has taken its release back again so many times, and has ended well.
async fn taken_back_again(
    world: &World,
    name: &str,
    times: usize,
) -> anyhow::Result<RollbackEvent> {
    world
        .eventually(
            &format!("{name} to take it back for the {times}. time"),
            async || {
                let event = world.api::<RollbackEvent>().get(name).await?;
                let status = event.status.clone().unwrap_or_default();
                let again = status.reverts.iter().filter(|r| r.written_back).count();
                ensure!(
                    again == times && status.phase == Some(EventPhase::Succeeded),
                    "{again} times, {:?}: {:?}",
                    status.phase,
                    status.message
                );
                Ok(event)
            },
        )
        .await
}

#[tokio::test]
async fn a_fix_after_a_rollback_is_never_taken_back_for_the_failed_release() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("gitops-fix", quick_policy(), &App::version("v1")).await?;
    world.deploy(&large()).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    world.deploy(&App::version("v3")).await?;
    world.proved("v3").await?;
    // Somebody else's wish by now: judged anew, and taken back to what was good last.
    world.deploy(&large()).await?;
    world
        .ended("web-2", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v3");
    let first = world.api::<RollbackEvent>().get("web-1").await?;
    ensure!(first.status.unwrap_or_default().reverts.is_empty());
    Ok(())
}

#[tokio::test]
async fn with_notify_whoever_puts_it_back_has_it_and_is_named() -> anyhow::Result<()> {
    let mut policy = quick_policy();
    policy["gitops"] = json!({"onConflict": "Notify"});
    policy["limits"]["cooldown"] = json!("10m");
    let (world, _) = World::with_good_release("gitops-notify", policy, &App::version("v1")).await?;
    world.deploy(&v2()).await?;
    world.event_in("web-1", EventPhase::Verifying).await?;
    world.deploy_as(&v2(), ARGO_CD).await?;
    let event = world
        .ended("web-1", EventPhase::Superseded, Outcome::NewerRelease)
        .await?;
    let status = event.status.unwrap_or_default();
    let by: Vec<_> = status
        .reverts
        .iter()
        .map(|r| (r.by.as_str(), r.tool, r.written_back))
        .collect();
    assert_eq!(by, [(ARGO_CD, Some(GitOpsTool::ArgoCD), false)]);
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

/// What a Service selects is refused by nobody, and is taken back by the same rollback.
#[tokio::test]
async fn a_selector_that_is_put_back_is_taken_back_again() -> anyhow::Result<()> {
    let set = blue_green("gitops-selector");
    let world = set.good_release().await?;
    set.bad_release(&world).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let bad = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": APP},
        "spec": {"selector": {"part-of": "web", "color": "web-green"}, "ports": [{"port": 80}]},
    });
    let params = PatchParams::apply(FLUX).force();
    world
        .api::<Service>()
        .patch(APP, &params, &Patch::Apply(bad))
        .await?;
    let event = taken_back_again(&world, "web-1", 1).await?;
    let revert = event
        .status
        .unwrap_or_default()
        .reverts
        .pop()
        .context("none")?;
    assert_eq!(revert.by, FLUX);
    set.is_back(&world).await
}
