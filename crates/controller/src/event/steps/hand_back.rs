//! HandBackOwnership: the fields belong to whom they belonged at the point, so that the next apply
//! meets no conflict. In a patch of its own: in one with the template the server would add our
//! entry again.

use backstop_api::{RollbackPoint, event::Step, names::FIELD_MANAGER};
use backstop_engine::ownership;
use kube::Api;
use serde_json::{Value, json};

use super::{Done, Progress, deployment, deployments};
use crate::{calls::CallError, context::Context, observe::managed_fields};

/// So often is a lost race run again at once.
const RACES: usize = 8;

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    step: &Step,
) -> Result<Done, CallError> {
    let api: Api<RollbackPoint> = Api::namespaced(context.client.clone(), namespace);
    let point = match context
        .calls
        .read("get rollbackpoint", api.get(&step.point))
        .await
    {
        Ok(point) => point.spec.release,
        Err(CallError::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    let held_by_point = point.and_then(|release| release.workload(&step.workload).cloned());
    let Some(release) = held_by_point else {
        return Ok(Done::holds(format!(
            "RollbackPoint {} is gone, and with it whose the fields were",
            step.point
        )));
    };
    let strategy = step
        .rolling
        .is_some()
        .then_some(step.strategy_owners.as_slice());
    let mut lost = String::new();
    for _ in 0..RACES {
        let found = match deployment(context, namespace, step).await? {
            Ok(found) => found,
            Err(done) => return Ok(done),
        };
        let written = progress.event_now();
        let written = written.written(&step.workload);
        let newer = written.is_some_and(|ours| {
            found["metadata"]["generation"]
                .as_i64()
                .is_some_and(|now| now > ours.generation)
        });
        if newer && found["spec"]["template"] != release.template {
            return Ok(Done::holds(
                "somebody has written the Deployment since; its fields are theirs",
            ));
        }
        let current = managed_fields(&found);
        let handed = ownership::hand_back(&current, &release.ownership, strategy, FIELD_MANAGER);
        if handed == current {
            return Ok(held());
        }
        match write(context, namespace, step, &found, handed).await {
            Ok(()) => return Ok(held()),
            Err(CallError::Conflict { message, .. }) => lost = message,
            Err(CallError::Refused { message, .. }) => {
                // A courtesy to the next apply, not worth failing a rollback for.
                tracing::warn!(
                    namespace,
                    deployment = step.workload,
                    message,
                    "ownership could not be handed back"
                );
                lost = message;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Done::holds(format!(
        "ownership could not be handed back ({lost}); the next kubectl apply --server-side may \
             need --force-conflicts once"
    )))
}

fn held() -> Done {
    Done::holds("the fields belong to whom they belonged when the release proved itself")
}

/// The same where the rollback is as good as done: the next apply may have a conflict, and that is all.
pub(super) async fn as_a_courtesy(
    context: &Context,
    namespace: &str,
    step: &Step,
    found: &Value,
    managed: Vec<Value>,
) -> Result<(), CallError> {
    match write(context, namespace, step, found, managed).await {
        Err(CallError::Refused { message, .. }) => {
            tracing::warn!(
                namespace,
                deployment = step.workload,
                message,
                "ownership could not be handed back"
            );
            Ok(())
        }
        written => written,
    }
}

/// Writes managedFields alone.
async fn write(
    context: &Context,
    namespace: &str,
    step: &Step,
    found: &Value,
    managed: Vec<Value>,
) -> Result<(), CallError> {
    let operations = json!([
        {"op": "test", "path": "/metadata/uid", "value": step.workload_uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": found["metadata"]["resourceVersion"]},
        {"op": "replace", "path": "/metadata/managedFields", "value": managed},
    ]);
    let api = deployments(context, namespace);
    context
        .calls
        .json_patch(
            "patch deployment ownership",
            &api,
            &step.workload,
            &operations,
        )
        .await
        .map(|_| ())
}
