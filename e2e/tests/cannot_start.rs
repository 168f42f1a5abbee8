//! Releases that cannot start go back by themselves, without any metric.

use backstop_api::event::{EventPhase, Outcome};
use backstop_e2e::world::{App, World, quick_policy};
use backstop_testenv::fate;

async fn goes_back(name: &str, fate: &'static str, words: &str) -> anyhow::Result<()> {
    bad_release_goes_back(name, App::version("v2").fate(fate), words).await
}

async fn bad_release_goes_back(name: &str, bad: App, words: &str) -> anyhow::Result<()> {
    let (world, point) =
        World::with_good_release(name, quick_policy(), &App::version("v1")).await?;
    world.deploy(&bad).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    let status = event.status.unwrap_or_default();
    assert_eq!(status.to.map(|t| t.point), point.metadata.name);
    let evidence = event.spec.evidence.unwrap_or_else(|| panic!("no evidence"));
    assert!(
        evidence.details.iter().any(|d| d.contains(words)),
        "the evidence does not say {words}: {:?}",
        evidence.details
    );
    assert_eq!(world.points("Quarantined").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_crash_loop_goes_back() -> anyhow::Result<()> {
    goes_back("crash", fate::CRASH_LOOP, "CrashLoopBackOff").await
}

#[tokio::test]
async fn a_bad_image_goes_back() -> anyhow::Result<()> {
    goes_back("image", fate::IMAGE_PULL, "ImagePullBackOff").await
}

#[tokio::test]
async fn a_missing_configuration_goes_back() -> anyhow::Result<()> {
    goes_back("config", fate::CONFIG_ERROR, "CreateContainerConfigError").await
}

#[tokio::test]
async fn a_release_that_needs_more_memory_than_it_may_have_goes_back() -> anyhow::Result<()> {
    goes_back("oom", fate::OOM, "OOMKilled").await
}

#[tokio::test]
async fn a_release_that_never_becomes_ready_goes_back_at_its_progress_deadline()
-> anyhow::Result<()> {
    let bad = App::version("v2")
        .fate(fate::NEVER_READY)
        .progress_deadline(8);
    bad_release_goes_back("deadline", bad, "ProgressDeadlineExceeded").await
}
