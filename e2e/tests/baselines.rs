//! What values are compared with: the last healthy release, an earlier time, the side that is not
//! released to, a number; samples by whole sets; and counts where there is little traffic.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use backstop_api::RollbackPoint;
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::{Classification, TriggerState, TriggerStatus};
use backstop_e2e::metrics::{
    ERROR_SHARE, LATENCY, Metered, Metrics, changed, healthy, policy_with,
};
use backstop_e2e::world::App;
use backstop_testenv::prometheus::Target;
use backstop_testenv::{Exporter, Load, fate};
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// Long enough for every trigger to be judged several times.
const A_WHILE: Duration = Duration::from_secs(4);

/// Requests in a second: how many users are active.
const ACTIVITY: &str =
    r#"sum(rate(http_requests_total{namespace="{{ namespace }}",pod=~"{{ pods }}"}[5s]))"#;

fn latency(fields: Value) -> Value {
    let trigger = json!({
        "name": "latency", "interval": "1s", "prometheus": {"query": LATENCY.trim()},
    });
    changed(trigger, fields)
}

fn soaking(trigger: &Value, soak: &str) -> Value {
    let mut policy = policy_with(trigger);
    policy["points"]["soak"] = json!(soak);
    policy
}

fn millis(n: u64) -> Load {
    healthy().slow(Duration::from_millis(n))
}

fn says(trigger: &TriggerStatus, words: &str) -> bool {
    trigger
        .message
        .as_deref()
        .is_some_and(|said| said.contains(words))
}

#[tokio::test]
async fn a_release_30_percent_slower_than_the_last_healthy_one_goes_back() -> anyhow::Result<()> {
    let trigger = latency(json!({"condition": "value > 1.3 * baseline"}));
    let world = Metered::new("b-healthy").await?;
    world.load("v1", millis(20)).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(soaking(&trigger, "7s")).await?;
    let point = world.good_point(1).await?;
    let kept = point
        .spec
        .distributions
        .get("latency")
        .context("nothing is kept")?;
    ensure!(kept.count >= 5 && kept.samples.len() >= 5, "{kept:?}");
    ensure!(
        (kept.mean - 0.02).abs() < 0.002 && kept.deviation < 0.01,
        "{kept:?}"
    );

    // A quarter slower is within what is allowed.
    world.release("v2", millis(24)).await?;
    world.good_point(2).await?;
    world.release("v3", millis(40)).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v2");
    let evidence = event.spec.evidence.context("no evidence")?;
    ensure!(
        evidence.baseline.is_some_and(|b| (b - 0.024).abs() < 0.003),
        "{evidence:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_point_says_that_its_baseline_was_made_of_too_few_samples_and_nothing_goes_back_on_it()
-> anyhow::Result<()> {
    let trigger = latency(json!({
        "condition": "value > 1.3 * baseline", "baseline": {"minimumSamples": 50},
    }));
    let world = Metered::new("b-few").await?;
    world.load("v1", millis(20)).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(policy_with(&trigger)).await?;
    let point = world.good_point(1).await?;
    let api = world.api::<RollbackPoint>();
    let said = world
        .eventually("the point to say so", async || {
            let status = api.get(&point.name_any()).await?.status.unwrap_or_default();
            let condition = status
                .conditions
                .into_iter()
                .find(|c| c.type_ == "BaselinesUsable");
            condition.context("no such condition")
        })
        .await?;
    assert_eq!(said.reason, "BaselinesNotUsable");
    ensure!(
        said.message
            .contains("latency: its baseline was made of too few samples"),
        "{said:?}"
    );

    world.release("v2", millis(100)).await?;
    world
        .trigger_says("latency", "to have too few samples to compare with", |t| {
            t.state == TriggerState::NoData && says(t, "was made of too few samples")
        })
        .await?;
    world.no_rollback(A_WHILE).await?;
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

#[tokio::test]
async fn a_point_says_when_its_baseline_has_become_too_old_to_compare_with() -> anyhow::Result<()> {
    let trigger = latency(json!({
        "baseline": {"minimumSamples": 1, "maxAge": "20s"}, "condition": "value > 1.3 * baseline",
    }));
    let world = Metered::new("b-old").await?;
    world.load("v1", millis(20)).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(policy_with(&trigger)).await?;
    world.good_point(1).await?;
    let says = async |what: &str, holds: &dyn Fn(Option<&str>) -> bool| {
        world
            .eventually(what, async || {
                let points = world.points("Good").await?;
                let point = points.first().context("no point")?;
                let status = point.status.clone().unwrap_or_default();
                let said = status.conditions.into_iter();
                let said = said.filter(|c| c.type_ == "BaselinesUsable");
                let message = said.map(|c| c.message).next();
                ensure!(holds(message.as_deref()), "{message:?}");
                Ok(())
            })
            .await
    };
    says("no complaint", &|said| said.is_none()).await?;
    says("the age to be said", &|said| {
        said.is_some_and(|s| {
            s.contains("latency: its baseline is 2")
                && s.contains("and may be 20 s (baseline.maxAge)")
        })
    })
    .await
}

#[tokio::test]
async fn what_a_point_says_of_its_baseline_follows_the_policy() -> anyhow::Result<()> {
    let under = |limits: Value| {
        policy_with(&latency(json!({
            "condition": "value > 1.3 * baseline", "baseline": limits,
        })))
    };
    let few = json!({"minimumSamples": 50});
    let (world, point) = Metered::with_good_release("b-follow", under(few)).await?;
    let api = world.api::<RollbackPoint>();
    let says = async |what: &str, words: &str| {
        world
            .eventually(what, async || {
                let status = api.get(&point.name_any()).await?.status.unwrap_or_default();
                let mut said = status.conditions.iter();
                let said = said.find(|c| c.type_ == "BaselinesUsable");
                let said = said.map_or("nothing", |c| &c.message);
                ensure!(said.contains(words), "{said}");
                Ok(())
            })
            .await
    };
    says("too few to be said", "too few samples").await?;
    world.policy(under(json!({"minimumSamples": 1}))).await?;
    says("it to be said no more", "nothing").await?;
    // The limit was not there when the point was looked at last.
    world
        .policy(under(json!({"minimumSamples": 1, "maxAge": "25s"})))
        .await?;
    says("the age to be said", "and may be 25 s (baseline.maxAge)").await
}

#[tokio::test]
async fn a_release_is_compared_with_a_number() -> anyhow::Result<()> {
    let trigger = latency(json!({
        "condition": "value > 1.5 * baseline", "baseline": {"from": "Static", "value": 0.05},
    }));
    let (world, _) = Metered::with_good_release("b-static", policy_with(&trigger)).await?;
    world.release("v2", millis(70)).await?;
    world.good_point(2).await?;
    world.release("v3", millis(90)).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(
        event.spec.evidence.context("no evidence")?.baseline,
        Some(0.05)
    );
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

/// Requests of last week, by a pod of a release that is long gone: 100 in a second.
fn last_week(namespace: &str) -> anyhow::Result<Exporter> {
    let (namespace, begun) = (namespace.to_owned(), Instant::now());
    Exporter::start(move || {
        let week = Duration::from_hours(7 * 24);
        let then = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .saturating_sub(week);
        let requests = 100.0 * begun.elapsed().as_secs_f64();
        format!(
            "# TYPE http_requests_total counter\n\
             http_requests_total{{namespace=\"{namespace}\",pod=\"web-7d9f8c5b6-x2x4z\",code=\"200\"}} {requests} {}\n",
            then.as_millis()
        )
    })
}

#[tokio::test]
async fn a_release_that_loses_users_against_last_week_goes_back() -> anyhow::Result<()> {
    let trigger = json!({
        "name": "activity", "interval": "1s", "condition": "value < 0.7 * baseline",
        "prometheus": {"query": ACTIVITY}, "baseline": {"from": "Offset", "offset": "168h"},
        "for": "3s",
    });
    let metrics = Metrics::start().await?;
    let world = Metered::asking("b-week", &metrics, metrics.prometheus.url(), &[]).await?;
    let exporter = last_week(&world.namespace)?;
    let target = Target {
        address: exporter.target(),
        labels: BTreeMap::new(),
    };
    metrics.prometheus.set_group("last-week", &[target])?;
    // Two pods, each with half of about as many requests as last week.
    let each = |all: f64| Load::healthy(all / 2.0);
    world.load("v1", each(100.0)).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(policy_with(&trigger)).await?;
    world.good_point(1).await?;
    world
        .trigger_says("activity", "to be compared with last week", |t| {
            t.baseline.is_some_and(|then| (then - 100.0).abs() < 15.0)
        })
        .await?;

    world.release("v2", each(40.0)).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    let evidence = event.spec.evidence.context("no evidence")?;
    ensure!(
        evidence
            .baseline
            .is_some_and(|then| (then - 100.0).abs() < 15.0),
        "{evidence:?}"
    );
    Ok(())
}

/// Three pods that take their time, so that two releases serve beside each other for a while.
fn slowly(version: &str) -> App {
    App::version(version)
        .fate(fate::SLOW_READY)
        .annotation(fate::READY_AFTER, "4s")
        .replicas(Some(3))
}

#[tokio::test]
async fn a_release_that_is_worse_than_the_pods_it_replaces_goes_back_and_one_as_bad_does_not()
-> anyhow::Result<()> {
    // The day is bad: one in five requests fails, whatever is live.
    let trigger = json!({
        "name": "errors", "interval": "1s", "condition": "value > 2.0 * baseline",
        "prometheus": {"query": ERROR_SHARE.trim()}, "baseline": {"from": "Stable"},
    });
    let bad_day = Load::failing(50.0, 0.2);
    let world = Metered::new("b-stable").await?;
    world.load("v1", bad_day).await?;
    world.deploy(&slowly("v1")).await?;
    world.policy(policy_with(&trigger)).await?;
    world.good_point(1).await?;

    world.load("v2", bad_day).await?;
    world.deploy(&slowly("v2")).await?;
    world
        .trigger_says("errors", "to be compared with the pods of v1", |t| {
            t.baseline.is_some_and(|b| (b - 0.2).abs() < 0.1)
        })
        .await?;
    // With the last pod of v1 gone there is nothing to compare with, and that is no lack.
    world.good_point(2).await?;
    world
        .trigger_says("errors", "to have nothing beside it", |t| {
            t.state == TriggerState::Inactive && says(t, "no pods of another release serve")
        })
        .await?;
    ensure!(world.events().await?.is_empty());

    world.load("v3", Load::failing(50.0, 0.9)).await?;
    world.deploy(&slowly("v3")).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let evidence = event.spec.evidence.context("no evidence")?;
    ensure!(
        evidence.baseline.is_some_and(|b| (b - 0.2).abs() < 0.1),
        "{evidence:?}"
    );
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

#[tokio::test]
async fn samples_are_compared_as_sets_and_the_status_says_what_came_of_it() -> anyhow::Result<()> {
    let trigger = latency(json!({
        "compare": {"allowedIncrease": 1.5, "samples": 12, "confidence": 0.95},
    }));
    let world = Metered::new("b-compare").await?;
    world.load("v1", millis(20)).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(soaking(&trigger, "14s")).await?;
    // The first release has nothing to be compared with, and may prove itself all the same.
    world.good_point(1).await?;

    world.release("v2", millis(24)).await?;
    world
        .trigger_says("latency", "to pass", |t| {
            t.classification == Some(Classification::Pass)
        })
        .await?;
    world.good_point(2).await?;
    world.release("v3", millis(60)).await?;
    // The restored release gathers samples anew: that is waited for.
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v2");
    let reason = event.spec.reason.unwrap_or_default();
    ensure!(
        reason.contains("High: ") && reason.contains("times the baseline"),
        "{reason}"
    );
    let evidence = event.spec.evidence.context("no evidence")?;
    assert_eq!(evidence.classification, Some(Classification::High));
    assert_eq!(
        evidence.condition,
        "more than 1.5 times the baseline, 95 % sure by 12 samples"
    );
    Ok(())
}

#[tokio::test]
async fn a_release_that_is_used_less_is_low_and_one_that_is_far_too_slow_does_not_wait()
-> anyhow::Result<()> {
    let activity = json!({
        "name": "activity", "interval": "1s", "prometheus": {"query": ACTIVITY},
        "compare": {"direction": "Decrease", "allowedDecrease": 0.7, "samples": 10, "confidence": 0.95},
    });
    // Longer than any test waits: only what is critical fires.
    let latency = latency(json!({
        "for": "1h",
        "compare": {"allowedIncrease": 1.5, "criticalIncrease": 5.0, "samples": 10, "confidence": 0.95},
    }));
    let mut policy = soaking(&activity, "20s");
    policy["triggers"] = json!([activity, latency]);
    let world = Metered::new("b-critical").await?;
    world.load("v1", millis(20)).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(policy).await?;
    world.good_point(1).await?;

    let fewer = Load::healthy(15.0).slow(Duration::from_millis(20));
    world.release("v2", fewer).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let evidence = event.spec.evidence.context("no evidence")?;
    assert_eq!(evidence.trigger, "activity");
    assert_eq!(evidence.classification, Some(Classification::Low));
    let reason = event.spec.reason.unwrap_or_default();
    ensure!(reason.contains("Low: "), "{reason}");

    world.release("v3", millis(200)).await?;
    let event = world
        .ended("web-2", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let evidence = event.spec.evidence.context("no evidence")?;
    assert_eq!(evidence.trigger, "latency");
    assert_eq!(evidence.classification, Some(Classification::High));
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn with_little_traffic_a_release_that_truly_fails_goes_back_and_a_few_failures_do_not()
-> anyhow::Result<()> {
    let count = |more: &str| {
        format!(
            "sum(http_requests_total{{namespace=\"{{{{ namespace }}}}\",pod=~\"{{{{ pods }}}}\"{more}}})"
        )
    };
    let trigger = json!({
        "name": "failed", "interval": "1s", "condition": "value > 0.05",
        "prometheus": {"ratio": {"bad": count(",code=\"500\""), "total": count("")}},
    });
    let few = |errors: f64| Load::failing(2.0, errors);
    let world = Metered::new("b-ratio").await?;
    world.load("v1", few(0.0)).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(policy_with(&trigger)).await?;
    world.good_point(1).await?;

    // One in ten is more than the limit, and says little by so few.
    world.release("v2", few(0.1)).await?;
    world
        .trigger_says("failed", "to have counted a failure", |t| {
            t.tally.as_ref().is_some_and(|tally| tally.bad >= 1.0)
        })
        .await?;
    ensure!(world.events().await?.is_empty());

    world.release("v3", few(0.8)).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let reason = event.spec.reason.unwrap_or_default();
    ensure!(reason.contains("are bad, which is a share of"), "{reason}");
    ensure!(world.live().await? != "v3");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused_by_the_server_naming_the_way_out() -> anyhow::Result<()>
{
    let world = Metered::new("b-refused").await?;
    for (fields, words) in [
        (
            json!({"baseline": {"from": "Offset"}}),
            "baseline.offset goes with from: Offset",
        ),
        (
            json!({"baseline": {"value": 0.2}}),
            "baseline.value goes with from: Static",
        ),
        (
            json!({"baseline": {"from": "Offset", "offset": "1s"}}),
            "baseline.offset must be from 1m to 2160h",
        ),
        (
            json!({"baseline": {"from": "Stable", "maxAge": "1h"}}),
            "baseline.maxAge goes with from: LastHealthy only",
        ),
        (
            json!({"compare": {}, "baseline": {"from": "Static", "value": 1.0}}),
            "compare needs a baseline that has samples",
        ),
        (json!({"compare": {"samples": 3}}), "samples"),
        (
            json!({"prometheus": {"query": "sum(x)", "ratio": {"bad": "sum(x)", "total": "sum(y)"}}}),
            "prometheus needs either query",
        ),
    ] {
        let trigger = changed(latency(json!({"condition": "value > baseline"})), fields);
        let refused = world.policy(policy_with(&trigger)).await;
        let said = format!("{:#}", refused.err().context("it was accepted")?);
        ensure!(said.contains(words), "{words}: {said}");
    }
    Ok(())
}
