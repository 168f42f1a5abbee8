//! A Deployment, its ReplicaSets and pods become the engine's picture of a workload. Pure.

use std::{collections::BTreeMap, sync::Arc};

use backstop_api::{
    names::{ANNOTATION_FLOOR, ANNOTATION_OVERRIDE, ANNOTATION_OVERRIDE_BY},
    point::Image,
};
use backstop_engine::{
    ownership, release,
    snapshot::{Pods, Service, Workload},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

use super::{pods, writer};

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
        overridden_by: annotation(ANNOTATION_OVERRIDE_BY),
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
        last_writer: writer::last(&managed, "f:template"),
        labels: labels(template.pointer("/metadata/labels")),
        members: Vec::new(),
        beside: Vec::new(),
        tried: false,
        config: Vec::new(),
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

fn labels(map: Option<&Value>) -> BTreeMap<String, String> {
    map.and_then(|labels| serde_json::from_value(labels.clone()).ok())
        .unwrap_or_default()
}

/// The engine's picture of a Service.
pub(super) fn service(object: &Value) -> Option<Service> {
    Some(Service {
        name: object.pointer("/metadata/name")?.as_str()?.to_owned(),
        uid: object.pointer("/metadata/uid")?.as_str()?.to_owned(),
        selector: labels(object.pointer("/spec/selector")),
        last_writer: writer::last(&managed_fields(object), "f:selector"),
    })
}

/// The names of the pods that belong to these ReplicaSets.
pub(super) fn pod_names(replica_sets: &[Arc<DynamicObject>], pods: &[Arc<Pod>]) -> Vec<String> {
    let sets: Vec<String> = replica_sets.iter().filter_map(|set| set.uid()).collect();
    pods.iter()
        .filter(|pod| pod.owner_references().iter().any(|o| sets.contains(&o.uid)))
        .map(|pod| pod.name_any())
        .collect()
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

/// The pod-template-hashes of other releases whose pods are ready, and so serve beside this one.
pub(super) fn other_hashes(
    replica_sets: &[Arc<DynamicObject>],
    release: &str,
    ignored: &[String],
) -> Vec<String> {
    let own = template_hashes(replica_sets, release, ignored);
    let serves = |set: &&Arc<DynamicObject>| {
        let ready = set.data.pointer("/status/readyReplicas");
        ready.and_then(Value::as_i64).is_some_and(|ready| ready > 0)
    };
    let mut hashes: Vec<String> = replica_sets
        .iter()
        .filter(serves)
        .filter_map(|set| set.labels().get(POD_TEMPLATE_HASH).cloned())
        .filter(|hash| !own.contains(hash))
        .collect();
    hashes.sort();
    hashes.dedup();
    hashes
}

/// The names of a release's ReplicaSets: more than one after a restart.
pub(super) fn set_names(
    replica_sets: &[Arc<DynamicObject>],
    release: &str,
    ignored: &[String],
) -> Vec<String> {
    sets_of(replica_sets, release, ignored)
        .map(|set| set.name_any())
        .collect()
}

/// What is seen of a release's pods.
fn pods_of(
    replica_sets: &[Arc<DynamicObject>],
    pods: &[Arc<Pod>],
    release: &str,
    ignored: &[String],
) -> Pods {
    pods::look(by_release(replica_sets, pods, release, ignored).0.iter())
}

/// The pods of a release, and those of the Deployment's other ones. Pods on their way out say nothing
/// about either.
pub(super) fn by_release(
    replica_sets: &[Arc<DynamicObject>],
    pods: &[Arc<Pod>],
    release: &str,
    ignored: &[String],
) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
    let all: Vec<String> = replica_sets.iter().filter_map(|set| set.uid()).collect();
    let of_it: Vec<String> = sets_of(replica_sets, release, ignored)
        .filter_map(|set| set.uid())
        .collect();
    let owned = |pod: &Arc<Pod>, sets: &[String]| {
        let owners = pod.owner_references().iter();
        let mut controllers = owners.filter(|owner| owner.controller == Some(true));
        controllers.any(|owner| sets.contains(&owner.uid))
    };
    pods.iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none() && owned(pod, &all))
        .cloned()
        .partition(|pod| owned(pod, &of_it))
}

/// The images that run, with the digests that the node tells. Pods on their way out are of the release before.
#[must_use]
pub(super) fn digests(pods: &[Arc<Pod>]) -> Vec<Image> {
    let mut found = BTreeMap::new();
    let there = pods
        .iter()
        .filter(|p| p.metadata.deletion_timestamp.is_none());
    for status in there.filter_map(|p| p.status.as_ref()) {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(image: &str) -> Value {
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": image}]}})
    }

    fn deployment() -> Value {
        json!({
            "metadata": {"name": "web", "uid": "d", "generation": 3, "annotations": {}},
            "spec": {"replicas": 3, "template": template("web:2"), "strategy": {"type": "RollingUpdate"}},
            "status": {
                "observedGeneration": 3, "replicas": 4, "updatedReplicas": 2, "availableReplicas": 2,
                "conditions": [{
                    "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
                    "message": "ReplicaSet \"web-b\" has timed out progressing.",
                }],
            },
        })
    }

    fn replica_set(name: &str, hash: &str, image: &str) -> Arc<DynamicObject> {
        let mut labelled = template(image);
        labelled["metadata"]["labels"][POD_TEMPLATE_HASH] = json!(hash);
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": name, "uid": name, "labels": {POD_TEMPLATE_HASH: hash}},
            "spec": {"template": labelled},
        });
        Arc::new(serde_json::from_value(set).unwrap())
    }

    fn pod(name: &str, set: &str, status: &Value) -> Arc<Pod> {
        let pod = json!({
            "metadata": {"name": name, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": set, "controller": true},
            ]},
            "status": status,
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn waiting(reason: &str) -> Value {
        json!({"containerStatuses": [{
            "name": "app", "image": "web", "imageID": "", "ready": false, "restartCount": 2,
            "state": {"waiting": {"reason": reason, "message": "back-off 20s"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
        }]})
    }

    /// Safety rule 4: only evidence about this release counts.
    #[test]
    fn another_releases_pods_say_nothing_about_the_live_one() {
        let sets = [
            replica_set("web-a", "a", "web:1"),
            replica_set("web-b", "b", "web:2"),
        ];
        let old = pod("web-a-1", "web-a", &waiting("CrashLoopBackOff"));
        let seen = workload(&deployment(), &sets, &[old], &[]).unwrap();
        assert_eq!(seen.pods, Pods::default());
        let new = pod("web-b-1", "web-b", &waiting("CrashLoopBackOff"));
        let seen = workload(&deployment(), &sets, &[new], &[]).unwrap();
        assert_eq!(
            seen.pods.crash_looping,
            [
                "pod web-b-1, container app: CrashLoopBackOff (back-off 20s; last exit code 1, Error)"
            ]
        );
        assert_eq!(seen.pods.restarts, 2);
        assert_eq!(template_hashes(&sets, &seen.release, &[]), ["b"]);
    }

    #[test]
    fn what_serves_beside_the_release_is_what_is_ready_and_of_another() {
        let ready = |name, hash, image, ready: i64| {
            let mut set = DynamicObject::clone(&replica_set(name, hash, image));
            set.data["status"] = json!({"readyReplicas": ready});
            Arc::new(set)
        };
        let live = release::identity(&template("web:2"), &[]);
        let during = [
            ready("web-0", "zero", "web:0", 0),
            ready("web-a", "a", "web:1", 2),
            ready("web-b", "b", "web:2", 1),
        ];
        assert_eq!(other_hashes(&during, &live, &[]), ["a"]);
        let after = [
            ready("web-a", "a", "web:1", 0),
            ready("web-b", "b", "web:2", 3),
        ];
        assert!(other_hashes(&after, &live, &[]).is_empty());
    }

    #[test]
    fn the_first_failure_of_a_pull_does_not_count() {
        let sets = [replica_set("web-b", "b", "web:2")];
        let pull = |reason| {
            let pod = pod("web-b-1", "web-b", &waiting(reason));
            workload(&deployment(), &sets, &[pod], &[])
                .unwrap()
                .pods
                .image_pull
                .len()
        };
        assert_eq!((pull("ErrImagePull"), pull("ImagePullBackOff")), (0, 1));
    }

    #[test]
    fn the_deployments_own_words_are_kept() {
        let seen = workload(&deployment(), &[], &[], &[]).unwrap();
        assert!(!seen.is_complete());
        assert_eq!(
            seen.progress_deadline_exceeded.as_deref(),
            Some("ProgressDeadlineExceeded: ReplicaSet \"web-b\" has timed out progressing.")
        );
        assert_eq!((seen.desired, seen.updated, seen.replicas), (3, 2, 4));
    }
}
