//! Every trigger of every preset takes a release back that is just beyond its figure, and lets one that is just short
//! of it prove itself. Times are shorter, in all of them alike; figures are those that are copied.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow, ensure};
use axum::Router;
use axum::routing::get;
use backstop_api::policy::Trigger;
use backstop_api::{Duration, RollbackPolicySpec};
use backstop_e2e::chart::root;
use backstop_e2e::figures::{Figure, Number, Shop, rising, still};
use backstop_e2e::presets::{
    PROMISED, Promise, begin, policy, preset, promise, proved, shorter_triggers, taken_back, times,
};
use backstop_e2e::real::RealApp;
use backstop_e2e::stage::Stage;
use backstop_e2e::world::{App, World};
use backstop_engine::policy::{ValidTrigger, validate};
use backstop_testenv::{MetricsServer, Node, fate};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What becomes of a trigger's release.
pub(crate) struct Case {
    pub(crate) trigger: &'static str,
    pub(crate) good: Vec<Figure>,
    pub(crate) bad: Vec<Figure>,
}

/// Of so many requests in a second such a share fails.
pub(crate) fn requests(failed: f64) -> Vec<Figure> {
    vec![
        rising(
            "http_requests_total",
            r#"code="200""#,
            100.0 * (1.0 - failed),
        ),
        rising("http_requests_total", r#"code="500""#, 100.0 * failed),
    ]
}

/// All answers take longer than one of these bounds, and at most the next.
fn answers_within(seconds: [bool; 2]) -> Vec<Figure> {
    let metric = "http_request_duration_seconds_bucket";
    let rate = |yes: bool| if yes { 100.0 } else { 0.0 };
    vec![
        rising(metric, r#"le="1.9""#, rate(seconds[0])),
        rising(metric, r#"le="2.2""#, rate(seconds[1])),
        rising(metric, r#"le="+Inf""#, 100.0),
    ]
}

/// An answer takes so long on average.
fn answers_on_average(seconds: f64) -> Vec<Figure> {
    vec![
        rising("http_request_duration_seconds_sum", "", 100.0 * seconds),
        rising("http_request_duration_seconds_count", "", 100.0),
    ]
}

fn orders(per_visit: f64) -> Vec<Figure> {
    vec![
        rising("visits_total", "", 100.0),
        rising("orders_total", "", 100.0 * per_visit),
    ]
}

fn share(of: [&'static str; 2], share: f64) -> Vec<Figure> {
    vec![still(of[0], 1000.0 * share), still(of[1], 1000.0)]
}

/// Releases `v1` with good figures and `v2` with bad ones, of a Deployment for each trigger, and waits until each is
/// taken back by its own.
async fn fire(file: &str, cases: &[Case]) -> anyhow::Result<()> {
    fire_as(file.trim_end_matches(".yaml"), file, cases, &App::version).await
}

/// The same in a world that is called so, with other pods.
pub(crate) async fn fire_as(
    called: &str,
    file: &str,
    cases: &[Case],
    app: &impl Fn(&str) -> App,
) -> anyhow::Result<()> {
    let shop = Shop::start().await?;
    let flags = [
        "--prometheus-url".to_owned(),
        shop.prometheus.url().to_owned(),
    ];
    let world = World::with(called, &flags).await?;
    let triggers = shorter_triggers(file)?;
    let mut figures = BTreeMap::new();
    for case in cases {
        for (version, of_it) in [("v1", &case.good), ("v2", &case.bad)] {
            let of = (case.trigger.to_owned(), version.to_owned());
            figures.insert(of, of_it.clone());
        }
    }
    let _follower = shop.follow(&world, figures);
    for case in cases {
        let good = app("v1").called(case.trigger);
        begin(&world, &triggers, case.trigger, &good).await?;
    }
    for case in cases {
        proved(&world, case.trigger).await?;
    }
    for case in cases {
        world.deploy(&app("v2").called(case.trigger)).await?;
    }
    for case in cases {
        taken_back(&world, file, case.trigger).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_users_notice_takes_a_release_back() -> anyhow::Result<()> {
    let error_rate = Case {
        trigger: "error-rate",
        good: requests(0.04),
        bad: requests(0.06),
    };
    let response_time = Case {
        trigger: "response-time",
        good: answers_within([true, true]),
        bad: answers_within([false, true]),
    };
    fire("application.yaml", &[error_rate, response_time]).await
}

#[tokio::test]
async fn what_a_release_needs_to_run_takes_it_back_when_it_runs_out() -> anyhow::Result<()> {
    // Two pods, and two seconds for a minute: 4 and 7 failures.
    let failed = |per_second| vec![rising("db_connection_failures_total", "", per_second)];
    let database = Case {
        trigger: "database-connections-failed",
        good: failed(1.0),
        bad: failed(1.75),
    };
    let active = |it| share(["db_connections_active", "db_connections_max"], it);
    let connections = Case {
        trigger: "database-connections-active",
        good: active(0.89),
        bad: active(0.91),
    };
    // Each pod has a volume of its own.
    let volume = |metric, value| Figure {
        metric,
        labels: r#"persistentvolumeclaim="$pod""#,
        value: Number::Still(value),
    };
    let used = |it: f64| {
        vec![
            volume("kubelet_volume_stats_used_bytes", 1000.0 * it),
            volume("kubelet_volume_stats_capacity_bytes", 1000.0),
            volume("kube_pod_spec_volumes_persistentvolumeclaims_info", 1.0),
        ]
    };
    let disk = Case {
        trigger: "disk",
        good: used(0.89),
        bad: used(0.91),
    };
    fire("infrastructure.yaml", &[database, connections, disk]).await
}

#[tokio::test]
async fn what_the_business_lives_on_takes_a_release_back_when_it_falls() -> anyhow::Result<()> {
    let conversion = Case {
        trigger: "conversion",
        good: orders(0.1),
        bad: orders(0.078),
    };
    let users = |users| vec![still("active_users", users)];
    let activity = Case {
        trigger: "user-activity",
        good: users(1000.0),
        bad: users(690.0),
    };
    fire("business.yaml", &[conversion, activity]).await
}

#[tokio::test]
async fn what_is_worse_than_the_release_before_is_taken_back() -> anyhow::Result<()> {
    let error_rate = Case {
        trigger: "error-rate",
        good: requests(0.04),
        bad: requests(0.06),
    };
    let latency = Case {
        trigger: "latency",
        good: answers_on_average(0.1),
        bad: answers_on_average(0.132),
    };
    fire("baseline.yaml", &[error_rate, latency]).await
}

#[tokio::test]
async fn what_pods_must_not_do_takes_their_release_back() -> anyhow::Result<()> {
    let seen = |labels, per_second| {
        let metric = "falcosecurity_falcosidekick_falco_events_total";
        vec![rising(metric, labels, per_second)]
    };
    // Two pods, and two seconds for a minute: 4 and 7 events.
    let read =
        r#"k8s_ns_name="$namespace",k8s_pod_name="$pod",rule="Read sensitive file untrusted""#;
    let access = Case {
        trigger: "unauthorized-access",
        good: seen(read, 1.0),
        bad: seen(read, 1.75),
    };
    let shell = r#"k8s_ns_name="$namespace",k8s_pod_name="$pod",priority_raw="critical""#;
    let pattern = Case {
        trigger: "suspicious-pattern",
        good: seen(shell, 0.0),
        bad: seen(shell, 0.5),
    };
    fire("security.yaml", &[access, pattern]).await
}

#[tokio::test]
async fn what_the_cluster_says_takes_a_release_back() -> anyhow::Result<()> {
    let world = World::new("cluster").await?;
    let mut triggers = shorter_triggers("cluster.yaml")?;
    triggers.extend(shorter_triggers("application.yaml")?);
    let bad = |name| App::version("v2").called(name);
    let cases = [
        bad("cannot-start").fate(fate::CRASH_LOOP),
        bad("restarts").fate(fate::CRASH_LOOP),
        // The old pods go first, and then there is none that is ready.
        bad("service-down").fate(fate::NEVER_READY).recreate(),
    ];
    let names = ["cannot-start", "restarts", "service-down"];
    let files = ["cluster.yaml", "cluster.yaml", "application.yaml"];
    for name in names {
        let mut good = App::version("v1").called(name);
        if name == "service-down" {
            good = good.recreate();
        }
        begin(&world, &triggers, name, &good).await?;
    }
    for (name, bad) in names.iter().zip(&cases) {
        proved(&world, name).await?;
        world.deploy(bad).await?;
    }
    for (name, file) in names.iter().zip(files) {
        taken_back(&world, file, name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_number_from_anywhere_takes_a_release_back() -> anyhow::Result<()> {
    let (length, shown) = tokio::sync::watch::channel(1000);
    let stats = get(async move || format!(r#"{{"length": {}}}"#, *shown.borrow()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/stats", listener.local_addr()?);
    let router = Router::new().route("/stats", stats);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let world = World::with("custom", &["--web-allow".to_owned(), url.clone()]).await?;
    let mut triggers = shorter_triggers("custom.yaml")?;
    triggers["queue-length"]["web"]["url"] = json!(url);
    let name = "queue-length";
    begin(&world, &triggers, name, &App::version("v1").called(name)).await?;
    proved(&world, name).await?;
    world.deploy(&App::version("v2").called(name)).await?;
    length.send(1001)?;
    taken_back(&world, "custom.yaml", name).await?;
    Ok(())
}

/// The same for pods that are real: a good release and a bad one for each trigger.
async fn fire_on_the_node(file: &str, cases: &[(&str, RealApp, RealApp)]) -> anyhow::Result<()> {
    let Some(stage) = Stage::new(file.trim_end_matches(".yaml")).await? else {
        return Ok(());
    };
    let triggers = shorter_triggers(file)?;
    for (name, good, _) in cases {
        stage.release(good).await?;
        stage
            .named_policy(name, policy(name, &triggers[*name]))
            .await?;
    }
    for (name, _, bad) in cases {
        proved(&stage, name).await?;
        stage.release(bad).await?;
    }
    for (name, _, _) in cases {
        taken_back(&stage, file, name).await?;
    }
    Ok(())
}

fn real(name: &str, version: &str) -> RealApp {
    RealApp::new(name, version).replicas(1)
}

#[tokio::test]
async fn node_what_pods_answer_about_their_health_takes_a_release_back() -> anyhow::Result<()> {
    let case = |name: &'static str, variable: &str, good: &str, bad: &str| {
        (
            name,
            real(name, "v1").env(variable, good),
            real(name, "v2").env(variable, bad),
        )
    };
    let cases = [
        // Two in three answers are failures, and never three in a row.
        case("three-in-a-row", "ERROR_RATE", "0.6", "1"),
        case("failure-rate", "ERROR_RATE", "0.05", "0.2"),
        case("response-time", "LATENCY_MS", "4800", "5100"),
    ];
    fire_on_the_node("health.yaml", &cases).await
}

async fn measured() -> anyhow::Result<bool> {
    let node = Node::shared().await?.is_some();
    if node {
        MetricsServer::shared().await?;
    }
    Ok(node)
}

#[tokio::test]
async fn node_a_release_that_uses_up_what_it_was_given_is_taken_back() -> anyhow::Result<()> {
    if !measured().await? {
        return Ok(());
    }
    let cpu = |version, share| {
        real("cpu", version)
            .cpu_limit("20m")
            .env("CPU_SHARE", share)
    };
    // 256Mi are 268 MB. The application itself takes about 10 MB.
    let memory = |version, mebibytes| {
        let app = real("memory", version).memory_limit("256Mi");
        app.env("MEMORY_MB", mebibytes)
    };
    let cases = [
        ("cpu", cpu("v1", "0.005"), cpu("v2", "1")),
        ("memory", memory("v1", "200"), memory("v2", "241")),
    ];
    fire_on_the_node("infrastructure.yaml", &cases).await
}

#[tokio::test]
async fn node_a_release_that_takes_50_mb_more_than_the_one_before_is_taken_back()
-> anyhow::Result<()> {
    if !measured().await? {
        return Ok(());
    }
    let memory = |version, mebibytes| real("memory", version).env("MEMORY_MB", mebibytes);
    let cases = [("memory", memory("v1", "20"), memory("v2", "75"))];
    fire_on_the_node("baseline.yaml", &cases).await
}

/// What a trigger says, with what it leaves out.
fn said(trigger: &Trigger, valid: &ValidTrigger) -> anyhow::Result<Promise> {
    Ok(Promise {
        severity: valid.severity,
        action: valid.action,
        condition: valid.condition.text().to_owned(),
        over: over(trigger)?,
        for_: trigger.for_,
        interval: trigger.interval,
        delay: trigger.delay,
    })
}

/// Over which time a trigger measures, where that is told. Two times in one query have to be the same.
fn over(trigger: &Trigger) -> anyhow::Result<Option<Duration>> {
    let query = trigger.prometheus.as_ref().and_then(|p| p.query.as_deref());
    let told = times(query.unwrap_or_default())?;
    let mut times: Vec<Duration> = told.into_iter().filter_map(|(_, time)| time).collect();
    times.extend(trigger.alert.as_ref().map(|alert| alert.range));
    times.extend(trigger.web.as_ref().map(|web| web.range));
    times.extend(trigger.probe.as_ref().map(|probe| probe.window));
    times.dedup();
    ensure!(times.len() < 2, "{}: {times:?}", trigger.name);
    Ok(times.pop())
}

#[test]
fn presets_have_the_figures_and_times_that_are_promised() -> anyhow::Result<()> {
    let mut triggers = 0;
    for entry in std::fs::read_dir(root().join("manifests/presets"))? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        let spec = preset(&file)?["spec"].take();
        let spec: RollbackPolicySpec = serde_json::from_value(spec)?;
        let valid = validate(&file, &spec).map_err(|wrong| anyhow!("{file}: {wrong:?}"))?;
        for (trigger, valid) in spec.triggers.iter().zip(&valid.triggers) {
            let promised = promise(&file, &trigger.name)?;
            assert_eq!(said(trigger, valid)?, promised, "{file}: {}", trigger.name);
            triggers += 1;
        }
    }
    assert_eq!(triggers, PROMISED.lines().count(), "one is not there");
    Ok(())
}

/// The trigger of a preset that is called so.
fn trigger(file: &str, name: &str) -> anyhow::Result<Value> {
    let triggers = preset(file)?["spec"]["triggers"].take();
    let mut triggers = triggers.as_array().into_iter().flatten();
    let found = triggers.find(|t| t["name"] == name).cloned();
    found.with_context(|| format!("{file} has no {name}"))
}

#[test]
fn what_a_figure_is_of_is_what_is_promised() -> anyhow::Result<()> {
    let of = |resource: &str| json!({"name": resource, "of": "Limit"});
    let mut worst = of("memory");
    worst["aggregate"] = json!("Max");
    for (file, name, pointer, promised) in [
        ("infrastructure.yaml", "cpu", "/resource", of("cpu")),
        ("infrastructure.yaml", "memory", "/resource", worst),
        (
            "baseline.yaml",
            "memory",
            "/resource",
            json!({"name": "memory"}),
        ),
        (
            "health.yaml",
            "failure-rate",
            "/probe/measure",
            json!("FailureRate"),
        ),
        (
            "health.yaml",
            "response-time",
            "/probe/measure",
            json!("ResponseTime"),
        ),
        (
            "vulnerabilities.yaml",
            "vulnerable",
            "/vulnerability",
            json!({"maxCritical": 0, "maxHigh": 10}),
        ),
    ] {
        let found = trigger(file, name)?;
        assert_eq!(found.pointer(pointer), Some(&promised), "{file}: {name}");
    }
    // Failures in a row are what a probe counts that says nothing else.
    let in_a_row = trigger("health.yaml", "three-in-a-row")?;
    assert_eq!(in_a_row.pointer("/probe/measure"), None);
    let slow = trigger("application.yaml", "response-time")?;
    let query = slow["prometheus"]["query"].as_str().unwrap_or_default();
    ensure!(
        query.contains("1000 * histogram_quantile(0.95, "),
        "{query}"
    );
    Ok(())
}
