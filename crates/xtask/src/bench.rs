//! Measurements.

mod judge;
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
    /// How many bad releases are taken back, and how many good ones, on traces with known truth
    Judge(judge::Args),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.what {
        What::React(args) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(react::run(args))
        }
        What::Judge(args) => judge::run(args),
    }
}
