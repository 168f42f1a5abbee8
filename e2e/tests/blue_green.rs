//! Blue-green: the release is what the Service selects, and going back is to select the stack that
//! was live before, when that is ready at the capacity that it had.

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome, StepKind, StepState};
use backstop_api::{RollbackEvent, RollbackPolicy};
use backstop_e2e::frozen::{self, Frozen};
use backstop_e2e::world::{App, SOON, World, cannot_start, message};
use backstop_testenv::{eventually, fate};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

const BLUE: &str = "web-blue";
const GREEN: &str = "web-green";

fn stack(name: &str, version: &str) -> App {
    App::version(version)
        .called(name)
        .label("part-of", "web")
        .label("color", name)
}

fn service(color: Option<&str>) -> Value {
    let mut selector = json!({"part-of": "web"});
    if let Some(color) = color {
        selector["color"] = json!(color);
    }
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": selector, "ports": [{"port": 80}]},
    })
}

fn policy(preserve_failed: bool) -> Value {
    json!({
        "strategy": {"type": "BlueGreen", "timeout": "30s", "blueGreen": {
            "service": "web", "stacks": [BLUE, GREEN], "preserveFailed": preserve_failed,
        }},
        "points": {"soak": "1s"},
        "limits": {"cooldown": "0s"},
        "triggers": [cannot_start()],
    })
}

async fn select(world: &World, color: Option<&str>, force: bool) -> anyhow::Result<()> {
    let mut params = PatchParams::apply("kubectl");
    params.force = force;
    world
        .api::<Service>()
        .patch("web", &params, &Patch::Apply(service(color)))
        .await?;
    Ok(())
}

async fn selected(world: &World) -> anyhow::Result<String> {
    let service = world.api::<Service>().get("web").await?;
    let selector = service.spec.and_then(|s| s.selector).unwrap_or_default();
    selector.get("color").cloned().context("no color")
}

async fn replicas(world: &World, name: &str) -> anyhow::Result<Option<i32>> {
    let deployment = world.api::<Deployment>().get(name).await?;
    Ok(deployment.spec.and_then(|s| s.replicas))
}

async fn ready(world: &World, name: &str) -> anyhow::Result<()> {
    world
        .eventually("the stack is ready", async || {
            let deployment = world.api::<Deployment>().get(name).await?;
            let ready = deployment.status.and_then(|s| s.ready_replicas);
            ensure!(ready == Some(2), "{ready:?}");
            Ok(())
        })
        .await
}

/// Blue is live at v1 and has proved itself; green has v2.
async fn blue_is_good(name: &str, preserve_failed: bool, green: &App) -> anyhow::Result<World> {
    good_as(name, preserve_failed, &stack(BLUE, "v1"), green).await
}

async fn good_as(
    name: &str,
    preserve_failed: bool,
    blue: &App,
    green: &App,
) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    world.deploy(blue).await?;
    world.deploy(&green.clone().replicas(Some(0))).await?;
    select(&world, Some(BLUE), true).await?;
    world.policy(policy(preserve_failed)).await?;
    world.good_point(1).await?;
    world.deploy(green).await?;
    Ok(world)
}

#[tokio::test]
async fn the_service_goes_back_to_the_good_stack_when_that_has_its_capacity() -> anyhow::Result<()>
{
    let green = stack(GREEN, "v2");
    let world = blue_is_good("bg", true, &green).await?;
    select(&world, Some(GREEN), true).await?;
    ready(&world, GREEN).await?;
    // The team lets go of the old stack a little too early.
    world.deploy(&stack(BLUE, "v1").replicas(Some(0))).await?;
    world.crash("v2").await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(selected(&world).await?, BLUE);
    assert_eq!(
        replicas(&world, BLUE).await?,
        Some(2),
        "the capacity that it had"
    );
    assert_eq!(
        replicas(&world, GREEN).await?,
        Some(2),
        "kept to be looked into"
    );
    assert_eq!(world.version_of(GREEN).await?, "v2");
    let steps = event.status.unwrap_or_default().steps;
    let at = |kind| {
        let step = steps.iter().find(|s| s.step.kind == kind);
        step.and_then(|s| s.finished_at).context("no such step")
    };
    assert!(at(StepKind::AwaitCapacity)? <= at(StepKind::SwapSelector)?);
    assert!(at(StepKind::SwapSelector)? <= at(StepKind::AwaitEndpoints)?);
    // The next release of the team meets no conflict.
    select(&world, Some(GREEN), false).await
}

/// Whichever step the server refuses: that ends the rollback in the server's words, and is not tried for ever in silence.
#[tokio::test]
async fn a_switch_that_the_server_refuses_is_said() -> anyhow::Result<()> {
    let world = blue_is_good("bg-frozen", true, &stack(GREEN, "v2")).await?;
    select(&world, Some(GREEN), true).await?;
    ready(&world, GREEN).await?;
    let frozen = Frozen::unless::<Service>(
        &world,
        "web",
        "object.spec.selector == oldObject.spec.selector",
    )
    .await?;
    world.crash("v2").await?;
    let event = world
        .ended("web-1", EventPhase::Failed, Outcome::WriteRefused)
        .await?;
    let words = message(&event);
    ensure!(
        words.contains("SwapSelector of web-blue: the API server refuses 'patch service'")
            && words.contains(frozen::WORDS)
            && words.contains("a person has to go on"),
        "{words}"
    );
    let steps = event.status.unwrap_or_default().steps;
    let failed = steps.iter().find(|s| s.state == StepState::Failed);
    assert_eq!(failed.map(|s| s.step.kind), Some(StepKind::SwapSelector));
    assert_eq!(selected(&world).await?, GREEN);
    frozen.lift().await
}

/// Nothing was taken back, so no release is on record as one that was, and none is kept out.
#[tokio::test]
async fn a_rollback_that_is_called_off_before_the_switch_leaves_no_record() -> anyhow::Result<()> {
    let blue = App::slow("v1", "10s")
        .called(BLUE)
        .label("part-of", "web")
        .label("color", BLUE);
    let world = good_as("bg-off", true, &blue, &stack(GREEN, "v2")).await?;
    select(&world, Some(GREEN), true).await?;
    ready(&world, GREEN).await?;
    world.deploy(&blue.clone().replicas(Some(0))).await?;
    world.crash("v2").await?;
    world
        .eventually("the good stack is awaited", async || {
            let records = world.points("Quarantined").await?.len();
            let wanted = replicas(&world, BLUE).await?;
            let event = world.api::<RollbackEvent>().get("web-1").await?;
            let written = event.status.and_then(|s| s.times.first_write);
            ensure!(
                records == 1 && wanted == Some(2) && written.is_some(),
                "{records} records, {wanted:?}, {written:?}"
            );
            Ok(())
        })
        .await?;
    world.call_off("web-1", "it is not the release").await?;
    world
        .ended("web-1", EventPhase::Failed, Outcome::CancelledByPerson)
        .await?;
    world
        .eventually("its record is gone", async || {
            let records = world.points("Quarantined").await?.len();
            ensure!(records == 0, "{records} records");
            Ok(())
        })
        .await?;
    assert_eq!(selected(&world).await?, GREEN);
    Ok(())
}

#[tokio::test]
async fn the_failed_stack_is_stopped_if_the_policy_says_so() -> anyhow::Result<()> {
    let world = blue_is_good("bg-stop", false, &stack(GREEN, "v2").fate(fate::CRASH_LOOP)).await?;
    select(&world, Some(GREEN), true).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(selected(&world).await?, BLUE);
    assert_eq!(replicas(&world, GREEN).await?, Some(0));
    Ok(())
}

/// Both stacks were let go of as a release of theirs is: each is ready again before it is selected.
#[tokio::test]
async fn a_drill_selects_the_stack_before_and_then_this_one_again() -> anyhow::Result<()> {
    let world = blue_is_good("bg-drill", false, &stack(GREEN, "v2")).await?;
    ready(&world, GREEN).await?;
    select(&world, Some(GREEN), true).await?;
    world.known_point(2).await?;
    world.deploy(&stack(BLUE, "v1").replicas(Some(0))).await?;
    // The operator knows of it then, too.
    world
        .eventually("the stack before to be empty", async || {
            let stack = world.api::<Deployment>().get(BLUE).await?;
            let pods = stack.status.and_then(|s| s.replicas).unwrap_or_default();
            ensure!(pods == 0, "{pods} pods");
            Ok(())
        })
        .await?;
    world.drill_of("quarterly", &[BLUE, GREEN]).await?;
    for event in ["quarterly", "web-1"] {
        let event = world
            .ended(event, EventPhase::Succeeded, Outcome::Recovered)
            .await?;
        let steps = event.status.unwrap_or_default().steps;
        let at = |kind| steps.iter().position(|s| s.step.kind == kind);
        ensure!(at(StepKind::SwapSelector).is_some(), "{steps:?}");
        ensure!(
            at(StepKind::AwaitCapacity) < at(StepKind::SwapSelector),
            "{steps:?}"
        );
    }
    assert_eq!(selected(&world).await?, GREEN);
    assert_eq!(world.version_of(GREEN).await?, "v2");
    assert_eq!(replicas(&world, GREEN).await?, Some(2));
    assert_eq!(replicas(&world, BLUE).await?, Some(0));
    assert!(world.points("Quarantined").await?.is_empty());
    // The next release of the team meets no conflict.
    select(&world, Some(GREEN), false).await
}

/// The idle stack is no evidence: it may crash as long as it likes.
#[tokio::test]
async fn a_stack_without_traffic_is_not_blamed() -> anyhow::Result<()> {
    let world = blue_is_good("bg-idle", true, &stack(GREEN, "v2").fate(fate::CRASH_LOOP)).await?;
    world.crashed_out("v2").await?;
    // Long enough for several looks.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(world.events().await?.len(), 0);
    assert_eq!(selected(&world).await?, BLUE);
    Ok(())
}

/// The live stack was changed in place: its template goes back, and the Service stays.
#[tokio::test]
async fn a_template_that_was_changed_in_place_goes_back_in_place() -> anyhow::Result<()> {
    let world = blue_is_good("bg-place", true, &stack(GREEN, "v1")).await?;
    world
        .deploy(&stack(BLUE, "v3").fate(fate::CRASH_LOOP))
        .await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(selected(&world).await?, BLUE);
    assert_eq!(world.version_of(BLUE).await?, "v1");
    Ok(())
}

/// The stack to go back to was given another release meanwhile: nobody has seen that work.
#[tokio::test]
async fn a_stack_that_was_changed_since_is_not_gone_back_to() -> anyhow::Result<()> {
    let world = blue_is_good("bg-changed", true, &stack(GREEN, "v2")).await?;
    ready(&world, GREEN).await?;
    select(&world, Some(GREEN), true).await?;
    world
        .deploy(&stack(BLUE, "v3").fate(fate::NEVER_READY))
        .await?;
    world.crash("v2").await?;
    world
        .eventually("it is held, in words", async || {
            let message = world.status().await?.message.unwrap_or_default();
            ensure!(
                message.contains("it was changed since it was live"),
                "{message}"
            );
            Ok(())
        })
        .await?;
    assert_eq!(world.events().await?.len(), 0);
    assert_eq!(selected(&world).await?, GREEN);
    Ok(())
}

/// What cannot work is said within a second of being applied, with the field.
#[tokio::test]
async fn a_policy_that_cannot_work_is_refused_in_words() -> anyhow::Result<()> {
    let world = World::new("bg-misfit").await?;
    world.deploy(&stack(BLUE, "v1")).await?;
    world.deploy(&stack(GREEN, "v1")).await?;
    let missing = "spec.strategy.blueGreen.service: 'web' is not there";
    world.refused_at_once(&policy(true), &[missing]).await?;
    let says = async |words: &str| {
        eventually(words, SOON, async || {
            let policy = world.api::<RollbackPolicy>().get("web").await?;
            let status = policy.status.context("no status")?;
            let accepted = status
                .conditions
                .iter()
                .find(|c| c.type_ == "Accepted")
                .context("no condition")?;
            ensure!(accepted.message.contains(words), "{}", accepted.message);
            Ok(accepted.clone())
        })
        .await
    };
    assert_eq!(says(missing).await?.reason, "CannotWork");
    select(&world, None, true).await?;
    says("selects the pods of both stacks").await?;
    select(&world, Some("red"), true).await?;
    says("selects the pods of neither stack").await?;
    select(&world, Some(BLUE), true).await?;
    says("valid and in force").await?;
    world
        .api::<Service>()
        .delete("web", &DeleteParams::default())
        .await?;
    says("is not there").await?;
    Ok(())
}
