//! What is derived from the code, so that it cannot drift from it.

use anyhow::bail;

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
    bail!("not built yet (check: {})", args.check)
}
