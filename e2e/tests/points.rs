//! Points: who makes them, what is in them, which one is gone back to, and which are kept.
//!
//! That a point stays what it is, whoever writes it, is held in `crds.rs` and `admission.rs`.

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::{RollbackEvent, RollbackPoint};
use backstop_e2e::world::{App, World, quick_policy};
use backstop_testenv::fate;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

/// A policy under which no release proves itself by soaking while a test runs.
fn by_hand_only() -> Value {
    let mut policy = quick_policy();
    policy["points"]["soak"] = json!("1h");
    policy
}

fn bad(version: &str) -> App {
    App::version(version).fate(fate::CRASH_LOOP)
}

fn to(event: RollbackEvent) -> Option<String> {
    event.status?.to.map(|t| t.point)
}

#[tokio::test]
async fn a_release_that_a_person_names_good_is_recorded_and_gone_back_to() -> anyhow::Result<()> {
    let world = World::new("manual").await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(by_hand_only()).await?;
    world.condition("Protected", false, "NoGoodPoint").await?;
    world.manual_point("known-good").await?;
    let (point, words) = world.captured("known-good", "Captured").await?;
    ensure!(words.contains("may be gone back to"), "{words}");
    let status = world.status().await?;
    let live = status.release.map(|r| r.hash).unwrap_or_default();
    assert_eq!(point.labels().get("backstop.dev/release"), Some(&live));
    let Some(release) = point.spec.release else {
        anyhow::bail!("no release")
    };
    assert_eq!(release.hash, live);
    let release = &release.workloads[0];
    assert_eq!(release.replicas, 2);
    let digest = release.images[0].digest.clone().unwrap_or_default();
    ensure!(digest.contains("example.test/web:v1@sha256:"), "{digest}");
    let owners: Vec<_> = release
        .ownership
        .managed_fields
        .iter()
        .map(|m| &m["manager"])
        .collect();
    assert_eq!(owners, ["kubectl"], "whose the template was");
    world.deploy(&bad("v2")).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(to(event).as_deref(), Some("known-good"));
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn a_release_is_not_recorded_by_hand_before_it_is_rolled_out() -> anyhow::Result<()> {
    let world = World::new("manual-early").await?;
    world.deploy(&App::slow("v1", "15s")).await?;
    world.policy(by_hand_only()).await?;
    world.manual_point("early").await?;
    let (point, words) = world.captured("early", "NotRolledOut").await?;
    ensure!(
        words.contains("2 wanted") && words.contains("0 available"),
        "{words}"
    );
    assert!(point.spec.release.is_none());
    let (point, _) = world.captured("early", "Captured").await?;
    assert!(point.spec.release.is_some());
    Ok(())
}

#[tokio::test]
async fn a_release_on_which_a_critical_trigger_fires_is_not_recorded_by_hand() -> anyhow::Result<()>
{
    let world = World::new("manual-firing").await?;
    world.deploy(&App::version("v1")).await?;
    let mut policy = by_hand_only();
    policy["triggers"] = json!([{
        "name": "too-many", "action": "Notify",
        "workload": {"signals": ["Restarts"]}, "condition": "workload.desired > 1",
    }]);
    world.policy(policy).await?;
    world
        .condition("ActionRequired", true, "NotifyOnly")
        .await?;
    world.manual_point("firing").await?;
    let (point, words) = world.captured("firing", "TriggerFiring").await?;
    ensure!(words.contains("too-many"), "{words}");
    assert!(point.spec.release.is_none());
    world
        .kubectl(&["scale", "deployment/web", "--replicas=1"])
        .await?;
    let (point, _) = world.captured("firing", "Captured").await?;
    assert_eq!(point.spec.release.map(|r| r.workloads[0].replicas), Some(1));
    Ok(())
}

#[tokio::test]
async fn so_many_points_are_kept_and_the_oldest_goes_first() -> anyhow::Result<()> {
    let mut policy = quick_policy();
    policy["points"]["keep"] = json!(2);
    let (world, first) = World::with_good_release("keep", policy, &App::version("v1")).await?;
    world.manual_point("for-ever").await?;
    world.captured("for-ever", "Captured").await?;
    for version in ["v2", "v3"] {
        world.deploy(&App::version(version)).await?;
        world.proved(version).await?;
    }
    world
        .eventually("the oldest point to be removed", async || {
            let names: Vec<_> = world
                .points("Good")
                .await?
                .iter()
                .map(ResourceExt::name_any)
                .collect();
            ensure!(!names.contains(&first.name_any()), "{names:?}");
            assert_eq!(names.len(), 3, "{names:?}");
            assert!(
                names.contains(&"for-ever".to_owned()),
                "what a person made stays: {names:?}"
            );
            Ok(())
        })
        .await
}

/// A policy that is refused looks after nothing, and lets nothing go.
#[tokio::test]
async fn a_refused_policy_lets_no_point_go() -> anyhow::Result<()> {
    let good = App::version("v1");
    let (world, _) = World::with_good_release("keep-two", quick_policy(), &good).await?;
    let mut other = quick_policy();
    other["points"]["keep"] = json!(1);
    // Whichever comes first in a list.
    for name in ["a-second", "second", "z-second"] {
        world.named_policy(name, other.clone()).await?;
    }
    for (version, points) in [("v2", 2), ("v3", 3)] {
        world.deploy(&App::version(version)).await?;
        world.good_point(points).await?;
    }
    world.is_left_alone().await?;
    assert_eq!(world.points("Good").await?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn a_release_that_proves_itself_again_is_the_one_to_go_back_to() -> anyhow::Result<()> {
    let (world, v1) =
        World::with_good_release("reproved", quick_policy(), &App::version("v1")).await?;
    world.deploy(&App::version("v2")).await?;
    let v2 = world.proved("v2").await?;
    world.deploy(&App::version("v1")).await?;
    world.proved("v1").await?;
    world.deploy(&bad("v3")).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(to(event), v1.metadata.name);
    let good = world.points("Good").await?;
    assert_eq!(good.len(), 2, "one for each release, {v2} among them");
    Ok(())
}

#[tokio::test]
async fn a_release_that_failed_is_not_gone_back_to_until_its_record_is_deleted()
-> anyhow::Result<()> {
    let (world, v1) =
        World::with_good_release("outranked", quick_policy(), &App::version("v1")).await?;
    world.deploy(&App::version("v2")).await?;
    let v2 = world.good_point(2).await?;
    // It has proved itself, and fails all the same within its window.
    let crashed = world.crash("v2").await?;
    assert_eq!(crashed, 2);
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(to(event), v1.metadata.name);
    // What is asked for before this is done is about the release that was live then.
    world.proved("v1").await?;
    let record = world.points("Quarantined").await?.remove(0);
    assert_eq!(
        record.spec.release.map(|r| r.hash),
        v2.spec.release.clone().map(|r| r.hash)
    );
    assert_eq!(
        record.metadata.annotations.unwrap_or_default()["backstop.dev/event"],
        "web-1"
    );
    world
        .manual_event("outranked", v2.metadata.name.as_deref())
        .await?;
    let event = world
        .ended("outranked", EventPhase::Cancelled, Outcome::NoTarget)
        .await?;
    let words = event.status.and_then(|s| s.message).unwrap_or_default();
    ensure!(words.contains("delete its Quarantined record"), "{words}");
    let name = record.metadata.name.unwrap_or_default();
    let points = world.api::<RollbackPoint>();
    points.delete(&name, &DeleteParams::default()).await?;
    world
        .policy_says("nothing to be quarantined", |s| s.quarantined.is_empty())
        .await?;
    world
        .manual_event("lifted", v2.metadata.name.as_deref())
        .await?;
    world
        .ended("lifted", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v2");
    Ok(())
}

/// The tag of an image is moved while its release is not live: what is gone back to is another image then, and the point
/// says so.
#[tokio::test]
async fn a_tag_that_has_moved_is_said_on_the_point() -> anyhow::Result<()> {
    let world = World::new("moved").await?;
    world.deploy(&App::version("v1")).await?;
    world.rolled_out("v1").await?;
    world
        .images_are("v1", "example.test/web@sha256:aaaa")
        .await?;
    // The node's first word about a pod's image is overwritten within this time.
    let mut policy = quick_policy();
    policy["points"]["soak"] = json!("5s");
    world.policy(policy).await?;
    let point = world.good_point(1).await?.metadata.name;
    let point = point.context("a point without a name")?;
    world.deploy(&App::version("v2")).await?;
    world.proved("v2").await?;
    let reproducible = async || {
        let point = world.api::<RollbackPoint>().get(&point).await?;
        let conditions = point.status.unwrap_or_default().conditions;
        let said = conditions.into_iter().find(|c| c.type_ == "Reproducible");
        anyhow::Ok(said)
    };

    // The node pulls another image under the same name.
    let _pulls = world.keep_images("v1", "example.test/web@sha256:bbbb");
    world.deploy(&App::version("v1")).await?;
    let said = world
        .eventually("the point to say so", async || {
            reproducible().await?.context("it says nothing")
        })
        .await?;
    assert_eq!(said.reason, "NotReproducible");
    ensure!(
        said.message.contains(
            "example.test/web:v1 of Deployment web was sha256:aaaa and is sha256:bbbb now"
        ),
        "{}",
        said.message
    );
    Ok(())
}
