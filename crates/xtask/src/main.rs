//! Runs everything in this repository: `cargo xtask --help` lists it.
//!
//! It is a Rust program and no collection of scripts, so that nothing but Rust and Go has to be installed.

mod bench;
mod cluster;
mod demo;
mod generate;
mod hear;
mod image;
mod operator;
mod permissions;
mod purity;
mod steps;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check and test everything, as CI does
    Test(test::Args),
    /// Build the programs that tests, demo and benches run
    Tools(tools::Args),
    /// A Kubernetes control plane on this machine, to try things on
    Cluster(cluster::Args),
    /// Write OCI archives of the operator and of what a real node runs
    Image(image::Args),
    /// Write what is derived from the code: CRDs, RBAC, reference docs, dashboards
    Generate(generate::Args),
    /// Compare the operator's rights with what it asked the API server for in the tests
    Permissions(permissions::Args),
    /// Watch Backstop take a bad release back
    Demo(demo::Args),
    /// Measure how long detection and rollback take
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Test(args) => test::run(&args),
        Command::Tools(args) => tools::run(&args),
        Command::Cluster(args) => cluster::run(args),
        Command::Image(args) => image::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Permissions(args) => permissions::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not returned from here: that would print a backtrace, of no use to whoever ran a command.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
