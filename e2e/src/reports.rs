//! VulnerabilityReports, as Trivy Operator writes them.

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::crds;
use crate::world::{App, World, quick_policy};

static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// Installs Trivy Operator's CRD, once for the cluster, and sees to it that a policy that wants reports says that there
/// are none before, and goes on by itself when the kind is there.
pub async fn installed() -> anyhow::Result<()> {
    INSTALLED
        .get_or_try_init(async || {
            let world = World::new("no-reports").await?;
            world.deploy(&App::version("v1")).await?;
            let mut policy = quick_policy();
            policy["triggers"] = json!([{"name": "vulnerable", "vulnerability": {}}]);
            policy["gates"] = json!({"vulnerabilities": {}});
            world.policy(policy).await?;
            for condition in ["DataAvailable", "GatesReady"] {
                let reason = if condition == "GatesReady" {
                    "NoReports"
                } else {
                    "Error"
                };
                let said = world.condition(condition, false, reason).await?;
                anyhow::ensure!(said.contains("is Trivy Operator installed?"), "{said}");
            }
            let crd = crds::published("aquasecurity.github.io", "vulnerabilityreports")?;
            crds::install(world.cluster, &crd.context("no CRD")?).await?;
            world.condition("GatesReady", true, "Judged").await?;
            anyhow::Ok(())
        })
        .await?;
    Ok(())
}

/// A report about one image.
#[derive(Debug, Clone)]
pub struct Report {
    name: String,
    replica_set: String,
    tag: String,
    digest: String,
    updated: Timestamp,
    found: Vec<Value>,
}

impl Report {
    /// About the image of this version of the application, by its live ReplicaSet, as of now.
    pub async fn about(world: &World, version: &str) -> anyhow::Result<Self> {
        let image = format!("example.test/web:{version}");
        let set = world
            .eventually("the ReplicaSet", async || {
                let sets = world
                    .api::<ReplicaSet>()
                    .list(&ListParams::default())
                    .await?;
                let of_the_version = |set: &ReplicaSet| {
                    let template = set.spec.as_ref().and_then(|s| s.template.as_ref());
                    let pod = template.and_then(|t| t.spec.as_ref());
                    pod.is_some_and(|p| p.containers[0].image.as_ref() == Some(&image))
                };
                sets.into_iter().find(of_the_version).context("not there")
            })
            .await?;
        Ok(Self {
            name: format!("replicaset-{}-app", set.name_any()),
            replica_set: set.name_any(),
            tag: version.to_owned(),
            digest: String::new(),
            updated: Timestamp::now(),
            found: Vec::new(),
        })
    }

    /// With so many vulnerabilities of a severity; `fixed` ones are mended by a newer version of the package.
    #[must_use]
    pub fn with(mut self, severity: &str, count: usize, fixed: bool) -> Self {
        let found = json!({
            "vulnerabilityID": "CVE-2026-0001", "severity": severity, "resource": "libexample", "title": "an example",
            "installedVersion": "1.0", "fixedVersion": if fixed { "1.1" } else { "" },
            "publishedDate": "", "lastModifiedDate": "",
        });
        self.found.extend(std::iter::repeat_n(found, count));
        self
    }

    /// About another tag.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        tag.clone_into(&mut self.tag);
        self
    }

    /// As of that time.
    #[must_use]
    pub fn updated(mut self, at: Timestamp) -> Self {
        self.updated = at;
        self
    }

    /// Writes it, or writes it anew.
    pub async fn write(&self, world: &World) -> anyhow::Result<()> {
        let count = |severity: &str| {
            let of_it = |f: &&Value| f["severity"] == severity;
            self.found.iter().filter(of_it).count()
        };
        let report = json!({
            "apiVersion": "aquasecurity.github.io/v1alpha1",
            "kind": "VulnerabilityReport",
            "metadata": {"name": self.name, "labels": {
                "trivy-operator.resource.kind": "ReplicaSet",
                "trivy-operator.resource.name": self.replica_set,
                "trivy-operator.resource.namespace": world.namespace,
                "trivy-operator.container.name": "app",
            }},
            "report": {
                "registry": {"server": "example.test"},
                "artifact": {"repository": "web", "tag": self.tag, "digest": self.digest},
                "os": {"family": "debian", "name": "12"},
                "scanner": {"name": "Trivy", "vendor": "Aqua Security", "version": "0.66.0"},
                "updateTimestamp": self.updated.to_string(),
                "summary": {
                    "criticalCount": count("CRITICAL"), "highCount": count("HIGH"), "mediumCount": 0,
                    "lowCount": 0, "unknownCount": 0,
                },
                "vulnerabilities": self.found,
            },
        });
        let resource = ApiResource {
            group: "aquasecurity.github.io".into(),
            version: "v1alpha1".into(),
            api_version: "aquasecurity.github.io/v1alpha1".into(),
            kind: "VulnerabilityReport".into(),
            plural: "vulnerabilityreports".into(),
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(world.client.clone(), &world.namespace, &resource);
        let params = PatchParams::apply("trivy-operator").force();
        api.patch(&self.name, &params, &Patch::Apply(report))
            .await?;
        Ok(())
    }
}
