//! Deciding is pure: the engine must not be able to reach a clock of the runtime, the network or the cluster. Neither
//! must what makes patches of routes.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use backstop_testenv::cargo::cargo;

/// What has to be pure.
const PURE: [&str; 2] = ["backstop-engine", "backstop-traffic"];
/// What would let them do something instead of deciding it.
const FORBIDDEN: [&str; 5] = ["tokio", "reqwest", "hyper", "kube-client", "kube-runtime"];

/// Fails if one of them depends on any of it, directly or not.
pub(crate) fn check() -> anyhow::Result<()> {
    PURE.into_iter().try_for_each(check_one)
}

fn check_one(name: &str) -> anyhow::Result<()> {
    let output = cargo(&[
        "tree", "-p", name, "-e", "normal", "--prefix", "none", "--format", "{p}",
    ])
    .stderr(Stdio::inherit())
    .output()
    .context("could not start cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", output.status);
    let found = forbidden(&String::from_utf8_lossy(&output.stdout));
    ensure!(found.is_empty(), "{name} depends on {}", found.join(", "));
    println!("{name} depends on none of {}", FORBIDDEN.join(", "));
    Ok(())
}

fn forbidden(tree: &str) -> Vec<&'static str> {
    let names: Vec<_> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    FORBIDDEN
        .into_iter()
        .filter(|name| names.contains(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_count() {
        assert_eq!(
            forbidden("backstop-engine v0.1.0 (/x)\ntokio-macros v2.0.0\n"),
            [""; 0]
        );
        assert_eq!(forbidden("serde v1.0.0\ntokio v1.40.0 (*)\n"), ["tokio"]);
    }
}
