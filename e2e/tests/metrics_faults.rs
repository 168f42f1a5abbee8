//! What cannot be measured is never a reason to take a release back, and is said where a person
//! looks; once it can be measured, a bad release goes back as it should have.

use std::time::Duration;

use anyhow::ensure;
use backstop_api::event::{EventPhase, Outcome};
use backstop_e2e::metrics::{
    ERROR_SHARE, Metered, Metrics, changed, error_rate, failing, policy_with,
};
use backstop_e2e::world::{App, message};
use backstop_testenv::Load;
use serde_json::json;

/// Long enough for every trigger to be judged several times.
const A_WHILE: Duration = Duration::from_secs(3);

/// Expects that the condition DataAvailable says this, and that nothing comes of it.
async fn is_held_for(world: &Metered, reason: &str, words: &str) -> anyhow::Result<()> {
    world
        .condition_in_words("DataAvailable", false, reason, words)
        .await?;
    world.no_rollback(A_WHILE).await?;
    ensure!(world.events().await?.is_empty());
    assert_eq!(world.live().await?, "v2");
    world.nothing_is_quarantined().await?;
    assert_eq!(world.points("Good").await?.len(), 1, "a point of v2");
    Ok(())
}

async fn goes_back(world: &Metered) -> anyhow::Result<()> {
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    world.condition("DataAvailable", true, "Data").await?;
    Ok(())
}

#[tokio::test]
async fn while_prometheus_is_down_nothing_goes_back_and_afterwards_the_bad_release_does()
-> anyhow::Result<()> {
    let metrics = Metrics::start().await?;
    let url = metrics.prometheus.url();
    let hold = Metered::asking("f-down", &metrics, url, &[]).await?;
    // That silence is bad says nothing about a Prometheus that cannot be asked.
    let fire = Metered::asking("f-down-fire", &metrics, url, &[]).await?;
    let silence_is_bad = changed(error_rate(), json!({"noData": "Fire", "for": "2s"}));
    tokio::try_join!(
        hold.prove(policy_with(&error_rate())),
        fire.prove(policy_with(&silence_is_bad)),
    )?;
    metrics.prometheus.stop();
    for world in [&hold, &fire] {
        world.release("v2", failing()).await?;
    }
    tokio::try_join!(
        is_held_for(&hold, "Error", "cannot ask http://127.0.0.1"),
        is_held_for(&fire, "Error", "cannot ask http://127.0.0.1"),
    )?;
    for kind in ["RollbackPolicy", "Deployment"] {
        hold.said(kind, "TriggerError").await?;
    }
    metrics.prometheus.restart().await?;
    tokio::try_join!(goes_back(&hold), goes_back(&fire))?;
    Ok(())
}

#[tokio::test]
async fn a_value_that_is_no_number_is_no_reason_to_go_back() -> anyhow::Result<()> {
    let (world, _) = Metered::with_good_release("f-nan", policy_with(&error_rate())).await?;
    // Series without a request: 0 / 0.
    world.release("v2", Load::failing(0.0, 0.5)).await?;
    is_held_for(&world, "NoData", "NaN").await?;
    world.load("v2", failing()).await?;
    goes_back(&world).await
}

#[tokio::test]
async fn an_empty_answer_is_no_reason_to_go_back() -> anyhow::Result<()> {
    let (world, _) = Metered::with_good_release("f-empty", policy_with(&error_rate())).await?;
    // No load: no series.
    world.deploy(&App::version("v2")).await?;
    is_held_for(&world, "NoData", "no series").await?;
    world.load("v2", failing()).await?;
    goes_back(&world).await
}

#[tokio::test]
async fn several_series_are_no_reason_to_go_back_until_the_query_is_mended() -> anyhow::Result<()> {
    let policy = policy_with(&error_rate());
    let (world, _) = Metered::with_good_release("f-several", policy.clone()).await?;
    let several = r#"sum by (pod) (rate(http_requests_total{pod=~"{{ pods }}"}[5s]))"#;
    let trigger = changed(error_rate(), json!({"prometheus": {"query": several}}));
    world.policy(policy_with(&trigger)).await?;
    world.release("v2", failing()).await?;
    is_held_for(&world, "Error", "2 series where one is meant").await?;
    world.policy(policy).await?;
    goes_back(&world).await
}

#[tokio::test]
async fn too_little_traffic_is_no_reason_to_go_back() -> anyhow::Result<()> {
    let requests = ERROR_SHARE
        .rsplit_once('/')
        .map(|(_, all)| all.trim().replace("rate(", "increase("));
    let minimum = json!({"query": requests, "atLeast": 100});
    let trigger = changed(error_rate(), json!({"minimumSamples": minimum}));
    let (world, _) = Metered::with_good_release("f-minimum", policy_with(&trigger)).await?;
    // Two pods, five seconds: some 20 of 100, all of them errors.
    world.release("v2", Load::failing(2.0, 1.0)).await?;
    is_held_for(&world, "NoData", "of at least 100 samples").await?;
    world.load("v2", failing()).await?;
    goes_back(&world).await
}

/// Data are waited for while there may be any: the range, `for`, some looks and half a minute, here 41 s.
#[tokio::test]
async fn a_rollback_that_nothing_can_be_measured_after_is_held_and_not_called_recovered()
-> anyhow::Result<()> {
    let metrics = Metrics::start().await?;
    let url = metrics.prometheus.url();
    let world = Metered::asking("f-held", &metrics, url, &[]).await?;
    world.prove(policy_with(&error_rate())).await?;
    world.release("v2", failing()).await?;
    // What is asked now still reaches back before the restored release: it proves nothing yet.
    world.event_in("web-1", EventPhase::Verifying).await?;
    metrics.prometheus.stop();
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Held)
        .await?;
    let said = message(&event);
    for words in [
        "there was nothing to prove the recovery by",
        "error-rate (",
        "cannot ask http://127.0.0.1",
    ] {
        ensure!(said.contains(words), "does not say '{words}': {said}");
    }
    assert_eq!(world.live().await?, "v1");
    assert_eq!(world.events().await?.len(), 1);
    assert_eq!(world.points("Quarantined").await?.len(), 1);
    Ok(())
}
