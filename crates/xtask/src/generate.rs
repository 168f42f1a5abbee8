//! What is derived from the code, so that it cannot drift from it: the CRDs, the operator's rights, their reference
//! pages, rules and dashboards, and the copies of each in the chart and the plain manifests.

mod admission;
mod crds;
mod monitoring;
pub(crate) mod rbac;
mod reference;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, bail};
use backstop_testenv::cargo::workspace;

/// Files, each by its path from the repository's root.
type Files = BTreeMap<String, String>;

/// What holds generated files alone, so that one without an origin is one left behind.
const FOLDERS: [&str; 4] = [
    "crds",
    "charts/backstop/files/crds",
    "charts/backstop/files/rbac",
    "charts/backstop/files/monitoring/dashboards",
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail if something would change
    #[arg(long)]
    check: bool,
}

impl Args {
    /// For the pipeline.
    pub(crate) fn check() -> Self {
        Self { check: true }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let root = workspace();
    let files = files(&root)?;
    let changes = changes(&root, &files)?;
    if args.check {
        if !changes.is_empty() {
            bail!(
                "these are not what the code says; run cargo xtask generate:\n  {}",
                changes.join("\n  ")
            );
        }
        println!("{} files are what the code says", files.len());
        return Ok(());
    }
    for path in &changes {
        let place = root.join(path);
        if let Some(text) = files.get(path) {
            let folder = place.parent().context("a path without a folder")?;
            fs::create_dir_all(folder)?;
            fs::write(&place, text).with_context(|| format!("could not write {path}"))?;
            println!("wrote {path}");
        } else {
            fs::remove_file(&place).with_context(|| format!("could not remove {path}"))?;
            println!("removed {path}");
        }
    }
    println!("{} of {} files changed", changes.len(), files.len());
    Ok(())
}

/// Everything that is generated.
fn files(root: &Path) -> anyhow::Result<Files> {
    let crds = crds::all();
    let mut files = crds::files(&crds)?;
    files.extend(rbac::files());
    files.extend(admission::files(root)?);
    files.extend(monitoring::files()?);
    files.insert("docs/reference/api.md".to_owned(), reference::page(&crds)?);
    Ok(files)
}

/// The paths that would be written or removed, in order.
fn changes(root: &Path, files: &Files) -> anyhow::Result<Vec<String>> {
    let mut changed = Vec::new();
    for (path, wanted) in files {
        match fs::read_to_string(root.join(path)) {
            Ok(text) if text == *wanted => {}
            Ok(_) => changed.push(path.clone()),
            Err(error) if error.kind() == ErrorKind::NotFound => changed.push(path.clone()),
            Err(error) => {
                return Err(error).with_context(|| format!("could not read {path}"));
            }
        }
    }
    for folder in FOLDERS {
        let Ok(entries) = fs::read_dir(root.join(folder)) else {
            continue;
        };
        for entry in entries {
            let path = format!("{folder}/{}", entry?.file_name().to_string_lossy());
            if !files.contains_key(&path) {
                changed.push(path);
            }
        }
    }
    changed.sort();
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_a_changed_and_a_left_behind_file_are_all_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("crds")).unwrap();
        for (name, text) in [("same", "a"), ("changed", "b"), ("left", "c")] {
            fs::write(root.join("crds").join(name), text).unwrap();
        }
        let files = [("crds/same", "a"), ("crds/changed", "x"), ("crds/new", "d")]
            .map(|(path, text)| (path.to_owned(), text.to_owned()))
            .into();
        assert_eq!(
            changes(root, &files).unwrap(),
            ["crds/changed", "crds/left", "crds/new"]
        );
    }
}
