//! What the story is played on: a control plane of its own, or a cluster that is there already.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use backstop_e2e::install;
use backstop_e2e::operator::Running;
use backstop_testenv::traffic::Follower;
use backstop_testenv::{
    Access, AppTraffic, Cluster, ClusterOptions, Exporter, Load, Prometheus, PrometheusOptions,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt as _};

use super::Args;
use super::app::{Containers, Pace, VERSION, fault_of};
use super::screen::{Screen, Voice};

/// The namespace of the story.
pub(crate) const NAMESPACE: &str = "backstop-demo";
/// Requests in a second, of each pod.
const RPS: f64 = 50.0;
/// Between two scrapes of the demo's own Prometheus, in seconds.
const SCRAPE: u32 = 1;

/// The cluster.
pub(crate) enum Ground {
    /// One of its own, which goes away with it.
    Own(Box<Cluster>),
    /// Somebody's, which is left as it was.
    Theirs(Access),
}

impl Ground {
    /// Starts a cluster, or finds the one that is asked for.
    pub(crate) async fn new(context: Option<&str>, screen: &Screen) -> anyhow::Result<Self> {
        let Some(context) = context else {
            screen.say(
                Voice::Demo,
                "starting a Kubernetes control plane on this machine",
            );
            let cluster = Cluster::start(ClusterOptions::default()).await?;
            return Ok(Self::Own(Box::new(cluster)));
        };
        let access = Access::by_context(context).await?;
        let client = access.client().await?;
        if is_there(&access, "namespace", NAMESPACE).await? {
            bail!(
                "namespace {NAMESPACE} is there already. If an earlier demo left it: \
                 kubectl delete namespace {NAMESPACE}"
            );
        }
        for (kind, name) in [
            ("crd", "rollbackpolicies.backstop.dev"),
            ("namespace", backstop_e2e::chart::NAMESPACE),
        ] {
            if is_there(&access, kind, name).await? {
                bail!(
                    "{kind} {name} is there already, so Backstop is installed in this cluster. The demo installs and \
                     removes a Backstop of its own and would meddle with that one: take a cluster without it"
                );
            }
        }
        let version = client.apiserver_version().await?;
        screen.say(
            Voice::Demo,
            &format!(
                "using context {context}: Kubernetes {}",
                version.git_version
            ),
        );
        Ok(Self::Theirs(access))
    }

    pub(crate) fn access(&self) -> &Access {
        match self {
            Self::Own(cluster) => cluster,
            Self::Theirs(access) => access,
        }
    }

    /// Takes away what was put in.
    pub(crate) async fn leave(self, screen: &Screen) -> anyhow::Result<()> {
        match self {
            Self::Own(cluster) => {
                screen.say(Voice::Demo, "stopping everything");
                drop(cluster);
            }
            Self::Theirs(access) => {
                screen.say(
                    Voice::Demo,
                    "removing the namespace, the policies, the rights and the CRDs",
                );
                let delete = [
                    "delete",
                    "namespace",
                    NAMESPACE,
                    "--ignore-not-found",
                    "--timeout=120s",
                ];
                access.kubectl(&delete).await?.success()?;
                install::remove(&access).await?;
            }
        }
        Ok(())
    }

    /// The ends of the logs that are at hand.
    pub(crate) fn log_tail(&self) -> String {
        match self {
            Self::Own(cluster) => cluster.log_tail(5),
            Self::Theirs(_) => String::new(),
        }
    }
}

async fn is_there(access: &Access, kind: &str, name: &str) -> anyhow::Result<bool> {
    let get = ["get", kind, name, "--ignore-not-found", "--output=name"];
    Ok(!access.kubectl(&get).await?.success()?.trim().is_empty())
}

/// Everything that runs while the story is told. Ends when it is dropped.
pub(crate) struct Stage<'a> {
    pub(crate) access: &'a Access,
    pub(crate) client: Client,
    pub(crate) containers: Containers,
    pub(crate) pace: Pace,
    pub(crate) operator: Running,
    _traffic: Option<Traffic>,
}

/// Made-up traffic, and the Prometheus that sees it.
struct Traffic {
    _follower: Follower,
    prometheus: Prometheus,
    _exporter: Exporter,
}

impl<'a> Stage<'a> {
    pub(crate) async fn set(
        ground: &'a Ground,
        args: &Args,
        binary: &Path,
        screen: &Screen,
    ) -> anyhow::Result<Self> {
        let access = ground.access();
        let client = access.client().await?;
        access.namespace_called(NAMESPACE).await?;
        let (traffic, prometheus, scrape, containers) = match ground {
            Ground::Own(cluster) => {
                let version = client.apiserver_version().await?.git_version;
                screen.say(
                    Voice::Demo,
                    &format!(
                        "Kubernetes {version} is up: etcd, API server, controllers, scheduler; the node is a fake one, and plays what pods do"
                    ),
                );
                let traffic = Traffic::start(cluster).await?;
                let url = traffic.prometheus.url().to_owned();
                screen.say(
                    Voice::Demo,
                    &format!(
                        "Prometheus is up at {url}; each ready pod gets {RPS} made-up requests a second"
                    ),
                );
                (Some(traffic), Some(url), Some(SCRAPE), Containers::Played)
            }
            Ground::Theirs(_) => {
                let scrape = args.prometheus.is_some().then_some(args.scrape_interval);
                let image = Containers::Image(args.image.clone());
                (None, args.prometheus.clone(), scrape, image)
            }
        };
        install::install(access).await?;
        screen.say(
            Voice::Demo,
            "CRDs, rights and admission policies are installed from the Helm chart",
        );
        let flags: Vec<String> = prometheus
            .into_iter()
            .flat_map(|url| ["--prometheus-url".to_owned(), url])
            .collect();
        let operator = Running::start_binary(binary, access, NAMESPACE, "demo", &flags).await?;
        operator.leads().await.context("Backstop did not start")?;
        screen.say(
            Voice::Demo,
            "Backstop runs, with the rights of its service account and no others",
        );
        Ok(Self {
            access,
            client,
            containers,
            pace: Pace { scrape },
            operator,
            _traffic: traffic,
        })
    }

    /// How long something may take.
    pub(crate) fn patience(&self) -> Duration {
        let waits_for_metrics = Duration::from_secs(10 * u64::from(self.pace.range()));
        let waits_for_pods = match self.containers {
            Containers::Played => Duration::from_mins(1),
            // Images are pulled, and a crash loop takes its time.
            Containers::Image(_) => Duration::from_mins(4),
        };
        waits_for_pods + waits_for_metrics
    }
}

impl Traffic {
    async fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let traffic = AppTraffic::default();
        let load = |pod: &Pod| {
            let version = pod.labels().get(VERSION)?;
            Some(Load::failing(RPS, fault_of(version).errors()))
        };
        let follower = traffic.follow(cluster, NAMESPACE, load)?;
        let exporter = Exporter::start(traffic)?;
        let targets = vec![exporter.target()];
        let prometheus = Prometheus::start(PrometheusOptions {
            scrape_interval: Duration::from_secs(u64::from(SCRAPE)),
            targets: targets.clone(),
            ..PrometheusOptions::default()
        })
        .await?;
        prometheus.scraped(&targets).await?;
        Ok(Self {
            _follower: follower,
            prometheus,
            _exporter: exporter,
        })
    }
}
