//! Measurements.

mod react;
mod table;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// From a crash loop that the cluster shows to the good template's being written
    React(react::Args),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match &args.what {
        What::React(args) => runtime.block_on(react::run(args)),
    }
}
