//! The presets about what others have found: alerts, intruders, vulnerabilities. Each takes a release back, or blocks it,
//! that is just beyond its figure, and lets one that is just short of it prove itself.

use anyhow::ensure;
use backstop_api::event::{EventPhase, Outcome};
use backstop_e2e::alerts::{Alerted, falco};
use backstop_e2e::presets::{begin, policy, preset, promise, proved, shorter_triggers, taken_back};
use backstop_e2e::reports::{self, Report};
use backstop_e2e::world::{App, World};
use serde_json::json;

#[tokio::test]
async fn what_pages_a_team_takes_a_release_back() -> anyhow::Result<()> {
    let triggers = shorter_triggers("alerts.yaml")?;
    let world = Alerted::new("preset-alerts").await?;
    world.fires(&json!({"alertname": "Watchdog"})).await?;
    let name = "critical-alert";
    begin(&world, &triggers, name, &App::version("v1").called(name)).await?;
    let alert = |severity: &str, pod: &str| {
        json!({
            "alertname": "HighErrorRate", "severity": severity, "namespace": world.namespace, "pod": pod,
        })
    };
    let pod = world.pod_of("v1").await?;
    world.fires(&alert("warning", &pod)).await?;
    proved(&world, name).await?;
    world.deploy(&App::version("v2").called(name)).await?;
    let pod = world.pod_of_new("v2").await?;
    world.fires(&alert("critical", &pod)).await?;
    taken_back(&world, "alerts.yaml", name).await?;
    Ok(())
}

#[tokio::test]
async fn more_intrusions_in_a_minute_than_are_allowed_take_a_release_back() -> anyhow::Result<()> {
    let triggers = shorter_triggers("alerts.yaml")?;
    let world = Alerted::new("preset-intrusion").await?;
    world.fires(&json!({"alertname": "Watchdog"})).await?;
    let name = "intrusion";
    begin(&world, &triggers, name, &App::version("v1").called(name)).await?;
    let intrude = async |pod: &str, times: u32| {
        let seen = (0..times).map(|number| falco(&world.namespace, pod, number));
        let seen: Vec<_> = seen.collect();
        world.alertmanager.post(&json!(seen)).await
    };
    intrude(&world.pod_of("v1").await?, 5).await?;
    proved(&world, name).await?;
    world.deploy(&App::version("v2").called(name)).await?;
    intrude(&world.pod_of_new("v2").await?, 6).await?;
    taken_back(&world, "alerts.yaml", name).await?;
    Ok(())
}

#[tokio::test]
async fn more_vulnerabilities_than_are_allowed_block_a_release() -> anyhow::Result<()> {
    let triggers = shorter_triggers("vulnerabilities.yaml")?;
    let asked = &preset("vulnerabilities.yaml")?["spec"]["gates"]["vulnerabilities"];
    ensure!(
        asked == &json!({"maxCritical": 0, "maxHigh": 10}),
        "{asked}"
    );
    reports::installed().await?;
    for (name, severity, few, many) in [
        ("preset-high", "HIGH", 10, 11),
        ("preset-critical", "CRITICAL", 0, 1),
    ] {
        let world = World::new(name).await?;
        world.deploy(&App::version("v1")).await?;
        world.policy(policy("web", &triggers["vulnerable"])).await?;
        let release = world
            .policy_says("the release", |s| s.release.is_some())
            .await?
            .release;
        let report = Report::about(&world, "v1").await?;
        report.with(severity, few, true).write(&world).await?;
        world.good_point(1).await?;
        world.deploy(&App::version("v2")).await?;
        world
            .policy_says("v2", |s| {
                s.release.as_ref().map(|r| &r.hash) != release.as_ref().map(|r| &r.hash)
            })
            .await?;
        let report = Report::about(&world, "v2").await?;
        report.with(severity, many, true).write(&world).await?;
        let event = world
            .ended("web-1", EventPhase::Succeeded, Outcome::Blocked)
            .await?;
        let promised = promise("vulnerabilities.yaml", "vulnerable")?;
        assert_eq!(event.spec.action, Some(promised.action));
        let severity = event.spec.evidence.map(|evidence| evidence.severity);
        assert_eq!(severity, Some(promised.severity));
    }
    Ok(())
}
