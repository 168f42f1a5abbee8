//! Building the operator's binary.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use backstop_testenv::cargo::cargo;

/// How it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As in tests.
    Dev,
    /// As it is shipped.
    Release,
}

/// Builds it, with cargo's own words on standard error, and returns where it is.
pub(crate) fn build(profile: Profile) -> anyhow::Result<PathBuf> {
    let args: &[&str] = match profile {
        // With the whole workspace's features, as tests build it, so that no dependency is compiled for this alone.
        Profile::Dev => &["build", "--workspace", "--bins"],
        Profile::Release => &["build", "--package", "backstop-controller", "--release"],
    };
    let status = cargo(args).status().context("could not start cargo")?;
    ensure!(status.success(), "the operator could not be built");
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    };
    // This program lies in the folder of its own profile, which is beside.
    let path = std::env::current_exe()?
        .ancestors()
        .nth(2)
        .context("this program lies in no target folder")?
        .join(folder)
        .join("backstop");
    ensure!(path.is_file(), "{} is not there", path.display());
    Ok(path)
}
