//! Whether the operator needs what it may do, and may do what it needs: its rights are compared with what the API servers
//! of the end-to-end tests wrote about it.
//!
//! A right that no test uses is either one too many or one test too few. A request that was refused is a right that is
//! missing, or an error of ours.

mod kept;
mod log;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use backstop_testenv::load::output_folder;

use crate::generate::rbac;
use log::Requests;

/// Beside the logs once all tests have run and passed: only then a right that was not used says something.
const WHOLE: &str = "whole";

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// The folder with the audit logs, which BACKSTOP_AUDIT_LOGS named for the tests
    #[arg(long)]
    logs: Option<PathBuf>,
    /// All tests have run, and passed; `cargo xtask test` knows that by itself
    #[arg(long)]
    whole: bool,
}

/// Makes a new folder for the logs.
pub(crate) fn empty_folder() -> anyhow::Result<PathBuf> {
    let folder = usual_folder();
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Notes that the logs are those of all tests.
pub(crate) fn is_whole(logs: &Path) -> anyhow::Result<()> {
    fs::write(logs.join(WHOLE), "").context("could not note that all tests have passed")
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = args.logs.clone().unwrap_or_else(usual_folder);
    let requests = Requests::read(&folder)?;
    let whole = args.whole || folder.join(WHOLE).exists();
    let mut unused = Vec::new();
    println!("{:>9}  {:<8}  resource", "requests", "verb");
    let mut role = "";
    for right in rbac::of_operator() {
        if right.role != role {
            role = right.role;
            println!("\n{role}");
        }
        let group = if right.group.is_empty() {
            "core"
        } else {
            &right.group
        };
        let what = format!("{:<8}  {} ({group})", right.verb, right.resource);
        let count = requests.count(&right);
        match kept::reason(&right) {
            Some(reason) if count == 0 => println!("{:>9}  {what}: {reason}", "-"),
            _ => println!("{count:>9}  {what}"),
        }
        if count == 0 && kept::reason(&right).is_none() {
            unused.push(format!("{role}: {what}"));
        }
    }
    println!("\n{} requests in {}", requests.total(), folder.display());
    let refused = requests.refused();
    ensure!(
        refused.is_empty(),
        "the operator was refused what it asked for:\n  {}",
        refused.join("\n  ")
    );
    if unused.is_empty() {
        return Ok(());
    }
    let unused = unused.join("\n  ");
    if whole {
        anyhow::bail!("the operator may do what no test makes it do:\n  {unused}");
    }
    println!(
        "Not used, which says nothing, because these are the logs of some of the tests only, or of tests that failed; \
         `cargo xtask test` runs all of them:\n  {unused}"
    );
    Ok(())
}

fn usual_folder() -> PathBuf {
    output_folder().join("audit")
}
