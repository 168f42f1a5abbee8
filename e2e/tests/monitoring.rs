//! Rules and dashboards: promtool tests the rules, and every query of the dashboards finds something in a Prometheus
//! that scrapes a running operator.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_e2e::alerts::{Door, TOKEN};
use backstop_e2e::chart::root;
use backstop_e2e::metrics::{Metered, Metrics, changed, error_rate, failing, policy_with};
use backstop_testenv::load::output_folder;
use backstop_testenv::{Exporter, PrometheusOptions, Tool, eventually, tools};
use serde_json::Value;

/// The rules, as the chart has them.
const RULES: &str = "charts/backstop/files/monitoring/rules.yaml";
/// What promtool holds them to.
const TESTS: &str = "e2e/rules/tests.yaml";

/// What others in a cluster serve that the dashboards and rules speak of.
const BESIDE: &str = "
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{namespace=\"shop\",pod=\"web-1\",container=\"app\"} 120000000
# TYPE kube_pod_container_resource_limits gauge
kube_pod_container_resource_limits{namespace=\"shop\",pod=\"web-1\",container=\"app\",resource=\"memory\"} 256000000
# TYPE trivy_image_vulnerabilities gauge
trivy_image_vulnerabilities{namespace=\"shop\",severity=\"Critical\"} 0
";

pub(crate) fn promtool(args: &[&str], folder: &std::path::Path) -> anyhow::Result<String> {
    tools::ensure(&[Tool::Promtool], &tools::Stderr)?;
    let output = Command::new(Tool::Promtool.path()?)
        .args(args)
        .current_dir(folder)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(said.into_owned())
}

#[test]
fn the_rules_do_what_their_tests_say() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    fs::copy(root().join(RULES), folder.path().join("rules.yaml"))?;
    fs::copy(root().join(TESTS), folder.path().join("tests.yaml"))?;
    promtool(
        &["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"],
        folder.path(),
    )?;
    let said = promtool(&["test", "rules", "tests.yaml"], folder.path())?;
    ensure!(said.contains("SUCCESS"), "{said}");
    Ok(())
}

#[test]
fn every_alert_rule_is_tested_and_has_a_runbook() -> anyhow::Result<()> {
    let rules: Value = serde_yaml_ng::from_str(&fs::read_to_string(root().join(RULES))?)?;
    let tests = fs::read_to_string(root().join(TESTS))?;
    let runbooks = fs::read_to_string(root().join("docs/runbooks.md"))?;
    let groups = rules["groups"].as_array().context("no groups")?;
    let rules = groups.iter().filter_map(|group| group["rules"].as_array());
    let mut seen = 0;
    for rule in rules.flatten() {
        let Some(name) = rule["alert"].as_str() else {
            continue;
        };
        ensure!(
            tests.contains(&format!("alertname: {name}")),
            "{name} has no test"
        );
        ensure!(
            runbooks.contains(&format!("\n## {name}\n")),
            "{name} has no runbook"
        );
        let url = rule["annotations"]["runbook_url"].as_str();
        ensure!(
            url.is_some_and(
                |url| url.ends_with(&format!("/docs/runbooks.md#{}", name.to_lowercase()))
            ),
            "{name}: {url:?}"
        );
        seen += 1;
    }
    ensure!(seen > 5, "only {seen} alert rules were found");
    let headings = runbooks.matches("\n## ").count();
    ensure!(
        headings == seen,
        "{headings} runbooks for {seen} alert rules"
    );
    Ok(())
}

/// A query of a panel.
struct Asked {
    dashboard: String,
    panel: String,
    query: String,
}

fn queries(namespace: &str) -> anyhow::Result<Vec<Asked>> {
    let folder = root().join("charts/backstop/files/monitoring/dashboards");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<_>>()?;
    paths.sort();
    let mut queries = Vec::new();
    for path in paths {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let title = dashboard["title"].as_str().context("no title")?;
        for panel in dashboard["panels"].as_array().context("no panels")? {
            for target in panel["targets"].as_array().context("no targets")? {
                // What Grafana puts in by itself, for a look at the last minutes.
                let query = target["expr"].as_str().context("no query")?;
                queries.push(Asked {
                    dashboard: title.to_owned(),
                    panel: panel["title"].as_str().context("no title")?.to_owned(),
                    query: query
                        .replace("$__rate_interval", "30s")
                        .replace("$__range", "10m")
                        .replace("$namespace", namespace),
                });
            }
        }
    }
    Ok(queries)
}

fn shown(series: &[Value]) -> String {
    let mut text = String::new();
    for one in series {
        let labels: BTreeMap<String, Value> =
            serde_json::from_value(one["metric"].clone()).unwrap_or_default();
        let labels: Vec<String> = labels
            .iter()
            .filter(|(name, _)| *name != "__name__")
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
            .collect();
        let _ = write!(
            text,
            "{}{{{}}} ",
            one["value"][1].as_str().unwrap_or_default(),
            labels.join(",")
        );
    }
    text
}

#[tokio::test]
async fn every_panel_of_every_dashboard_shows_something() -> anyhow::Result<()> {
    let beside = Exporter::start(|| BESIDE.to_owned())?;
    let metrics = Metrics::with(PrometheusOptions {
        rules: fs::read_to_string(root().join(RULES))?,
        ..PrometheusOptions::default()
    })
    .await?;
    let door = Door::new()?;
    let flags = door.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let url = metrics.prometheus.url();
    let world = Metered::asking("dashboards", &metrics, url, &flags).await?;
    let operator = world.operator.address()?;
    let target = |address: String| backstop_testenv::prometheus::Target {
        address,
        labels: BTreeMap::new(),
    };
    metrics.prometheus.set_group(
        "operator",
        &[target(operator.clone()), target(beside.target())],
    )?;
    metrics.prometheus.scraped(&[operator]).await?;
    // Something that is taken back, and a failure of each kind that a panel speaks of.
    world
        .prove(policy_with(&changed(
            error_rate(),
            serde_json::json!({"for": "1s"}),
        )))
        .await?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    client
        .post(door.url())
        .bearer_auth(TOKEN)
        .body("odd")
        .send()
        .await?;
    world.release("v2", failing()).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let mut table = String::new();
    for Asked {
        dashboard,
        panel,
        query,
    } in queries(&world.namespace)?
    {
        // The memory is that of others.
        let query = query.replace(
            &format!(
                "container_memory_working_set_bytes{{namespace=~\"{}\"",
                world.namespace
            ),
            "container_memory_working_set_bytes{namespace=~\"shop\"",
        );
        let found = eventually(
            &format!("{dashboard}: {panel} ({query}) to show something"),
            Duration::from_mins(1),
            async || {
                let found = metrics.prometheus.query(&query).await?;
                let numbers = found.iter().filter_map(|one| one["value"][1].as_str());
                let numbers: Vec<&str> = numbers.filter(|it| *it != "NaN").collect();
                ensure!(!numbers.is_empty(), "nothing: {found:?}");
                Ok(found)
            },
        )
        .await?;
        let _ = writeln!(table, "{dashboard} | {panel} | {query} | {}", shown(&found));
    }
    fs::create_dir_all(output_folder())?;
    fs::write(output_folder().join("dashboards.txt"), &table)?;
    println!("{table}");
    Ok(())
}
