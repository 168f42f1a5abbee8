//! IsolateSuspects: pods that are not trusted lose the labels by which Services find them. Some are
//! kept as they are, to be looked into; the others are deleted.

use std::collections::BTreeMap;

use backstop_api::{
    event::Step,
    names::{
        ANNOTATION_LABELS_BEFORE, FIELD_MANAGER, ISOLATED_NETWORK_POLICY, LABEL_ISOLATED,
        LABEL_SUSPECT, LABEL_WORKLOAD, label_value,
    },
};
use k8s_openapi::api::{core::v1::Pod, networking::v1::NetworkPolicy};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{Done, Progress, wish};
use crate::{calls::CallError, context::Context};

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    step: &Step,
) -> Result<Done, CallError> {
    if let Some(done) = wish::against(context, namespace, progress, None).await? {
        return Ok(done);
    }
    let how = step.isolate.clone().unwrap_or_default();
    if how.network_policy {
        deny_traffic(context, namespace).await?;
    }
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let event = label_value(&progress.event.name_any());
    let workload = label_value(&step.workload);
    for pod in labelled(context, &api, &format!("{LABEL_SUSPECT}={workload}")).await? {
        isolate(context, &api, &pod, &event, &workload).await?;
    }
    let ours = format!("{LABEL_ISOLATED}={event},{LABEL_WORKLOAD}={workload}");
    let isolated = labelled(context, &api, &ours).await?;
    let keep = usize::try_from(how.keep).unwrap_or(usize::MAX);
    for pod in isolated.iter().skip(keep) {
        context
            .calls
            .delete("delete pod", &api, &pod.name_any(), pod.uid())
            .await?;
    }
    let kept = isolated.len().min(keep);
    let mut message = format!("the suspects of {} get no requests any more", step.workload);
    if kept > 0 {
        message = format!(
            "{message}; {kept} are kept: kubectl get pods -l {ours}, and delete them when you have looked"
        );
    }
    Ok(Done::written(message))
}

/// Pods with such labels that are not on their way out; those that run first, so that they are kept.
async fn labelled(
    context: &Context,
    api: &Api<Pod>,
    selector: &str,
) -> Result<Vec<Pod>, CallError> {
    let params = ListParams::default().labels(selector);
    let found = context.calls.read("list pods", api.list(&params)).await?;
    let mut pods = found.items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    let runs = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        phase == Some("Running")
    };
    pods.sort_by_key(|pod| (!runs(pod), pod.name_any()));
    Ok(pods)
}

/// Takes all labels away: any of them may be one by which a Service finds the pod.
async fn isolate(
    context: &Context,
    api: &Api<Pod>,
    pod: &Pod,
    event: &str,
    workload: &str,
) -> Result<(), CallError> {
    let before = pod.labels();
    let labels = BTreeMap::from([(LABEL_ISOLATED, event), (LABEL_WORKLOAD, workload)]);
    let mut annotations = pod.annotations().clone();
    let had: BTreeMap<_, _> = before.iter().filter(|(k, _)| *k != LABEL_SUSPECT).collect();
    annotations.insert(ANNOTATION_LABELS_BEFORE.into(), json!(had).to_string());
    let operations: Value = json!([
        {"op": "test", "path": "/metadata/uid", "value": pod.uid()},
        {"op": "test", "path": "/metadata/labels", "value": before},
        {"op": "replace", "path": "/metadata/labels", "value": labels},
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
    ]);
    match context
        .calls
        .json_patch("patch pod", api, &pod.name_any(), &operations)
        .await
    {
        Ok(_) | Err(CallError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// One for all isolated pods of a namespace. It stays: without such pods it does nothing.
async fn deny_traffic(context: &Context, namespace: &str) -> Result<(), CallError> {
    let api: Api<NetworkPolicy> = Api::namespaced(context.client.clone(), namespace);
    let wanted = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": ISOLATED_NETWORK_POLICY},
        "spec": {
            "podSelector": {"matchExpressions": [{"key": LABEL_ISOLATED, "operator": "Exists"}]},
            "policyTypes": ["Ingress", "Egress"],
        },
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&wanted);
    let applied = api.patch(ISOLATED_NETWORK_POLICY, &params, &patch);
    context
        .calls
        .write("apply networkpolicy", applied)
        .await
        .map(|_| ())
}
