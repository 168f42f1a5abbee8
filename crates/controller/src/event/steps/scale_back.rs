//! ScaleBack: replicas, or the autoscaler's minimum, are as they were before Scale, and belong to
//! whom they belonged.

use backstop_api::{
    event::{Capacity, Found, Step},
    names::FIELD_MANAGER,
};
use backstop_engine::ownership;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Api;
use serde_json::json;

use super::{
    Done, Progress, deployment, hand_back,
    scale::{self, MINIMUM, REPLICAS},
};
use crate::{calls::CallError, context::Context, observe::managed_fields};

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    step: &Step,
) -> Result<Done, CallError> {
    let Some((wrote, found)) = scale::scaled(progress, step) else {
        return Ok(Done::holds("the replicas were not changed"));
    };
    let Some(before) = &found.capacity else {
        return Ok(Done::holds("the replicas were not changed"));
    };
    if let Some(autoscaler) = &before.autoscaler {
        let raised = scale::raised(autoscaler, wrote);
        if raised != autoscaler.min_replicas {
            scale::write_minimum(
                context,
                namespace,
                autoscaler,
                raised,
                autoscaler.min_replicas,
            )
            .await?;
            give_minimum_back(context, namespace, &autoscaler.name, found).await?;
        }
        return Ok(Done::holds(format!(
            "HorizontalPodAutoscaler {} has its own minimum of {} again",
            autoscaler.name, autoscaler.min_replicas
        )));
    }
    let Ok(object) = deployment(context, namespace, step).await? else {
        return Ok(Done::holds("the Deployment is gone"));
    };
    let now = scale::replicas(&object);
    // Where they serve by now, the pods stay: only whose they are goes back.
    let stay = step.replicas.is_some() && progress.has_moved_traffic();
    if now != before.replicas && !stay {
        if now != wrote {
            return Ok(Done::holds(format!(
                "somebody scaled {} to {now} replicas since; theirs stands",
                step.workload
            )));
        }
        scale::write_replicas(context, namespace, step, now, before.replicas).await?;
    }
    let Ok(object) = deployment(context, namespace, step).await? else {
        return Ok(Done::holds("the Deployment is gone"));
    };
    let current = managed_fields(&object);
    let handed = ownership::give_back(&current, &REPLICAS, &found.owners, FIELD_MANAGER);
    if handed != current {
        hand_back::as_a_courtesy(context, namespace, step, &object, handed).await?;
    }
    let wanted = if stay { now } else { before.replicas };
    Ok(Done::holds(format!(
        "{} wants {wanted} replicas",
        step.workload
    )))
}

/// What is put back, for whoever has to do it by hand.
pub(super) fn in_words(progress: &Progress<'_>, step: &Step) -> String {
    let before = scale::scaled(progress, step).and_then(|(_, found)| found.capacity.clone());
    let name = &step.workload;
    match before {
        Some(Capacity {
            autoscaler: Some(autoscaler),
            ..
        }) => format!(
            "spec.minReplicas of HorizontalPodAutoscaler {} ({} before)",
            autoscaler.name, autoscaler.min_replicas
        ),
        Some(Capacity { replicas, .. }) => {
            format!("spec.replicas of Deployment {name} ({replicas} before)")
        }
        None => format!("spec.replicas of Deployment {name}"),
    }
}

async fn give_minimum_back(
    context: &Context,
    namespace: &str,
    name: &str,
    found: &Found,
) -> Result<(), CallError> {
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(context.client.clone(), namespace);
    let object = match context
        .calls
        .read("get horizontalpodautoscaler", api.get(name))
        .await
    {
        Ok(object) => serde_json::to_value(&object).unwrap_or_default(),
        Err(CallError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let current = managed_fields(&object);
    let handed = ownership::give_back(&current, &MINIMUM, &found.owners, FIELD_MANAGER);
    let operations = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]},
        {"op": "replace", "path": "/metadata/managedFields", "value": handed},
    ]);
    let written = context
        .calls
        .json_patch("patch horizontalpodautoscaler", &api, name, &operations)
        .await;
    match written {
        // A courtesy to the next apply: a lost race is not worth another try.
        Ok(_) | Err(CallError::Refused { .. } | CallError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
