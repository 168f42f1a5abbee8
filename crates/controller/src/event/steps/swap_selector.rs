//! SwapSelector: the Service selects the good stack, if it selects what it did when that was decided.

use backstop_api::{
    event::{Found, Outcome, Step},
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
        let handed = ownership::give_back(&managed, &SELECTOR, &found.owners, FIELD_MANAGER);
        if handed != managed {
            let operations = json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]},
                {"op": "replace", "path": "/metadata/managedFields", "value": handed},
            ]);
            context
                .calls
                .json_patch("patch service", &api, &change.service, &operations)
                .await?;
        }
        return Ok(Done::written(format!(
            "Service {} selects the pods of {}",
            change.service, step.workload
        )));
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
    context
        .calls
        .json_patch("patch service", &api, &change.service, &operations)
        .await?;
    // Looked at again at once: the next look gives the ownership back.
    Box::pin(perform(context, namespace, progress, index, step)).await
}
