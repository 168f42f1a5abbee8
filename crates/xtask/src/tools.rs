//! Building the programs that everything else runs.

use backstop_testenv::tools::{Stderr, ensure};
use backstop_testenv::{Tool, node};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also those that check the workspace itself
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut wanted = e2e();
    if args.all {
        wanted.extend(Tool::CHECKS);
    }
    for path in ensure(&wanted, &Stderr)? {
        println!("{}", path.display());
    }
    Ok(())
}

/// What the end-to-end tests run on this machine.
pub(crate) fn e2e() -> Vec<Tool> {
    let mut tools = Tool::CLUSTER.to_vec();
    tools.extend(Tool::DEMO);
    tools.extend(Tool::ALERTING);
    tools.extend([
        Tool::Mailpit,
        Tool::KustomizeController,
        Tool::SourceController,
    ]);
    match node::available() {
        Ok(()) => {
            tools.extend(Tool::NODE);
            tools.extend([Tool::Traefik, Tool::Coredns, Tool::MetricsServer]);
        }
        Err(reason) => eprintln!("no tests on a real node: {reason}"),
    }
    tools
}
