//! `kubectl backstop baseline`: what releases are compared with is captured from a load test, taken from a file, and
//! shown; and nothing is put on record that is no good.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::point::Origin;
use backstop_api::{RollbackPoint, RollbackPolicyStatus};
use backstop_e2e::cli::Cli;
use backstop_e2e::install;
use backstop_e2e::metrics::{LATENCY, Metered, Metrics, changed, error_rate, healthy, policy_with};
use backstop_e2e::world::{App, World, cannot_start};
use backstop_testenv::Load;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// May do with Backstop's objects whatever RBAC can allow, and nothing with Deployments.
const GUEST: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: guest}
rules:
- {apiGroups: [backstop.dev], resources: ["*"], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: guest}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: guest}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: guest}
"#;

/// A release that is 30 % slower than its baseline is bad.
fn latency(fields: Value) -> Value {
    let trigger = json!({
        "name": "latency", "interval": "1s", "condition": "value > 1.3 * baseline",
        "prometheus": {"query": LATENCY.trim()},
    });
    changed(trigger, fields)
}

/// The share of the release's requests that fail, by counts.
fn failed(condition: &str) -> Value {
    let count = |code: &str| {
        format!(
            "sum(http_requests_total{{namespace=\"{{{{ namespace }}}}\",pod=~\"{{{{ pods }}}}\"{code}}})"
        )
    };
    json!({
        "name": "failed", "interval": "1s", "condition": condition,
        "prometheus": {"ratio": {"bad": count(",code=\"500\""), "total": count("")}},
    })
}

/// A policy under which no release proves itself by soaking while a test runs.
fn by_hand_only(triggers: &[Value]) -> Value {
    let mut policy = policy_with(&Value::Null);
    policy["points"]["soak"] = json!("1h");
    policy["triggers"] = json!(triggers);
    policy
}

fn millis(n: u64) -> Load {
    healthy().slow(Duration::from_millis(n))
}

/// Which Prometheus is meant.
async fn prometheus() -> anyhow::Result<&'static str> {
    Ok(Metrics::shared().await?.prometheus.url())
}

async fn points(world: &World) -> anyhow::Result<Vec<String>> {
    let all = world.api::<RollbackPoint>();
    let all = all.list(&ListParams::default()).await?;
    Ok(all.iter().map(ResourceExt::name_any).collect())
}

#[tokio::test]
async fn a_release_goes_back_that_is_slower_than_what_was_captured_of_a_load_test()
-> anyhow::Result<()> {
    let world = Metered::new("bc-capture").await?;
    world.load("v1", millis(20)).await?;
    world.deploy(&App::version("v1")).await?;
    let failed = failed("value > 2.0 * baseline && value > 0.5");
    let triggers = [latency(json!({})), error_rate(), failed, cannot_start()];
    world.policy(by_hand_only(&triggers)).await?;
    let cli = Cli::new(&world);
    let capture = [
        "baseline",
        "capture",
        "web",
        "--prometheus",
        prometheus().await?,
        "--last",
        "2m",
        "--name",
        "load-tested",
        "--origin",
        "Pipeline",
        "--reason",
        "load test 17 passed",
        "--max",
        "latency=0.03",
        "--max",
        "latency.p95=0.04",
        "--min",
        "latency.mean=0.01",
        "--max",
        "error-rate=0.01",
    ];
    let told = world
        .eventually("enough to capture", async || cli.done(&capture).await)
        .await?;
    ensure!(
        told.contains("left out: cannot-start: the cluster tells what is wrong with the pods"),
        "{told}"
    );
    ensure!(told.contains("rollbackpoint load-tested is made"), "{told}");
    let (point, _) = world.captured("load-tested", "Captured").await?;
    assert_eq!(point.spec.origin, Origin::Pipeline);
    assert_eq!(point.spec.reason.as_deref(), Some("load test 17 passed"));
    let spread = &point.spec.distributions["latency"];
    ensure!(
        spread.count >= 5 && (spread.mean - 0.02).abs() < 0.002,
        "{spread:?}"
    );
    ensure!(
        spread.from < spread.to && spread.p95.is_some(),
        "{spread:?}"
    );
    assert_eq!(
        point.spec.baselines["error-rate"].to_bits(),
        0.0_f64.to_bits()
    );
    let counted = &point.spec.distributions["failed"];
    ensure!(
        counted.count > 100 && counted.mean < 0.01 && point.spec.baselines["failed"] > 0.0,
        "{counted:?}"
    );
    let shown = cli.done(&["baseline", "show", "web"]).await?;
    let line = shown.lines().find(|l| l.starts_with("latency"));
    let line = line.context("no latency")?;
    ensure!(
        line.contains("load-tested") && line.ends_with("yes"),
        "{shown}"
    );
    // The name is taken.
    cli.refused(&capture, "choose another name with --name")
        .await?;

    world.release("v2", millis(40)).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    let to = event.status.unwrap_or_default().to;
    assert_eq!(to.map(|t| t.point).as_deref(), Some("load-tested"));
    let evidence = event.spec.evidence.context("no evidence")?;
    assert_eq!(evidence.trigger, "latency");
    let baseline = Some(point.spec.baselines["latency"]);
    assert_eq!(evidence.baseline, baseline);
    Ok(())
}

#[tokio::test]
async fn what_was_captured_comes_before_what_the_release_measured_while_it_soaked()
-> anyhow::Result<()> {
    let world = Metered::new("bc-first").await?;
    world.load("v1", millis(20)).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(policy_with(&latency(json!({})))).await?;
    world.good_point(1).await?;
    // Under load it is slower, and is known to be.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("load.csv").display().to_string();
    std::fs::write(
        &file,
        format!("trigger,value\n{}", "latency,0.1\n".repeat(9)),
    )?;
    let cli = Cli::new(&world);
    let import = [
        "baseline",
        "import",
        "web",
        "--file",
        &file,
        "--name",
        "load-tested",
    ];
    cli.done(&import).await?;
    world.release("v2", millis(120)).await?;
    world
        .trigger_says("latency", "to be compared with what was captured", |t| {
            t.baseline == Some(0.1)
        })
        .await?;
    world.good_point(3).await?;
    ensure!(world.events().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn nothing_is_put_on_record_unless_all_is_measured_and_as_it_is_to_be() -> anyhow::Result<()>
{
    let world = Metered::new("bc-refused").await?;
    world.load("v1", millis(20)).await?;
    world.deploy(&App::version("v1")).await?;
    let asking = |name: &str, query: &str| {
        let query = query.replace("{}", r#"{namespace="{{ namespace }}",pod=~"{{ pods }}"}"#);
        latency(json!({"name": name, "prometheus": {"query": query}}))
    };
    let triggers = [
        latency(json!({})),
        latency(json!({"name": "few", "baseline": {"minimumSamples": 60}})),
        asking("nothing", "sum(none_such{})"),
        asking("several", "sum by (pod) (http_requests_total{})"),
        asking("undefined", "sum(http_requests_total{}) * 0 / 0"),
        cannot_start(),
    ];
    world.policy(by_hand_only(&triggers)).await?;
    let cli = Cli::new(&world);
    let url = prometheus().await?;
    let capture = ["baseline", "capture", "web", "--prometheus", url];
    let with = |more: &[&'static str]| [capture.as_slice(), more].concat();
    let latency_alone = with(&["--trigger", "latency", "--dry-run"]);
    let told = world
        .eventually("enough to capture", async || cli.done(&latency_alone).await)
        .await?;
    ensure!(
        told.contains("would be made; nothing is put on record"),
        "{told}"
    );

    for (more, words) in [
        (
            &["--trigger", "latency", "--max", "latency=0.001"][..],
            "and has to be at most 0.001 (--max latency=0.001)",
        ),
        (
            &["--trigger", "latency", "--min", "latency.p95=3"],
            "and has to be at least 3 (--min latency.p95=3)",
        ),
        (
            &["--trigger", "latency", "--max", "few=1"],
            "trigger 'few' is not measured; measured are latency",
        ),
        (
            &["--trigger", "few", "--last", "20s"],
            "of at least 60 (baseline.minimumSamples)",
        ),
        (
            &["--trigger", "undefined"],
            "answers are no number, such as NaN from 0 / 0: was there any traffic?",
        ),
        (
            &["--trigger", "cannot-start"],
            "--trigger cannot-start cannot be captured: the cluster tells",
        ),
        (
            &["--trigger", "fast"],
            "has no trigger 'fast'; it has latency, few, nothing",
        ),
        (
            &["--trigger", "latency", "--from", "2020-01-01T00:00:00Z"],
            "--from 2020-01-01T00:00:00Z is before release",
        ),
        (
            &["--trigger", "latency", "--last", "3s"],
            "looks back 5 s, and what is measured over is 3 s long",
        ),
    ] {
        cli.refused(&with(more), words).await?;
    }
    // One that is measured does not make up for those that are not.
    let told = cli.refused(&capture, "nothing is put on record").await?;
    for words in [
        "nothing: was not measured from",
        "the query selects no series",
        "several: 2 series where one is meant",
    ] {
        ensure!(told.contains(words), "{words}: {told}");
    }
    let closed = [
        "baseline",
        "capture",
        "web",
        "--prometheus",
        "http://127.0.0.1:9",
    ];
    cli.refused(&closed, "cannot ask http://127.0.0.1:9")
        .await?;
    assert_eq!(points(&world).await?, [""; 0]);
    Ok(())
}

fn fixture(name: &str) -> String {
    let path: PathBuf = backstop_e2e::chart::root().join("crates/cli/tests/fixtures");
    path.join(name).display().to_string()
}

#[tokio::test]
async fn what_a_load_test_wrote_is_put_on_record_from_json_and_from_csv() -> anyhow::Result<()> {
    let world = Metered::new("bc-import").await?;
    world.deploy(&App::version("v1")).await?;
    let failed = failed("value > 2.0 * baseline");
    let mut policy = by_hand_only(&[latency(json!({})), failed, cannot_start()]);
    policy["gates"] = json!({"baseline": "Required"});
    world.policy(policy).await?;
    let lacks_baseline = |status: &RollbackPolicyStatus| {
        let gates = status.gates.as_ref();
        gates.is_some_and(|gates| gates.no_baseline.is_some())
    };
    world
        .policy_says("to have no baseline yet", |s| {
            s.asked_about.is_some() && lacks_baseline(s)
        })
        .await?;
    let cli = Cli::new(&world);
    let k6 = fixture("k6-summary.json");
    let import = [
        "baseline",
        "import",
        "web",
        "--file",
        &k6,
        "--name",
        "k6",
        "--take",
        "latency=$.metrics.http_req_duration['p(95)']*0.001",
        "--bad",
        "failed=$.metrics.http_req_failed.passes",
        "--total",
        "failed=$.metrics.http_reqs.count",
        "--output",
        "json",
    ];
    let tried: Value = json_of(
        &cli.run(&[&import[..], &["--dry-run"]].concat())
            .await?
            .stdout,
    )?;
    assert_eq!(tried["spec"]["baselines"]["latency"], json!(0.024_317_6));
    assert_eq!(points(&world).await?, [""; 0]);
    let made = json_of(&cli.run(&import).await?.stdout)?;
    ensure!(made["spec"]["release"].is_object(), "{made}");
    let (point, _) = world.captured("k6", "Captured").await?;
    // The gate is open: there is something to compare the next release with.
    world
        .policy_says("to have a baseline", |s| {
            s.gates.is_some() && !lacks_baseline(s)
        })
        .await?;
    let share = point.spec.baselines["failed"];
    ensure!(share > 0.002 && share < 0.006, "{share}");
    assert_eq!(point.spec.distributions["failed"].count, 6000);
    ensure!(
        !point.spec.distributions.contains_key("latency"),
        "a number alone"
    );

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("samples.csv");
    let path = file.display().to_string();
    let csv = [
        "baseline", "import", "web", "--file", &path, "--name", "csv",
    ];
    let lines = |count: usize| {
        let line = |n: usize| format!("latency,0.0{n},2026-11-26T14:00:0{n}Z\n");
        (1..=count).map(line).collect::<String>()
    };
    std::fs::write(&file, format!("trigger,value,time\n{}", lines(3)))?;
    let few = "latency: its baseline was made of too few samples: 3, of at least 5 (baseline.minimumSamples)";
    cli.refused(&csv, few).await?;
    std::fs::write(&file, "trigger,value\ncannot-start,1\n")?;
    cli.refused(
        &csv,
        "line 2: trigger 'cannot-start' has no numbers to import",
    )
    .await?;
    std::fs::write(&file, format!("trigger,value,time\n{}", lines(7)))?;
    cli.done(&csv).await?;
    let (point, _) = world.captured("csv", "Captured").await?;
    let spread = &point.spec.distributions["latency"];
    assert_eq!((spread.count, spread.samples.len()), (7, 7));
    ensure!((point.spec.baselines["latency"] - 0.04).abs() < 1e-9);
    Ok(())
}

/// The JSON that a command printed.
fn json_of(stdout: &[u8]) -> anyhow::Result<Value> {
    let text = String::from_utf8_lossy(stdout);
    serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
}

#[tokio::test]
async fn it_is_shown_what_is_compared_with_and_why_not() -> anyhow::Result<()> {
    let few = latency(json!({"baseline": {"minimumSamples": 50}}));
    let fixed = latency(json!({
        "name": "fixed", "baseline": {"from": "Static", "value": 5.0},
    }));
    let mut policy = policy_with(&few);
    policy["triggers"] = json!([few, fixed, error_rate()]);
    let world = Metered::new("bc-show").await?;
    world.load("v1", millis(20)).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(policy).await?;
    let cli = Cli::new(&world);
    let point = world.good_point(1).await?.name_any();
    let shown = cli.done(&["baseline", "show", "web"]).await?;
    let line = |name: &str| {
        let mut lines = shown.lines();
        let line = lines.find(|l| l.starts_with(name)).map(str::to_owned);
        line.with_context(|| shown.clone())
    };
    let of_few = line("latency")?;
    ensure!(of_few.contains(&point), "{shown}");
    ensure!(
        of_few.contains("no: its baseline was made of too few samples: ")
            && of_few.ends_with("of at least 50 (baseline.minimumSamples)"),
        "{shown}"
    );
    ensure!(
        line("fixed")?.contains("Static") && line("fixed")?.ends_with("yes"),
        "{shown}"
    );
    ensure!(
        line("error-rate")?.ends_with("no: its condition has no baseline"),
        "{shown}"
    );

    let all = json_of(
        &cli.run(&["baseline", "show", "web", "--output", "json"])
            .await?
            .stdout,
    )?;
    assert_eq!(all[0]["trigger"], "latency");
    assert_eq!(all[0]["compared"], false);
    assert_eq!(all[0]["point"], json!(point));
    ensure!(all[0]["distribution"]["samples"].is_array(), "{all}");
    assert_eq!(all[1]["value"], 5.0);
    cli.refused(
        &["baseline", "show", "none"],
        "there is no RollbackPolicy none in namespace",
    )
    .await?;
    Ok(())
}

/// A file with the one number that is imported.
fn one_number(folder: &tempfile::TempDir) -> anyhow::Result<String> {
    let file = folder.path().join("result.json");
    std::fs::write(&file, r#"{"p95": 0.02}"#)?;
    Ok(file.display().to_string())
}

#[tokio::test]
async fn a_point_that_backstop_does_not_fill_is_removed_again() -> anyhow::Result<()> {
    let world = Metered::new("bc-removed").await?;
    world.deploy(&App::version("v1")).await?;
    let firing = json!({
        "name": "too-many", "action": "Notify",
        "workload": {"signals": ["Restarts"]}, "condition": "workload.desired > 1",
    });
    world
        .policy(by_hand_only(&[latency(json!({})), firing]))
        .await?;
    world
        .condition("ActionRequired", true, "NotifyOnly")
        .await?;
    let folder = tempfile::tempdir()?;
    let file = one_number(&folder)?;
    let import = [
        "baseline",
        "import",
        "web",
        "--file",
        &file,
        "--take",
        "latency=$.p95",
        "--name",
        "early",
        "--wait",
        "5s",
    ];
    let told = Cli::new(&world)
        .refused(&import, "RollbackPoint early is removed again")
        .await?;
    ensure!(
        told.contains("TriggerFiring: trigger too-many fires"),
        "{told}"
    );
    assert_eq!(points(&world).await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn whoever_may_not_patch_the_workload_puts_no_baseline_on_record() -> anyhow::Result<()> {
    let world = Metered::new("bc-guest").await?;
    install(world.cluster).await?;
    world.cluster.apply(&world.namespace, GUEST).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(by_hand_only(&[latency(json!({}))])).await?;
    world
        .policy_says("to be about pods", |s| s.asked_about.is_some())
        .await?;
    let folder = tempfile::tempdir()?;
    let file = one_number(&folder)?;
    let kubeconfig = world.cluster.kubeconfig_for("guest", &[])?;
    let guest = Cli::with(&world, kubeconfig);
    let import = [
        "baseline",
        "import",
        "web",
        "--file",
        &file,
        "--take",
        "latency=$.p95",
    ];
    for dry_run in [&["--dry-run"][..], &[]] {
        let args = [&import[..], dry_run].concat();
        world
            .eventually("the guest to be refused", async || {
                let words = "'guest' may not patch Deployment 'web' in namespace";
                guest.refused(&args, words).await
            })
            .await?;
    }
    assert_eq!(points(&world).await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_point_is_filled_with_the_release_that_was_measured_and_with_no_other()
-> anyhow::Result<()> {
    let world = World::new("bc-other").await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(by_hand_only(&[cannot_start()])).await?;
    let status = world
        .policy_says("to be about pods", |s| s.asked_about.is_some())
        .await?;
    let live = status.asked_about.context("of nothing")?.release;
    let point = |name: &str, release: &str| {
        serde_json::from_value::<RollbackPoint>(json!({
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackPoint",
            "metadata": {"name": name},
            "spec": {
                "workload": {"name": "web"}, "measuredOf": release, "baselines": {"latency": 0.2},
            },
        }))
    };
    let points = world.api::<RollbackPoint>();
    for (name, release) in [("other", "0123456789abcdef"), ("this", &live)] {
        points
            .create(&PostParams::default(), &point(name, release)?)
            .await?;
    }
    world.captured("this", "Captured").await?;
    let (other, words) = world.captured("other", "AnotherRelease").await?;
    ensure!(other.spec.release.is_none(), "{other:?}");
    ensure!(
        words.contains(&live) && words.contains("measured of release 0123456789abcdef"),
        "{words}"
    );
    let patch = Patch::Merge(json!({"spec": {"measuredOf": live}}));
    let refused = points.patch("other", &PatchParams::default(), &patch).await;
    let refused = format!("{:?}", refused.err().context("it was changed")?);
    ensure!(refused.contains("measuredOf is immutable"), "{refused}");
    Ok(())
}
