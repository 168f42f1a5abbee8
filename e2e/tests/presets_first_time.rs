//! What never happened has no series, and the first time is the first that its series shows: presets let a release prove
//! itself that is well, and take one back in which it happens.

use std::fs;

use anyhow::{Context as _, ensure};
use backstop_e2e::chart::root;
use backstop_e2e::figures::{Figure, Number, rising, still};
use backstop_e2e::presets::preset;
use backstop_e2e::world::App;
use backstop_engine::query::{QueryContext, QueryTemplate};
use serde_json::{Value, json};

use crate::monitoring::promtool;
use crate::presets::{Case, fire_as, requests};

#[tokio::test]
async fn a_release_proves_itself_that_never_failed_and_the_next_is_taken_back_that_does()
-> anyhow::Result<()> {
    for (called, file) in [
        ("never-failed", "application.yaml"),
        ("never-worse", "baseline.yaml"),
    ] {
        let case = Case {
            trigger: "error-rate",
            good: vec![rising("http_requests_total", r#"code="200""#, 100.0)],
            bad: requests(0.06),
        };
        fire_as(called, file, &[case], &App::version).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_release_proves_itself_whose_database_never_failed_it() -> anyhow::Result<()> {
    let pool = still("db_connections_max", 10.0);
    let case = Case {
        trigger: "database-connections-failed",
        good: vec![pool],
        // Two pods, and two seconds for a minute: 7 failures.
        bad: vec![pool, rising("db_connection_failures_total", "", 1.75)],
    };
    fire_as("never-lost", "infrastructure.yaml", &[case], &App::version).await
}

#[tokio::test]
async fn a_release_is_taken_back_that_never_sells_anything() -> anyhow::Result<()> {
    let visits = rising("visits_total", "", 100.0);
    let case = Case {
        trigger: "conversion",
        good: vec![visits, rising("orders_total", "", 10.0)],
        bad: vec![visits],
    };
    fire_as("never-sold", "business.yaml", &[case], &App::version).await
}

#[tokio::test]
async fn the_first_that_pods_are_seen_to_do_counts() -> anyhow::Result<()> {
    // They are done between two scrapes, and then no more.
    let seen = |labels, events| Figure {
        metric: "falcosecurity_falcosidekick_falco_events_total",
        labels,
        value: Number::Still(events),
    };
    let read =
        r#"k8s_ns_name="$namespace",k8s_pod_name="$pod",rule="Read sensitive file untrusted""#;
    let shell = r#"k8s_ns_name="$namespace",k8s_pod_name="$pod",priority_raw="critical""#;
    let cases = [
        Case {
            trigger: "unauthorized-access",
            good: vec![seen(read, 4.0)],
            bad: vec![seen(read, 6.0)],
        },
        Case {
            trigger: "suspicious-pattern",
            good: vec![],
            bad: vec![seen(shell, 1.0)],
        },
    ];
    let one = |version: &str| App::version(version).replicas(Some(1));
    fire_as("first-seen", "security.yaml", &cases, &one).await
}

/// The query of a preset's trigger about a release of `web` in `shop` with the hash `7d9f8c5b6`.
fn query(file: &str, trigger: &str) -> anyhow::Result<String> {
    let triggers = preset(file)?["spec"]["triggers"].take();
    let mut triggers = triggers.as_array().into_iter().flatten();
    let found = triggers.find(|t| t["name"] == trigger);
    let query = found.and_then(|t| t["prometheus"]["query"].as_str());
    let template = QueryTemplate::parse(query.context("no query")?)?;
    ensure!(template.is_scoped(), "{trigger} does not count at once");
    Ok(template.render(&QueryContext {
        workloads: vec!["web".into()],
        namespace: "shop".into(),
        template_hashes: vec!["7d9f8c5b6".into()],
        release: "r1".into(),
    })?)
}

/// A test for promtool: series as they are scraped every 15 s, and what the query says of them after so many seconds;
/// `None` for nothing.
fn told(query: &str, series: &[(&str, &str)], says: &[(u32, Option<f64>)]) -> Value {
    let series = series.iter();
    let series: Vec<_> = series
        .map(|(series, values)| json!({"series": series, "values": values}))
        .collect();
    let says: Vec<_> = says
        .iter()
        .map(|(after, value)| {
            let samples: Vec<_> = value
                .iter()
                .map(|v| json!({"labels": "{}", "value": v}))
                .collect();
            json!({"expr": query, "eval_time": format!("{after}s"), "exp_samples": samples})
        })
        .collect();
    json!({"interval": "15s", "input_series": series, "promql_expr_test": says})
}

fn all_hold(tests: &[Value]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = json!({"evaluation_interval": "15s", "tests": tests});
    fs::write(folder.path().join("tests.yaml"), file.to_string())?;
    let said = promtool(&["test", "rules", "tests.yaml"], folder.path())?;
    ensure!(said.contains("SUCCESS"), "{said}");
    Ok(())
}

#[test]
fn events_count_from_the_first_one_on_and_only_what_is_new() -> anyhow::Result<()> {
    let query = query("security.yaml", "unauthorized-access")?;
    let up = r#"up{job="falco",instance="a"}"#;
    let events = r#"falcosecurity_falcosidekick_falco_events_total{job="falco",instance="a",k8s_ns_name="shop",k8s_pod_name="web-7d9f8c5b6-x2x4z",rule="Search Private Keys or Passwords"}"#;
    let of_another = events.replace("x2x4z", "b7k9q");
    let of_the_one_before = events.replace("7d9f8c5b6", "5c8d7f9b4");
    let falco_always = (up, "1x40");
    let tests = [
        told(&query, &[falco_always], &[(60, None)]),
        // For as long as a minute, and not longer.
        told(
            &query,
            &[falco_always, (events, "_x4 1x40")],
            &[
                (45, None),
                (60, Some(1.0)),
                (119, Some(1.0)),
                (120, Some(0.0)),
            ],
        ),
        told(
            &query,
            &[falco_always, (events, "_x4 6x40")],
            &[(60, Some(6.0)), (119, Some(6.0)), (120, Some(0.0))],
        ),
        // Two pods, of which one has done some before, and one of another release.
        told(
            &query,
            &[
                falco_always,
                (events, "3x7 5x40"),
                (&of_another, "_x8 2x40"),
                (&of_the_one_before, "_x8 9x40"),
            ],
            &[(105, Some(0.0)), (120, Some(4.0)), (180, Some(0.0))],
        ),
        // Prometheus has begun anew: nothing is known of what was before.
        told(
            &query,
            &[(up, "_x8 1x40"), (events, "_x8 100x2 103x40")],
            &[(120, None), (165, None), (180, Some(3.0)), (240, Some(0.0))],
        ),
        // Falcosidekick did not answer once.
        told(
            &query,
            &[(up, "1x8 0 1x40"), (events, "100x8 stale 100x40")],
            &[(150, Some(0.0)), (195, None), (210, Some(0.0))],
        ),
        // It has begun anew, and has heard of two events at once.
        told(
            &query,
            &[falco_always, (events, "8x8 2x40")],
            &[
                (120, Some(0.0)),
                (135, Some(2.0)),
                (194, Some(2.0)),
                (195, Some(0.0)),
            ],
        ),
    ];
    all_hold(&tests)
}

#[test]
fn a_share_of_what_never_happened_is_none_of_all_and_silence_is_no_share() -> anyhow::Result<()> {
    let query = query("application.yaml", "error-rate")?;
    let good = r#"http_requests_total{namespace="shop",pod="web-7d9f8c5b6-x2x4z",code="200"}"#;
    let bad = good.replace("200", "503");
    let tests = [
        told(
            &query,
            &[(good, "0+15x40")],
            &[(60, Some(0.0)), (300, Some(0.0))],
        ),
        told(
            &query,
            &[(good, "0+15x40"), (&bad, "_x8 5+5x40")],
            &[(105, Some(0.0)), (300, Some(0.25))],
        ),
        told(&query, &[(&bad, "0+15x40")], &[(300, Some(1.0))]),
        told(&query, &[], &[(300, None)]),
        // 0 / 0, which is not 0.
        told(
            &format!("({query}) >= 0"),
            &[(good, "5x40")],
            &[(300, None)],
        ),
    ];
    all_hold(&tests)
}

/// Wherever a share of failed requests stands that people copy.
#[test]
fn every_share_says_what_it_is_while_nothing_fails() -> anyhow::Result<()> {
    let mut found = 0;
    let mut open = vec![root().join("README.md")];
    open.extend(["docs", "manifests", "charts"].map(|folder| root().join(folder)));
    while let Some(path) = open.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
            continue;
        }
        // Charts have archives as well.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (at, _) in text.match_indices("5..") {
            let line = text[..at].rfind('\n').unwrap_or_default();
            let before = &text[line..at];
            if !(before.contains("rate(") && before.contains("code=~")) {
                continue;
            }
            let (_, behind) = text[at..]
                .split_once("))")
                .context("a query that does not end")?;
            let behind = behind.trim_start();
            ensure!(
                behind.starts_with("or 0 * sum"),
                "{}: {before}{}",
                path.display(),
                text[at..].lines().next().unwrap_or_default()
            );
            found += 1;
        }
    }
    ensure!(found > 10, "only {found} were found");
    Ok(())
}
