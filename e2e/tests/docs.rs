//! The docs say what is so: examples work, links lead somewhere, and every name is one that the code has.

#[path = "docs/examples.rs"]
mod examples;
#[path = "docs/markdown.rs"]
mod markdown;
#[path = "docs/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, ensure};
use backstop_e2e::chart::root;
use backstop_traffic::{Backends, Table};
use markdown::{Page, page, pages};
use serde_json::Value;
use source::{between, literals, settings, variants, words};

/// Fails with what only one of the two has.
fn same(what: &str, docs: &BTreeSet<String>, code: &BTreeSet<String>) -> anyhow::Result<()> {
    let missing: Vec<_> = code.difference(docs).collect();
    let invented: Vec<_> = docs.difference(code).collect();
    ensure!(
        missing.is_empty() && invented.is_empty(),
        "{what}: the docs do not have {missing:?}, and the code does not have {invented:?}"
    );
    Ok(())
}

#[test]
fn every_link_within_the_repository_leads_somewhere() -> anyhow::Result<()> {
    let mut broken = Vec::new();
    for from in pages()? {
        for link in from.links() {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() {
                from.path.clone()
            } else {
                beside(&from.path, path)
            };
            let found = root().join(&target).exists()
                && (anchor.is_empty() || page(target)?.anchors().contains(anchor));
            if !found {
                broken.push(format!("{}: {link}", from.path));
            }
        }
    }
    ensure!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    Ok(())
}

/// A path from a page's folder, without `..`.
fn beside(page: &str, link: &str) -> String {
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    let mut plain = PathBuf::new();
    for part in folder.join(link).components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain.display().to_string()
}

#[test]
fn every_setting_is_documented_and_no_other() -> anyhow::Result<()> {
    let rows = page("docs/operations.md")?.table("## Settings")?;
    let documented: BTreeSet<String> = rows
        .iter()
        .map(|row| format!("{} {}", row[0], row[1]).replace('`', ""))
        .collect();
    let code = settings()?
        .into_iter()
        .map(|(flag, variable)| format!("{flag} {variable}"));
    same("settings", &documented, &code.collect())
}

#[test]
fn every_chart_value_is_documented_and_no_other() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(root().join("charts/backstop/values.yaml"))?;
    let values: Value = serde_yaml_ng::from_str(&text)?;
    let documented = page("docs/operations.md")?.column("## Chart values", 0)?;
    for path in &documented {
        let pointer = format!("/{}", path.replace('.', "/"));
        ensure!(
            values.pointer(&pointer).is_some(),
            "the chart has no value {path}"
        );
    }
    let mut leaves = Vec::new();
    collect_leaves(&values, String::new(), &mut leaves);
    for leaf in leaves {
        let covers = |path: &String| leaf == *path || leaf.starts_with(&format!("{path}."));
        ensure!(
            documented.iter().any(covers),
            "the docs do not have the value {leaf}"
        );
    }
    Ok(())
}

fn collect_leaves(value: &Value, path: String, leaves: &mut Vec<String>) {
    match value.as_object().filter(|map| !map.is_empty()) {
        None => leaves.push(path),
        Some(map) => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                collect_leaves(value, format!("{path}{dot}{key}"), leaves);
            }
        }
    }
}

#[test]
fn every_metric_is_documented_and_no_other() -> anyhow::Result<()> {
    let source = source::source("crates/controller/src/metrics.rs")?;
    let registered = source.split("registry.register(").skip(1);
    let process = source::source("crates/controller/src/metrics/process.rs")?;
    let described = process.split("encode_descriptor(").skip(1);
    let code: BTreeSet<String> = registered
        .chain(described)
        .filter_map(|call| literals(call).into_iter().next())
        .collect();
    // Counters get the ending when they are served.
    let documented = page("docs/operations.md")?.column("## Metrics", 0)?;
    let documented = documented
        .iter()
        .map(|name| {
            name.trim_start_matches("backstop_")
                .trim_end_matches("_total")
                .to_owned()
        })
        .collect();
    same("metrics", &documented, &code)
}

#[test]
fn every_state_phase_outcome_and_reason_to_hold_is_explained_and_no_other() -> anyhow::Result<()> {
    let status = "crates/api/src/policy/status.rs";
    let event = "crates/api/src/event.rs";
    for (page_path, heading, file, name) in [
        (
            "docs/concepts.md",
            "## Trigger states",
            status,
            "TriggerState",
        ),
        ("docs/concepts.md", "## Phases of a policy", status, "Phase"),
        ("docs/concepts.md", "## Health", status, "Health"),
        (
            "docs/concepts.md",
            "## Phases of a rollback",
            event,
            "EventPhase",
        ),
        ("docs/concepts.md", "## Outcomes", event, "Outcome"),
        (
            "docs/concepts.md",
            "## Why nothing is taken back",
            "crates/engine/src/guards.rs",
            "HoldReason",
        ),
        (
            "docs/rollbacks.md",
            "## The life of a rollback",
            event,
            "StepKind",
        ),
        (
            "docs/policies.md",
            "### workload: what the cluster itself says",
            "crates/api/src/policy/source/workload.rs",
            "Signal",
        ),
        (
            "docs/policies.md",
            "## mode",
            "crates/api/src/policy/spec.rs",
            "Mode",
        ),
        (
            "docs/notifications.md",
            "## What is told",
            "crates/api/src/notification.rs",
            "NotificationOutcome",
        ),
        (
            "docs/notifications.md",
            "## Who is told what",
            "crates/api/src/notification.rs",
            "Category",
        ),
        (
            "docs/policies.md",
            "### noData",
            "crates/api/src/policy/trigger.rs",
            "NoDataPolicy",
        ),
    ] {
        let documented = page(page_path)?.column(heading, 0)?;
        same(heading, &documented, &variants(file, name)?)?;
    }
    Ok(())
}

#[test]
fn what_needs_a_person_is_said_as_the_code_says_it() -> anyhow::Result<()> {
    let source = source::source("crates/engine/src/guards.rs")?;
    let body = between(&source, "fn needs_a_person", "\n    }")?;
    let ends_a_word = |c: char| !c.is_alphanumeric();
    let code: BTreeSet<String> = body
        .split("Self::")
        .skip(1)
        .filter_map(|rest| Some(rest.split(ends_a_word).next()?.to_owned()))
        .collect();
    let rows = page("docs/concepts.md")?.table("## Why nothing is taken back")?;
    let no = rows.iter().filter(|row| row[1] == "no");
    same(
        "what needs no person",
        &no.map(|row| row[0].replace('`', "")).collect(),
        &code,
    )
}

#[test]
fn every_condition_and_every_event_reason_is_explained_and_no_other() -> anyhow::Result<()> {
    let mut code = BTreeSet::new();
    for path in [
        "crates/api/src/condition.rs",
        "crates/engine/src/gates.rs",
        "crates/engine/src/lifecycle.rs",
        "crates/engine/src/overrides.rs",
        "crates/engine/src/decide/say.rs",
        "crates/engine/src/decide/say/conditions.rs",
        "crates/controller/src/config/rotation.rs",
        "crates/controller/src/policy/history.rs",
        "crates/controller/src/policy/mod.rs",
        "crates/controller/src/policy/status.rs",
        "crates/controller/src/point/fill.rs",
        "crates/controller/src/event/tell.rs",
        "crates/notify/src/health.rs",
        "crates/controller/src/policy/gitops/mod.rs",
    ] {
        code.extend(words(path)?);
    }
    // What Kubernetes Events say was being done.
    for action in ["Rollback", "Watch"] {
        code.remove(action);
    }
    let page = page("docs/troubleshooting.md")?;
    let mut documented = page.column("## Kubernetes Events", 0)?;
    for heading in [
        "## Conditions of a policy",
        "## Conditions of points and rollbacks",
    ] {
        documented.extend(page.column(heading, 0)?);
        documented.extend(page.column(heading, 2)?);
    }
    same("conditions and reasons", &documented, &code)
}

#[test]
fn every_field_of_a_policy_is_explained() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(root().join("crds/rollbackpolicies.yaml"))?;
    let crd: Value = serde_yaml_ng::from_str(&text)?;
    let spec = crd
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
        .context("the CRD has no schema of spec")?;
    let mut fields = BTreeSet::new();
    collect_fields(spec, &mut fields);
    let text = page("docs/policies.md")?.text + &page("docs/triggers.md")?.text;
    let is_there = |field: &&String| {
        text.contains(&format!("`{field}`")) || text.contains(&format!("{field}:"))
    };
    let missing: Vec<_> = fields.iter().filter(|f| !is_there(f)).collect();
    ensure!(
        missing.is_empty(),
        "neither docs/policies.md nor docs/triggers.md has {missing:?}"
    );
    Ok(())
}

/// The fields of a schema, but for those that are not available yet.
fn collect_fields(schema: &Value, fields: &mut BTreeSet<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let said = field["description"].as_str().unwrap_or_default();
        if said.contains("Not available yet.") && field.get("enum").is_none() {
            continue;
        }
        fields.insert(name.clone());
        collect_fields(field, fields);
        collect_fields(&field["items"], fields);
    }
}

#[test]
fn every_kind_of_route_is_documented_and_no_other() -> anyhow::Result<()> {
    let page = page("docs/routes.md")?;
    let documented = page.table("## Providers")?.into_iter().map(|row| {
        let cells = [&row[0], &row[1], &row[2], &row[4]];
        cells.map(|cell| cell.replace('`', "")).join(" ")
    });
    let table = Table::builtin();
    let code = table.iter().map(|provider| {
        // In a map what has no weight is not there, and a share that is not there is nothing.
        let default = match provider.backends {
            Backends::List { .. } => provider.weights.default.to_string(),
            Backends::Map { .. } => "it is not there".to_owned(),
            Backends::Share { .. } => "0".to_owned(),
        };
        let (name, kind, api) = (&provider.name, &provider.kind, provider.api_version());
        format!("{name} {kind} {api} {default}")
    });
    same("providers", &documented.collect(), &code.collect())
}

#[test]
fn every_provider_in_the_docs_can_be_added() -> anyhow::Result<()> {
    let blocks = page("docs/routes.md")?.blocks();
    let examples = blocks.iter().filter(|b| b.text.starts_with("providers:"));
    let mut seen = 0;
    for example in examples {
        let added = Table::builtin().with_file(&example.text);
        ensure!(added.is_ok(), "{}: {:?}", example.place, added.err());
        seen += 1;
    }
    ensure!(seen > 0, "no provider was found");
    Ok(())
}

#[test]
fn every_cargo_xtask_command_exists() -> anyhow::Result<()> {
    let source = source::source("crates/xtask/src/main.rs")?;
    let commands = between(&source, "enum Command {", "\n}")?.to_lowercase();
    for Page { path, text } in pages()? {
        for rest in text.split("cargo xtask ").skip(1) {
            let end = rest
                .find(|c: char| !c.is_ascii_lowercase())
                .unwrap_or(rest.len());
            let command = &rest[..end];
            ensure!(
                command.is_empty() || commands.contains(&format!("{command}(")),
                "{path}: there is no cargo xtask {command}"
            );
        }
    }
    Ok(())
}
