//! OCI archives of the images that a real node runs, without a container engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use backstop_testenv::image::{self, Image};

use crate::workspace::{cargo, root};

/// Where Debian and many others keep the certificate authorities that a machine trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(clap::Args)]
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
        (image::APP.to_owned(), image::app(&out)?),
        (image::PAUSE.to_owned(), image::pause(&out)?),
    ];
    if !args.skip_operator {
        archives.push(operator(&out)?);
    }
    for (name, archive) in archives {
        println!("{name}\t{}", archive.display());
    }
    Ok(())
}

/// The operator's image: one static binary and the certificate authorities, as the Dockerfile makes it.
fn operator(out: &Path) -> anyhow::Result<(String, PathBuf)> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let folder = target()?.join("static");
    let mut build = cargo(&["build", "--release", "--package", "backstop-controller"]);
    build
        .args(["--bin", "backstop", "--target", &triple, "--target-dir"])
        .arg(&folder)
        // With `--target` it is for the program alone, and not for build scripts and macros, which cannot be static.
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    let status = build.status().context("could not start cargo")?;
    ensure!(status.success(), "the operator could not be built");
    let binary = folder.join(triple).join("release/backstop");
    ensure_static(&binary)?;
    let name = format!("backstop.test/backstop:{VERSION}");
    let mut image = Image::of_binary(&name, &binary)?
        .label("org.opencontainers.image.title", "backstop")
        .label("org.opencontainers.image.version", VERSION)
        .label("org.opencontainers.image.licenses", "MIT");
    let authorities = Path::new(AUTHORITIES);
    if authorities.exists() {
        image = image.file(AUTHORITIES, authorities);
    }
    let archive = out.join("backstop.tar");
    image.write(&archive)?;
    Ok((name, archive))
}

/// Fails if it needs libraries, of which the image has none.
fn ensure_static(binary: &Path) -> anyhow::Result<()> {
    let output = Command::new("ldd")
        .arg(binary)
        .env("LC_ALL", "C")
        .output()
        .context("could not start ldd")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(
        said.contains("statically linked") || said.contains("not a dynamic executable"),
        "{} needs libraries:\n{said}",
        binary.display()
    );
    Ok(())
}

/// Cargo's target folder: this program lies in the folder of its profile, within it.
fn target() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2);
    Ok(target.map_or_else(|| root().join("target"), Path::to_owned))
}
