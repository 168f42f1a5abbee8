//! After a rollback the next apply meets no conflict and leaves nothing behind.

use anyhow::{Context as _, bail, ensure};
use backstop_api::event::{EventPhase, Outcome, StepKind, StepState};
use backstop_api::{Duration, RollbackEvent};
use backstop_e2e::world::{APP, App, SOON, World, cannot_start, quick_policy};
use backstop_testenv::fate;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// v1 has a variable that v2 lacks, and v3 lacks too.
fn v1() -> App {
    App::version("v1")
        .env("ONLY_IN_V1", "yes")
        .env("SHARED", "1")
}

fn v2() -> App {
    App::version("v2").env("SHARED", "1").fate(fate::CRASH_LOOP)
}

fn v3() -> App {
    App::version("v3").env("SHARED", "1")
}

async fn kubectl_apply(world: &World, app: &App, server_side: bool) -> anyhow::Result<()> {
    let mut args = vec!["apply", "--namespace", &world.namespace, "--filename=-"];
    if server_side {
        args.push("--server-side");
    }
    let manifest = app.manifest().to_string();
    world
        .cluster
        .kubectl_with(world.cluster.kubeconfig_path(), &args, &manifest)
        .await?
        .success()?;
    Ok(())
}

async fn deployment(world: &World) -> anyhow::Result<Deployment> {
    Ok(world.api::<Deployment>().get(APP).await?)
}

async fn variables(world: &World) -> anyhow::Result<Vec<String>> {
    let template = deployment(world)
        .await?
        .spec
        .context("spec")?
        .template
        .spec
        .context("pod")?;
    let env = template.containers[0].env.clone().unwrap_or_default();
    Ok(env.into_iter().map(|e| e.name).collect())
}

fn managers(deployment: &Deployment) -> Vec<String> {
    deployment
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .filter(|f| f.subresource.is_none())
        .filter_map(|f| f.manager.clone())
        .collect()
}

/// What the managers own of the template, without times.
fn owners(deployment: &Deployment) -> Vec<Value> {
    let mut owners: Vec<Value> = deployment
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .filter_map(|f| {
            let template = f.fields_v1.as_ref()?.0.pointer("/f:spec/f:template")?;
            Some(json!([f.manager, f.operation, template]))
        })
        .collect();
    owners.sort_by_key(Value::to_string);
    owners
}

async fn leaves_nothing_behind(name: &str, server_side: bool) -> anyhow::Result<()> {
    let world = World::new(name).await?;
    kubectl_apply(&world, &v1(), server_side).await?;
    world.policy(quick_policy()).await?;
    world.good_point(1).await?;
    let before = owners(&deployment(&world).await?);

    kubectl_apply(&world, &v2(), server_side).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(variables(&world).await?, ["ONLY_IN_V1", "SHARED"]);
    let restored = deployment(&world).await?;
    ensure!(
        !managers(&restored).contains(&"backstop".to_owned()),
        "{:?}",
        managers(&restored)
    );
    assert_eq!(
        owners(&restored),
        before,
        "the fields are not whose they were"
    );

    // Without --force-conflicts: a conflict would be an error.
    kubectl_apply(&world, &v3(), server_side).await?;
    assert_eq!(world.live().await?, "v3");
    assert_eq!(
        variables(&world).await?,
        ["SHARED"],
        "something of v1 was left behind"
    );
    Ok(())
}

#[tokio::test]
async fn the_next_client_side_apply_leaves_nothing_behind() -> anyhow::Result<()> {
    leaves_nothing_behind("own-client", false).await
}

#[tokio::test]
async fn the_next_server_side_apply_meets_no_conflict_and_leaves_nothing_behind()
-> anyhow::Result<()> {
    leaves_nothing_behind("own-server", true).await
}

#[tokio::test]
async fn an_image_set_by_hand_does_not_keep_its_owner() -> anyhow::Result<()> {
    let world = World::new("own-set-image").await?;
    kubectl_apply(&world, &v1(), true).await?;
    world.policy(quick_policy()).await?;
    world.good_point(1).await?;
    // As `kubectl set image` and `kubectl patch` do, under managers of their own.
    let bad = json!({"spec": {"template": {
        "metadata": {"annotations": {fate::FATE: fate::IMAGE_PULL}},
        "spec": {"containers": [{"name": "app", "image": "example.test/web:typo"}]},
    }}});
    let params = PatchParams {
        field_manager: Some("kubectl-set".into()),
        ..PatchParams::default()
    };
    world
        .api::<Deployment>()
        .patch(APP, &params, &Patch::Strategic(bad))
        .await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let restored = deployment(&world).await?;
    ensure!(
        managers(&restored)
            .iter()
            .all(|m| m != "backstop" && m != "kubectl-set"),
        "{:?}",
        managers(&restored)
    );
    kubectl_apply(&world, &v3(), true).await?;
    assert_eq!(variables(&world).await?, ["SHARED"]);
    Ok(())
}

/// What the Deployment's `rollingUpdate` is for as long as a rollback waits for its rollout, without repeats.
async fn while_it_rolls_out(world: &World, event: &str) -> anyhow::Result<Vec<Value>> {
    world.rolling_out(event).await?;
    let mut seen = Vec::new();
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let found = deployment(world).await?;
        let status = world.api::<RollbackEvent>().get(event).await?.status;
        let mut steps = status.iter().flat_map(|s| &s.steps);
        // It did so before the Deployment was read as well.
        if !steps.any(|s| s.step.kind == StepKind::AwaitRollout && s.state == StepState::Running) {
            break;
        }
        if tokio::time::Instant::now() > deadline {
            bail!("{event} still rolls out");
        }
        let strategy = found.spec.context("spec")?.strategy.context("strategy")?;
        seen.push(serde_json::to_value(strategy.rolling_update)?);
    }
    seen.dedup();
    Ok(seen)
}

#[tokio::test]
async fn rolling_parameters_hold_for_the_rollback_alone() -> anyhow::Result<()> {
    let mut policy = quick_policy();
    policy["strategy"] = json!({
        "type": "Rolling", "timeout": "600s",
        "rolling": {"maxUnavailable": 1, "maxSurge": 1},
    });
    policy["triggers"] = json!([cannot_start()]);
    // Slow, so that its rollout can be looked at.
    let good = v1()
        .replicas(Some(3))
        .fate(fate::SLOW_READY)
        .annotation(fate::READY_AFTER, "2s");
    let (world, _) = World::with_good_release("own-rolling", policy, &good).await?;
    // By itself this Deployment takes two of three pods away at once, so that there is something to roll back.
    let own = json!({"maxUnavailable": 2, "maxSurge": 0});
    let patch = json!({"spec": {"strategy": {"rollingUpdate": own}}});
    world.patch_deployment(patch).await?;
    let strategy = |d: &Deployment| serde_json::to_value(d.spec.as_ref().map(|s| &s.strategy));
    let owners_of_strategy = |d: &Deployment| -> Vec<String> {
        let fields = d.metadata.managed_fields.iter().flatten();
        fields
            .filter(|f| {
                f.fields_v1
                    .as_ref()
                    .is_some_and(|v| v.0.pointer("/f:spec/f:strategy").is_some())
            })
            .filter_map(|f| f.manager.clone())
            .collect()
    };
    let before = deployment(&world).await?;
    world.deploy(&v2().replicas(Some(3))).await?;
    assert_eq!(
        while_it_rolls_out(&world, "web-1").await?,
        [json!({"maxUnavailable": 1, "maxSurge": 1})]
    );
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let done = event.status.unwrap_or_default().steps;
    let steps: Vec<String> = done
        .iter()
        .map(|s| format!("{:?} {:?}", s.step.kind, s.state))
        .collect();
    assert_eq!(
        steps,
        [
            "QuarantineRelease Done",
            "WriteTemplate Done",
            "HandBackOwnership Done",
            "AwaitRollout Done",
            "RestoreStrategy Done"
        ]
    );
    let waits = done.iter().find(|s| s.step.kind == StepKind::AwaitRollout);
    let timeout = waits.and_then(|s| s.step.timeout);
    assert_eq!(timeout, Some(Duration::from_secs(600)));
    let after = deployment(&world).await?;
    assert_eq!(strategy(&after)?, strategy(&before)?);
    assert_eq!(owners_of_strategy(&after), owners_of_strategy(&before));
    Ok(())
}
