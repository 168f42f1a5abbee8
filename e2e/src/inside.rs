//! A cluster of one's own in which the operator runs as its users run it: from its image, installed by Helm, in pods of a
//! real node that find each other by name.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::RollbackPolicyStatus;
use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy};
use backstop_testenv::node::{NodeOptions, Published};
use backstop_testenv::{Cluster, ClusterOptions, Node, eventually, image, node};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::chart::{self, NAMESPACE};
use crate::real::RealApp;

/// Pods start, and rollbacks end, within this time on a machine that is busy with other tests.
const SOON: Duration = Duration::from_mins(2);
/// The release, as Helm calls it.
const RELEASE: &str = "backstop";
/// How many lines of each replica's log a failing test shows.
const LOG_LINES: i64 = 40;

/// The cluster, its node, and the namespace of an application.
pub struct Inside {
    // The first field: pods end before what they talk to.
    node: Node,
    /// The whole cluster.
    pub cluster: Cluster,
    /// An administrator's client.
    pub client: Client,
    /// Where the application is.
    pub namespace: String,
}

impl Inside {
    /// Starts it, with nothing installed yet. `None` where there can be no real node: the test is over then.
    pub async fn start(namespace: &str) -> anyhow::Result<Option<Self>> {
        if node::skipped()? {
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        let path = folder.path().to_owned();
        let operator = tokio::task::spawn_blocking(move || image::operator(&path)).await??;
        let cluster = Cluster::start(ClusterOptions {
            audit: true,
            ..ClusterOptions::default()
        })
        .await?;
        let options = NodeOptions {
            images: vec![operator],
        };
        let node = Node::join(&cluster, options).await?;
        node.serve_names(&cluster).await?;
        cluster.namespace_called(namespace).await?;
        Ok(Some(Self {
            client: cluster.client().await?,
            namespace: namespace.to_owned(),
            node,
            cluster,
        }))
    }

    /// Gives what listens on the machine a name in the cluster, `<name>.<namespace>.svc`.
    pub async fn publish(
        &self,
        (namespace, name): (&str, &str),
        port: u16,
        url: &str,
    ) -> anyhow::Result<Published> {
        let target = url.trim_start_matches("http://").parse()?;
        self.node
            .publish(&self.cluster, (namespace, name), port, target)
            .await
    }

    /// Runs Helm on the release, and says what it said: `install` or `upgrade` with settings, waiting until all is ready.
    pub async fn helm(&self, verb: &str, settings: &[&str]) -> anyhow::Result<String> {
        let values = tempfile::Builder::new().suffix(".yaml").tempfile()?;
        std::fs::write(values.path(), values_here()?)?;
        let (chart, values) = (chart::path(), values.path().display().to_string());
        let mut args = vec![verb, RELEASE, &chart, "--namespace", NAMESPACE];
        args.extend(["--values", &values, "--wait", "--timeout", "2m"]);
        if verb == "install" {
            args.push("--create-namespace");
        }
        for setting in settings {
            args.extend(["--set", setting]);
        }
        let said = self.cluster.helm(&args).await?.success();
        match said {
            Ok(said) => Ok(said),
            Err(error) => Err(error.context(self.logs().await)),
        }
    }

    /// Has the chart look whether the operator works, and returns what it says.
    pub async fn helm_test(&self) -> anyhow::Result<String> {
        let args = ["test", RELEASE, "--namespace", NAMESPACE, "--logs"];
        self.cluster.helm(&args).await?.success()
    }

    /// Takes the release away.
    pub async fn uninstall(&self) -> anyhow::Result<()> {
        let args = ["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"];
        self.cluster.helm(&args).await?.success()?;
        Ok(())
    }

    /// The operator's pods.
    pub async fn replicas(&self) -> anyhow::Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let operator = ListParams::default().labels("app.kubernetes.io/name=backstop");
        Ok(pods.list(&operator).await?.items)
    }

    /// Sees to it that the operator has been refused nothing so far, by the API server's own log.
    pub fn was_refused_nothing(&self) -> anyhow::Result<()> {
        let log = self.cluster.audit_log()?;
        let mut own = log.iter().filter(|entry| {
            let agent = entry["userAgent"].as_str().unwrap_or_default();
            agent.starts_with("backstop/")
        });
        ensure!(own.clone().count() > 0, "it has asked for nothing");
        let refused = own.find(|entry| entry["responseStatus"]["code"] == 403);
        ensure!(refused.is_none(), "{refused:#?}");
        Ok(())
    }

    /// The ends of the operator's logs.
    pub async fn logs(&self) -> String {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let tail = LogParams {
            tail_lines: Some(LOG_LINES),
            ..LogParams::default()
        };
        let mut text = String::new();
        for pod in self.replicas().await.unwrap_or_default() {
            let name = pod.name_any();
            let status = pod.status.unwrap_or_default();
            let log = pods.logs(&name, &tail).await;
            let log = log.unwrap_or_else(|error| format!("{error}: {status:?}"));
            let _ = writeln!(text, "--- {name}\n{log}");
        }
        text
    }

    /// The objects of the application's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits for something; shows the operator's logs where it does not come.
    pub async fn eventually<T>(
        &self,
        what: &str,
        probe: impl AsyncFnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        match eventually(what, SOON, probe).await {
            Ok(value) => Ok(value),
            Err(error) => Err(error.context(format!("the operator said:\n{}", self.logs().await))),
        }
    }

    /// Applies a release of the application, as `kubectl apply` does.
    pub async fn release(&self, app: &RealApp) -> anyhow::Result<()> {
        self.cluster.apply(&self.namespace, &app.manifests()?).await
    }

    /// Applies the policy `web`, as `kubectl apply` does.
    pub async fn policy(&self, spec: Value) -> anyhow::Result<()> {
        let policy = json!({
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackPolicy", "metadata": {"name": "web"}, "spec": spec,
        });
        self.cluster
            .apply(&self.namespace, &policy.to_string())
            .await
    }

    /// Waits until the policy's status satisfies `holds`.
    pub async fn policy_says(
        &self,
        what: &str,
        holds: impl Fn(&RollbackPolicyStatus) -> bool,
    ) -> anyhow::Result<RollbackPolicyStatus> {
        self.eventually(what, async || {
            let policy: RollbackPolicy = self.api().get("web").await?;
            let status = policy.status.unwrap_or_default();
            ensure!(holds(&status), "{status:#?}");
            Ok(status)
        })
        .await
    }

    /// Waits until so many releases have proved themselves.
    pub async fn good_points(&self, count: usize) -> anyhow::Result<Vec<RollbackPoint>> {
        let good = ListParams::default().labels("backstop.dev/verdict=Good");
        self.eventually(&format!("{count} good points"), async || {
            let points = self.api::<RollbackPoint>().list(&good).await?.items;
            ensure!(points.len() >= count, "{} points", points.len());
            Ok(points)
        })
        .await
    }

    /// Waits until the rollback has succeeded.
    pub async fn recovered(&self, name: &str) -> anyhow::Result<RollbackEvent> {
        self.eventually(&format!("{name} to succeed"), async || {
            let event: RollbackEvent = self.api().get(name).await?;
            let status = event.status.clone().unwrap_or_default();
            if status.phase.is_some_and(EventPhase::is_terminal)
                && status.phase != Some(EventPhase::Succeeded)
            {
                bail!("{status:#?}");
            }
            ensure!(status.outcome == Some(Outcome::Recovered), "{status:#?}");
            Ok(event)
        })
        .await
    }
}

/// The image that was imported, on the real node.
fn values_here() -> anyhow::Result<String> {
    let (repository, tag) = image::OPERATOR.rsplit_once(':').context("no tag")?;
    let mut values = node::placement();
    values["image"] = json!({"repository": repository, "tag": tag, "pullPolicy": "Never"});
    Ok(values.to_string())
}
