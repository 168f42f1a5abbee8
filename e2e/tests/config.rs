//! Configuration goes back with the workload: a change of a ConfigMap or Secret is a release, and is
//! taken back as one.

use anyhow::{Context as _, ensure};
use backstop_api::RollbackEvent;
use backstop_api::condition::ConditionStatus;
use backstop_api::event::{EventPhase, Outcome, StepKind};
use backstop_e2e::chart::NAMESPACE;
use backstop_e2e::strategies::set_mode;
use backstop_e2e::world::{App, World, quick_policy};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

async fn secret(world: &World, token: &str) -> anyhow::Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web-token"},
        "stringData": {"TOKEN": token},
    });
    let params = PatchParams::apply("kubectl").force();
    world
        .api::<Secret>()
        .patch("web-token", &params, &Patch::Apply(object))
        .await?;
    Ok(())
}

async fn mode(world: &World) -> anyhow::Result<String> {
    let found = world.api::<ConfigMap>().get("web-config").await?;
    let data = found.data.unwrap_or_default();
    data.get("MODE").cloned().context("no mode")
}

async fn token(world: &World) -> anyhow::Result<String> {
    let found = world.api::<Secret>().get("web-token").await?;
    let data = found.data.unwrap_or_default();
    let token = data.get("TOKEN").context("no token")?;
    Ok(String::from_utf8(token.0.clone())?)
}

fn app(version: &str) -> App {
    App::version(version)
        .config_map("web-config")
        .secret("web-token")
}

/// v1 with its good configuration has proved itself.
async fn good(name: &str, policy: Value) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    set_mode(&world, "good").await?;
    secret(&world, "the-good-token").await?;
    world.deploy(&app("v1")).await?;
    world.policy(policy).await?;
    world.good_point(1).await?;
    Ok(world)
}

/// Waits until what is live is another release than `before`.
async fn another_release(world: &World, before: &str) -> anyhow::Result<()> {
    world
        .eventually("another release", async || {
            let now = world.status().await?.release.context("no release")?.hash;
            ensure!(now != before, "still {now}");
            Ok(())
        })
        .await
}

async fn live_release(world: &World) -> anyhow::Result<String> {
    Ok(world.status().await?.release.context("no release")?.hash)
}

fn kinds(event: &RollbackEvent) -> Vec<StepKind> {
    let steps = event.status.iter().flat_map(|s| &s.steps);
    steps.map(|s| s.step.kind).collect()
}

/// Nothing but the contents of a ConfigMap changed: they go back, and the pods start with them.
#[tokio::test]
async fn a_bad_config_map_goes_back_and_the_pods_are_restarted() -> anyhow::Result<()> {
    let world = good("config", quick_policy()).await?;
    let before = live_release(&world).await?;
    set_mode(&world, "bad").await?;
    another_release(&world, &before).await?;
    world.crash("v1").await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(mode(&world).await?, "good");
    assert_eq!(live_release(&world).await?, before);
    assert_eq!(
        kinds(&event),
        [
            StepKind::QuarantineRelease,
            StepKind::RestoreConfig,
            StepKind::Restart,
            StepKind::AwaitRollout,
        ]
    );
    // The next apply of the team meets no conflict.
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web-config"},
        "data": {"MODE": "better"},
    });
    world
        .api::<ConfigMap>()
        .patch(
            "web-config",
            &PatchParams::apply("kubectl"),
            &Patch::Apply(object),
        )
        .await?;
    Ok(())
}

/// Template and configuration changed together, and go back together.
#[tokio::test]
async fn configuration_and_template_go_back_together() -> anyhow::Result<()> {
    let world = good("config-both", quick_policy()).await?;
    set_mode(&world, "bad").await?;
    secret(&world, "the-bad-token").await?;
    world
        .deploy(&app("v2").fate(backstop_testenv::fate::CRASH_LOOP))
        .await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    assert_eq!(mode(&world).await?, "good");
    assert_eq!(token(&world).await?, "the-good-token");
    Ok(())
}

/// What a Secret holds is in no store, point, event or log in the clear.
#[tokio::test]
async fn a_secret_goes_back_and_is_nowhere_in_the_clear() -> anyhow::Result<()> {
    let world = good("config-secret", quick_policy()).await?;
    let before = live_release(&world).await?;
    secret(&world, "the-bad-token").await?;
    another_release(&world, &before).await?;
    world.crash("v1").await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(token(&world).await?, "the-good-token");
    let stores = world.api::<Secret>().list(&ListParams::default()).await?;
    let stores: Vec<_> = stores
        .into_iter()
        .filter(|s| s.type_.as_deref() == Some("backstop.dev/config"))
        .collect();
    ensure!(!stores.is_empty(), "nothing is kept");
    for store in &stores {
        for value in store.data.iter().flatten().map(|(_, value)| &value.0) {
            let text = String::from_utf8_lossy(value);
            ensure!(!text.contains("-token"), "a store has it in the clear");
        }
    }
    let points = serde_json::to_string(&world.points("Good").await?)?;
    let event = serde_json::to_string(&event)?;
    for text in [&points, &event, &world.operator.log()] {
        ensure!(!text.contains("the-good-token") && !text.contains("the-bad-token"));
    }
    Ok(())
}

/// All operators of these tests have the same keys: the others rotate as well, and nothing comes of it.
#[tokio::test]
async fn after_a_rotation_a_point_is_encrypted_anew_and_its_secret_goes_back() -> anyhow::Result<()>
{
    let world = good("config-rotated", quick_policy()).await?;
    let keys: Api<Secret> = Api::namespaced(world.client.clone(), NAMESPACE);
    let name = format!("{}-rotated", jiff::Timestamp::now().strftime("%F"));
    let key = ByteString(b"thirty-two bytes of a test's own".to_vec());
    let patch = Patch::Merge(json!({"data": {&name: key}}));
    keys.patch("backstop-config-keys", &PatchParams::default(), &patch)
        .await?;
    world
        .eventually("the point to be encrypted with it", async || {
            let point = world.points("Good").await?.remove(0);
            let key = point.status.and_then(|s| s.config_key);
            ensure!(key.as_deref() == Some(&*name), "it is {key:?}");
            Ok(())
        })
        .await?;
    let before = live_release(&world).await?;
    secret(&world, "the-bad-token").await?;
    another_release(&world, &before).await?;
    world.crash("v1").await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(token(&world).await?, "the-good-token");
    Ok(())
}

/// Somebody else uses the ConfigMap as well: it is not touched, and the event says so.
#[tokio::test]
async fn a_shared_config_map_is_left_alone_and_that_is_said() -> anyhow::Result<()> {
    let world = good("config-shared", quick_policy()).await?;
    world
        .deploy(&App::version("v1").called("other").config_map("web-config"))
        .await?;
    set_mode(&world, "bad").await?;
    world
        .deploy(&app("v2").fate(backstop_testenv::fate::CRASH_LOOP))
        .await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    assert_eq!(mode(&world).await?, "bad");
    let steps = event.status.unwrap_or_default().steps;
    let left: Vec<_> = steps.iter().flat_map(|s| &s.left).collect();
    ensure!(
        left.iter()
            .any(|words| words.contains("ConfigMap web-config") && words.contains("other")),
        "{left:?}"
    );
    Ok(())
}

/// What etcd does not take is not kept, and the point says so.
#[tokio::test]
async fn what_is_too_large_to_be_kept_is_named_by_the_point() -> anyhow::Result<()> {
    let world = World::new("config-large").await?;
    // Noise, because a ConfigMap's contents are compressed: it fits into a ConfigMap, and not into a store.
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..1_040_000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect();
    let object = ConfigMap {
        metadata: ObjectMeta {
            name: Some("web-config".to_owned()),
            ..ObjectMeta::default()
        },
        binary_data: Some([("NOISE".to_owned(), ByteString(noise))].into()),
        ..ConfigMap::default()
    };
    world
        .api::<ConfigMap>()
        .create(&PostParams::default(), &object)
        .await?;
    world
        .deploy(&App::version("v1").config_map("web-config"))
        .await?;
    world.policy(quick_policy()).await?;
    world.good_point(1).await?;
    let condition = world
        .eventually("the point to say so", async || {
            let status = world.good_point(1).await?.status.unwrap_or_default();
            let mut conditions = status.conditions.into_iter();
            let said = conditions.find(|c| c.type_ == "ConfigCaptured");
            said.context("no such condition")
        })
        .await?;
    assert_eq!(condition.status, ConditionStatus::False);
    assert_eq!(condition.reason, "ConfigNotCaptured");
    let words = &condition.message;
    ensure!(
        words.contains("ConfigMap web-config, whose contents are not kept, since they take 1")
            && words.contains("mend that, and the next point keeps them"),
        "{words}"
    );
    Ok(())
}

/// A policy may leave configuration out.
#[tokio::test]
async fn a_policy_may_leave_configuration_out() -> anyhow::Result<()> {
    let mut policy = quick_policy();
    policy["points"]["config"] = json!("Ignore");
    let world = good("config-out", policy).await?;
    let point = world.good_point(1).await?;
    let release = point.spec.release.context("no release")?;
    ensure!(release.config.is_empty(), "{:?}", release.config);
    set_mode(&world, "bad").await?;
    world
        .deploy(&app("v2").fate(backstop_testenv::fate::CRASH_LOOP))
        .await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(mode(&world).await?, "bad");
    Ok(())
}
