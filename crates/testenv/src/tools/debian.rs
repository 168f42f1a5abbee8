//! Programs that come from Debian packages, unpacked into the cache: nothing is installed into the machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Runs the unpacked program with the libraries that were unpacked beside it.
const WRAPPER: &str = r#"#!/bin/sh
root=${0%/*}/../root
for folder in "$root"/usr/lib/*-linux-gnu "$root"/lib/*-linux-gnu; do
  LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
"#;

/// Where the machine has this program itself: on the PATH, or where administrators' programs are.
pub(super) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// Unpacks `package` and what it needs that the machine lacks, so that `folder/bin/name` runs its `file`.
///
/// By the machine's own package lists; where they do not know it, as in a fresh container, or name what is not offered
/// any more, by lists that are fetched.
pub(super) fn fetch(name: &str, package: &str, file: &str, folder: &Path) -> anyhow::Result<()> {
    let Err(first) = unpack(&Lists::of_the_machine(), name, package, file, folder) else {
        return Ok(());
    };
    let lists = Lists::fetched(folder)?;
    unpack(&lists, name, package, file, folder)
        .with_context(|| format!("and by the machine's own package lists: {first:#}"))
}

fn unpack(
    lists: &Lists,
    name: &str,
    package: &str,
    file: &str,
    folder: &Path,
) -> anyhow::Result<()> {
    let scratch = tempfile::Builder::new()
        .prefix("fetch-")
        .tempdir_in(folder)?;
    let mut packages = lists.lacking(package)?;
    if !packages.iter().any(|lacking| lacking == package) {
        packages.push(package.to_owned());
    }
    run(lists
        .apt()
        .current_dir(scratch.path())
        .arg("download")
        .args(&packages))?;
    let root = folder.join("root");
    for entry in fs::read_dir(scratch.path())? {
        let archive = entry?.path();
        run(Command::new("dpkg").arg("-x").arg(&archive).arg(&root))?;
    }
    ensure!(root.join(file).is_file(), "{package} has no {file}");
    // Whole or not at all: its being there says that all is unpacked.
    let wrapper = scratch.path().join("wrapper");
    fs::write(&wrapper, format!("{WRAPPER}exec \"$root\"/{file} \"$@\"\n"))?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    fs::rename(wrapper, folder.join("bin").join(name))?;
    Ok(())
}

/// The package lists to look into.
struct Lists {
    options: Vec<String>,
}

impl Lists {
    fn of_the_machine() -> Self {
        Self {
            options: vec!["-o".to_owned(), "APT::Sandbox::User=root".to_owned()],
        }
    }

    /// Lists of our own, as new as can be.
    fn fetched(folder: &Path) -> anyhow::Result<Self> {
        let mut lists = Self::of_the_machine();
        for (option, place) in [("Dir::State::lists", "lists"), ("Dir::Cache", "cache")] {
            let place = folder.join("apt").join(place);
            fs::create_dir_all(place.join("partial"))?;
            lists
                .options
                .extend(["-o".to_owned(), format!("{option}={}", place.display())]);
        }
        run(lists.apt().arg("update"))?;
        Ok(lists)
    }

    fn apt(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.args(["-qq"]).args(&self.options);
        command
    }

    /// The packages that an installation would fetch.
    fn lacking(&self, package: &str) -> anyhow::Result<Vec<String>> {
        let text = run(self.apt().args([
            "install",
            "--print-uris",
            "--no-install-recommends",
            "-o",
            "Debug::NoLocking=1",
            package,
        ]))?;
        Ok(packages(&text))
    }
}

/// Names from lines such as `'http://.../x_1-2_amd64.deb' x_1-2_amd64.deb 61632 MD5Sum:...`.
fn packages(uris: &str) -> Vec<String> {
    uris.lines()
        .filter_map(|line| line.split_whitespace().nth(1)?.split_once('_'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("`{program}` is not to be had, so this has to be installed"))?;
    ensure!(
        output.status.success(),
        "{program} failed ({}):\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_installation_would_fetch_is_read_from_its_uris() {
        let uris = "'http://example.test/n/nftables_1.0.6-2%2bdeb12u2_amd64.deb' nftables_1.0.6-2+deb12u2_amd64.deb 1 MD5Sum:0\n\
                    'http://example.test/l/libnftnl11_1.2.4-2_amd64.deb' libnftnl11_1.2.4-2_amd64.deb 2 MD5Sum:0\n";
        assert_eq!(packages(uris), ["nftables", "libnftnl11"]);
    }
}
