//! The operator's image, as it is shipped: one static binary and the certificate authorities. The Dockerfile makes the same,
//! file by file, with another C library in the binary: musl's, where this machine has glibc's.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::Image;
use crate::cargo::{cargo, workspace};

/// The name under which a node knows it.
pub const OPERATOR: &str = concat!("backstop.test/backstop:", env!("CARGO_PKG_VERSION"));
/// Where Debian and many others keep the certificate authorities that a machine trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Builds the operator as it is shipped and writes its image into `folder`.
///
/// Cargo sees what has changed since the last time: nothing takes a second, everything some minutes. Blocks for as long.
pub fn operator(folder: &Path) -> anyhow::Result<PathBuf> {
    let binary = build()?;
    ensure_static(&binary)?;
    let archive = folder.join("backstop.tar");
    image(&binary, Path::new(AUTHORITIES))?.write(&archive)?;
    Ok(archive)
}

fn image(binary: &Path, authorities: &Path) -> anyhow::Result<Image> {
    let image = Image::of_binary(OPERATOR, binary)?
        .label("org.opencontainers.image.title", "backstop")
        .label(
            "org.opencontainers.image.version",
            env!("CARGO_PKG_VERSION"),
        )
        .label("org.opencontainers.image.licenses", "MIT");
    Ok(if authorities.exists() {
        image.file(AUTHORITIES, authorities)
    } else {
        image
    })
}

/// The static binary, built in a folder of its own, so that it waits for no other build and none is made anew for it.
fn build() -> anyhow::Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let folder = target.join("static");
    let status = cargo(&["build", "--release", "--locked"])
        .args(["--package", "backstop-controller", "--bin", "backstop"])
        .args(["--target", &triple, "--target-dir"])
        .arg(&folder)
        // With `--target` it is for the program alone, and not for build scripts and macros, which cannot be static.
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .context("could not start cargo")?;
    ensure!(status.success(), "the operator could not be built");
    Ok(folder.join(triple).join("release/backstop"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_puts_the_same_files_in_and_runs_the_same_as_the_same_user() {
        let folder = tempfile::tempdir().unwrap();
        let authorities = folder.path().join("ca.crt");
        std::fs::write(&authorities, "").unwrap();
        let image = image(Path::new("release/backstop"), &authorities).unwrap();
        let text = std::fs::read_to_string(workspace().join("Dockerfile")).unwrap();
        let (_, stage) = text.split_once("\nFROM scratch\n").unwrap();
        let values = |word: &str| {
            let lines = stage.lines().filter_map(|line| line.strip_prefix(word));
            lines.map(str::trim).collect::<Vec<_>>()
        };
        let mut copied: Vec<_> = values("COPY")
            .into_iter()
            .filter_map(|line| Some(line.rsplit_once(' ')?.1.to_owned()))
            .collect();
        let mut files: Vec<_> = image
            .files
            .iter()
            .map(|(to, ..)| format!("/{to}"))
            .collect();
        copied.sort();
        files.sort();
        assert_eq!(copied, files);
        assert_eq!(values("USER"), [image.config["User"].as_str().unwrap()]);
        let entrypoint: serde_json::Value = serde_json::from_str(values("ENTRYPOINT")[0]).unwrap();
        assert_eq!(entrypoint, image.config["Entrypoint"]);
        assert!(values("ADD").is_empty() && values("ENV").is_empty());
    }
}
