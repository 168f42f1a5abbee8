//! Incidents: bad releases one after the other, targets that fail too, Deployments that go away.

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::TriggerState;
use backstop_api::{RollbackEvent, RollbackPoint};
use backstop_e2e::moments::A_WHILE;
use backstop_e2e::world::{App, World, quick_policy};
use backstop_testenv::fate;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use serde_json::{Value, json};

/// A release that crashes.
fn bad(version: &str) -> App {
    App::version(version).fate(fate::CRASH_LOOP)
}

/// With so long between firing and acting.
fn delayed(delay: &str) -> Value {
    let mut policy = quick_policy();
    policy["triggers"][0]["delay"] = json!(delay);
    policy
}

fn to(event: RollbackEvent) -> Option<String> {
    event.status?.to.map(|t| t.point)
}

/// The identities of the releases that are on record as failed.
async fn failed(world: &World) -> anyhow::Result<Vec<String>> {
    let records = world.points("Quarantined").await?;
    Ok(records
        .into_iter()
        .filter_map(|p| Some(p.spec.release?.hash))
        .collect())
}

/// Two good releases with a point each; the pods of the second take a moment to become ready.
async fn two_good(
    name: &str,
    policy: Value,
) -> anyhow::Result<(World, RollbackPoint, RollbackPoint)> {
    let first = App::version("v1").recreate();
    let (world, v1) = World::with_good_release(name, policy, &first).await?;
    world.deploy(&App::slow("v2", "1s").recreate()).await?;
    let v2 = world.good_point(2).await?;
    ensure!(v1.name_any() != v2.name_any());
    Ok((world, v1, v2))
}

#[tokio::test]
async fn a_good_release_becomes_a_point_and_is_left_alone() -> anyhow::Result<()> {
    let (world, first) =
        World::with_good_release("good", quick_policy(), &App::version("v1")).await?;
    world.deploy(&App::version("v2")).await?;
    let second = world.good_point(2).await?;
    assert_ne!(first.name_any(), second.name_any());
    world.is_left_alone().await?;
    assert_eq!(world.live().await?, "v2");
    assert!(world.events().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn bad_releases_in_a_row_go_back_to_the_same_good_one() -> anyhow::Result<()> {
    let (world, point) =
        World::with_good_release("row", quick_policy(), &App::version("v1")).await?;
    for (number, version) in ["v2", "v3", "v4"].into_iter().enumerate() {
        world.deploy(&bad(version)).await?;
        let event = world
            .ended(
                &format!("web-{}", number + 1),
                EventPhase::Succeeded,
                Outcome::Recovered,
            )
            .await?;
        assert_eq!(to(event), point.metadata.name);
        assert_eq!(world.live().await?, "v1");
    }
    assert_eq!(world.events().await?.len(), 3);
    assert_eq!(world.points("Quarantined").await?.len(), 3);
    assert_eq!(world.points("Good").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_worse_release_on_top_of_a_rollback_is_taken_back_to_the_good_one() -> anyhow::Result<()>
{
    let good = App::slow("v1", "3s").recreate();
    let (world, point) = World::with_good_release("worse", quick_policy(), &good).await?;
    world.deploy(&bad("v2").recreate()).await?;
    world.rolling_out("web-1").await?;
    let worse = App::version("v3").fate(fate::IMAGE_PULL).recreate();
    world.deploy(&worse).await?;
    world
        .ended("web-1", EventPhase::Superseded, Outcome::NewerRelease)
        .await?;
    let event = world
        .ended("web-2", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(to(event), point.metadata.name);
    assert_eq!(world.live().await?, "v1");
    assert_eq!(world.points("Quarantined").await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_bad_release_that_comes_again_is_taken_back_again() -> anyhow::Result<()> {
    // Otherwise the API server would refuse it.
    let mut policy = quick_policy();
    policy["gitops"] = json!({"onConflict": "Notify"});
    let (world, point) = World::with_good_release("again", policy, &App::version("v1")).await?;
    for name in ["web-1", "web-2"] {
        world.deploy(&bad("v2")).await?;
        let event = world
            .ended(name, EventPhase::Succeeded, Outcome::Recovered)
            .await?;
        assert_eq!(to(event), point.metadata.name);
        assert_eq!(world.live().await?, "v1");
    }
    assert_eq!(world.points("Quarantined").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_crash_loop_that_runs_for_a_moment_is_taken_back_all_the_same() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("breath", delayed("15s"), &App::version("v1")).await?;
    world.deploy(&bad("v2").replicas(Some(1))).await?;
    world.event_in("web-1", EventPhase::Pending).await?;
    world.crashed_out("v2").await?;
    world.containers_run("v2", true).await?;
    world
        .policy_says("the trigger to be quiet", |s| {
            s.triggers[0].state == TriggerState::Inactive
        })
        .await?;
    world.containers_run("v2", false).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    assert_eq!(world.events().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_release_that_recovers_during_the_delay_stays() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("recovers", delayed("30s"), &App::version("v1")).await?;
    world.deploy(&bad("v2").replicas(Some(1))).await?;
    world.event_in("web-1", EventPhase::Pending).await?;
    world.crashed_out("v2").await?;
    world.containers_run("v2", true).await?;
    world
        .ended(
            "web-1",
            EventPhase::Cancelled,
            Outcome::RecoveredBeforeActing,
        )
        .await?;
    world.good_point(2).await?;
    assert_eq!(world.live().await?, "v2");
    assert!(world.points("Quarantined").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_restart_of_a_bad_release_is_no_new_release() -> anyhow::Result<()> {
    let bad = App::version("v2").fate(fate::IMAGE_PULL);
    let (world, _) =
        World::with_good_release("restart", delayed("2s"), &App::version("v1")).await?;
    world.deploy(&bad).await?;
    world.event_in("web-1", EventPhase::Pending).await?;
    world
        .kubectl(&["rollout", "restart", "deployment/web"])
        .await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    assert_eq!(world.events().await?.len(), 1);
    assert_eq!(world.points("Quarantined").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_restart_of_the_restored_release_does_not_supersede_its_rollback() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("restart-back", quick_policy(), &App::version("v1")).await?;
    world.deploy(&bad("v2")).await?;
    world.event_in("web-1", EventPhase::Verifying).await?;
    world
        .kubectl(&["rollout", "restart", "deployment/web"])
        .await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    assert_eq!(world.events().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_restart_of_a_good_release_inherits_its_verdict_and_its_window() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("restart-good", quick_policy(), &App::version("v1")).await?;
    let before = world.policy_says("a proved release", |s| {
        s.release.as_ref().is_some_and(|r| r.proved_at.is_some())
    });
    let before = before.await?.release;
    world
        .kubectl(&["rollout", "restart", "deployment/web"])
        .await?;
    world.rolled_out("v1").await?;
    world.is_left_alone().await?;
    let mut after = world.status().await?.release;
    // Health is a thing of the pods that there are, and those are new.
    if let (Some(after), Some(before)) = (&mut after, &before) {
        after.healthy_since = before.healthy_since;
    }
    assert_eq!(before, after);
    assert_eq!(world.points("Good").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_target_that_cannot_start_either_is_left_for_the_point_before_it() -> anyhow::Result<()> {
    let (world, v1, v2) = two_good("further", quick_policy()).await?;
    world.deploy(&bad("v3").recreate()).await?;
    let _crashing = world.keep_crashing("v2");
    let first = world
        .ended("web-1", EventPhase::Failed, Outcome::TargetCannotStart)
        .await?;
    let from = first.spec.from.clone().map(|r| r.hash);
    assert_eq!(to(first), v2.metadata.name);
    let second = world
        .ended("web-2", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(second.spec.attempt, 2);
    assert_eq!(to(second), v1.metadata.name);
    assert_eq!(world.live().await?, "v1");
    assert_eq!(
        failed(&world).await?,
        Vec::from_iter(from),
        "only what was released failed"
    );
    assert_eq!(world.points("Good").await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn after_max_attempts_nothing_more_is_tried_and_a_person_is_called() -> anyhow::Result<()> {
    let mut policy = quick_policy();
    policy["limits"]["maxAttempts"] = json!(1);
    let (world, _, _) = two_good("exhausted", policy).await?;
    world.deploy(&bad("v3").recreate()).await?;
    let _crashing = world.keep_crashing("v2");
    world
        .ended("web-1", EventPhase::Failed, Outcome::TargetCannotStart)
        .await?;
    let words = world.condition("ActionRequired", true, "Exhausted").await?;
    ensure!(words.contains("1 of 1 rollbacks were made"), "{words}");
    let told = world.said("RollbackPolicy", "RollbackHeld").await?;
    ensure!(told.contains("Backstop tries no more"), "{told}");
    world.is_left_alone().await?;
    assert_eq!(world.live().await?, "v2");
    assert_eq!(world.events().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_rollback_that_waits_ends_with_its_deployment() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("gone-pending", delayed("1m"), &App::version("v1")).await?;
    world.deploy(&bad("v2")).await?;
    world.event_in("web-1", EventPhase::Pending).await?;
    world.delete_deployment().await?;
    world
        .ended("web-1", EventPhase::Superseded, Outcome::WorkloadDeleted)
        .await?;
    world.condition("Ready", false, "WorkloadNotFound").await?;
    assert!(world.points("Quarantined").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_rollback_that_executes_ends_with_its_deployment_and_makes_no_other() -> anyhow::Result<()>
{
    let good = App::slow("v1", "5s").recreate();
    let (world, _) = World::with_good_release("gone-executing", quick_policy(), &good).await?;
    world.deploy(&bad("v2").recreate()).await?;
    world.rolling_out("web-1").await?;
    world.delete_deployment().await?;
    world
        .ended("web-1", EventPhase::Failed, Outcome::WorkloadDeleted)
        .await?;
    let api = world.api::<Deployment>();
    let until = tokio::time::Instant::now() + A_WHILE;
    while tokio::time::Instant::now() < until {
        ensure!(
            api.get_opt("web").await?.is_none(),
            "Backstop has made a Deployment"
        );
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(world.events().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_deployment_that_is_made_anew_is_another_one_and_is_looked_after() -> anyhow::Result<()> {
    let good = App::slow("v1", "2s").recreate();
    let (world, point) = World::with_good_release("anew", quick_policy(), &good).await?;
    world.deploy(&bad("v2").recreate()).await?;
    world.rolling_out("web-1").await?;
    world.delete_deployment().await?;
    world.deploy(&bad("v3").recreate()).await?;
    world
        .ended("web-1", EventPhase::Failed, Outcome::WorkloadDeleted)
        .await?;
    let event = world
        .ended("web-2", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(
        event.spec.attempt, 1,
        "the incident was the other Deployment's"
    );
    assert_eq!(to(event), point.metadata.name);
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

/// Whoever is called at night looks with kubectl first: no column that it shows is empty.
#[tokio::test]
async fn kubectl_get_says_something_in_every_column() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("columns", quick_policy(), &App::version("v1")).await?;
    world.crashes_and_goes_back().await?;
    for kind in ["rbp", "rbpt", "rbe"] {
        let table = world.kubectl(&["get", kind]).await?;
        let mut lines = table.lines();
        let header = lines.next().context("no table")?;
        // Two blanks and more stand between columns, whose names may have one.
        let starts: Vec<usize> = header
            .match_indices(|c: char| c != ' ')
            .map(|(at, _)| at)
            .filter(|at| *at == 0 || header[..*at].ends_with("  "))
            .collect();
        let rows: Vec<&str> = lines.collect();
        ensure!(!rows.is_empty(), "no {kind}: {table}");
        for row in rows {
            let ends = starts.iter().skip(1).copied().chain([row.len()]);
            for (from, to) in starts.iter().copied().zip(ends) {
                let cell = row.get(from..to).unwrap_or_default().trim();
                let column = &header[from..to.min(header.len())];
                ensure!(
                    !cell.is_empty() && cell != "<none>",
                    "nothing in the column {column}of {kind}:\n{table}"
                );
            }
        }
    }
    Ok(())
}
