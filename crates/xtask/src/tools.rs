//! Building the programs that everything else runs.

use backstop_testenv::Tool;
use backstop_testenv::tools::{Stderr, ensure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also those that check the workspace itself
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut wanted = Tool::E2E.to_vec();
    if args.all {
        wanted.extend(Tool::CHECKS);
    }
    for path in ensure(&wanted, &Stderr)? {
        println!("{}", path.display());
    }
    Ok(())
}
