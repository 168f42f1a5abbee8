//! What is asked before a release: gates refuse new templates, and nothing else, where a namespace chose them.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::TriggerState;
use backstop_api::{RollbackPoint, RollbackPolicy};
use backstop_e2e::metrics::{LATENCY, Metered, changed, policy_with};
use backstop_e2e::raw::{Raw, policy, refused, with};
use backstop_e2e::reports::{self, Report};
use backstop_e2e::world::{App, World, quick_policy};
use backstop_testenv::{Cluster, eventually, fate};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// The quick policy with these gates.
fn gated(gates: &Value) -> Value {
    with(quick_policy(), json!({"gates": gates}))
}

/// A window that is open now, for an hour.
fn frozen() -> Value {
    let hour = SignedDuration::from_hours(1);
    json!({"freeze": {"windows": [{
        "name": "black-friday", "reason": "no releases while everybody shops",
        "once": {"from": Timestamp::now() - hour, "until": Timestamp::now() + hour},
    }]}})
}

/// Says what the namespace wants of gates.
async fn choose(world: &World, what: &str) -> anyhow::Result<()> {
    let label = format!("backstop.dev/gates={what}");
    let args = [
        "label",
        "namespace",
        &world.namespace,
        &label,
        "--overwrite",
    ];
    world.cluster.kubectl(&args).await?.success()?;
    Ok(())
}

/// A namespace that asks gates and that nobody looks after: what an administrator and what Backstop does there.
async fn unattended(name: &str) -> anyhow::Result<(Client, Client, String)> {
    let cluster = Cluster::shared().await?;
    let operator = backstop_e2e::install(cluster).await?;
    let namespace = cluster.namespace(name).await?;
    let label = [
        "label",
        "namespace",
        &namespace,
        "backstop.dev/gates=enforce",
    ];
    cluster.kubectl(&label).await?.success()?;
    let backstop = cluster
        .client_for_service_account(&operator.namespace, &operator.service_account)
        .await?;
    Ok((cluster.client().await?, backstop, namespace))
}

/// Waits until a gate refuses another template, and returns what it says. A dry run, so that nothing changes.
async fn refusal(world: &World, app: &App, words: &str) -> anyhow::Result<String> {
    world
        .eventually(&format!("a refusal with: {words}"), async || {
            refused(tried(world, app).await, words)
        })
        .await
}

/// What the API server says to a release, without letting it in.
async fn tried(world: &World, app: &App) -> kube::Result<Deployment> {
    let mut params = PatchParams::apply("kubectl").force();
    params.dry_run = true;
    world
        .api::<Deployment>()
        .patch("web", &params, &Patch::Apply(app.manifest()))
        .await
}

/// Deploys it as soon as it is let in: what the gates go by reaches the API server by way of Backstop's status.
async fn let_in(world: &World, app: &App) -> anyhow::Result<Deployment> {
    world
        .eventually("it to be let in", async || world.deploy(app).await)
        .await
}

/// The command that a refusal names, with a reason filled in.
fn command(refusal: &str) -> anyhow::Result<Vec<String>> {
    let (_, rest) = refusal.split_once("kubectl ").context("no command in it")?;
    Ok(rest
        .replace("<why>", "INC-17")
        .split_whitespace()
        .map(|word| word.replace('\'', ""))
        .collect())
}

#[tokio::test]
async fn in_a_freeze_new_templates_are_refused_and_nothing_else() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("freeze", gated(&frozen()), &App::version("v1")).await?;
    world.deploy(&App::version("other").called("other")).await?;
    choose(&world, "enforce").await?;
    let said = refusal(
        &world,
        &App::version("v2"),
        "gate freeze of RollbackPolicy web",
    )
    .await?;
    for words in [
        "Deployment web",
        "window black-friday goes from",
        "no releases while everybody shops",
        "kubectl annotate deployment web --namespace",
        "backstop.dev/override-by='admin'",
    ] {
        ensure!(said.contains(words), "no {words} in {said}");
    }
    // Scaling by the Deployment and by its subresource, annotations, pausing, restarts.
    world
        .patch_deployment(json!({"spec": {"replicas": 3}}))
        .await?;
    world
        .kubectl(&["scale", "deployment/web", "--replicas=2"])
        .await?;
    world
        .kubectl(&["annotate", "deployment/web", "team=shop"])
        .await?;
    world
        .kubectl(&["rollout", "pause", "deployment/web"])
        .await?;
    world
        .kubectl(&["rollout", "resume", "deployment/web"])
        .await?;
    world
        .kubectl(&["rollout", "restart", "deployment/web"])
        .await?;
    // What is not named by the policy, what is removed, and what Kubernetes' own controllers do.
    world.deploy(&App::version("v2").called("other")).await?;
    world
        .kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])
        .await?;
    // A Deployment that is made anew is a release as well.
    world
        .kubectl(&["delete", "deployment/web", "--wait"])
        .await?;
    let created = world.deploy(&App::version("v1")).await;
    ensure!(
        created.is_err_and(|e| e.to_string().contains("gate freeze")),
        "a Deployment was made in a freeze"
    );
    Ok(())
}

#[tokio::test]
async fn in_a_freeze_a_bad_release_is_still_taken_back() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("freeze-back", gated(&frozen()), &App::version("v1")).await?;
    // It came just before the namespace chose the gates.
    world
        .deploy(&App::version("v2").fate(fate::CRASH_LOOP))
        .await?;
    choose(&world, "enforce").await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn a_freeze_begins_and_ends_by_itself_while_backstop_is_down() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("freeze-ends", quick_policy(), &App::version("v1")).await?;
    choose(&world, "enforce").await?;
    let from = Timestamp::now() + SignedDuration::from_secs(15);
    let until = from + SignedDuration::from_secs(8);
    let once = json!({"name": "short", "once": {"from": from, "until": until}});
    world
        .policy(gated(&json!({"freeze": {"windows": [once]}})))
        .await?;
    world
        .policy_says("the window", |s| {
            s.gates.as_ref().is_some_and(|g| !g.freezes.is_empty())
        })
        .await?;
    world.operator.stop();
    // Before it, in it, and after it: the API server looks at its own clock.
    world
        .eventually("the time before the freeze", async || {
            Ok(tried(&world, &App::version("v2")).await?)
        })
        .await?;
    ensure!(
        Timestamp::now() < from,
        "this machine is too slow for this test"
    );
    refusal(&world, &App::version("v2"), "gate freeze").await?;
    ensure!(Timestamp::now() < until, "refused after the window");
    world
        .eventually("the end of the freeze", async || {
            Ok(tried(&world, &App::version("v2")).await?)
        })
        .await?;
    ensure!(Timestamp::now() >= until, "the freeze ended too early");
    Ok(())
}

#[tokio::test]
async fn times_that_a_user_sends_along_do_not_end_a_freeze() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("freeze-forged", gated(&frozen()), &App::version("v1")).await?;
    choose(&world, "enforce").await?;
    refusal(&world, &App::version("v2"), "gate freeze").await?;
    let live = serde_json::to_value(world.api::<Deployment>().get("web").await?)?;
    let mut forged = live.clone();
    let later = Timestamp::now() + SignedDuration::from_hours(20);
    for entry in forged["metadata"]["managedFields"]
        .as_array_mut()
        .context("no entries")?
    {
        entry["time"] = json!(later);
    }
    forged["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.test/web:v2");
    let api = world.api::<Deployment>();
    let replace = async |object: Value| {
        let object: Deployment = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
        api.replace("web", &kube::api::PostParams::default(), &object)
            .await
    };
    refused(replace(forged.clone()).await, "gate freeze")?;
    forged["metadata"]["managedFields"] = json!([{}]);
    refused(replace(forged).await, "gate freeze")?;
    Ok(())
}

#[tokio::test]
async fn a_release_waits_for_a_baseline_unless_the_live_one_fails() -> anyhow::Result<()> {
    let world = World::new("baseline-gate").await?;
    choose(&world, "enforce").await?;
    let mut policy = gated(&json!({"baseline": "Required"}));
    policy["points"]["soak"] = json!("1h");
    world.policy(policy.clone()).await?;
    world
        .policy_says("the gates", |s| s.gates.is_some())
        .await?;
    // Somebody has to be the first.
    let_in(&world, &App::version("v1")).await?;
    let said = refusal(&world, &App::version("v2"), "proves itself at").await?;
    ensure!(
        said.contains("gate baseline of RollbackPolicy web"),
        "{said}"
    );
    ensure!(said.contains("no release has proved itself"), "{said}");
    // Where the live release fails there is nothing to wait for.
    world
        .kubectl(&["delete", "deployment/web", "--wait"])
        .await?;
    let_in(&world, &App::version("v1").fate(fate::CRASH_LOOP)).await?;
    let_in(&world, &App::version("v2")).await?;
    policy["points"]["soak"] = json!("1s");
    world.policy(policy).await?;
    world.good_point(1).await?;
    world
        .eventually("the next to be let in", async || {
            Ok(tried(&world, &App::version("v3")).await?)
        })
        .await?;
    Ok(())
}

/// 1 in one second of four, and 0 in the others: as a share of errors where hardly any request fails.
const NEARLY_ALWAYS_0: &str = r#"(time() % 4 < bool 1)
  + 0 * sum(rate(http_requests_total{namespace="{{ namespace }}",pod=~"{{ pods }}"}[5s]))"#;

/// A policy that compares with the release before, and whose gate asks for something to compare with.
fn comparing(fields: Value) -> Value {
    let trigger =
        json!({"name": "figure", "interval": "1s", "condition": "value > 2.0 * baseline"});
    let mut policy = policy_with(&changed(trigger, fields));
    policy["points"]["soak"] = json!("9s");
    policy["gates"] = json!({"baseline": "Required"});
    policy
}

#[tokio::test]
async fn a_baseline_that_is_too_wild_is_said_by_the_trigger_its_point_and_the_gate()
-> anyhow::Result<()> {
    let world = Metered::new("gate-wild").await?;
    choose(&world, "enforce").await?;
    let policy = comparing(json!({"prometheus": {"query": NEARLY_ALWAYS_0}}));
    let point = world.prove(policy).await?;
    let why = "is too wild to compare with: its samples vary by ";
    world
        .trigger_says("figure", "to have nothing to compare with", |t| {
            let said = t.message.as_deref().unwrap_or_default();
            t.state == TriggerState::NoData && said.contains(why)
        })
        .await?;
    world
        .eventually("the point to say so", async || {
            let point = world.api::<RollbackPoint>().get(&point.name_any()).await?;
            let said = point.status.unwrap_or_default().conditions;
            let said = said.iter().find(|c| c.type_ == "BaselinesUsable");
            let said = said.map_or("", |c| &c.message);
            ensure!(
                said.contains(&format!("figure: its baseline {why}")),
                "{said}"
            );
            Ok(())
        })
        .await?;
    let said = refusal(&world, &App::version("v2"), why).await?;
    for words in [
        "gate baseline of RollbackPolicy web",
        "the baseline of figure in RollbackPoint",
        "(baseline.maxVariation)",
        "kubectl backstop baseline capture web",
    ] {
        ensure!(said.contains(words), "no {words} in {said}");
    }
    Ok(())
}

#[tokio::test]
async fn the_gate_shuts_by_itself_when_the_baseline_has_become_too_old() -> anyhow::Result<()> {
    let world = Metered::new("gate-old").await?;
    choose(&world, "enforce").await?;
    let fields = json!({"prometheus": {"query": LATENCY.trim()}, "baseline": {"maxAge": "20s"}});
    world.prove(comparing(fields)).await?;
    world
        .eventually("the next to be let in", async || {
            Ok(tried(&world, &App::version("v2")).await?)
        })
        .await?;
    let said = refusal(&world, &App::version("v2"), "(baseline.maxAge)").await?;
    ensure!(
        said.contains("the baseline of figure in RollbackPoint"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn an_image_with_too_many_vulnerabilities_is_refused_however_it_is_written()
-> anyhow::Result<()> {
    reports::installed().await?;
    let gates = gated(&json!({"vulnerabilities": {"maxCritical": 0, "maxHigh": 10}}));
    let (world, _) = World::with_good_release("image-gate", gates, &App::version("v1")).await?;
    choose(&world, "enforce").await?;
    // It ran here once, and was found out.
    world.deploy(&App::version("v2")).await?;
    let report = Report::about(&world, "v2").await?;
    report
        .with("CRITICAL", 2, true)
        .with("HIGH", 11, true)
        .write(&world)
        .await?;
    world.deploy(&App::version("v3")).await?;
    let said = refusal(&world, &App::version("v2"), "gate vulnerabilities").await?;
    let figures = "image example.test/web:v2 has 2 critical (at most 0) and 11 high (at most 10) vulnerabilities";
    ensure!(said.contains(figures), "{said}");
    // As an init container too; other images of that name are no matter.
    let mut init = App::version("v3").manifest();
    init["spec"]["template"]["spec"]["initContainers"] =
        json!([{"name": "init", "image": "example.test/web:v2"}]);
    let mut params = PatchParams::apply("kubectl").force();
    params.dry_run = true;
    let api = world.api::<Deployment>();
    refused(
        api.patch("web", &params, &Patch::Apply(init)).await,
        "gate vulnerabilities",
    )?;
    tried(&world, &App::version("v2-fixed")).await?;
    let mut pinned = App::version("v3").manifest();
    pinned["spec"]["template"]["spec"]["containers"][0]["image"] =
        json!(format!("example.test/web@sha256:{}", "a".repeat(64)));
    api.patch("web", &params, &Patch::Apply(pinned)).await?;
    Ok(())
}

/// Another way to write the same image, and images that are others.
#[tokio::test]
async fn an_image_is_known_by_all_its_names_and_by_no_others() -> anyhow::Result<()> {
    let (client, backstop, namespace) = unattended("image-names").await?;
    let spec = with(policy("web"), json!({"gates": {"vulnerabilities": {}}}));
    Raw::policies(&client, &namespace)
        .create("web", spec)
        .await?;
    // The test says what Backstop would.
    let image = json!({
        "repository": "docker.io/library/nginx", "tag": "1.16", "digest": "sha256:aa",
        "critical": 1, "high": 0, "report": "r",
    });
    Raw::policies(&backstop, &namespace)
        .status(
            "web",
            json!({"observedGeneration": 1, "gates": {"vulnerableImages": [image]}}),
        )
        .await?;
    let api: Api<Deployment> = Api::namespaced(client, &namespace);
    let named = async |image: &str| {
        let mut manifest = App::version("v1").manifest();
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        let mut params = PatchParams::apply("kubectl").force();
        params.dry_run = true;
        api.patch("web", &params, &Patch::Apply(manifest)).await
    };
    let words = "image docker.io/library/nginx:1.16 has 1 critical (at most 0)";
    eventually("a refusal", SOON, async || {
        refused(named("nginx:1.16").await, words)
    })
    .await?;
    for same in [
        "library/nginx:1.16",
        "docker.io/nginx:1.16",
        "docker.io/library/nginx:1.16",
        "index.docker.io/library/nginx:1.16",
        "nginx@sha256:aa",
        "nginx:another@sha256:aa",
    ] {
        refused(named(same).await, words).with_context(|| same.to_owned())?;
    }
    for other in [
        "nginx",
        "nginx:1.17",
        "nginx:1.16@sha256:bb",
        "team/nginx:1.16",
        "example.test/nginx:1.16",
        "example.test:5000/library/nginx:1.16",
    ] {
        named(other).await.with_context(|| other.to_owned())?;
    }
    Ok(())
}

#[tokio::test]
async fn a_person_in_a_hurry_overrides_in_one_command_and_that_is_recorded() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("hurry", gated(&frozen()), &App::version("v1")).await?;
    choose(&world, "enforce").await?;
    let said = refusal(&world, &App::version("v2"), "gate freeze").await?;
    // The very command that the refusal names.
    let command = command(&said)?;
    let args: Vec<&str> = command.iter().map(String::as_str).collect();
    world.cluster.kubectl(&args).await?.success()?;
    world.deploy(&App::version("v2")).await?;
    assert_eq!(world.live().await?, "v2");
    let open = world.condition("Overridden", true, "ByPerson").await?;
    ensure!(
        open.contains("admin has taken over web") && open.contains("INC-17"),
        "{open}"
    );
    world.said("Deployment", "Overridden").await?;
    world
        .kubectl(&[
            "annotate",
            "deployment/web",
            "backstop.dev/override-",
            "backstop.dev/override-by-",
        ])
        .await?;
    let status = world
        .policy_says("the end of it", |s| {
            s.overrides.first().is_some_and(|o| o.until.is_some())
        })
        .await?;
    let record = &status.overrides[0];
    assert_eq!(
        (record.by.as_str(), record.reason.as_str()),
        ("admin", "INC-17")
    );
    ensure!(
        status.conditions.iter().all(|c| c.type_ != "Overridden"),
        "{:?}",
        status.conditions
    );
    world.said("Deployment", "OverrideEnded").await?;
    // The gate holds again.
    refusal(&world, &App::version("v3"), "gate freeze").await?;
    Ok(())
}

#[tokio::test]
async fn nobody_overrides_without_the_right_or_in_anothers_name() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("no-override", gated(&frozen()), &App::version("v1")).await?;
    choose(&world, "enforce").await?;
    refusal(&world, &App::version("v2"), "gate freeze").await?;
    let group = "rbac.authorization.k8s.io";
    let mut objects = String::new();
    for (name, role) in [("dora", "edit"), ("emil", "admin")] {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": name}],
        });
        writeln!(objects, "{binding}\n---")?;
    }
    world.cluster.apply(&world.namespace, &objects).await?;
    let of = async |name: &str| -> anyhow::Result<Api<Deployment>> {
        let client = world.cluster.client_for(name, &[]).await?;
        Ok(Api::namespaced(client, &world.namespace))
    };
    let (dora, emil) = (of("dora").await?, of("emil").await?);
    eventually("emil's right to override", SOON, async || {
        over(&emil, "INC-1", "emil").await
    })
    .await?;
    let taken_away = json!({"metadata": {"annotations": {
        "backstop.dev/override": null, "backstop.dev/override-by": null,
    }}});
    // Taking it away gives nobody a right.
    let params = PatchParams::default();
    dora.patch("web", &params, &Patch::Merge(taken_away))
        .await?;
    let said = refused(
        over(&dora, "INC-2", "dora").await,
        "'dora' may not override Backstop in namespace",
    )?;
    ensure!(said.contains("ClusterRole backstop-admin"), "{said}");
    refused(over(&dora, "INC-2", "emil").await, "may not override")?;
    refused(
        over(&emil, "INC-3", "dora").await,
        "override-by must be 'emil', the user that you are; it is 'dora'",
    )?;
    refused(over(&emil, " ", "emil").await, "is empty; write there why")?;
    over(&emil, "INC-4", "emil").await?;
    // Nor may anybody rewrite who it was.
    refused(
        over(&dora, "INC-4", "dora").await,
        "'dora' may not override",
    )?;
    tried(&world, &App::version("v2")).await?;
    Ok(())
}

/// Takes `web` over.
async fn over(api: &Api<Deployment>, why: &str, by: &str) -> kube::Result<Deployment> {
    let patch = json!({"metadata": {"annotations": {
        "backstop.dev/override": why, "backstop.dev/override-by": by,
    }}});
    api.patch("web", &PatchParams::default(), &Patch::Merge(patch))
        .await
}

#[tokio::test]
async fn a_namespace_that_asks_for_a_warning_gets_one_and_the_release() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("gates-warn", gated(&frozen()), &App::version("v1")).await?;
    // Without the label nothing is asked.
    tried(&world, &App::version("v2")).await?;
    choose(&world, "warn").await?;
    let mut number = 1;
    world
        .eventually("a warning", async || {
            number += 1;
            let manifest = App::version(&format!("v{number}")).manifest().to_string();
            let args = [
                "apply",
                "--server-side",
                "--force-conflicts",
                "--namespace",
                &world.namespace,
                "--filename=-",
            ];
            let path = world.cluster.kubeconfig_path();
            let output = world.cluster.kubectl_with(path, &args, &manifest).await?;
            ensure!(output.status.success(), "{}", output.stderr);
            ensure!(
                output.stderr.contains("gate freeze of RollbackPolicy web"),
                "{}",
                output.stderr
            );
            Ok(())
        })
        .await
}

#[tokio::test]
async fn gates_that_nobody_has_judged_yet_let_nothing_in() -> anyhow::Result<()> {
    let (client, _, namespace) = unattended("unjudged").await?;
    let spec = with(policy("web"), json!({"gates": {"baseline": "Required"}}));
    Raw::policies(&client, &namespace)
        .create("web", spec)
        .await?;
    let api: Api<Deployment> = Api::namespaced(client, &namespace);
    let mut params = PatchParams::apply("kubectl").force();
    params.dry_run = true;
    let apply = Patch::Apply(App::version("v1").manifest());
    let said = eventually("a refusal", SOON, async || {
        refused(
            api.patch("web", &params, &apply).await,
            "Backstop has not judged the gates yet",
        )
    })
    .await?;
    ensure!(
        said.contains("kubectl describe rollbackpolicy web"),
        "{said}"
    );
    ensure!(
        said.contains("the annotations backstop.dev/override: <why>"),
        "{said}"
    );
    // What no policy names is nobody's business.
    let other = Patch::Apply(App::version("v1").called("other").manifest());
    api.patch("other", &params, &other).await?;
    Ok(())
}

#[tokio::test]
async fn what_was_judged_before_the_policy_was_changed_lets_nothing_in() -> anyhow::Result<()> {
    let (client, backstop, namespace) = unattended("judged-before").await?;
    let policies = Raw::policies(&client, &namespace);
    let spec = with(policy("web"), json!({"gates": {"baseline": "Optional"}}));
    let made = policies.create("web", spec).await?;
    // The test says what Backstop would.
    let backstop = Raw::policies(&backstop, &namespace);
    let judge = async |generation: Option<i64>, gates: Value| {
        let status = json!({"observedGeneration": generation, "gates": gates});
        backstop.status("web", status).await
    };
    let api: Api<Deployment> = Api::namespaced(client, &namespace);
    let mut params = PatchParams::apply("kubectl").force();
    params.dry_run = true;
    let apply = Patch::Apply(App::version("v1").manifest());
    let tried = async || api.patch("web", &params, &apply).await;

    judge(made.metadata.generation, json!({})).await?;
    eventually("let in", SOON, tried).await?;

    // A freeze that nobody has reckoned yet.
    let frozen = json!({"spec": {"gates": frozen()}});
    let changed = policies.patch("web", frozen).await?;
    ensure!(changed.metadata.generation > made.metadata.generation);
    eventually("a refusal", SOON, async || {
        refused(
            tried().await,
            "Backstop has not judged the gates since the policy was changed",
        )
    })
    .await?;

    let missing = json!({"noReports": "VulnerabilityReports cannot be read"});
    judge(changed.metadata.generation, missing).await?;
    let said = eventually("another refusal", SOON, async || {
        refused(tried().await, "VulnerabilityReports cannot be read")
    })
    .await?;
    ensure!(said.contains("gate vulnerabilities of"), "{said}");
    Ok(())
}

#[tokio::test]
async fn who_may_not_override_cannot_take_the_gates_away() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("loosen", gated(&frozen()), &App::version("v1")).await?;
    let group = "rbac.authorization.k8s.io";
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "flo"},
        "rules": [
            {"apiGroups": ["backstop.dev"], "resources": ["rollbackpolicies"],
             "verbs": ["get", "update", "patch", "delete", "configure"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]},
            {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["patch"]},
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "flo"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "flo"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "flo"}],
    });
    world
        .cluster
        .apply(&world.namespace, &format!("{role}\n---\n{binding}\n"))
        .await?;
    let flo = Raw::policies(
        &world.cluster.client_for("flo", &[]).await?,
        &world.namespace,
    );
    eventually("flo's rights", SOON, async || {
        flo.patch("web", json!({"spec": {"points": {"keep": 7}}}))
            .await
    })
    .await?;
    let words = "has gates, and 'flo' may not change them";
    refused(
        flo.patch("web", json!({"spec": {"gates": null}})).await,
        words,
    )?;
    let later = json!({"spec": {"gates": {"freeze": {"windows": []}}}});
    ensure!(
        flo.patch("web", later).await.is_err(),
        "an empty list of windows was accepted"
    );
    refused(
        flo.patch("web", json!({"spec": {"gates": {"baseline": "Required"}}}))
            .await,
        words,
    )?;
    refused(flo.delete("web").await, words)?;
    world
        .api::<RollbackPolicy>()
        .delete("web", &kube::api::DeleteParams::default())
        .await?;
    Ok(())
}
