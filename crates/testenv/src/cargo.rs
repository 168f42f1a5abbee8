//! The workspace, and the cargo that builds it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The same cargo as the one that runs this, in the workspace's folder.
///
/// Cargo tells a program that it runs which package is the program's. The cargo that is started here must not hear of
/// it: there are dependencies, `ring` for one, whose build scripts run again when these variables change, and all that
/// stands on them would be compiled anew each time that another program asked for it.
pub fn cargo(args: &[&str]) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(workspace()).args(args);
    for (name, _) in env::vars_os() {
        let about_a_package = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if about_a_package
            .iter()
            .any(|start| name.to_string_lossy().starts_with(start))
        {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cargo_does_not_hear_which_package_starts_it() {
        assert!(env::var_os("CARGO_PKG_NAME").is_some());
        let command = cargo(&["build"]);
        let removed: Vec<_> = command
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name)
            .collect();
        for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"] {
            assert!(removed.contains(&name.as_ref()), "{name} in {removed:?}");
        }
    }
}
