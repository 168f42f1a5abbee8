//! DetachSuspects: the ReplicaSets of the release that failed are deleted and their pods are not. So
//! nothing replaces the pods, and nothing deletes them, until they are isolated.

use backstop_api::{
    event::{Found, FoundReplicaSet, Outcome, Step},
    names::{LABEL_SUSPECT, label_value},
};
use backstop_engine::release;
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions, PropagationPolicy},
};
use serde_json::{Value, json};

use super::{Done, Progress, deadline, deployment, ignored_annotations, wish};
use crate::{calls::CallError, context::Context};

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
) -> Result<Done, CallError> {
    let object = match deployment(context, namespace, step).await? {
        Ok(object) => object,
        Err(done) => return Ok(done),
    };
    let ignored = ignored_annotations(context, namespace, &progress.event.spec.policy);
    if release::identity(&object["spec"]["template"], &ignored) == step.from {
        // Its ReplicaSet is wanted again, and would be made again.
        return Ok(Done::superseded(format!(
            "somebody wrote release {} to {} again; theirs stands, and {}",
            step.from,
            step.workload,
            wish::so_far(progress)
        )));
    }
    let api: Api<ReplicaSet> = Api::namespaced(context.client.clone(), namespace);
    let Some(found) = &progress.status.steps[index].found else {
        let replica_sets = sets_of(context, &api, step, &ignored).await?;
        return Ok(Done::Found(Found {
            replica_sets,
            ..Found::default()
        }));
    };
    if let Some(done) = wish::against(context, namespace, progress, Some(&object)).await? {
        return Ok(done);
    }
    let mut left = Vec::new();
    for set in &found.replica_sets {
        if !orphan(context, &api, set).await? {
            left.push(set.name.as_str());
        }
    }
    if !left.is_empty() {
        let left = left.join(", ");
        let state = format!("the garbage collector has to let the pods of ReplicaSet {left} go");
        let late = deadline::late(progress, index, step, &state, Timestamp::now());
        return Ok(match late {
            None => Done::wait(state),
            Some(late) => Done::ends(
                Outcome::TimedOut,
                format!(
                    "{late}; see whether kube-controller-manager runs, and finish the rollout of {} by hand",
                    step.workload
                ),
            ),
        });
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let mut suspects = 0;
    for set in &found.replica_sets {
        suspects += mark(context, &pods, set, step).await?;
    }
    Ok(Done::written(format!(
        "{suspects} pods of release {} are in no ReplicaSet any more, and have the label \
         {LABEL_SUSPECT}={} until they are isolated",
        step.from,
        label_value(&step.workload)
    )))
}

/// The ReplicaSets of the release that failed, as far as they have pods.
async fn sets_of(
    context: &Context,
    api: &Api<ReplicaSet>,
    step: &Step,
    ignored: &[String],
) -> Result<Vec<FoundReplicaSet>, CallError> {
    let all = context
        .calls
        .read("list replicasets", api.list(&ListParams::default()))
        .await?;
    let failed = |set: &ReplicaSet| {
        let value = serde_json::to_value(set).unwrap_or_default();
        release::identity(&value["spec"]["template"], ignored) == step.from
    };
    let of_it = all.into_iter().filter(|set| {
        let owned = set
            .owner_references()
            .iter()
            .any(|o| o.controller == Some(true) && o.uid == step.workload_uid);
        owned && set.status.as_ref().is_some_and(|s| s.replicas > 0) && failed(set)
    });
    Ok(of_it
        .map(|set| FoundReplicaSet {
            name: set.name_any(),
            uid: set.uid().unwrap_or_default(),
            labels: set
                .spec
                .and_then(|spec| spec.selector.match_labels)
                .unwrap_or_default(),
        })
        .collect())
}

/// Deletes a ReplicaSet without its pods. Returns whether it is gone.
async fn orphan(
    context: &Context,
    api: &Api<ReplicaSet>,
    set: &FoundReplicaSet,
) -> Result<bool, CallError> {
    let there = match context
        .calls
        .read("get replicaset", api.get_metadata(&set.name))
        .await
    {
        Ok(there) => there,
        Err(CallError::NotFound { .. }) => return Ok(true),
        Err(error) => return Err(error),
    };
    if there.uid().as_deref() != Some(&set.uid) {
        return Ok(true);
    }
    if there.metadata.deletion_timestamp.is_some() {
        return Ok(false);
    }
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        preconditions: Some(Preconditions {
            uid: Some(set.uid.clone()),
            ..Preconditions::default()
        }),
        ..DeleteParams::default()
    };
    let deleted = api.delete(&set.name, &params);
    match context.calls.write("delete replicaset", deleted).await {
        Ok(_) => Ok(false),
        Err(CallError::NotFound { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Says on the pods of a ReplicaSet that is gone what they are. Returns how many there are.
async fn mark(
    context: &Context,
    api: &Api<Pod>,
    set: &FoundReplicaSet,
    step: &Step,
) -> Result<usize, CallError> {
    let labels: Vec<String> = set.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let params = ListParams::default().labels(&labels.join(","));
    let pods = context
        .calls
        .read("list pods", api.list_metadata(&params))
        .await?;
    let mut count = 0;
    for pod in pods {
        let held = pod
            .owner_references()
            .iter()
            .any(|o| o.controller == Some(true) && o.uid != set.uid);
        if held || pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let label: Value = json!({"metadata": {
            "uid": pod.uid(),
            "labels": {LABEL_SUSPECT: label_value(&step.workload)},
        }});
        let name = pod.name_any();
        match context.calls.merge("patch pod", api, &name, label).await {
            Ok(_) => count += 1,
            // It has ended meanwhile.
            Err(CallError::NotFound { .. } | CallError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
