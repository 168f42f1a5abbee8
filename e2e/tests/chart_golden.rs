//! What the chart makes of a few sets of values, to be read in review: a change of a template shows as a change of these
//! files. `BACKSTOP_WRITE_GOLDEN=1 cargo test --workspace --test e2e chart_golden::` writes them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use backstop_e2e::chart;
use backstop_testenv::Cluster;
use serde_json::Value;

/// Written by `cargo xtask generate`, which shows their changes elsewhere.
const GENERATED: [&str; 6] = [
    "ClusterRole",
    "CustomResourceDefinition",
    "PrometheusRule",
    "Role",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

fn folder() -> PathBuf {
    chart::root().join("charts/backstop/tests")
}

/// The names of the sets of values.
fn sets() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".values.yaml").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn is_dashboard(object: &Value) -> bool {
    let is_json = |key: &String| Path::new(key).extension().is_some_and(|e| e == "json");
    let data = object["data"].as_object();
    data.is_some_and(|data| data.keys().any(is_json))
}

/// The objects that are written by hand, the pod of `helm test` included.
async fn rendered(set: &str) -> anyhow::Result<String> {
    let values = folder().join(format!("{set}.values.yaml"));
    let values = values.display().to_string();
    let chart = chart::path();
    let args = [
        "template",
        "backstop",
        &chart,
        "--namespace",
        chart::NAMESPACE,
        "--values",
        &values,
    ];
    let text = Cluster::shared().await?.helm(&args).await?.success()?;
    let mut objects = chart::documents(&text)?;
    objects.retain(|object| !GENERATED.contains(&chart::kind(object)) && !is_dashboard(object));
    chart::yaml(&objects)
}

#[tokio::test]
async fn the_chart_makes_of_each_set_of_values_what_its_golden_file_says() -> anyhow::Result<()> {
    let write = std::env::var_os("BACKSTOP_WRITE_GOLDEN").is_some();
    let mut differing = Vec::new();
    for set in sets()? {
        let path = folder().join(format!("golden/{set}.yaml"));
        let now = rendered(&set).await.context(set.clone())?;
        if write {
            fs::write(path, now)?;
        } else if fs::read_to_string(&path).unwrap_or_default() != now {
            differing.push(format!("{}: {now}", path.display()));
        }
    }
    ensure!(
        differing.is_empty(),
        "not what the golden files say; BACKSTOP_WRITE_GOLDEN=1 writes them anew:\n{}",
        differing.join("\n")
    );
    Ok(())
}

/// The paths of all values, down to where the schema leaves the rest open.
fn of_schema(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    match schema["properties"].as_object() {
        Some(properties) => {
            for (name, inner) in properties {
                of_schema(inner, &join(path, name), found);
            }
        }
        None => {
            found.insert(path.to_owned());
        }
    }
}

/// The same of the values, as far down as the schema goes.
fn of_values(values: &Value, path: &str, known: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    match values.as_object() {
        Some(object) if !known.contains(path) => {
            for (name, inner) in object {
                of_values(inner, &join(path, name), known, found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[test]
fn every_value_is_in_the_schema_and_in_the_docs() -> anyhow::Result<()> {
    let read = |path: &str| fs::read_to_string(chart::root().join(path));
    let schema = serde_json::from_str(&read("charts/backstop/values.schema.json")?)?;
    let values = serde_yaml_ng::from_str(&read("charts/backstop/values.yaml")?)?;
    let (mut known, mut there) = (BTreeSet::new(), BTreeSet::new());
    of_schema(&schema, "", &mut known);
    // Helm's own, for charts of charts.
    known.remove("global");
    of_values(&values, "", &known, &mut there);
    assert_eq!(known, there, "values.schema.json and values.yaml");

    let docs = read("docs/operations.md")?;
    let (_, table) = docs.split_once("## Chart values").context("no section")?;
    let (table, _) = table.split_once("\n## ").context("no section after it")?;
    let rows = table.lines().filter_map(|line| line.split('|').nth(1));
    let told: BTreeSet<_> = rows
        .flat_map(|cell| cell.split(", "))
        .filter_map(|word| word.trim().strip_prefix('`')?.strip_suffix('`'))
        .map(str::to_owned)
        .collect();
    assert_eq!(known, told, "values.schema.json and docs/operations.md");
    Ok(())
}
