//! The admission policies, for those who install without Helm.
//!
//! They are written in the chart, by hand, with a placeholder for the operator's user name. The kinds of routes in them come
//! from the table of routes.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use backstop_traffic::Table;

use super::{Files, rbac};

const SOURCE: &str = "charts/backstop/files/admission";
/// Stands for the operator's user name. The chart replaces it too.
const PLACEHOLDER: &str = "OPERATOR_USERNAME";
/// Between these stand the kinds of routes, by provider.
const KINDS: (&str, &str) = (
    "  - name: kinds\n    expression: >-\n      {\n",
    "\n      }\n",
);

pub(super) fn files(root: &Path) -> anyhow::Result<Files> {
    let mut names = fs::read_dir(root.join(SOURCE))
        .with_context(|| format!("could not read {SOURCE}"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    names.sort();
    let operator = format!(
        "system:serviceaccount:{}:{}",
        rbac::NAMESPACE,
        rbac::SERVICE_ACCOUNT
    );
    let mut files = Files::new();
    let mut text = format!("# Written by `cargo xtask generate` from {SOURCE}. Change it there.\n");
    for (n, path) in names.iter().enumerate() {
        if n > 0 {
            text.push_str("---\n");
        }
        let written = fs::read_to_string(path)?;
        let policy = with_kinds(&written, &Table::builtin()).unwrap_or(written);
        text.push_str(&policy.replace(PLACEHOLDER, &operator));
        let name = path.strip_prefix(root)?.display().to_string();
        files.insert(name, policy);
    }
    files.insert("manifests/admission.yaml".to_owned(), text);
    Ok(files)
}

/// The policies of a file with the kinds of this table; `None` if they speak of no kinds.
fn with_kinds(text: &str, table: &Table) -> Option<String> {
    let (before, rest) = text.split_once(KINDS.0)?;
    let (_, after) = rest.split_once(KINDS.1)?;
    let mut kinds: Vec<String> = table
        .iter()
        .map(|p| format!("      '{}': '{}/{}'", p.name, p.group, p.plural))
        .collect();
    kinds.sort();
    let (begin, end) = KINDS;
    Some(format!("{before}{begin}{}{end}{after}", kinds.join(",\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstop_testenv::cargo::workspace;

    const GLOO: &str = "
providers:
- name: gloo
  group: gateway.solo.io
  version: v1
  kind: RouteTable
  plural: routetables
  backends: {shape: List, at: /spec/backends, name: /name, weight: weight}
";

    #[test]
    fn the_right_to_every_kind_of_route_is_asked_for() {
        let table = Table::builtin().with_file(GLOO).unwrap();
        for file in ["policies.yaml", "reach.yaml"] {
            let written = fs::read_to_string(workspace().join(SOURCE).join(file)).unwrap();
            let policies = with_kinds(&written, &table);
            let policies = policies.unwrap_or_else(|| panic!("{file} has no kinds"));
            for provider in table.iter() {
                let (name, group, plural) = (&provider.name, &provider.group, &provider.plural);
                let entry = format!("'{name}': '{group}/{plural}'");
                assert_eq!(policies.matches(&entry).count(), 1, "{file}: {entry}");
            }
        }
    }
}
