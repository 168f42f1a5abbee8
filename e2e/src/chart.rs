//! The Helm chart, as Helm renders it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backstop_testenv::Access;
use serde::Deserialize as _;
use serde_json::Value;

/// Where a release is installed, if nothing else is said.
pub const NAMESPACE: &str = "backstop-system";

/// The folder of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder of the chart, as an argument.
pub fn path() -> String {
    root().join("charts/backstop").display().to_string()
}

/// What `helm template` makes of the chart with further arguments such as `--set`.
pub async fn render(cluster: &Access, args: &[&str]) -> anyhow::Result<Vec<Value>> {
    let chart = path();
    let mut all = vec!["template", "backstop", &chart, "--namespace", NAMESPACE];
    // Those are for `helm test`, and no part of what is installed.
    all.push("--skip-tests");
    all.extend(args);
    documents(&cluster.helm(&all).await?.success()?)
}

/// The objects in a stream of YAML documents.
pub fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).context("no YAML"))
        .filter(|document| !matches!(document, Ok(Value::Null)))
        .collect()
}

/// Objects as a stream of YAML documents.
pub fn yaml<'a>(objects: impl IntoIterator<Item = &'a Value>) -> anyhow::Result<String> {
    let documents: Result<Vec<_>, _> = objects.into_iter().map(serde_yaml_ng::to_string).collect();
    Ok(documents?.join("---\n"))
}

/// The kind of an object, and empty if it has none.
pub fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}
