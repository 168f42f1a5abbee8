//! Building what is missing.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{Origin, Progress, Tool, debian, modules};

/// Between two lines about a build that goes on.
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// Builds those of `wanted` that are not in the cache yet, one after the other, and returns the paths of all.
///
/// Safe to call from several processes at once: each module's folder has a lock, and a binary appears in its place
/// whole or not at all. Blocks for as long as it takes, which from nothing is some ten minutes on two cores; progress
/// is told meanwhile.
pub fn ensure(wanted: &[Tool], progress: &dyn Progress) -> anyhow::Result<Vec<PathBuf>> {
    wanted
        .iter()
        .map(|tool| ensure_one(*tool, progress))
        .collect()
}

fn ensure_one(tool: Tool, progress: &dyn Progress) -> anyhow::Result<PathBuf> {
    let path = tool.path()?;
    if path.exists() {
        return Ok(path);
    }
    let folder = tool.folder()?;
    fs::create_dir_all(folder.join("bin"))?;
    let _lock = lock(&folder.join("lock"), tool, progress)?;
    // Another run may have built it while this one waited.
    if !path.exists() {
        build(tool, &folder, progress)
            .with_context(|| format!("could not build {}", tool.binary()))?;
    }
    Ok(path)
}

fn lock(path: &Path, tool: Tool, progress: &dyn Progress) -> anyhow::Result<File> {
    let file = File::create(path)?;
    if file.try_lock().is_err() {
        progress.line(&format!(
            "waiting for another run, which builds {} or a tool beside it",
            tool.binary()
        ));
        file.lock()?;
    }
    Ok(file)
}

fn build(tool: Tool, folder: &Path, progress: &dyn Progress) -> anyhow::Result<()> {
    let name = tool.binary();
    // In the same folder, so that the rename at the end does not cross file systems.
    let scratch = tempfile::Builder::new()
        .prefix("build-")
        .tempdir_in(folder)?;
    let (mut command, built) = match tool.origin() {
        Origin::Debian { package, file } => {
            progress.line(&format!("fetching {name} from Debian's package {package}"));
            return debian::fetch(name, package, file, folder);
        }
        Origin::Go {
            module,
            package,
            tags,
            ldflags,
        } => {
            let built = scratch.path().join(name);
            (go(module, package, tags, ldflags, &built), built)
        }
        Origin::Cargo { version } => (
            cargo(name, version, scratch.path()),
            scratch.path().join("bin").join(name),
        ),
    };
    let output = scratch.path().join("output.log");
    let sink = File::create(&output)?;

    progress.line(&format!(
        "building {name} (usually {} s from nothing)",
        tool.usual_seconds()
    ));
    let started = Instant::now();
    let mut child = match command
        .stdin(Stdio::null())
        .stdout(sink.try_clone()?)
        .stderr(sink)
        .spawn()
    {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(
                "`{}` is not on the PATH; see the README for what has to be installed",
                program(&command)
            );
        }
        spawned => spawned?,
    };
    let mut told = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if told.elapsed() >= REPORT_EVERY {
            told = Instant::now();
            let usual = tool.usual_seconds();
            progress.line(&format!(
                "still building {name}: {} s (usually {usual} s)",
                started.elapsed().as_secs()
            ));
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        let text = fs::read_to_string(&output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        bail!(
            "{} failed ({status}):\n{}",
            program(&command),
            lines[lines.len().saturating_sub(40)..].join("\n")
        );
    }
    fs::rename(&built, folder.join("bin").join(name))?;
    progress.line(&format!(
        "built {name} in {} s",
        started.elapsed().as_secs()
    ));
    Ok(())
}

fn go(module: &str, package: &str, tags: &str, ldflags: &str, built: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(modules().join(module))
        // Static and the same wherever it is built.
        .env("CGO_ENABLED", "0")
        .env_remove("GOFLAGS")
        .args([
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-mod=readonly",
            "-tags",
            tags,
            "-ldflags",
            ldflags,
        ])
        .arg("-o")
        .arg(built)
        .arg(package);
    command
}

fn cargo(name: &str, version: &str, scratch: &Path) -> Command {
    let mut command = Command::new("cargo");
    command
        .args([
            "install",
            "--locked",
            "--no-track",
            "--version",
            version,
            "--root",
        ])
        .arg(scratch)
        .arg("--target-dir")
        .arg(scratch.join("target"))
        .arg(name);
    command
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_build_takes_its_pins_as_they_are() {
        let package = "k8s.io/kubernetes/cmd/kubectl";
        let command = go("kubernetes", package, "", "", Path::new("scratch/kubectl"));
        let args: Vec<_> = command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        assert!(args.contains(&"-mod=readonly".to_owned()), "{args:?}");
        assert!(args.ends_with(&["scratch/kubectl".to_owned(), package.to_owned()]));
    }
}
