//! What real pods use of CPU and memory, as the real metrics-server tells it, takes a release back.

use anyhow::ensure;
use backstop_api::event::EventPhase;
use backstop_api::policy::TriggerState;
use backstop_e2e::metrics::policy_with;
use backstop_e2e::real::RealApp;
use backstop_e2e::stage::Stage;
use backstop_e2e::world::{APP, App, World};
use backstop_testenv::{MetricsServer, Node};
use serde_json::{Value, json};

fn trigger(resource: &Value, condition: &str) -> Value {
    json!({"name": "use", "interval": "1s", "condition": condition, "resource": resource})
}

async fn goes_back(
    name: &str,
    trigger: &Value,
    good: &RealApp,
    bad: &RealApp,
) -> anyhow::Result<()> {
    if Node::shared().await?.is_none() {
        return Ok(());
    }
    MetricsServer::shared().await?;
    let Some(stage) = Stage::new(name).await? else {
        return Ok(());
    };
    stage.released(good).await?;
    let mut policy = policy_with(trigger);
    // Two measurements long: what is measured first reaches back to before the application was busy, and on a machine
    // that is busy itself a bad release would have proved itself by that.
    policy["points"]["soak"] = json!("20s");
    stage.policy(policy).await?;
    stage.good_point(1).await?;
    stage.released(bad).await?;
    let event = stage.event_in("web-1", EventPhase::Verifying).await?;
    let evidence = serde_json::to_string(&event.spec.evidence)?;
    ensure!(evidence.contains("metrics.k8s.io: "), "{evidence}");
    // That it has recovered is known two minutes later, when all that is measured is about it.
    good.rolled_out(&stage.client, &stage.namespace).await
}

fn app(version: &str) -> RealApp {
    RealApp::new(APP, version).replicas(1)
}

#[tokio::test]
async fn node_a_release_that_takes_50_mb_more_than_the_good_one_is_taken_back() -> anyhow::Result<()>
{
    let mut trigger = trigger(&json!({"name": "memory"}), "value > baseline + 50.0");
    // A soak of seconds has few samples of what is measured every 15 s.
    trigger["baseline"] = json!({"minimumSamples": 1});
    let bad = app("v2").env("MEMORY_MB", "80");
    goes_back("use-memory", &trigger, &app("v1"), &bad).await
}

#[tokio::test]
async fn node_a_release_that_is_close_to_its_memory_limit_is_taken_back() -> anyhow::Result<()> {
    let trigger = trigger(&json!({"name": "memory", "of": "Limit"}), "value > 0.5");
    let limited = |version: &str| app(version).memory_limit("128Mi");
    let bad = limited("v2").env("MEMORY_MB", "80");
    goes_back("use-limit", &trigger, &limited("v1"), &bad).await
}

#[tokio::test]
async fn node_a_release_that_uses_its_whole_cpu_is_taken_back() -> anyhow::Result<()> {
    let trigger = trigger(&json!({"name": "cpu", "of": "Limit"}), "value > 0.9");
    let limited = |version: &str| app(version).cpu_limit("20m");
    let bad = limited("v2").env("CPU_SHARE", "1");
    goes_back("use-cpu", &trigger, &limited("v1"), &bad).await
}

/// Safety rule 5. Fake pods use nothing that anybody measures; whether metrics-server is there depends
/// on the tests that ran before.
#[tokio::test]
async fn without_metrics_nothing_is_taken_back_and_it_is_said() -> anyhow::Result<()> {
    let world = World::new("use-none").await?;
    world.deploy(&App::version("v1")).await?;
    let trigger = trigger(&json!({"name": "cpu"}), "value > 0.0");
    world.policy(policy_with(&trigger)).await?;
    world
        .policy_says("there are no metrics", |status| {
            status.triggers.iter().any(|t| {
                let message = t.message.as_deref().unwrap_or_default();
                match t.state {
                    TriggerState::Error => message.contains("is metrics-server"),
                    TriggerState::Inactive => message.contains("has no pod of this release"),
                    _ => false,
                }
            })
        })
        .await?;
    ensure!(world.points("Good").await?.is_empty());
    ensure!(world.events().await?.is_empty());
    Ok(())
}
