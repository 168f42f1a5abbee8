//! What a real node leaves on the machine when it is gone: nothing, however it went.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_e2e::real::RealApp;
use backstop_testenv::{Access, Node, eventually};
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

/// A cluster with a real node that xtask holds, in a folder of its own.
struct Held {
    folder: tempfile::TempDir,
    record: Value,
}

/// What of it can be seen on the machine, as far as it is still there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Traces {
    interface: bool,
    routes: usize,
    groups: Vec<PathBuf>,
    processes: Vec<String>,
    mounts: Vec<String>,
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
        let url = app.url(&client, "default").await?;
        let body: Value = reqwest::get(&url).await?.json().await?;
        ensure!(body["version"] == "v1", "{body}");
        Ok(())
    }

    fn traces(&self) -> anyhow::Result<Traces> {
        let interface = self.text("/node/interface")?;
        let group = self.text("/node/control_group")?;
        let namespace = self.text("/node/process_namespace")?;
        let routes = fs::read_to_string("/proc/net/route")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let hierarchies = fs::read_dir("/sys/fs/cgroup")?.flatten();
        Ok(Traces {
            interface: Path::new("/sys/class/net").join(interface).exists(),
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
            processes: processes(namespace, group)?,
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

/// The names of the processes in this namespace, and in containers of this control group.
fn processes(namespace: &str, group: &str) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    let inside = |process: &PathBuf| {
        let link = fs::read_link(process.join("ns/pid"));
        let groups = fs::read_to_string(process.join("cgroup"));
        link.is_ok_and(|link| link == Path::new(namespace))
            || groups.is_ok_and(|groups| groups.contains(group))
    };
    Ok(entries
        .filter(inside)
        .filter_map(|process| fs::read_to_string(process.join("comm")).ok())
        .map(|name| name.trim().to_owned())
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
        there.interface && there.routes > 0 && !there.groups.is_empty(),
        "{there:?}"
    );
    for process in ["containerd", "kubelet", "kube-proxy", "app", "pause"] {
        ensure!(
            there.processes.iter().any(|name| name == process),
            "{there:?}"
        );
    }
    // Not even while it runs.
    ensure!(there.mounts.is_empty(), "{there:?}");
    ensure!(written() == before, "{:?}", written().difference(&before));

    end(&held).await?;

    eventually("nothing to be left", Duration::from_secs(20), async || {
        let left = held.traces()?;
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
