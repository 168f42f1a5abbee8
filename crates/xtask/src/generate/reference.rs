//! The reference of the three kinds, from their CRDs.

mod enums;
mod fields;

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::Value;

use enums::Enums;

const INTRODUCTION: &str = "# API reference

<!-- Written by `cargo xtask generate` from crates/api. Change it there. -->

Group `backstop.dev`, version `v1alpha1`. Every kind lives in a namespace and reaches no further than it. `kubectl get
backstop` lists them all, and `kubectl explain` says the same as this page.

Durations are written as `500ms`, `30s`, `10m` or `1h30m`; times as in RFC 3339. Under \"Refused\" stands what the API
server answers to an object that breaks a rule.
";

/// The whole page.
pub(super) fn page(crds: &[Value]) -> anyhow::Result<String> {
    let enums = Enums::new();
    let mut text = INTRODUCTION.to_owned();
    for crd in crds {
        kind(&mut text, crd, &enums)
            .context("a CRD of a shape that the reference does not know")?;
    }
    Ok(text)
}

fn kind(text: &mut String, crd: &Value, enums: &Enums) -> Option<()> {
    let names = &crd["spec"]["names"];
    let version = &crd["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let kind = names["kind"].as_str()?;
    let _ = write!(
        text,
        "\n## {kind}\n{}\n\nShort name: `{}`.",
        schema["description"].as_str()?,
        names["shortNames"][0].as_str()?
    );
    let selectable: Vec<_> = version["selectableFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|field| field["jsonPath"].as_str())
        .map(|path| format!("`{}`", path.trim_start_matches('.')))
        .collect();
    if !selectable.is_empty() {
        let _ = write!(
            text,
            " Field selectors: `metadata.name`, `metadata.namespace`, {}.",
            selectable.join(", ")
        );
    }
    text.push('\n');
    for part in ["spec", "status"] {
        fields::section(
            text,
            &format!("{kind}.{part}"),
            &schema["properties"][part],
            enums,
        );
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_knows_defaults_bounds_choices_and_refusals() {
        let page = page(&super::super::crds::all()).unwrap();
        for piece in [
            "## RollbackPolicy\n",
            "### RollbackPolicy.spec.triggers[]\n",
            "| `maxAttempts` | integer, 1 to 10 | `3` |",
            "| `window` | duration or `Always` | `10m0s` |",
            "| `workloads` | list of [objects](#rollbackpolicyspecworkloads), at most 8 |",
            "`GradualRollback`: Take it back without losing capacity",
            "- a trigger has exactly one source: set prometheus, workload, web, probe, resource, alert or vulnerability\n",
        ] {
            assert!(page.contains(piece), "no {piece:?} in:\n{page}");
        }
    }
}
