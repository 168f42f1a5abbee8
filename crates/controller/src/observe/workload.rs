//! A Deployment, its ReplicaSets and pods become the engine's picture of a workload. Pure.

use std::{collections::BTreeMap, sync::Arc};

use backstop_api::{
    names::{ANNOTATION_FLOOR, ANNOTATION_OVERRIDE},
    point::Image,
};
use backstop_engine::{
    ownership, release,
    snapshot::{Pods, Workload},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

use super::pods;

/// The label by which the Deployment controller ties pods to ReplicaSets.
const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// The engine's picture of a Deployment.
pub(super) fn workload(
    deployment: &Value,
    replica_sets: &[Arc<DynamicObject>],
    pods: &[Arc<Pod>],
    ignored_annotations: &[String],
) -> Option<Workload> {
    let text = |path: &str| {
        deployment
            .pointer(path)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let number = |path: &str| {
        deployment
            .pointer(path)
            .and_then(Value::as_i64)
            .unwrap_or(0)
    };
    let count = |path: &str| i32::try_from(number(path)).unwrap_or(i32::MAX);
    let annotations = deployment.pointer("/metadata/annotations");
    let annotation = |key: &str| annotations?.get(key)?.as_str().map(str::to_owned);
    let template = deployment.pointer("/spec/template")?;
    let release = release::identity(template, ignored_annotations);
    let managed = managed_fields(deployment);
    let progressing = deployment
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .and_then(|list| list.iter().find(|c| c["type"] == "Progressing"));
    let reason = progressing.and_then(|c| c["reason"].as_str());
    Some(Workload {
        name: text("/metadata/name")?,
        uid: text("/metadata/uid")?,
        generation: number("/metadata/generation"),
        observed_generation: number("/status/observedGeneration"),
        deleting: deployment.pointer("/metadata/deletionTimestamp").is_some(),
        revision: annotation("deployment.kubernetes.io/revision"),
        images: release::images(template),
        paused: deployment
            .pointer("/spec/paused")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        overridden: annotation(ANNOTATION_OVERRIDE),
        floor: release::template_annotation(template, ANNOTATION_FLOOR)
            .map(str::to_owned)
            .or_else(|| annotation(ANNOTATION_FLOOR)),
        desired: deployment
            .pointer("/spec/replicas")
            .map_or(1, |_| count("/spec/replicas")),
        replicas: count("/status/replicas"),
        updated: count("/status/updatedReplicas"),
        ready: count("/status/readyReplicas"),
        available: count("/status/availableReplicas"),
        rollout_completed_at: progressing
            .filter(|_| reason == Some("NewReplicaSetAvailable"))
            .and_then(|c| c["lastUpdateTime"].as_str()?.parse::<Timestamp>().ok()),
        progress_deadline_exceeded: progressing
            .filter(|c| reason == Some("ProgressDeadlineExceeded") && c["status"] == "False")
            .map(|c| {
                format!(
                    "ProgressDeadlineExceeded: {}",
                    c["message"].as_str().unwrap_or_default()
                )
            }),
        pods: pods_of(replica_sets, pods, &release, ignored_annotations),
        strategy: deployment
            .pointer("/spec/strategy")
            .cloned()
            .unwrap_or_default(),
        strategy_owners: ownership::strategy_owners(&managed),
        last_writer: last_writer(&managed),
        release,
    })
}

/// The managedFields of an object.
pub(crate) fn managed_fields(object: &Value) -> Vec<Value> {
    object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// The field manager that last wrote the template.
fn last_writer(managed: &[Value]) -> Option<String> {
    managed
        .iter()
        .filter(|e| e.pointer("/fieldsV1/f:spec/f:template").is_some())
        .max_by_key(|e| e["time"].as_str().unwrap_or_default().to_owned())?["manager"]
        .as_str()
        .map(str::to_owned)
}

/// The ReplicaSets whose template is that of the release.
fn sets_of<'a>(
    replica_sets: &'a [Arc<DynamicObject>],
    release: &'a str,
    ignored: &'a [String],
) -> impl Iterator<Item = &'a Arc<DynamicObject>> {
    replica_sets.iter().filter(move |set| {
        set.data
            .pointer("/spec/template")
            .is_some_and(|t| release::identity(t, ignored) == release)
    })
}

/// The pod-template-hashes of a release: more than one after a restart.
pub(super) fn template_hashes(
    replica_sets: &[Arc<DynamicObject>],
    release: &str,
    ignored: &[String],
) -> Vec<String> {
    let mut hashes: Vec<String> = sets_of(replica_sets, release, ignored)
        .filter_map(|set| set.labels().get(POD_TEMPLATE_HASH).cloned())
        .collect();
    hashes.sort();
    hashes.dedup();
    hashes
}

/// What is seen of a release's pods. Pods on their way out say nothing about it.
fn pods_of(
    replica_sets: &[Arc<DynamicObject>],
    pods: &[Arc<Pod>],
    release: &str,
    ignored: &[String],
) -> Pods {
    let sets: Vec<String> = sets_of(replica_sets, release, ignored)
        .filter_map(|set| set.uid())
        .collect();
    pods::look(pods.iter().filter(|pod| {
        pod.metadata.deletion_timestamp.is_none()
            && pod
                .owner_references()
                .iter()
                .any(|o| o.controller == Some(true) && sets.contains(&o.uid))
    }))
}

/// The images that run, with the digests that the node tells.
#[must_use]
pub(super) fn digests(pods: &[Arc<Pod>]) -> Vec<Image> {
    let mut found = BTreeMap::new();
    for status in pods.iter().filter_map(|p| p.status.as_ref()) {
        for container in status.container_statuses.iter().flatten() {
            if !container.image_id.is_empty() {
                found.insert(
                    container.name.clone(),
                    (container.image.clone(), container.image_id.clone()),
                );
            }
        }
    }
    found
        .into_iter()
        .map(|(container, (image, digest))| Image {
            container,
            image,
            digest: Some(digest),
        })
        .collect()
}
