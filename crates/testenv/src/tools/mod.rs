//! The programs that a test cluster is made of: what they are and where they are built to.
//!
//! Each comes from a Go module of its own under `e2e/tools`, since together their requirements clash. Binaries are
//! kept in the user's cache under a key made from the module's pins and build arguments: a new pin is a new build, and
//! nothing else is.

mod build;
mod debian;
mod progress;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

pub use build::ensure;
pub use progress::{Progress, Silent, Stderr};

/// The release that the Kubernetes programs say they are, which is the one that `e2e/tools/kubernetes` pins: built
/// from a module they would call themselves v0.0.0-master, and version checks of their clients would fail.
const KUBERNETES_LDFLAGS: &str = "-s -w \
    -X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=36 \
    -X k8s.io/client-go/pkg/version.gitVersion=v1.36.3 \
    -X k8s.io/client-go/pkg/version.gitMajor=1 \
    -X k8s.io/client-go/pkg/version.gitMinor=36";
/// The same for Prometheus, whose module v0.315.0 is its release 3.15.0, and for Helm.
const PROMETHEUS_LDFLAGS: &str = "-s -w -X github.com/prometheus/common/version.Version=3.15.0";
const HELM_LDFLAGS: &str = "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1";
/// And for Traefik.
const TRAEFIK_LDFLAGS: &str = "-s -w -X github.com/traefik/traefik/v3/pkg/version.Version=3.6.12";
const PLAIN_LDFLAGS: &str = "-s -w";

/// A program that tests, benches or the demo run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// The store behind the API server.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// Deployments, ReplicaSets, service accounts, garbage collection and the rest.
    KubeControllerManager,
    /// Puts pods on nodes.
    KubeScheduler,
    /// The command line client.
    Kubectl,
    /// Plays the kubelet of fake nodes.
    Kwok,
    /// Prometheus, without service discovery for clouds, which is most of its build.
    Prometheus,
    /// Routes alerts, and tells receivers of them.
    Alertmanager,
    /// Checks Prometheus' rules, and tests them.
    Promtool,
    /// Helm.
    Helm,
    /// Runs the containers of a real node.
    Containerd,
    /// Stands between containerd and each pod.
    ContainerdShim,
    /// containerd's command line client.
    Ctr,
    /// The real kubelet.
    Kubelet,
    /// Makes Services work on a real node.
    KubeProxy,
    /// Gives pods their addresses.
    CniHostLocal,
    /// Brings a pod's loopback interface up.
    CniLoopback,
    /// Joins pods to the node, each by a link of its own.
    CniPtp,
    /// Starts containers.
    Runc,
    /// Writes the packet filter's rules.
    Nft,
    /// Sets interfaces and routes up.
    Ip,
    /// A reverse proxy that takes its routes from the Gateway API and from resources of its own.
    Traefik,
    /// Tells what the pods of a real node use.
    MetricsServer,
    /// Finds Services by their names, for the pods of a real node.
    Coredns,
    /// A mail server that keeps what it is sent.
    Mailpit,
    /// Flux: applies what a source has, again and again.
    KustomizeController,
    /// Flux: fetches what a source has, and serves it.
    SourceController,
    /// The application that releases are made of on a real node.
    App,
    /// Holds the namespaces of a pod.
    Pause,
    /// Checks licences, sources and duplicates among the dependencies.
    CargoDeny,
    /// Finds dependencies that nothing uses.
    CargoMachete,
}

/// Where a tool's source comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A Go package, pinned by the module in `e2e/tools/<module>`.
    Go {
        module: &'static str,
        package: &'static str,
        tags: &'static str,
        ldflags: &'static str,
    },
    /// A crate of the same name as the binary.
    Cargo { version: &'static str },
    /// A Debian package and the file in it. Only where the machine has no such program yet.
    Debian {
        package: &'static str,
        file: &'static str,
    },
}

impl Tool {
    /// What a [`Cluster`](crate::Cluster) needs.
    pub const CLUSTER: [Self; 6] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubectl,
        Self::Kwok,
    ];
    /// What the demo needs besides its cluster.
    pub const DEMO: [Self; 2] = [Self::Prometheus, Self::Helm];
    /// What the end-to-end tests of alerts and rules need besides.
    pub const ALERTING: [Self; 2] = [Self::Alertmanager, Self::Promtool];
    /// What a [`Node`](crate::Node) needs besides its cluster.
    pub const NODE: [Self; 13] = [
        Self::Containerd,
        Self::ContainerdShim,
        Self::Ctr,
        Self::Kubelet,
        Self::KubeProxy,
        Self::CniHostLocal,
        Self::CniLoopback,
        Self::CniPtp,
        Self::Runc,
        Self::Nft,
        Self::Ip,
        Self::App,
        Self::Pause,
    ];
    /// What the checks of the workspace itself need.
    pub const CHECKS: [Self; 2] = [Self::CargoDeny, Self::CargoMachete];

    /// The name of its executable.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Kwok => "kwok",
            Self::Prometheus => "prometheus",
            Self::Alertmanager => "alertmanager",
            Self::Promtool => "promtool",
            Self::Helm => "helm",
            Self::Containerd => "containerd",
            Self::ContainerdShim => "containerd-shim-runc-v2",
            Self::Ctr => "ctr",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::CniHostLocal => "host-local",
            Self::CniLoopback => "loopback",
            Self::CniPtp => "ptp",
            Self::Runc => "runc",
            Self::Nft => "nft",
            Self::Ip => "ip",
            Self::Traefik => "traefik",
            Self::MetricsServer => "metrics-server",
            Self::Coredns => "coredns",
            Self::Mailpit => "mailpit",
            Self::KustomizeController => "kustomize-controller",
            Self::SourceController => "source-controller",
            Self::App => "app",
            Self::Pause => "pause",
            Self::CargoDeny => "cargo-deny",
            Self::CargoMachete => "cargo-machete",
        }
    }

    /// Seconds that a build takes with cold caches on two cores, for whoever waits for it.
    pub(crate) fn usual_seconds(self) -> u64 {
        match self {
            Self::Etcd => 45,
            Self::KubeApiserver
            | Self::CargoDeny
            | Self::KustomizeController
            | Self::SourceController => 240,
            Self::KubeControllerManager | Self::Kwok | Self::Kubelet => 60,
            Self::KubeScheduler | Self::Kubectl | Self::KubeProxy => 15,
            Self::Prometheus | Self::Promtool | Self::Containerd | Self::Mailpit => 100,
            Self::Alertmanager => 35,
            Self::ContainerdShim | Self::Ctr | Self::App => 10,
            Self::CniHostLocal
            | Self::CniLoopback
            | Self::CniPtp
            | Self::Pause
            | Self::Runc
            | Self::Nft
            | Self::Ip => 5,
            Self::Traefik => 360,
            Self::Helm | Self::MetricsServer => 180,
            Self::Coredns => 140,
            Self::CargoMachete => 50,
        }
    }

    pub(crate) fn origin(self) -> Origin {
        let kubernetes = |package| Origin::Go {
            module: "kubernetes",
            package,
            tags: "",
            ldflags: KUBERNETES_LDFLAGS,
        };
        let go = |module, package| Origin::Go {
            module,
            package,
            tags: "",
            ldflags: PLAIN_LDFLAGS,
        };
        let kubernetes_node = |package| Origin::Go {
            module: "kubernetes-node",
            package,
            tags: "",
            ldflags: KUBERNETES_LDFLAGS,
        };
        let containerd = |package| go("containerd", package);
        let cni = |package| go("cni", package);
        let debian = |package, file| Origin::Debian { package, file };
        match self {
            Self::Etcd => go("etcd", "go.etcd.io/etcd/server/v3"),
            Self::KubeApiserver => kubernetes("k8s.io/kubernetes/cmd/kube-apiserver"),
            Self::KubeControllerManager => {
                kubernetes("k8s.io/kubernetes/cmd/kube-controller-manager")
            }
            Self::KubeScheduler => kubernetes("k8s.io/kubernetes/cmd/kube-scheduler"),
            Self::Kubectl => kubernetes("k8s.io/kubernetes/cmd/kubectl"),
            Self::Kwok => go("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
            Self::Prometheus => Origin::Go {
                module: "prometheus",
                package: "github.com/prometheus/prometheus/cmd/prometheus",
                tags: "remove_all_sd",
                ldflags: PROMETHEUS_LDFLAGS,
            },
            Self::Alertmanager => go(
                "alertmanager",
                "github.com/prometheus/alertmanager/cmd/alertmanager",
            ),
            Self::Promtool => Origin::Go {
                module: "promtool",
                package: "github.com/prometheus/prometheus/cmd/promtool",
                tags: "remove_all_sd",
                ldflags: PROMETHEUS_LDFLAGS,
            },
            Self::Helm => Origin::Go {
                module: "helm",
                package: "helm.sh/helm/v4/cmd/helm",
                tags: "",
                ldflags: HELM_LDFLAGS,
            },
            Self::Containerd => containerd("github.com/containerd/containerd/v2/cmd/containerd"),
            Self::ContainerdShim => {
                containerd("github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2")
            }
            Self::Ctr => containerd("github.com/containerd/containerd/v2/cmd/ctr"),
            Self::Kubelet => kubernetes_node("k8s.io/kubernetes/cmd/kubelet"),
            Self::KubeProxy => kubernetes_node("k8s.io/kubernetes/cmd/kube-proxy"),
            Self::CniHostLocal => {
                cni("github.com/containernetworking/plugins/plugins/ipam/host-local")
            }
            Self::CniLoopback => {
                cni("github.com/containernetworking/plugins/plugins/main/loopback")
            }
            Self::CniPtp => cni("github.com/containernetworking/plugins/plugins/main/ptp"),
            Self::Runc => debian("runc", "usr/sbin/runc"),
            Self::Nft => debian("nftables", "usr/sbin/nft"),
            Self::Ip => debian("iproute2", "bin/ip"),
            Self::Traefik => Origin::Go {
                module: "traefik",
                package: "github.com/traefik/traefik/v3/cmd/traefik",
                tags: "",
                ldflags: TRAEFIK_LDFLAGS,
            },
            Self::MetricsServer => go(
                "metrics-server",
                "sigs.k8s.io/metrics-server/cmd/metrics-server",
            ),
            Self::Coredns => go("coredns", "github.com/coredns/coredns"),
            Self::Mailpit => go("mailpit", "github.com/axllent/mailpit"),
            Self::KustomizeController => go(
                "kustomize-controller",
                "github.com/fluxcd/kustomize-controller",
            ),
            Self::SourceController => {
                go("source-controller", "github.com/fluxcd/source-controller")
            }
            Self::App => go("app", "."),
            Self::Pause => go("app", "./pause"),
            Self::CargoDeny => Origin::Cargo { version: "0.20.2" },
            Self::CargoMachete => Origin::Cargo { version: "0.9.2" },
        }
    }

    /// Where its executable is, or will be once [`ensure`] has built it.
    pub fn path(self) -> anyhow::Result<PathBuf> {
        if let Origin::Debian { .. } = self.origin()
            && let Some(installed) = debian::installed(self.binary())
        {
            return Ok(installed);
        }
        Ok(self.folder()?.join("bin").join(self.binary()))
    }

    /// The cache folder that it shares with the tools of the same module.
    pub(crate) fn folder(self) -> anyhow::Result<PathBuf> {
        let name = match self.origin() {
            Origin::Go {
                module,
                tags,
                ldflags,
                ..
            } => {
                format!("{module}-{}", key(&modules().join(module), tags, ldflags)?)
            }
            Origin::Cargo { version } => format!("{}-{version}", self.binary()),
            Origin::Debian { package, .. } => format!("debian-{package}"),
        };
        Ok(crate::state::cache_dir()?.join("tools").join(name))
    }
}

/// The folder of the Go modules that pin the tools.
pub(crate) fn modules() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../e2e/tools")).to_owned()
}

/// A short hash of everything that decides what comes out of a build.
fn key(module: &Path, tags: &str, ldflags: &str) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for path in sources(module)? {
        hash.update(
            std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))?,
        );
    }
    hash.update(tags);
    hash.update(ldflags);
    let mut digest = hex::encode(hash.finalize());
    digest.truncate(12);
    Ok(digest)
}

/// The pins of a module, and its own code if it has any besides the `tools.go` that names what it pins.
fn sources(module: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = vec![module.join("go.mod"), module.join("go.sum")];
    let mut folders = vec![module.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut entries = std::fs::read_dir(&folder)
            .with_context(|| format!("could not read {}", folder.display()))?
            .map(|entry| Ok(entry?.path()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".go") && name != "tools.go" && !name.ends_with("_test.go") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_go_tool_is_pinned_by_a_module_that_names_its_package() {
        let all = Tool::CLUSTER
            .into_iter()
            .chain(Tool::DEMO)
            .chain(Tool::ALERTING)
            .chain(Tool::NODE);
        let besides = [
            Tool::Traefik,
            Tool::Coredns,
            Tool::MetricsServer,
            Tool::Mailpit,
            Tool::KustomizeController,
            Tool::SourceController,
        ];
        for tool in all.chain(besides) {
            let Origin::Go {
                module, package, ..
            } = tool.origin()
            else {
                continue;
            };
            // A program of our own: its module is its source.
            if package.starts_with('.') {
                assert!(modules().join(module).join(package).is_dir(), "{tool:?}");
                continue;
            }
            let pins = std::fs::read_to_string(modules().join(module).join("tools.go")).unwrap();
            assert!(pins.contains(&format!("_ \"{package}\"")), "{tool:?}");
        }
    }

    #[test]
    fn the_versions_that_the_tools_report_are_those_that_are_pinned() {
        let pinned = |module: &str, path: &str| {
            let pins = std::fs::read_to_string(modules().join(module).join("go.mod")).unwrap();
            let require = format!("require {path} ");
            pins.lines()
                .find_map(|line| line.strip_prefix(&require))
                .unwrap()
                .to_owned()
        };
        let kubernetes = pinned("kubernetes", "k8s.io/kubernetes");
        assert!(
            KUBERNETES_LDFLAGS.contains(&format!("gitVersion={kubernetes} ")),
            "{kubernetes}"
        );
        assert_eq!(kubernetes, pinned("kubernetes-node", "k8s.io/kubernetes"));
        let traefik = pinned("traefik", "github.com/traefik/traefik/v3");
        let release = traefik.trim_start_matches('v');
        assert!(
            TRAEFIK_LDFLAGS.ends_with(&format!("Version={release}")),
            "{traefik}"
        );
        let helm = pinned("helm", "helm.sh/helm/v4");
        assert!(HELM_LDFLAGS.ends_with(&format!("version={helm}")), "{helm}");
        // v0.315.0 stands for 3.15.0.
        let prometheus = pinned("prometheus", "github.com/prometheus/prometheus");
        assert_eq!(
            prometheus,
            pinned("promtool", "github.com/prometheus/prometheus")
        );
        let release = prometheus.replacen("v0.3", "3.", 1);
        assert!(
            PROMETHEUS_LDFLAGS.ends_with(&format!("Version={release}")),
            "{release}"
        );
    }

    #[test]
    fn another_pin_or_flag_is_another_folder() {
        let module = tempfile::tempdir().unwrap();
        let pin = |text: &str| {
            std::fs::write(module.path().join("go.mod"), text).unwrap();
            std::fs::write(module.path().join("go.sum"), "").unwrap();
        };
        pin("one");
        let one = key(module.path(), "", "-s").unwrap();
        assert_eq!(one, key(module.path(), "", "-s").unwrap());
        assert_ne!(one, key(module.path(), "", "-w").unwrap());
        pin("two");
        let two = key(module.path(), "", "-s").unwrap();
        assert_ne!(one, two);
        std::fs::write(module.path().join("tools.go"), "names").unwrap();
        assert_eq!(two, key(module.path(), "", "-s").unwrap());
        std::fs::write(module.path().join("main.go"), "code").unwrap();
        assert_ne!(two, key(module.path(), "", "-s").unwrap());
    }
}
