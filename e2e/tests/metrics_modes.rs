//! What a policy makes of metrics: it goes back gently, only in words or not at all, takes silence as it
//! is told to, and compares with the release before.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use backstop_api::RollbackEvent;
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::{Action, Phase, Severity, TriggerState};
use backstop_e2e::metrics::{Metered, changed, error_rate, failing, healthy, policy_with};
use backstop_e2e::world::{APP, App, SOON};
use backstop_testenv::fate;
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

/// Long enough for every trigger to be judged several times.
const A_WHILE: Duration = Duration::from_secs(3);

/// The mean time that a request takes.
const LATENCY: &str = r#"
sum(rate(http_request_duration_seconds_sum{namespace="{{ namespace }}",pod=~"{{ pods }}"}[5s]))
/ sum(rate(http_request_duration_seconds_count{namespace="{{ namespace }}",pod=~"{{ pods }}"}[5s]))"#;

/// `/spec/strategy`, and who owns what of it.
fn strategy(deployment: &Deployment) -> anyhow::Result<Value> {
    let owners: Vec<Value> = deployment
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .filter_map(|f| {
            let fields = f.fields_v1.as_ref()?.0.pointer("/f:spec/f:strategy")?;
            Some(json!([f.manager, f.operation, fields]))
        })
        .collect();
    let spec = deployment.spec.as_ref().context("no spec")?;
    Ok(json!({"strategy": spec.strategy, "owners": owners}))
}

#[tokio::test]
async fn a_warning_takes_a_release_back_without_losing_capacity_and_leaves_the_strategy_as_it_was()
-> anyhow::Result<()> {
    let trigger = changed(error_rate(), json!({"severity": "Warning"}));
    let world = Metered::new("m-gradual").await?;
    world.load("v1", healthy()).await?;
    let slow = App::version("v1")
        .fate(fate::SLOW_READY)
        .annotation(fate::READY_AFTER, "2s")
        .replicas(Some(3));
    world.deploy(&slow).await?;
    // By itself this Deployment would take two of three pods away at once.
    let own = json!({"maxUnavailable": 2, "maxSurge": 0});
    let patch = json!({"spec": {"strategy": {"rollingUpdate": own}}});
    world.patch_deployment(patch).await?;
    world.policy(policy_with(&trigger)).await?;
    world.good_point(1).await?;

    world.load("v2", healthy()).await?;
    let bad = App::version("v2").replicas(Some(3));
    let before = strategy(&world.deploy(&bad).await?)?;
    // What is lost by its own rollout is not the rollback's.
    world.rolled_out("v2").await?;
    world.load("v2", failing()).await?;
    world.event_in("web-1", EventPhase::Executing).await?;
    let (mut gentle, mut fewest) = (false, i32::MAX);
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let event = world.api::<RollbackEvent>().get("web-1").await?;
        if event.status.and_then(|s| s.phase) != Some(EventPhase::Executing) {
            break;
        }
        if tokio::time::Instant::now() > deadline {
            bail!("still executing");
        }
        let found = world.api::<Deployment>().get(APP).await?;
        let now = strategy(&found)?;
        gentle |= now["strategy"]["rollingUpdate"]["maxUnavailable"] == json!(0);
        let available = found.status.and_then(|s| s.available_replicas);
        fewest = fewest.min(available.unwrap_or(0));
    }
    ensure!(gentle, "maxUnavailable was never 0");
    assert_eq!(fewest, 3, "capacity was lost");
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(event.spec.action, Some(Action::GradualRollback));
    let evidence = event.spec.evidence.context("no evidence")?;
    assert_eq!(evidence.severity, Severity::Warning);
    assert_eq!(world.live().await?, "v1");
    let after = strategy(&world.api::<Deployment>().get(APP).await?)?;
    assert_eq!(after, before);
    Ok(())
}

#[tokio::test]
async fn observe_says_once_what_it_would_do_and_enforce_does_it() -> anyhow::Result<()> {
    let mut policy = policy_with(&error_rate());
    policy["mode"] = json!("Observe");
    let (world, point) = Metered::with_good_release("m-observe", policy.clone()).await?;
    world.release("v2", failing()).await?;
    let before = world.generation().await?;
    let event = world
        .ended("web-1", EventPhase::Cancelled, Outcome::ObserveOnly)
        .await?;
    let status = event.status.unwrap_or_default();
    let said = status.message.unwrap_or_default();
    let wanted = point.metadata.name.as_deref().unwrap_or_default();
    ensure!(said.contains(wanted), "does not name {wanted}: {said}");
    for kind in ["RollbackPolicy", "Deployment"] {
        world.said(kind, "WouldRollBack").await?;
    }
    world.no_rollback(A_WHILE).await?;
    assert_eq!(world.events().await?.len(), 1);
    assert_eq!(world.generation().await?, before);
    world.nothing_is_quarantined().await?;

    policy["mode"] = json!("Enforce");
    world.policy(policy).await?;
    world
        .ended("web-2", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn a_paused_policy_does_nothing_about_a_bad_release_until_it_is_resumed() -> anyhow::Result<()>
{
    let mut policy = policy_with(&error_rate());
    let (world, _) = Metered::with_good_release("m-paused", policy.clone()).await?;
    policy["mode"] = json!("Paused");
    world.policy(policy.clone()).await?;
    world.release("v2", failing()).await?;
    world
        .trigger_says("error-rate", "to fire", |t| t.state == TriggerState::Firing)
        .await?;
    assert_eq!(world.status().await?.phase, Some(Phase::Paused));
    world.no_rollback(A_WHILE).await?;
    ensure!(world.events().await?.is_empty());
    world.nothing_is_quarantined().await?;
    let said = world.condition("ActionRequired", false, "Nothing").await?;
    ensure!(!said.is_empty());

    policy["mode"] = json!("Enforce");
    world.policy(policy).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

/// The trigger on errors, with another meaning of silence.
fn silence(means: &str, for_: &str) -> Value {
    changed(error_rate(), json!({"noData": means, "for": for_}))
}

#[tokio::test]
async fn where_silence_is_bad_a_silent_release_goes_back_and_a_good_one_does_not()
-> anyhow::Result<()> {
    // No `for`: that a new release has no series in its first moments must not be held against it.
    let policy = policy_with(&silence("Fire", "0s"));
    let (world, _) = Metered::with_good_release("f-fire", policy).await?;
    world.release("v2", healthy()).await?;
    world.good_point(2).await?;
    ensure!(world.events().await?.is_empty(), "v2 was blamed");
    world.deploy(&App::version("v3")).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let said = event.spec.reason.unwrap_or_default();
    ensure!(said.contains("no series"), "{said}");
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

#[tokio::test]
async fn where_silence_is_good_a_silent_release_proves_itself() -> anyhow::Result<()> {
    let policy = policy_with(&silence("Ignore", "0s"));
    let (world, _) = Metered::with_good_release("f-ignore", policy).await?;
    world.deploy(&App::version("v2")).await?;
    world.good_point(2).await?;
    world.no_rollback(A_WHILE).await?;
    ensure!(world.events().await?.is_empty());
    // And a loud one does not.
    world.release("v3", failing()).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

#[tokio::test]
async fn a_value_is_compared_with_what_it_was_when_the_release_before_proved_itself()
-> anyhow::Result<()> {
    let trigger = json!({
        "name": "latency", "interval": "1s", "condition": "value > 1.3 * baseline",
        "prometheus": {"query": LATENCY.trim()},
    });
    let millis = |n| healthy().slow(Duration::from_millis(n));
    let world = Metered::new("m-baseline").await?;
    world.load("v1", millis(20)).await?;
    world.deploy(&App::version("v1")).await?;
    let mut policy = policy_with(&trigger);
    // Long enough for as many samples as a baseline is made of.
    policy["points"]["soak"] = json!("6s");
    world.policy(policy).await?;
    // Nothing to compare with yet.
    world
        .trigger_says("latency", "to have no baseline", |t| {
            let said = t.message.as_deref().unwrap_or_default();
            t.state == TriggerState::NoData && said.contains("no baseline yet")
        })
        .await?;
    let said = world.condition("DataAvailable", false, "NoData").await?;
    ensure!(said.contains("no baseline yet"), "{said}");
    // Which must not keep the first release from becoming what the next is compared with.
    let first = world.good_point(1).await?;
    let measured = first.spec.baselines.get("latency").copied();
    ensure!(measured.is_some_and(is_about(0.02)), "{measured:?}");

    // Twice as slow goes back, to a release that can only be compared with itself.
    world.release("v2", millis(40)).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    let evidence = event.spec.evidence.context("no evidence")?;
    assert_eq!(evidence.baseline, measured);
    let last = evidence.samples.last().context("no samples")?;
    ensure!(is_about(0.04)(last.value), "{last:?}");

    // Some slower each time: the newest point counts, not the first one.
    world.release("v3", millis(24)).await?;
    world.good_point(2).await?;
    world.release("v4", millis(28)).await?;
    let newest = world.good_point(3).await?;
    let measured = newest.spec.baselines.get("latency").copied();
    ensure!(measured.is_some_and(is_about(0.028)), "{measured:?}");
    assert_eq!(world.events().await?.len(), 1);
    Ok(())
}

/// Counters hold whole requests, so a rate is never quite what was asked for.
fn is_about(wanted: f64) -> impl Fn(f64) -> bool {
    move |value| (value / wanted - 1.0).abs() < 0.1
}
