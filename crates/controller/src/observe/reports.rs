//! Trivy Operator's VulnerabilityReports become the engine's reports.
//!
//! A report lists every vulnerability with its description and links, and may be megabytes. What is kept of it
//! is a few numbers.

use std::sync::Arc;

use backstop_engine::{
    image::ImageName,
    policy::{Source, ValidPolicy},
    snapshot::Workload,
    vulnerability::{Counts, LiveImage, Report},
};
use kube::{
    Client, ResourceExt,
    api::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{watches, workload};

/// Labels, and where a name is too long for one an annotation, by which Trivy Operator says what was looked at.
const RESOURCE_KIND: &str = "trivy-operator.resource.kind";
const RESOURCE_NAME: &str = "trivy-operator.resource.name";
const CONTAINER_NAME: &str = "trivy-operator.container.name";

/// Whether the policy wants to know of vulnerabilities.
pub(super) fn wanted(policy: &ValidPolicy) -> bool {
    let by_trigger = policy
        .triggers
        .iter()
        .any(|t| matches!(t.source, Source::Vulnerability(_)));
    let gates = policy.gates.as_ref();
    by_trigger || gates.is_some_and(|gates| gates.vulnerabilities.is_some())
}

/// Watches the reports of a namespace.
pub(super) fn watch(
    tasks: &mut JoinSet<()>,
    client: &Client,
    namespace: &str,
    poke: &watches::Poke,
) -> watches::Many {
    let resource = ApiResource {
        group: "aquasecurity.github.io".into(),
        version: "v1alpha1".into(),
        api_version: "aquasecurity.github.io/v1alpha1".into(),
        kind: "VulnerabilityReport".into(),
        plural: "vulnerabilityreports".into(),
    };
    watches::many(tasks, client, &resource, namespace, trim, poke)
}

/// Why there are no reports, and what to do.
pub(super) fn unreadable(why: &str) -> String {
    format!(
        "VulnerabilityReports (aquasecurity.github.io/v1alpha1) of this namespace cannot be read: {why}; is Trivy \
         Operator installed?"
    )
}

/// Leaves what is counted.
fn trim(object: &mut DynamicObject) {
    object.metadata.managed_fields = None;
    let report = object.data["report"].take();
    let (all, fixable) = count(&report);
    object.data = json!({
        "registry": report["registry"]["server"],
        "repository": report["artifact"]["repository"],
        "tag": report["artifact"]["tag"],
        "digest": report["artifact"]["digest"],
        "updated": report["updateTimestamp"],
        "critical": all.critical,
        "high": all.high,
        "fixableCritical": fixable.critical,
        "fixableHigh": fixable.high,
    });
}

/// All of them, by the report's own summary, and those that a newer version of the package mends.
fn count(report: &Value) -> (Counts, Counts) {
    let number = |field: &str| {
        let counted = report["summary"][field].as_u64().unwrap_or(0);
        u32::try_from(counted).unwrap_or(u32::MAX)
    };
    let all = Counts {
        critical: number("criticalCount"),
        high: number("highCount"),
    };
    let mut fixable = Counts::default();
    let listed = report["vulnerabilities"].as_array();
    for found in listed.into_iter().flatten() {
        if found["fixedVersion"].as_str().is_none_or(str::is_empty) {
            continue;
        }
        match found["severity"].as_str() {
            Some("CRITICAL") => fixable.critical += 1,
            Some("HIGH") => fixable.high += 1,
            _ => {}
        }
    }
    (all, fixable)
}

/// The engine's picture of a report that was trimmed.
pub(super) fn parsed(object: &Arc<DynamicObject>) -> Report {
    let text = |field: &str| object.data[field].as_str().unwrap_or_default();
    let number = |field: &str| {
        let counted = object.data[field].as_u64().unwrap_or(0);
        u32::try_from(counted).unwrap_or(u32::MAX)
    };
    let label = |key: &str| object.labels().get(key).cloned();
    let is_set = label(RESOURCE_KIND).as_deref() == Some("ReplicaSet");
    let name = label(RESOURCE_NAME).or_else(|| object.annotations().get(RESOURCE_NAME).cloned());
    Report {
        name: object.name_any(),
        replica_set: name.filter(|_| is_set),
        container: label(CONTAINER_NAME).unwrap_or_default(),
        image: ImageName::of(
            text("registry"),
            text("repository"),
            text("tag"),
            text("digest"),
        ),
        updated: text("updated").parse().ok(),
        all: Counts {
            critical: number("critical"),
            high: number("high"),
        },
        fixable: Counts {
            critical: number("fixableCritical"),
            high: number("fixableHigh"),
        },
    }
}

/// The images of a live Deployment, with the digests that its pods run where they are known.
pub(super) fn live_images(
    watched: &watches::Watched,
    member: &Workload,
    ignored_annotations: &[String],
) -> Vec<LiveImage> {
    let sets = watched.replica_sets();
    let replica_sets = workload::set_names(&sets, &member.release, ignored_annotations);
    if replica_sets.is_empty() {
        return Vec::new();
    }
    let mut pods = watched.pods();
    pods.retain(|pod| {
        let mut owners = pod.owner_references().iter();
        owners.any(|o| replica_sets.contains(&o.name))
    });
    let running = workload::digests(&pods);
    member
        .images
        .iter()
        .map(|image| {
            let mut name = ImageName::parse(&image.image);
            let runs = running
                .iter()
                .find(|r| r.container == image.container && ImageName::parse(&r.image) == name)
                .and_then(|r| r.digest.as_deref()?.rsplit_once('@'));
            if let (true, Some((_, digest))) = (name.digest.is_empty(), runs) {
                digest.clone_into(&mut name.digest);
            }
            LiveImage {
                replica_sets: replica_sets.clone(),
                container: image.container.clone(),
                image: name,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> DynamicObject {
        let found =
            |severity: &str, fixed: &str| json!({"severity": severity, "fixedVersion": fixed});
        serde_json::from_value(json!({
            "apiVersion": "aquasecurity.github.io/v1alpha1", "kind": "VulnerabilityReport",
            "metadata": {
                "name": "replicaset-web-5d4f-app",
                "labels": {
                    "trivy-operator.resource.kind": "ReplicaSet",
                    "trivy-operator.resource.name": "web-5d4f",
                    "trivy-operator.container.name": "app",
                },
            },
            "report": {
                "registry": {"server": "index.docker.io"},
                "artifact": {"repository": "library/nginx", "tag": "1.16", "digest": "sha256:ab"},
                "updateTimestamp": "2026-11-25T10:00:00Z",
                "summary": {"criticalCount": 2, "highCount": 3, "mediumCount": 9, "lowCount": 0, "unknownCount": 0},
                "vulnerabilities": [
                    found("CRITICAL", "1.2"), found("CRITICAL", ""), found("HIGH", "2"), found("HIGH", ""),
                    found("HIGH", ""), found("MEDIUM", "3"),
                ],
            },
        }))
        .unwrap()
    }

    #[test]
    fn of_a_report_what_counts_is_kept_and_no_more() {
        let mut object = report();
        trim(&mut object);
        assert!(!object.data.to_string().contains("fixedVersion"));
        let parsed = parsed(&Arc::new(object));
        assert_eq!(
            parsed.image.to_string(),
            "docker.io/library/nginx:1.16@sha256:ab"
        );
        assert_eq!(parsed.replica_set.as_deref(), Some("web-5d4f"));
        assert_eq!(parsed.container, "app");
        assert_eq!((parsed.all.critical, parsed.all.high), (2, 3));
        assert_eq!((parsed.fixable.critical, parsed.fixable.high), (1, 1));
        assert_eq!(parsed.updated, "2026-11-25T10:00:00Z".parse().ok());
    }

    #[test]
    fn a_report_about_a_pod_is_not_one_about_a_replica_set() {
        let mut object = report();
        object
            .labels_mut()
            .insert(RESOURCE_KIND.into(), "Pod".into());
        trim(&mut object);
        assert_eq!(parsed(&Arc::new(object)).replica_set, None);
    }
}
