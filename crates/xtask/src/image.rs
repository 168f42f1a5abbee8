//! OCI archives of the images that a real node runs, without a container engine.

use std::fs;
use std::path::{Path, PathBuf};

use backstop_testenv::cargo::workspace;
use backstop_testenv::image;

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Where to write them
    #[arg(long)]
    out: Option<PathBuf>,
    /// Without the operator's, whose build takes minutes
    #[arg(long)]
    skip_operator: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => target()?.join("images"),
    };
    fs::create_dir_all(&out)?;
    let mut archives = vec![
        (image::APP, image::app(&out)?),
        (image::PAUSE, image::pause(&out)?),
    ];
    if !args.skip_operator {
        archives.push((image::OPERATOR, image::operator(&out)?));
    }
    for (name, archive) in archives {
        println!("{name}\t{}", archive.display());
    }
    Ok(())
}

/// Cargo's target folder: this program lies in the folder of its profile, within it.
fn target() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2);
    Ok(target.map_or_else(|| workspace().join("target"), Path::to_owned))
}
