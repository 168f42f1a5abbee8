//! `kubectl backstop`: what people do with Backstop from a terminal.

mod audit;
mod baseline;
mod cluster;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What people do with Backstop from a terminal.
#[derive(Debug, Parser)]
#[command(name = "kubectl backstop", bin_name = "kubectl backstop", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The audit log: write what is on record in the cluster, and find out whether a log is whole.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// What releases are compared with: capture it from a load test, take it from a file, look at it.
    #[command(subcommand)]
    Baseline(Box<baseline::Baseline>),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("error: a TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let done = match arguments.command {
        Command::Audit(audit) => audit.run().await,
        Command::Baseline(baseline) => baseline.run().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
