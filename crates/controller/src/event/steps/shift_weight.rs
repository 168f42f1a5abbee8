//! ShiftWeight: the route gives the canary so much, if it gives it what it did when that was decided.

use backstop_api::{
    event::{Found, Outcome, Step},
    names::FIELD_MANAGER,
};
use backstop_engine::ownership;
use backstop_traffic::{Percent, Route};
use kube::{Api, api::DynamicObject};
use serde_json::{Value, json};

use super::{Done, Progress, watched, wish};
use crate::{
    calls::CallError,
    context::Context,
    observe::{managed_fields, route},
};

/// What of a route Backstop may write, in a field set: weights are in lists that belong to one
/// manager as a whole, or in annotations.
const WRITTEN: [&[&str]; 2] = [&["f:spec"], &["f:metadata", "f:annotations"]];

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
) -> Result<Done, CallError> {
    let Some(change) = &step.weight else {
        return Ok(Done::ends(
            Outcome::PointUnusable,
            "the step names no route",
        ));
    };
    let observer = match watched(context, namespace, progress).await? {
        Ok(observer) => observer,
        Err(done) => return Ok(done),
    };
    let (Some(canary), Ok(provider), Ok(to)) = (
        observer.policy.strategy.canary(),
        context.routes.get(&change.route.provider),
        Percent::try_from(change.to),
    ) else {
        let message = format!(
            "the policy has another strategy by now; {}",
            wish::so_far(progress)
        );
        return Ok(Done::ends(Outcome::PolicyNotInForce, message));
    };
    let resource = route::resource(provider);
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), namespace, &resource);
    let object = match context
        .calls
        .read("get route", api.get(&change.route.name))
        .await
    {
        Ok(object) => serde_json::to_value(&object).unwrap_or_default(),
        Err(CallError::NotFound { .. }) => Value::Null,
        Err(error) => return Err(error),
    };
    if object["metadata"]["uid"] != json!(change.route_uid) {
        let message = format!(
            "{} {} is not there any more, or is another one; {}",
            provider.kind,
            change.route.name,
            wish::so_far(progress)
        );
        return Ok(Done::ends(Outcome::WorkloadDeleted, message));
    }
    let selection = route::selection(&canary.parameters);
    let read = match Route::read(provider, &selection, &object) {
        Ok(read) => read,
        Err(error) => {
            let message = format!("{error}; {}", wish::so_far(progress));
            return Ok(Done::ends(Outcome::Contested, message));
        }
    };
    let managed = managed_fields(&object);
    let Some(found) = &progress.status.steps[index].found else {
        return Ok(Done::Found(Found {
            owners: WRITTEN
                .iter()
                .flat_map(|path| ownership::owners(&managed, path))
                .collect(),
            ..Found::default()
        }));
    };
    let name = &change.route.name;
    if read.weights().holds(to) {
        hand_back(context, &api, name, &object, found).await?;
        return Ok(Done::written(format!(
            "{} {name} gives the canary {to}",
            provider.kind
        )));
    }
    let share = read.weights().percent().get();
    if share != change.from {
        return Ok(Done::superseded(format!(
            "somebody gave the canary {share} % in {} {name} instead of {} %; theirs stands, and {}",
            provider.kind,
            change.from,
            wish::so_far(progress)
        )));
    }
    if let Some(done) = wish::against(context, namespace, progress, None).await? {
        return Ok(done);
    }
    // Where a test does not hold, somebody has edited the route: it is looked at again.
    let patched = context
        .calls
        .json_patch("patch route", &api, name, &Value::Array(read.shift(to)))
        .await?;
    let patched = serde_json::to_value(&patched).unwrap_or_default();
    if Route::read(provider, &selection, &patched).is_ok_and(|read| read.weights().holds(to)) {
        hand_back(context, &api, name, &patched, found).await?;
        return Ok(Done::written(format!(
            "{} {name} gives the canary {to}",
            provider.kind
        )));
    }
    // Somebody makes another of what was written: it is looked at again.
    Box::pin(perform(context, namespace, progress, index, step)).await
}

/// The route's fields belong to whom they belonged.
async fn hand_back(
    context: &Context,
    api: &Api<DynamicObject>,
    name: &str,
    object: &Value,
    found: &Found,
) -> Result<(), CallError> {
    let managed = managed_fields(object);
    if !managed.iter().any(|e| e["manager"] == FIELD_MANAGER) {
        return Ok(());
    }
    let mut handed = managed;
    for path in WRITTEN {
        let owners = ownership::owners(&found.owners, path);
        handed = ownership::give_back(&handed, path, &owners, FIELD_MANAGER);
    }
    let operations = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]},
        {"op": "replace", "path": "/metadata/managedFields", "value": handed},
    ]);
    match context
        .calls
        .json_patch("patch route", api, name, &operations)
        .await
    {
        // A courtesy to the next apply: a lost race is not worth another try.
        Ok(_) | Err(CallError::Conflict { .. } | CallError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
