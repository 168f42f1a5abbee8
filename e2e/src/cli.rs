//! The command line, as a person runs it.

use std::path::PathBuf;
use std::process::Output;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::operator::binary;
use crate::world::World;

/// `kubectl backstop`, for a namespace, with somebody's kubeconfig.
pub struct Cli<'a> {
    world: &'a World,
    kubeconfig: PathBuf,
}

impl<'a> Cli<'a> {
    /// As the administrator.
    pub fn new(world: &'a World) -> Self {
        Self::with(world, world.cluster.kubeconfig_path().to_owned())
    }

    /// As whoever has this kubeconfig.
    pub fn with(world: &'a World, kubeconfig: PathBuf) -> Self {
        Self { world, kubeconfig }
    }

    /// Runs a command.
    pub async fn run(&self, args: &[&str]) -> anyhow::Result<Output> {
        let binary = binary()?.with_file_name("kubectl-backstop");
        let mut command = Command::new(&binary);
        command
            .args(args)
            .args(["--namespace", &self.world.namespace])
            .arg("--kubeconfig")
            .arg(&self.kubeconfig);
        let output = command.output().await;
        output.with_context(|| format!("{} is not built", binary.display()))
    }

    /// Runs a command that has to do what it says, and returns what it said.
    pub async fn done(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.run(args).await?;
        ensure!(output.status.success(), "{args:?}: {}", said(&output));
        Ok(said(&output))
    }

    /// Runs a command that has to fail with these words, and returns what it said.
    pub async fn refused(&self, args: &[&str], words: &str) -> anyhow::Result<String> {
        let output = self.run(args).await?;
        let told = said(&output);
        ensure!(!output.status.success(), "{args:?} was done: {told}");
        ensure!(
            told.contains(words),
            "{args:?}: '{words}' is not said: {told}"
        );
        Ok(told)
    }
}

/// What a command said, on both streams.
pub fn said(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr];
    both.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}
