//! Scale: so many replicas are wanted. Where an autoscaler owns them, its minimum is raised instead:
//! a number that we write would be overwritten by it.

use backstop_api::event::{Autoscaler, Capacity, Found, Outcome, Step, StepKind};
use backstop_engine::ownership;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::{Value, json};

use super::{Done, Progress, deployment, deployments, wish};
use crate::{calls::CallError, context::Context, observe::managed_fields};

/// The number of replicas in a field set.
pub(super) const REPLICAS: [&str; 2] = ["f:spec", "f:replicas"];
/// An autoscaler's minimum in a field set.
pub(super) const MINIMUM: [&str; 2] = ["f:spec", "f:minReplicas"];

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
) -> Result<Done, CallError> {
    let wanted = step.replicas.unwrap_or(0);
    let object = match deployment(context, namespace, step).await? {
        Ok(object) => object,
        Err(done) => return Ok(done),
    };
    let now = replicas(&object);
    let Some(found) = &progress.status.steps[index].found else {
        // Going to zero switches an autoscaler off by itself, and coming back switches it on.
        let autoscaler = if wanted == 0 {
            None
        } else {
            autoscaler_of(context, namespace, &step.workload).await?
        };
        let owners = match &autoscaler {
            Some((_, managed)) => ownership::owners(managed, &MINIMUM),
            None => ownership::owners(&managed_fields(&object), &REPLICAS),
        };
        return Ok(Done::Found(Found {
            capacity: Some(Capacity {
                replicas: now,
                autoscaler: autoscaler.map(|(found, _)| found),
            }),
            owners,
            ..Found::default()
        }));
    };
    if let Some(done) = wish::against(context, namespace, progress, Some(&object)).await? {
        return Ok(done);
    }
    let before = found.capacity.clone().unwrap_or(Capacity {
        replicas: now,
        autoscaler: None,
    });
    if let Some(autoscaler) = &before.autoscaler {
        raise(context, namespace, autoscaler, wanted).await?;
        if now > 0 {
            return Ok(Done::written(format!(
                "HorizontalPodAutoscaler {} keeps at least {} replicas",
                autoscaler.name,
                raised(autoscaler, wanted)
            )));
        }
        // An autoscaler leaves a Deployment alone that is scaled to zero.
    }
    if now == wanted {
        return Ok(Done::written(format!(
            "{} wants {wanted} replicas",
            step.workload
        )));
    }
    if now != before.replicas {
        return Ok(Done::ends(
            Outcome::Contested,
            format!(
                "somebody scaled {} from {} to {now} replicas meanwhile; theirs stands, and a person has \
                 to go on",
                step.workload, before.replicas
            ),
        ));
    }
    write_replicas(context, namespace, step, now, wanted).await?;
    Ok(Done::written(format!(
        "{} wants {wanted} replicas instead of {now}",
        step.workload
    )))
}

/// `/spec/replicas` of a Deployment.
pub(super) fn replicas(object: &Value) -> i32 {
    object
        .pointer("/spec/replicas")
        .and_then(Value::as_i64)
        .and_then(|n| i32::try_from(n).ok())
        .unwrap_or(1)
}

/// What an autoscaler's minimum is raised to.
pub(super) fn raised(autoscaler: &Autoscaler, wanted: i32) -> i32 {
    wanted
        .max(autoscaler.min_replicas)
        .min(autoscaler.max_replicas)
}

/// As many of the wanted replicas as the autoscaler that Scale has found for a Deployment lets it have.
pub(super) fn possible(progress: &Progress<'_>, step: &Step, wanted: i32) -> i32 {
    scaled(progress, step)
        .and_then(|(_, found)| found.capacity.as_ref()?.autoscaler.as_ref())
        .map_or(wanted, |autoscaler| raised(autoscaler, wanted))
}

/// What Scale wrote to the Deployment of a step, and what was there before, if it has come to that.
pub(super) fn scaled<'a>(progress: &'a Progress<'_>, step: &Step) -> Option<(i32, &'a Found)> {
    let mut steps = progress.status.steps.iter();
    let scale =
        steps.find(|s| s.step.kind == StepKind::Scale && s.step.workload == step.workload)?;
    Some((scale.step.replicas.unwrap_or(0), scale.found.as_ref()?))
}

/// The autoscaler that owns the replicas of a Deployment, and who owns its fields.
async fn autoscaler_of(
    context: &Context,
    namespace: &str,
    workload: &str,
) -> Result<Option<(Autoscaler, Vec<Value>)>, CallError> {
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(context.client.clone(), namespace);
    let all = context
        .calls
        .read(
            "list horizontalpodautoscalers",
            api.list(&ListParams::default()),
        )
        .await?;
    Ok(all.into_iter().find_map(|object| {
        let spec = &object.spec;
        let target = &spec.scale_target_ref;
        (target.kind == "Deployment" && target.name == workload).then(|| {
            let found = Autoscaler {
                name: object.name_any(),
                uid: object.uid().unwrap_or_default(),
                min_replicas: spec.min_replicas.unwrap_or(1),
                max_replicas: spec.max_replicas,
            };
            let managed = serde_json::to_value(&object).unwrap_or_default();
            (found, managed_fields(&managed))
        })
    }))
}

/// Raises an autoscaler's minimum, if it is what it was.
async fn raise(
    context: &Context,
    namespace: &str,
    autoscaler: &Autoscaler,
    wanted: i32,
) -> Result<(), CallError> {
    let minimum = raised(autoscaler, wanted);
    if minimum == autoscaler.min_replicas {
        return Ok(());
    }
    write_minimum(
        context,
        namespace,
        autoscaler,
        autoscaler.min_replicas,
        minimum,
    )
    .await
}

/// Writes an autoscaler's minimum, if it is `from`; where somebody has written another one, theirs
/// stands.
pub(super) async fn write_minimum(
    context: &Context,
    namespace: &str,
    autoscaler: &Autoscaler,
    from: i32,
    to: i32,
) -> Result<(), CallError> {
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(context.client.clone(), namespace);
    let operations = json!([
        {"op": "test", "path": "/metadata/uid", "value": autoscaler.uid},
        {"op": "test", "path": "/spec/minReplicas", "value": from},
        {"op": "replace", "path": "/spec/minReplicas", "value": to},
    ]);
    let written = context
        .calls
        .json_patch(
            "patch horizontalpodautoscaler",
            &api,
            &autoscaler.name,
            &operations,
        )
        .await;
    match written {
        Ok(_) | Err(CallError::NotFound { .. } | CallError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes the number of replicas, if it is `from`.
pub(super) async fn write_replicas(
    context: &Context,
    namespace: &str,
    step: &Step,
    from: i32,
    to: i32,
) -> Result<(), CallError> {
    let operations = json!([
        {"op": "test", "path": "/metadata/uid", "value": step.workload_uid},
        {"op": "test", "path": "/spec/replicas", "value": from},
        {"op": "replace", "path": "/spec/replicas", "value": to},
    ]);
    let api = deployments(context, namespace);
    // Where a test does not hold, it is looked at again.
    context
        .calls
        .json_patch("patch deployment", &api, &step.workload, &operations)
        .await
        .map(|_| ())
}
