//! SwapSelector: the Service selects the good stack, if it selects what it did when that was decided.

use backstop_api::{
    event::{Found, Outcome, SelectorChange, Step},
    names::FIELD_MANAGER,
};
use backstop_engine::ownership;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use serde_json::{Value, json};

use super::{Done, Progress, wish};
use crate::{calls::CallError, context::Context, observe::managed_fields};

/// The selector in a field set.
const SELECTOR: [&str; 2] = ["f:spec", "f:selector"];

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
) -> Result<Done, CallError> {
    let Some(change) = &step.selector else {
        return Ok(Done::ends(
            Outcome::PointUnusable,
            "the step names no Service",
        ));
    };
    let api: Api<Service> = Api::namespaced(context.client.clone(), namespace);
    let object = match context
        .calls
        .read("get service", api.get(&change.service))
        .await
    {
        Ok(object) => serde_json::to_value(&object).unwrap_or_default(),
        Err(CallError::NotFound { .. }) => Value::Null,
        Err(error) => return Err(error),
    };
    if object["metadata"]["uid"] != json!(change.service_uid) {
        let message = format!(
            "Service {} is not there any more, or is another one; {}",
            change.service,
            wish::so_far(progress)
        );
        return Ok(Done::ends(Outcome::WorkloadDeleted, message));
    }
    let now = &object["spec"]["selector"];
    let managed = managed_fields(&object);
    let Some(found) = &progress.status.steps[index].found else {
        return Ok(Done::Found(Found {
            owners: ownership::owners(&managed, &SELECTOR),
            ..Found::default()
        }));
    };
    if *now == json!(change.to) {
        hand_back(context, &api, &change.service, &object, found).await?;
        return Ok(selects(change, step));
    }
    if *now != json!(change.from) {
        return Ok(Done::superseded(format!(
            "somebody changed what Service {} selects before the rollback could; theirs stands, and \
                 {}",
            change.service,
            wish::so_far(progress)
        )));
    }
    if let Some(done) = wish::against(context, namespace, progress, None).await? {
        return Ok(done);
    }
    let operations = json!([
        {"op": "test", "path": "/metadata/uid", "value": change.service_uid},
        {"op": "test", "path": "/spec/selector", "value": change.from},
        {"op": "replace", "path": "/spec/selector", "value": change.to},
    ]);
    // Where a test does not hold, it is looked at again.
    let patched = context
        .calls
        .json_patch("patch service", &api, &change.service, &operations)
        .await?;
    // From here on requests go there: nothing that is refused may make this undone.
    let patched = serde_json::to_value(&patched).unwrap_or_default();
    hand_back(context, &api, &change.service, &patched, found).await?;
    Ok(selects(change, step))
}

fn selects(change: &SelectorChange, step: &Step) -> Done {
    Done::written(format!(
        "Service {} selects the pods of {}",
        change.service, step.workload
    ))
}

/// The selector belongs to whom it belonged.
async fn hand_back(
    context: &Context,
    api: &Api<Service>,
    name: &str,
    object: &Value,
    found: &Found,
) -> Result<(), CallError> {
    let managed = managed_fields(object);
    let handed = ownership::give_back(&managed, &SELECTOR, &found.owners, FIELD_MANAGER);
    if handed == managed {
        return Ok(());
    }
    let operations = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]},
        {"op": "replace", "path": "/metadata/managedFields", "value": handed},
    ]);
    let written = context
        .calls
        .json_patch("patch service", api, name, &operations)
        .await;
    match written {
        // A courtesy to the next apply.
        Ok(_) | Err(CallError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
