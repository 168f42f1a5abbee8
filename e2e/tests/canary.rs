//! Canary: the release is what the canary has a share of the requests for, and going back is to take
//! that share away, then to take the canary back.

use anyhow::{Context as _, ensure};
use backstop_api::RollbackPolicy;
use backstop_api::event::{EventPhase, Outcome, StepKind, StepState};
use backstop_api::policy::Action;
use backstop_e2e::crds;
use backstop_e2e::metrics::{Metered, changed, error_rate, failing, healthy};
use backstop_e2e::world::{App, SOON, World, cannot_start, message};
use backstop_testenv::{eventually, fate};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

const STABLE: &str = "web";
const CANARY: &str = "web-canary";

fn stable(version: &str) -> App {
    App::version(version)
}

fn canary(version: &str, replicas: i32) -> App {
    App::version(version)
        .called(CANARY)
        .replicas(Some(replicas))
}

fn policy() -> Value {
    json!({
        "strategy": {"type": "Canary", "timeout": "30s", "canary": {
            "stable": STABLE, "canary": CANARY, "stepInterval": "1s",
            "route": {"provider": "gateway-httproute", "name": "web"},
        }},
        "points": {"soak": "1s"},
        "limits": {"cooldown": "0s"},
        "triggers": [cannot_start()],
    })
}

/// A trigger that goes back step by step.
fn gently(mut policy: Value) -> Value {
    policy["triggers"] = json!([{
        "name": "unready", "severity": "Warning", "condition": "value > 0.5",
        "workload": {"signals": ["UnreadyShare"]},
    }]);
    policy
}

fn route(share: i32) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "web"},
        "spec": {"parentRefs": [{"name": "public"}], "rules": [{"backendRefs": [
            {"name": STABLE, "port": 80, "weight": 100 - share},
            {"name": CANARY, "port": 80, "weight": share},
        ]}]},
    })
}

fn routes(world: &World) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "gateway.networking.k8s.io".into(),
        version: "v1".into(),
        api_version: "gateway.networking.k8s.io/v1".into(),
        kind: "HTTPRoute".into(),
        plural: "httproutes".into(),
    };
    Api::namespaced_with(world.client.clone(), &world.namespace, &resource)
}

/// Gives the canary a share as a team's pipeline does.
async fn share_as(world: &World, share: i32, manager: &str, force: bool) -> anyhow::Result<()> {
    let mut params = PatchParams::apply(manager);
    params.force = force;
    routes(world)
        .patch("web", &params, &Patch::Apply(route(share)))
        .await?;
    Ok(())
}

async fn share(world: &World) -> anyhow::Result<(i64, i64)> {
    let found = routes(world).get("web").await?;
    let weight = |at: usize| {
        found.data["spec"]["rules"][0]["backendRefs"][at]["weight"]
            .as_i64()
            .context("no weight")
    };
    Ok((weight(0)?, weight(1)?))
}

async fn replicas(world: &World, name: &str) -> anyhow::Result<Option<i32>> {
    let deployment = world.api::<Deployment>().get(name).await?;
    Ok(deployment.spec.and_then(|s| s.replicas))
}

/// A gradual rollback from 20 % has begun.
async fn first_step_taken(world: &World) -> anyhow::Result<()> {
    world
        .eventually("the first step is taken", async || {
            let now = share(world).await?;
            ensure!(now == (85, 15), "{now:?}");
            Ok(())
        })
        .await
}

/// The stable side at v1 has proved itself, and there is an idle canary of v1.
async fn stable_is_good(name: &str, policy: Value) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    stable_is_good_in(&world, policy).await?;
    Ok(world)
}

async fn stable_is_good_in(world: &World, policy: Value) -> anyhow::Result<()> {
    let crd = crds::published("gateway.networking.k8s.io", "httproutes")?.context("no CRD")?;
    crds::install(world.cluster, &crd).await?;
    world.deploy(&stable("v1")).await?;
    world.deploy(&canary("v1", 0)).await?;
    share_as(world, 0, "kubectl", true).await?;
    world.policy(policy).await?;
    world.good_point(1).await?;
    Ok(())
}

/// At once, and then the canary is as it was at the point.
#[tokio::test]
async fn a_critical_trigger_takes_the_share_away_at_once() -> anyhow::Result<()> {
    let world = stable_is_good("canary", policy()).await?;
    world
        .deploy(&canary("v2", 2).fate(fate::CRASH_LOOP))
        .await?;
    share_as(&world, 20, "kubectl", true).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(share(&world).await?, (100, 0));
    assert_eq!(world.version_of(CANARY).await?, "v1");
    assert_eq!(replicas(&world, CANARY).await?, Some(0));
    assert_eq!(world.version_of(STABLE).await?, "v1");
    let steps = event.status.unwrap_or_default().steps;
    let shifts: Vec<_> = steps
        .iter()
        .filter(|s| s.step.kind == StepKind::ShiftWeight)
        .collect();
    assert_eq!(shifts.len(), 1, "{steps:?}");
    let at = |kind| steps.iter().position(|s| s.step.kind == kind);
    assert!(at(StepKind::AwaitCapacity) < at(StepKind::ShiftWeight));
    assert!(at(StepKind::ShiftWeight) < at(StepKind::WriteTemplate));
    assert_eq!(world.points("Quarantined").await?.len(), 1);
    // The next release of the team meets no conflict.
    share_as(&world, 10, "kubectl", false).await
}

/// What is being tried is no release to come back to; the stable side is.
#[tokio::test]
async fn a_drill_is_of_the_stable_side_and_not_while_a_canary_is_tried() -> anyhow::Result<()> {
    let world = stable_is_good("canary-drill", policy()).await?;
    let release = world.status().await?.release;
    let stable_side = release.context("no release")?.hash;
    world.deploy(&canary("v2", 2)).await?;
    world.rolled_out_of(CANARY, "v2").await?;
    share_as(&world, 20, "kubectl", true).await?;
    world
        .policy_says("a release that is being tried", |s| {
            s.release.as_ref().is_some_and(|r| r.hash != stable_side)
        })
        .await?;
    world.drill_of("too-early", &[STABLE, CANARY]).await?;
    let refused = world
        .ended(
            "too-early",
            EventPhase::Cancelled,
            Outcome::DrillNotPossible,
        )
        .await?;
    let words = message(&refused);
    ensure!(words.contains("it is being tried"), "{words}");
    assert_eq!(share(&world).await?, (80, 20));
    // It has done well, and all get it.
    world.deploy(&stable("v2")).await?;
    share_as(&world, 0, "kubectl", true).await?;
    world.known_point(2).await?;
    world.drill_of("quarterly", &[STABLE, CANARY]).await?;
    for event in ["quarterly", "web-1"] {
        world
            .ended(event, EventPhase::Succeeded, Outcome::Recovered)
            .await?;
    }
    assert_eq!(world.version_of(STABLE).await?, "v2");
    assert_eq!(share(&world).await?, (100, 0));
    assert!(world.points("Quarantined").await?.is_empty());
    Ok(())
}

/// The canary is judged by its own pods, and only while it has a share.
#[tokio::test]
async fn a_canary_without_a_share_is_not_blamed() -> anyhow::Result<()> {
    let world = stable_is_good("canary-idle", policy()).await?;
    world
        .deploy(&canary("v2", 2).fate(fate::CRASH_LOOP))
        .await?;
    world.crashed_out("v2").await?;
    assert_eq!(world.events().await?.len(), 0);
    share_as(&world, 5, "kubectl", true).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(share(&world).await?, (100, 0));
    Ok(())
}

#[tokio::test]
async fn a_warning_takes_it_away_step_by_step() -> anyhow::Result<()> {
    let world = stable_is_good("canary-gradual", gently(policy())).await?;
    world
        .deploy(&canary("v2", 2).fate(fate::NEVER_READY))
        .await?;
    share_as(&world, 20, "kubectl", true).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(share(&world).await?, (100, 0));
    let steps = event.status.unwrap_or_default().steps;
    let shares: Vec<_> = steps
        .iter()
        .filter(|s| s.step.kind == StepKind::ShiftWeight)
        .filter_map(|s| Some((s.step.weight.as_ref()?.to, s.finished_at?)))
        .collect();
    let values: Vec<_> = shares.iter().map(|(share, _)| *share).collect();
    assert_eq!(values, [15, 10, 5, 0]);
    for pair in shares.windows(2) {
        let between = pair[1].1.duration_since(pair[0].1);
        ensure!(between.as_millis() >= 1000, "only {between} between steps");
    }
    Ok(())
}

/// It is well again after the first steps, by numbers that were asked for after the last one: it goes no further.
#[tokio::test]
async fn a_gradual_rollback_stops_when_it_is_well_again() -> anyhow::Result<()> {
    let mut policy = policy();
    policy["strategy"]["canary"]["stepInterval"] = json!("8s");
    policy["strategy"]["canary"]["stopWhen"] = json!("value < 0.02");
    policy["triggers"] = json!([changed(error_rate(), json!({"severity": "Warning"}))]);
    let world = Metered::new("canary-stop").await?;
    world.load("v1", healthy()).await?;
    world.load("v2", failing()).await?;
    stable_is_good_in(&world, policy).await?;
    world.deploy(&canary("v2", 2)).await?;
    world.rolled_out_of(CANARY, "v2").await?;
    share_as(&world, 40, "kubectl", true).await?;
    eventually("the first step back", SOON, async || {
        let (_, share) = share(&world).await?;
        ensure!(share < 40, "{share} %");
        Ok(())
    })
    .await?;
    // Fewer requests were all that it needed.
    world.load("v2", healthy()).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let (stable, canary) = share(&world).await?;
    ensure!(
        canary > 0 && canary < 40 && stable + canary == 100,
        "{stable} and {canary}: {:?}",
        event.status
    );
    assert_eq!(world.version_of(CANARY).await?, "v2");
    assert_eq!(replicas(&world, CANARY).await?, Some(2));
    world.nothing_is_quarantined().await
}

/// Somebody's later edit of the route is noticed, and not fought.
#[tokio::test]
async fn a_persons_edit_in_between_stands() -> anyhow::Result<()> {
    let mut policy = gently(policy());
    policy["strategy"]["canary"]["stepInterval"] = json!("20s");
    let world = stable_is_good("canary-person", policy).await?;
    world
        .deploy(&canary("v2", 2).fate(fate::NEVER_READY))
        .await?;
    share_as(&world, 20, "kubectl", true).await?;
    first_step_taken(&world).await?;
    share_as(&world, 50, "alice", true).await?;
    let event = world
        .ended("web-1", EventPhase::Superseded, Outcome::NewerRelease)
        .await?;
    let words = event.status.and_then(|s| s.message).unwrap_or_default();
    ensure!(words.contains("gave the canary 50 %"), "{words}");
    assert_eq!(share(&world).await?, (50, 50));
    Ok(())
}

/// Safety rule 6: nobody is sent to a stable side that cannot serve them.
#[tokio::test]
async fn the_stable_side_gets_its_capacity_before_it_gets_the_requests() -> anyhow::Result<()> {
    let world = stable_is_good("canary-full", policy()).await?;
    world.deploy(&canary("v2", 2)).await?;
    share_as(&world, 100, "kubectl", true).await?;
    world.deploy(&stable("v1").replicas(Some(0))).await?;
    world.rolled_out_of(CANARY, "v2").await?;
    world.crash("v2").await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(share(&world).await?, (100, 0));
    assert_eq!(replicas(&world, STABLE).await?, Some(2));
    let steps = event.status.unwrap_or_default().steps;
    let kinds: Vec<_> = steps.iter().map(|s| s.step.kind).collect();
    assert_eq!(kinds[..2], [StepKind::Scale, StepKind::AwaitCapacity]);
    assert!(steps.iter().all(|s| s.state == StepState::Done));
    Ok(())
}

/// While there is no canary, the stable side is an ordinary Deployment.
#[tokio::test]
async fn a_bad_stable_side_is_rolled_back() -> anyhow::Result<()> {
    let world = stable_is_good("canary-stable", policy()).await?;
    world.deploy(&stable("v2").fate(fate::CRASH_LOOP)).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.version_of(STABLE).await?, "v1");
    assert_eq!(share(&world).await?, (100, 0));
    Ok(())
}

/// What cannot work is said, with the field.
#[tokio::test]
async fn a_canary_that_cannot_work_is_refused_in_words() -> anyhow::Result<()> {
    let world = stable_is_good("canary-misfit", policy()).await?;
    let says = async |words: &str| {
        eventually(words, SOON, async || {
            let policy = world.api::<RollbackPolicy>().get("web").await?;
            let generation = policy.metadata.generation;
            let status = policy.status.context("no status")?;
            let accepted = status
                .conditions
                .iter()
                .find(|c| c.type_ == "Accepted" && c.observed_generation == generation)
                .context("no condition")?;
            ensure!(accepted.message.contains(words), "{}", accepted.message);
            Ok(())
        })
        .await
    };
    let with = |path: &str, value: Value| {
        let mut policy = policy();
        *policy
            .pointer_mut(&format!("/strategy/canary/route{path}"))
            .unwrap_or(&mut Value::Null) = value;
        policy
    };
    let unknown = with("/provider", json!("gateway-tcproute"));
    let words = ["spec.strategy.canary.route.provider", "gateway-httproute"];
    world.refused_at_once(&unknown, &words).await?;
    let elsewhere = with("/name", json!("wob"));
    let words = ["spec.strategy.canary.route.name: 'wob' is not there"];
    world.refused_at_once(&elsewhere, &words).await?;
    let route = json!({
        "provider": "gateway-httproute", "name": "web", "canaryBackend": {"name": "web-beta"},
    });
    let words = [
        "spec.strategy.canary.route",
        "the backend web-beta is not there",
    ];
    world.refused_at_once(&with("", route), &words).await?;
    // A kind that is not installed here.
    let kuma = with("/provider", json!("kuma"));
    let words = [
        "spec.strategy.canary.route.provider",
        "MeshHTTPRoute of kuma.io/v1alpha1 installed",
    ];
    world.refused_at_once(&kuma, &words).await?;
    world.policy(policy()).await?;
    says("valid and in force").await?;
    routes(&world)
        .delete("web", &kube::api::DeleteParams::default())
        .await?;
    says("is not there").await?;
    let policy = world.api::<RollbackPolicy>().get("web").await?;
    ensure!(policy.name_any() == "web", "it is left as it was");
    Ok(())
}

/// A kind of route whose weights have to be 100 together, which an administrator has added.
const STRICT: &str = "
providers:
- name: strict
  group: gateway.networking.k8s.io
  version: v1
  kind: HTTPRoute
  plural: httproutes
  rules: /spec/rules/*
  backends: {shape: List, at: /backendRefs, name: /name, weight: weight}
  weights: {default: 1, sum: Hundred}
";

#[tokio::test]
async fn weights_that_do_not_sum_are_refused_in_words() -> anyhow::Result<()> {
    let table = tempfile::NamedTempFile::new()?;
    std::fs::write(table.path(), STRICT)?;
    let flag = format!("--routes-file={}", table.path().display());
    let world = World::with("canary-sum", &[flag]).await?;
    stable_is_good_in(&world, policy()).await?;
    let mut object = route(40);
    object["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(70);
    let params = PatchParams::apply("kubectl").force();
    routes(&world)
        .patch("web", &params, &Patch::Apply(object))
        .await?;
    let mut strict = policy();
    strict["strategy"]["canary"]["route"]["provider"] = json!("strict");
    let words = [
        "spec.strategy.canary.route",
        "/spec/rules/0/backendRefs",
        "the weights are 110 together; this kind of route needs 100",
    ];
    world.refused_at_once(&strict, &words).await?;
    // As it should be.
    share_as(&world, 40, "kubectl", true).await?;
    world.condition("Accepted", true, "Valid").await?;
    Ok(())
}

/// A Warning goes back step by step, and something Critical in between goes the rest of the way at once.
#[tokio::test]
async fn a_critical_trigger_takes_over_a_gradual_rollback_that_is_executed() -> anyhow::Result<()> {
    let mut policy = gently(policy());
    policy["strategy"]["canary"]["stepInterval"] = json!("60s");
    let triggers = policy["triggers"].as_array_mut().context("no triggers")?;
    triggers.push(cannot_start());
    let world = stable_is_good("canary-worse", policy).await?;
    world
        .deploy(&canary("v2", 2).fate(fate::NEVER_READY))
        .await?;
    share_as(&world, 20, "kubectl", true).await?;
    first_step_taken(&world).await?;
    let event = world.event_in("web-1", EventPhase::Executing).await?;
    assert_eq!(event.spec.action, Some(Action::GradualRollback));
    let _crashing = world.keep_crashing("v2");
    world
        .eventually("the share is taken away", async || {
            let now = share(&world).await?;
            ensure!(now == (100, 0), "{now:?}");
            Ok(())
        })
        .await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(share(&world).await?, (100, 0));
    assert_eq!(world.version_of(CANARY).await?, "v1");
    // By the same rollback, and no other.
    assert_eq!(world.events().await?.len(), 1);
    assert_eq!(world.points("Quarantined").await?.len(), 1);
    let steps = event.status.unwrap_or_default().steps;
    let of = |kind| steps.iter().filter(move |s| s.step.kind == kind);
    let held: Vec<_> = of(StepKind::HoldWeight)
        .filter_map(|s| s.message.as_deref())
        .collect();
    assert_eq!(held.len(), 3, "{steps:?}");
    for said in held {
        ensure!(
            said.starts_with("it gets worse: pod web-canary-") && said.contains("CrashLoopBackOff"),
            "{said}"
        );
    }
    let shifts: Vec<_> = of(StepKind::ShiftWeight)
        .filter_map(|s| Some((s.step.weight.as_ref()?.to, s.finished_at?)))
        .collect();
    let shares: Vec<_> = shifts.iter().map(|(share, _)| *share).collect();
    assert_eq!(shares, [15, 10, 5, 0]);
    let took = shifts[3].1.duration_since(shifts[0].1);
    ensure!(took.as_secs() < 60, "{took} for what waits for 180 s");
    Ok(())
}

/// Nobody has to be led away gently from what is not there, and whoever waits for it would wait for ever.
#[tokio::test]
async fn a_canary_that_is_deleted_meanwhile_loses_its_share_at_once() -> anyhow::Result<()> {
    let mut policy = gently(policy());
    policy["strategy"]["canary"]["stepInterval"] = json!("60s");
    let world = stable_is_good("canary-gone", policy).await?;
    world
        .deploy(&canary("v2", 2).fate(fate::NEVER_READY))
        .await?;
    share_as(&world, 20, "kubectl", true).await?;
    first_step_taken(&world).await?;
    world
        .api::<Deployment>()
        .delete(CANARY, &DeleteParams::default())
        .await?;
    world
        .ended("web-1", EventPhase::Failed, Outcome::WorkloadDeleted)
        .await?;
    assert_eq!(share(&world).await?, (100, 0));
    Ok(())
}
