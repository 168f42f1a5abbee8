//! A cluster that stays up between commands, for trying things by hand.
//!
//! A supervisor in the background owns it. The supervisor stays for as long as its record exists, so taking the
//! cluster down means to remove the record and to wait until the supervisor's lock is free.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use backstop_testenv::tools::{Stderr, ensure as ensure_tools};
use backstop_testenv::{Cluster, ClusterOptions, Tool, eventually};
use serde::{Deserialize, Serialize};

use crate::workspace::root;

const UP_DEADLINE: Duration = Duration::from_mins(3);
const DOWN_DEADLINE: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Start it, and say how to reach it
    Up(UpArgs),
    /// Stop it
    Down,
    /// Own the cluster until it is taken down
    #[command(hide = true)]
    Supervise {
        #[arg(long)]
        nodes: usize,
        #[arg(long)]
        audit: bool,
    },
}

#[derive(clap::Args)]
struct UpArgs {
    /// Also write the administrator's kubeconfig here
    #[arg(long)]
    kubeconfig_out: Option<PathBuf>,
    /// Fake nodes
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Write an audit log
    #[arg(long)]
    audit: bool,
}

/// What the supervisor tells the others.
#[derive(Serialize, Deserialize)]
struct Record {
    kubeconfig: PathBuf,
    logs: PathBuf,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match args.command {
        Action::Up(up_args) => runtime.block_on(up(&up_args)),
        Action::Down => runtime.block_on(down()),
        Action::Supervise { nodes, audit } => runtime.block_on(supervise(ClusterOptions {
            nodes,
            audit,
            ..ClusterOptions::default()
        })),
    }
}

async fn up(args: &UpArgs) -> anyhow::Result<()> {
    fs::create_dir_all(folder())?;
    if is_down()? {
        // Here and not in the supervisor, so that whoever waits sees how it goes.
        tokio::task::spawn_blocking(|| ensure_tools(&Tool::CLUSTER, &Stderr)).await??;
        start_supervisor(args).await?;
    }
    let record = read_record()?;
    let kubeconfig = match &args.kubeconfig_out {
        Some(path) => {
            fs::copy(&record.kubeconfig, path)
                .with_context(|| format!("could not write {}", path.display()))?;
            path.canonicalize()?
        }
        None => record.kubeconfig,
    };
    println!("The cluster is up. To use it:\n");
    println!("  export KUBECONFIG={}", kubeconfig.display());
    println!("  {} get nodes\n", Tool::Kubectl.path()?.display());
    println!("Logs are in {}", record.logs.display());
    println!("`cargo xtask cluster down` stops it.");
    Ok(())
}

async fn start_supervisor(args: &UpArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let _ = fs::remove_file(record_path());
    let log_path = folder().join("supervisor.log");
    let log = File::create(&log_path)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["cluster", "supervise", "--nodes", &args.nodes.to_string()]);
    if args.audit {
        command.arg("--audit");
    }
    let mut supervisor = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Out of this terminal's group: an interrupt here is not meant for it.
        .process_group(0)
        .spawn()?;
    let up = eventually("the cluster", UP_DEADLINE, async || {
        if let Some(status) = supervisor.try_wait()? {
            // No use in waiting on: the outer Ok ends it.
            return Ok(Err(status));
        }
        ensure!(record_path().exists(), "still starting");
        anyhow::Ok(Ok(()))
    });
    if let Err(status) = up.await? {
        bail!(
            "the cluster did not start ({status}):\n{}",
            fs::read_to_string(log_path)?
        );
    }
    println!("Started in {:.1} s.", started.elapsed().as_secs_f64());
    Ok(())
}

async fn supervise(options: ClusterOptions) -> anyhow::Result<()> {
    let lock = File::create(lock_path())?;
    lock.try_lock().context("a cluster is up already")?;
    let cluster = Cluster::start(options).await?;
    let record = Record {
        kubeconfig: cluster.kubeconfig_path().to_owned(),
        logs: cluster.logs_dir(),
    };
    // Whole or not at all: its being there says that the cluster is ready.
    let scratch = folder().join("record.json.new");
    fs::write(&scratch, serde_json::to_vec_pretty(&record)?)?;
    fs::rename(scratch, record_path())?;
    while record_path().exists() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(cluster);
    Ok(())
}

async fn down() -> anyhow::Result<()> {
    if !folder().exists() || is_down()? {
        println!("No cluster is up.");
        return Ok(());
    }
    if let Err(error) = fs::remove_file(record_path()) {
        bail!("the cluster is still starting, or ending: {error}");
    }
    eventually("the cluster to stop", DOWN_DEADLINE, async || {
        ensure!(is_down()?, "its supervisor still runs");
        Ok(())
    })
    .await?;
    println!("The cluster is down.");
    Ok(())
}

fn is_down() -> anyhow::Result<bool> {
    Ok(File::create(lock_path())?.try_lock().is_ok())
}

fn read_record() -> anyhow::Result<Record> {
    let text =
        fs::read(record_path()).context("a cluster is starting or ending just now; try again")?;
    Ok(serde_json::from_slice(&text)?)
}

/// One cluster for each checkout.
fn folder() -> PathBuf {
    root().join(".state").join("cluster")
}

fn record_path() -> PathBuf {
    folder().join("record.json")
}

fn lock_path() -> PathBuf {
    folder().join("lock")
}
