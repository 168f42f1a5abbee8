//! What a real node leaves on the machine when it is gone: nothing, however it went.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_e2e::real::RealApp;
use backstop_testenv::{Access, Node, eventually};
use procfs::process::{Process, all_processes};
use serde_json::Value;
use tokio::process::Command;

/// Where a kubelet, a container runtime and its network plugins write by default.
const USUAL_PLACES: [&str; 7] = [
    "/run/netns",
    "/run/containerd",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
];

/// On a machine that is busy with other tests.
const SOON: Duration = Duration::from_mins(1);

/// A cluster with a real node that xtask holds, in a folder of its own.
struct Held {
    folder: tempfile::TempDir,
    record: Value,
}

/// What of it can be seen on the machine, as far as it is still there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Traces {
    interface: Option<String>,
    routes: usize,
    groups: Vec<PathBuf>,
    processes: Vec<Running>,
    mounts: Vec<String>,
}

/// A process. The number alone may be another's later.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Running {
    pid: i32,
    started: u64,
    name: String,
}

impl Running {
    fn of(process: &Process) -> Option<Self> {
        let stat = process.stat().ok().filter(|stat| stat.state != 'Z')?;
        Some(Self {
            pid: stat.pid,
            started: stat.starttime,
            name: stat.comm,
        })
    }

    fn still_runs(&self) -> bool {
        let now = Process::new(self.pid).ok();
        now.and_then(|process| Self::of(&process))
            .is_some_and(|now| now.started == self.started)
    }
}

impl Held {
    async fn up() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        xtask(folder.path(), &["up", "--node"]).await?;
        let record = serde_json::from_slice(&fs::read(folder.path().join("record.json"))?)?;
        Ok(Self { folder, record })
    }

    fn text(&self, path: &str) -> anyhow::Result<&str> {
        let value = self.record.pointer(path).and_then(Value::as_str);
        value.with_context(|| format!("the record has no {path}"))
    }

    /// Puts real pods on it, so that there is something to take away.
    async fn run_pods(&self) -> anyhow::Result<()> {
        let kubeconfig = fs::read_to_string(self.text("/kubeconfig")?)?;
        let access = Access::by_kubeconfig(kubeconfig)?;
        let app = RealApp::new("web", "v1");
        access.apply("default", &app.manifests()?).await?;
        let client = access.client().await?;
        app.rolled_out(&client, "default").await?;
        app.url(&client, "default").await?;
        Ok(())
    }

    /// What there is of it, and which of the processes that were seen before still run. Neither their namespace nor the
    /// interface's name tells that: when they are gone, those of the next node may have the same.
    fn left(&self, before: &Traces) -> anyhow::Result<Traces> {
        let group = self.text("/node/control_group")?;
        let seen = before.processes.iter().filter(|it| it.still_runs());
        let others = processes(None, group)?;
        let now = self.traces()?;
        let is_another = now.interface != before.interface;
        Ok(Traces {
            processes: seen.cloned().chain(others).collect(),
            interface: now.interface.filter(|_| !is_another),
            routes: if is_another { 0 } else { now.routes },
            ..now
        })
    }

    fn traces(&self) -> anyhow::Result<Traces> {
        let interface = self.text("/node/interface")?;
        let group = self.text("/node/control_group")?;
        let namespace = self.text("/node/process_namespace")?;
        let routes = fs::read_to_string("/proc/net/route")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let hierarchies = fs::read_dir("/sys/fs/cgroup")?.flatten();
        Ok(Traces {
            interface: fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")).ok(),
            routes: routes
                .lines()
                .filter(|line| line.starts_with(&format!("{interface}\t")))
                .count(),
            groups: hierarchies
                .map(|entry| entry.path())
                .chain([PathBuf::from("/sys/fs/cgroup")])
                .map(|folder| folder.join(group))
                .filter(|folder| folder.exists())
                .collect(),
            processes: processes(Some(namespace), group)?,
            mounts: mounts
                .lines()
                .filter(|line| line.contains("backstop-node") || line.contains(group))
                .map(str::to_owned)
                .collect(),
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A test that failed leaves the cluster up; its supervisor ends it when the record is gone.
        let _ = fs::remove_file(self.folder.path().join("record.json"));
    }
}

async fn xtask(folder: &Path, args: &[&str]) -> anyhow::Result<()> {
    // Beside this test's own folder: `<target>/<profile>/deps/e2e-...`.
    let own = std::env::current_exe()?;
    let program = own
        .ancestors()
        .nth(2)
        .context("no target folder")?
        .join("xtask");
    ensure!(
        program.exists(),
        "build it first: cargo build --package xtask"
    );
    let output = Command::new(program)
        .arg("cluster")
        .args(args)
        .arg("--state")
        .arg(folder)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The processes in this namespace, and in containers of this control group.
fn processes(namespace: Option<&str>, group: &str) -> anyhow::Result<Vec<Running>> {
    let inside = |process: &Process| {
        let link = fs::read_link(format!("/proc/{}/ns/pid", process.pid()));
        namespace.is_some_and(|namespace| link.is_ok_and(|link| link == Path::new(namespace)))
            || process
                .cgroups()
                .is_ok_and(|groups| groups.into_iter().any(|it| it.pathname.contains(group)))
    };
    Ok(all_processes()?
        .flatten()
        .filter(inside)
        .filter_map(|process| Running::of(&process))
        .collect())
}

/// What is in the usual places.
fn written() -> BTreeSet<PathBuf> {
    let folders = USUAL_PLACES
        .iter()
        .filter_map(|place| fs::read_dir(place).ok());
    folders
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

async fn leaves_nothing(end: impl AsyncFnOnce(&Held) -> anyhow::Result<()>) -> anyhow::Result<()> {
    // Asked first: it says whether this machine can have one at all.
    if Node::shared().await?.is_none() {
        return Ok(());
    }
    let before = written();
    let held = Held::up().await?;
    held.run_pods().await?;
    let there = held.traces()?;
    // Or the test would see nothing in the end because it looks in the wrong place.
    ensure!(
        there.interface.is_some() && there.routes > 0 && !there.groups.is_empty(),
        "{there:?}"
    );
    for process in ["containerd", "kubelet", "kube-proxy", "app", "pause"] {
        ensure!(
            there.processes.iter().any(|it| it.name == process),
            "{there:?}"
        );
    }
    // Not even while it runs.
    ensure!(there.mounts.is_empty(), "{there:?}");
    ensure!(written() == before, "{:?}", written().difference(&before));

    end(&held).await?;

    eventually("nothing to be left", SOON, async || {
        let left = held.left(&there)?;
        ensure!(left == Traces::default(), "{left:?}");
        Ok(())
    })
    .await?;
    ensure!(written() == before, "{:?}", written().difference(&before));
    Ok(())
}

#[tokio::test]
async fn node_a_cluster_with_a_real_node_leaves_nothing_when_it_is_taken_down() -> anyhow::Result<()>
{
    leaves_nothing(async |held| xtask(held.folder.path(), &["down"]).await).await
}

#[tokio::test]
async fn node_a_real_node_leaves_nothing_when_its_owner_is_killed() -> anyhow::Result<()> {
    leaves_nothing(async |held| {
        let supervisor = held.record["supervisor"]
            .as_u64()
            .context("no supervisor")?;
        let status = Command::new("kill")
            .args(["-KILL", &supervisor.to_string()])
            .status()
            .await?;
        ensure!(status.success(), "{status}");
        Ok(())
    })
    .await
}
