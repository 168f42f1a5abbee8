//! Where a run keeps its files, and how the files of runs that are over go away.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

/// Logs of so many finished runs are kept, to look at after a failure.
const KEPT_RUNS: usize = 5;

/// Backstop's folder under the user's cache directory: `$XDG_CACHE_HOME/backstop` or `~/.cache/backstop`.
pub(crate) fn cache_dir() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set, so there is no place for built tools")?;
    Ok(base.join("backstop"))
}

/// A directory for one run. It stays when the run is over, for its logs; later runs clear it away.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    /// Held while the run lasts. The kernel lets go of it when the process ends, so a lock that can be had means a
    /// run that is over.
    _lock: File,
}

impl StateDir {
    /// Makes a new one, and clears away those of earlier runs.
    pub(crate) fn new(kind: &str) -> anyhow::Result<Self> {
        let runs = cache_dir()?.join("runs");
        fs::create_dir_all(&runs)?;
        sweep(&runs);
        let started = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let path = tempfile::Builder::new()
            .prefix(&format!("{started}-{kind}-"))
            .tempdir_in(&runs)?
            .keep();
        let lock = File::create(path.join("lock"))?;
        lock.lock()?;
        fs::create_dir(path.join("logs"))?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Writes a file into it and returns its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, content).with_context(|| format!("could not write {name}"))?;
        Ok(path)
    }
}

/// Removes what runs that are over left behind, but for the newest few. Whatever cannot be removed stays: another run
/// may be sweeping as well.
fn sweep(runs: &Path) {
    let mut over: Vec<PathBuf> = fs::read_dir(runs)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok()))
        .collect();
    // Names begin with the time of the start.
    over.sort();
    over.truncate(over.len().saturating_sub(KEPT_RUNS));
    for path in over {
        let _ = fs::remove_dir_all(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_still_goes_on_is_not_swept() {
        let runs = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = runs.path().join(name);
            fs::create_dir(&path).unwrap();
            File::create(path.join("lock")).unwrap()
        };
        let going_on = make("0-old");
        going_on.lock().unwrap();
        for n in 1..=KEPT_RUNS + 2 {
            make(&format!("{n}-over"));
        }
        sweep(runs.path());
        let left = fs::read_dir(runs.path()).unwrap().count();
        assert!(runs.path().join("0-old").exists());
        assert_eq!(left, KEPT_RUNS + 1);
    }
}
