//! The pipeline that CI runs.

use std::process::Command;
use std::thread;

use anyhow::{Context as _, anyhow};
use backstop_testenv::cargo::{cargo, workspace};
use backstop_testenv::cluster::AUDIT_LOGS;
use backstop_testenv::tools::{Stderr, ensure};
use backstop_testenv::{Tool, node};

use crate::steps::{Steps, run as passed_through};
use crate::{generate, image, permissions, purity, tools};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only what needs neither a cluster nor a tool: seconds to a few minutes
    #[arg(long)]
    quick: bool,
    /// Also ask for known vulnerabilities, for which the advisory database is fetched
    #[arg(long, conflicts_with = "quick")]
    advisories: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // As long as it is there: a later step builds it anew, and what runs then has no name any more.
    let own = std::env::current_exe()?;
    let mut steps = Steps::default();
    if args.quick {
        workspace_checks(&mut steps);
        return steps.finish();
    }
    thread::scope(|scope| {
        // Go builds take minutes at first, and so does compiling the workspace: neither needs the other.
        let building = scope.spawn(|| ensure(&tools::e2e(), &Stderr).map(drop));
        workspace_checks(&mut steps);
        dependency_checks(&mut steps, args.advisories);
        let mut built = false;
        steps.step("Tools", || {
            building
                .join()
                .map_err(|_| anyhow!("the build panicked"))??;
            println!("all in place: see `cargo xtask tools`");
            built = true;
            Ok(())
        });
        if built {
            // Built by now, so that no test has to share the processors with a compiler.
            if node::available().is_ok() {
                steps.step("The operator's image", || {
                    image::run(&image::Args::default())
                });
            }
            steps.step("End-to-end tests", || {
                // Tests run Backstop's own programs as they are shipped: as processes.
                // With `--workspace` and `--tests` everywhere, so that every dependency is compiled once, with one set
                // of features.
                passed_through(cargo(&["build", "--workspace", "--bins", "--tests"]))?;
                let logs = permissions::empty_folder()?;
                let mut tests = cargo(&["test", "--workspace", "--test", "e2e", "--no-fail-fast"]);
                tests.env(AUDIT_LOGS, &logs);
                // They mostly wait: for rollouts, for samples, for what must not happen.
                tests.args(["--", "--test-threads=6"]);
                passed_through(tests)?;
                permissions::is_whole(&logs)
            });
            steps.step("Permissions", || {
                permissions::run(&permissions::Args::default())
            });
            steps.step("Demo", || {
                let mut demo = Command::new(&own);
                demo.arg("demo");
                passed_through(demo)
            });
        }
    });
    steps.finish()
}

fn workspace_checks(steps: &mut Steps) {
    steps.step("Formatting", || {
        passed_through(cargo(&["fmt", "--all", "--check"]))
    });
    steps.step("Lints", || {
        for targets in [&["--all-targets"][..], &["--test", "e2e"]] {
            let mut command = cargo(&["clippy", "--workspace"]);
            command.args(targets).args(["--", "--deny", "warnings"]);
            passed_through(command)?;
        }
        Ok(())
    });
    steps.step(
        "Generated files",
        || generate::run(&generate::Args::check()),
    );
    steps.step("Purity of the engine and of routes", purity::check);
    steps.step("Unit tests", || {
        passed_through(cargo(&["test", "--workspace", "--no-fail-fast"]))
    });
}

fn dependency_checks(steps: &mut Steps, advisories: bool) {
    steps.step("Unused dependencies", || {
        passed_through(tool(Tool::CargoMachete)?)
    });
    steps.step("Licences and sources of dependencies", || {
        let mut command = tool(Tool::CargoDeny)?;
        command.args(["--all-features", "check", "bans", "licenses", "sources"]);
        if advisories {
            command.arg("advisories");
        }
        passed_through(command)
    });
}

/// A tool's command, in the workspace's folder. Builds it if need be.
fn tool(tool: Tool) -> anyhow::Result<Command> {
    let path = ensure(&[tool], &Stderr)?.pop().context("no path")?;
    let mut command = Command::new(path);
    command.current_dir(workspace());
    Ok(command)
}
