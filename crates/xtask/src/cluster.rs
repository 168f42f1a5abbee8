//! A cluster that stays up between commands, for trying things by hand.
//!
//! A supervisor in the background owns it. The supervisor stays for as long as its record exists, so taking the
//! cluster down means to remove the record and to wait until the supervisor's lock is free.

mod record;

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use backstop_testenv::cargo::workspace;
use backstop_testenv::tools::{Stderr, ensure as ensure_tools};
use backstop_testenv::{Cluster, ClusterOptions, Node, NodeOptions, Tool, Traefik, eventually};

use record::{Place, Record};

const UP_DEADLINE: Duration = Duration::from_mins(3);
const DOWN_DEADLINE: Duration = Duration::from_mins(1);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to keep its record. Another folder is another cluster
    #[arg(long, global = true)]
    state: Option<PathBuf>,
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
    Supervise(Shape),
}

#[derive(clap::Args)]
struct UpArgs {
    /// Also write the administrator's kubeconfig here
    #[arg(long)]
    kubeconfig_out: Option<PathBuf>,
    #[command(flatten)]
    shape: Shape,
}

/// What it is made of.
#[derive(clap::Args, Clone)]
struct Shape {
    /// Fake nodes
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Write an audit log
    #[arg(long)]
    audit: bool,
    /// Also a real node, with real pods and Services that answer; needs root
    #[arg(long)]
    node: bool,
    /// Also Traefik in front of the real node
    #[arg(long, requires = "node")]
    traefik: bool,
    /// Also import this OCI archive, such as one of `cargo xtask image`
    #[arg(long, requires = "node")]
    image: Vec<PathBuf>,
}

impl Shape {
    fn args(&self) -> Vec<OsString> {
        let Self {
            nodes,
            audit,
            node,
            traefik,
            image,
        } = self;
        let mut args = vec![format!("--nodes={nodes}").into()];
        let flags = [
            ("--audit", *audit),
            ("--node", *node),
            ("--traefik", *traefik),
        ];
        args.extend(
            flags
                .into_iter()
                .filter(|(_, wanted)| *wanted)
                .map(|(flag, _)| flag.into()),
        );
        for archive in image {
            args.extend(["--image".into(), archive.into()]);
        }
        args
    }

    fn tools(&self) -> Vec<Tool> {
        let mut tools = Tool::CLUSTER.to_vec();
        if self.node {
            tools.extend(Tool::NODE);
        }
        if self.traefik {
            tools.push(Tool::Traefik);
        }
        tools
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    // One cluster for each checkout, unless told otherwise.
    let folder = args
        .state
        .unwrap_or_else(|| workspace().join(".state").join("cluster"));
    let place = Place(folder);
    match args.command {
        Action::Up(up_args) => runtime.block_on(up(&place, &up_args)),
        Action::Down => runtime.block_on(down(&place)),
        Action::Supervise(shape) => runtime.block_on(supervise(&place, &shape)),
    }
}

async fn up(place: &Place, args: &UpArgs) -> anyhow::Result<()> {
    fs::create_dir_all(&place.0)?;
    if place.is_down()? {
        // Here and not in the supervisor, so that whoever waits sees how it goes.
        let tools = args.shape.tools();
        tokio::task::spawn_blocking(move || ensure_tools(&tools, &Stderr)).await??;
        start_supervisor(place, &args.shape).await?;
    }
    let record = place.read()?;
    ensure!(
        record.node.is_some() || !args.shape.node,
        "a cluster without a real node is up already: take it down first"
    );
    ensure!(
        record.traefik.is_some() || !args.shape.traefik,
        "a cluster without Traefik is up already: take it down first"
    );
    let kubeconfig = match &args.kubeconfig_out {
        Some(path) => {
            fs::copy(&record.kubeconfig, path)
                .with_context(|| format!("could not write {}", path.display()))?;
            path.canonicalize()?
        }
        None => record.kubeconfig.clone(),
    };
    println!("The cluster is up. To use it:\n");
    println!("  export KUBECONFIG={}", kubeconfig.display());
    println!("  {} get nodes\n", Tool::Kubectl.path()?.display());
    record.explain();
    println!("Logs are in {}", record.logs.display());
    println!("`cargo xtask cluster down` stops it.");
    Ok(())
}

async fn start_supervisor(place: &Place, shape: &Shape) -> anyhow::Result<()> {
    let started = Instant::now();
    let _ = fs::remove_file(place.record());
    let log_path = place.0.join("supervisor.log");
    let log = File::create(&log_path)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["cluster", "supervise"]).args(shape.args());
    command.arg("--state").arg(place.0.canonicalize()?);
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
        ensure!(place.record().exists(), "still starting");
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

async fn supervise(place: &Place, shape: &Shape) -> anyhow::Result<()> {
    let lock = File::create(place.lock())?;
    lock.try_lock().context("a cluster is up already")?;
    let cluster = Cluster::start(ClusterOptions {
        nodes: shape.nodes,
        audit: shape.audit,
        ..ClusterOptions::default()
    })
    .await?;
    let node = if shape.node {
        let images = shape.image.clone();
        Some(Node::join(&cluster, NodeOptions { images }).await?)
    } else {
        None
    };
    let traefik = if shape.traefik {
        Some(Traefik::start(&cluster).await?)
    } else {
        None
    };
    place.write(&Record::of(&cluster, node.as_ref(), traefik.as_ref())?)?;
    while place.record().exists() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop((traefik, node, cluster));
    Ok(())
}

async fn down(place: &Place) -> anyhow::Result<()> {
    if !place.0.exists() || place.is_down()? {
        println!("No cluster is up.");
        return Ok(());
    }
    if let Err(error) = fs::remove_file(place.record()) {
        bail!("the cluster is still starting, or ending: {error}");
    }
    eventually("the cluster to stop", DOWN_DEADLINE, async || {
        ensure!(place.is_down()?, "its supervisor still runs");
        Ok(())
    })
    .await?;
    println!("The cluster is down.");
    Ok(())
}
