//! The admission policies, for those who install without Helm.
//!
//! They are written in the chart, by hand, with a placeholder for the operator's user name.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::{Files, rbac};

const SOURCE: &str = "charts/backstop/files/admission";
/// Stands for the operator's user name. The chart replaces it too.
const PLACEHOLDER: &str = "OPERATOR_USERNAME";

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
    let mut text = format!("# Written by `cargo xtask generate` from {SOURCE}. Change it there.\n");
    for (n, path) in names.iter().enumerate() {
        if n > 0 {
            text.push_str("---\n");
        }
        text.push_str(&fs::read_to_string(path)?.replace(PLACEHOLDER, &operator));
    }
    Ok(Files::from([("manifests/admission.yaml".to_owned(), text)]))
}

#[cfg(test)]
mod tests {
    use backstop_traffic::Table;

    use super::*;
    use crate::workspace::root;

    #[test]
    fn the_right_to_every_kind_of_route_is_asked_for() {
        for file in ["policies.yaml", "reach.yaml"] {
            let policies = fs::read_to_string(root().join(SOURCE).join(file)).unwrap();
            for provider in Table::builtin().iter() {
                let (name, group, plural) = (&provider.name, &provider.group, &provider.plural);
                let entry = format!("'{name}': '{group}/{plural}'");
                assert!(policies.contains(&entry), "{file} has no {entry}");
            }
        }
    }
}
