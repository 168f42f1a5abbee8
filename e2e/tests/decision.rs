//! A bad day is told from a bad release, triggers decide together, the urgent one takes over, and what
//! came of a release is kept.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::condition::{ACTION_REQUIRED, MONITORED};
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::{Action, Monitored, Phase, Severity};
use backstop_e2e::metrics::{
    ERROR_SHARE, Metered, changed, error_rate, failing, healthy, policy_with,
};
use backstop_e2e::world::App;
use backstop_testenv::Load;
use serde_json::{Value, json};

/// Long enough for every trigger to be judged several times.
const A_WHILE: Duration = Duration::from_secs(3);

/// The same share, of all pods of the namespace but the release's.
const OF_OTHERS: &str = r#"
(sum(rate(http_requests_total{namespace="{{ namespace }}",pod!~"{{ workload }}-.+",code="500"}[5s]))
  or 0 * sum(rate(http_requests_total{namespace="{{ namespace }}",pod!~"{{ workload }}-.+"}[5s])))
/ sum(rate(http_requests_total{namespace="{{ namespace }}",pod!~"{{ workload }}-.+"}[5s]))"#;

/// Fires when the release's share of errors is above this.
fn above(name: &str, share: &str, fields: Value) -> Value {
    let trigger = json!({"name": name, "condition": format!("value > {share}")});
    changed(changed(error_rate(), trigger), fields)
}

fn compared(fields: Value) -> Value {
    let peers = changed(json!({"query": OF_OTHERS.trim()}), fields);
    changed(error_rate(), json!({"for": "2s", "peers": peers}))
}

/// `v1` is live and has proved itself, beside another application that is well too.
async fn beside_another(name: &str, trigger: &Value) -> anyhow::Result<Metered> {
    let world = Metered::new(name).await?;
    world.load("n1", healthy()).await?;
    world
        .deploy(&App::version("n1").called("neighbour"))
        .await?;
    world.rolled_out_of("neighbour", "n1").await?;
    let point = world.prove(policy_with(trigger)).await?;
    let kept = &point.spec.baselines;
    ensure!(kept.contains_key("error-rate/peers"), "{kept:?}");
    Ok(world)
}

#[tokio::test]
async fn when_everything_fails_nothing_is_taken_back_until_the_others_have_recovered()
-> anyhow::Result<()> {
    let world = beside_another("d-bad-day", &compared(json!({}))).await?;
    world.load("n1", failing()).await?;
    world.release("v2", failing()).await?;
    let said = world
        .condition(ACTION_REQUIRED, true, "PeersAreBadToo")
        .await?;
    ensure!(said.contains("its peers have 0."), "no figures: {said}");
    let note = world.said("RollbackPolicy", "RollbackHeld").await?;
    ensure!(note.contains("as bad"), "{note}");
    world.no_rollback(A_WHILE).await?;
    assert_eq!(world.live().await?, "v2");
    let held = world.status().await?.daily.last().map(|d| d.held);
    assert_eq!(held, Some(1));

    // The day gets better, and the release does not.
    world.load("n1", healthy()).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn a_release_that_fails_alone_goes_back_although_there_are_others() -> anyhow::Result<()> {
    let world = beside_another("d-alone", &compared(json!({}))).await?;
    world.release("v2", failing()).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn a_release_is_spared_for_no_longer_than_the_policy_says() -> anyhow::Result<()> {
    let world = beside_another("d-hold", &compared(json!({"holdFor": "8s"}))).await?;
    world.load("n1", failing()).await?;
    world.release("v2", failing()).await?;
    world
        .condition(ACTION_REQUIRED, true, "PeersAreBadToo")
        .await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    // The neighbour fails all the time.
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn so_many_triggers_must_agree() -> anyhow::Result<()> {
    let mut policy = policy_with(&above("some-errors", "0.05", json!({})));
    let many = above("many-errors", "0.4", json!({}));
    policy["triggers"]
        .as_array_mut()
        .context("no list")?
        .push(many);
    policy["decision"] = json!({"votes": [{"require": "AtLeast", "atLeast": 2}]});
    let (world, _) = Metered::with_good_release("d-votes", policy).await?;
    world.release("v2", Load::failing(50.0, 0.2)).await?;
    let status = world
        .policy_says("to be held", |s| s.phase == Some(Phase::Held))
        .await?;
    let message = status.message.unwrap_or_default();
    ensure!(
        message.contains("1 of 2 triggers that must agree fire"),
        "{message}"
    );
    world.no_rollback(A_WHILE).await?;

    world.load("v2", Load::failing(50.0, 0.8)).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let evidence = event.spec.evidence.context("no evidence")?;
    let also: Vec<_> = evidence
        .also_firing
        .iter()
        .map(|a| a.trigger.clone())
        .collect();
    assert_eq!(also.len(), 1, "{evidence:?}");
    assert_ne!(also[0], evidence.trigger);
    Ok(())
}

#[tokio::test]
async fn a_critical_trigger_takes_over_from_a_warning_that_waits() -> anyhow::Result<()> {
    let slow = json!({"severity": "Warning", "delay": "10m"});
    let mut policy = policy_with(&above("some-errors", "0.05", slow));
    let many = above("many-errors", "0.4", json!({}));
    policy["triggers"]
        .as_array_mut()
        .context("no list")?
        .push(many);
    let (world, _) = Metered::with_good_release("d-takes-over", policy).await?;
    world.release("v2", Load::failing(50.0, 0.2)).await?;
    let first = world.event_in("web-1", EventPhase::Pending).await?;
    assert_eq!(first.spec.action, Some(Action::GradualRollback));

    world.load("v2", Load::failing(50.0, 0.8)).await?;
    world
        .ended("web-1", EventPhase::Superseded, Outcome::TakenOver)
        .await?;
    let second = world
        .ended("web-2", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    assert_eq!(second.spec.action, Some(Action::Rollback));
    assert_eq!(second.spec.attempt, 1);
    let evidence = second.spec.evidence.context("no evidence")?;
    assert_eq!(evidence.trigger, "many-errors");
    let also = evidence.also_firing.first().context("no other trigger")?;
    assert_eq!(
        (also.trigger.as_str(), also.severity),
        ("some-errors", Severity::Warning)
    );
    Ok(())
}

#[tokio::test]
async fn what_came_of_a_release_is_said_at_the_end_of_its_window_and_survives_the_operator()
-> anyhow::Result<()> {
    let mut policy = policy_with(&error_rate());
    policy["window"] = json!("8s");
    let (world, _) = Metered::with_good_release("d-window", policy).await?;
    world.release("v2", healthy()).await?;
    world
        .policy_says("v2 to be counted", |s| {
            s.daily.last().is_some_and(|d| d.releases == 1)
        })
        .await?;
    let said = world.condition(MONITORED, true, "Passed").await?;
    ensure!(said.contains("error-rate 0"), "no figures: {said}");
    let note = world.said("RollbackPolicy", "ReleaseMonitored").await?;
    ensure!(note.contains("passed"), "{note}");
    let status = world.status().await?;
    assert_eq!(status.health_score, Some(100));
    ensure!(!status.health_history.is_empty());
    let verdict = status
        .release
        .and_then(|r| r.verdict)
        .context("no verdict")?;
    assert_eq!(verdict.result, Monitored::Passed);

    world.operator.kill()?;
    world.operator.restart()?;
    world.release("v3", failing()).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let status = world
        .policy_says("the day to be counted", |s| {
            s.daily.last().is_some_and(|d| d.succeeded == 1)
        })
        .await?;
    let today = status.daily.last().context("no day")?;
    assert_eq!((today.releases, today.rollbacks, today.failed), (2, 1, 0));
    Ok(())
}

#[tokio::test]
async fn a_release_without_data_has_not_passed() -> anyhow::Result<()> {
    let silent = changed(
        error_rate(),
        json!({"prometheus": {"query": ERROR_SHARE.trim().replace("http_requests_total", "no_such_metric")}}),
    );
    let mut policy = policy_with(&silent);
    policy["window"] = json!("5s");
    let world = Metered::new("d-no-data").await?;
    world.load("v1", healthy()).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(policy).await?;
    let status = world
        .policy_says("a verdict", |s| {
            s.release.as_ref().is_some_and(|r| r.verdict.is_some())
        })
        .await?;
    let verdict = status
        .release
        .and_then(|r| r.verdict)
        .context("no verdict")?;
    assert_eq!(verdict.result, Monitored::NotJudged, "{verdict:?}");
    assert_eq!(status.health_score, None);
    Ok(())
}
