//! WriteTemplate: the good template takes the place of the failed one, if that is still there.

use backstop_api::{
    RollbackPoint,
    event::{Outcome, Restored, Step},
    names::ANNOTATION_LAST_APPLIED,
    point::WorkloadRelease,
};
use backstop_engine::{ownership, release};
use jiff::Timestamp;
use kube::Api;
use serde_json::{Value, json};

use super::{Done, Progress, Written, deployment, deployments, ignored_annotations, wish};
use crate::{calls::CallError, context::Context};

/// The Deployment's status and an autoscaler write all the time; so often is a lost race run again
/// at once.
const RACES: usize = 8;

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    step: &Step,
) -> Result<Done, CallError> {
    // What need not wait for the other is asked side by side: every call is time with the bad release.
    let (point, found) = tokio::join!(
        good_template(context, namespace, progress, step),
        deployment(context, namespace, step),
    );
    let point = match point? {
        Ok(point) => point,
        Err(done) => return Ok(done),
    };
    let mut found = Some(found);
    let ignored = ignored_annotations(context, namespace, &progress.event.spec.policy);
    let mut lost = String::new();
    for _ in 0..RACES {
        let found = match found.take() {
            Some(found) => found,
            None => deployment(context, namespace, step).await,
        };
        let found = match found? {
            Ok(found) => found,
            Err(done) => return Ok(done),
        };
        if let Some(done) = stands(context, namespace, progress, step, &point, &found, &ignored) {
            return Ok(done);
        }
        let (api, name) = (deployments(context, namespace), step.workload.as_str());
        let change = change(step, &point, &found);
        let calls = &context.calls;
        let (against, tried) = tokio::join!(
            wish::against(context, namespace, progress, Some(&found)),
            calls.try_json_patch("dry-run deployment", &api, name, &change),
        );
        if let Some(done) = against? {
            return Ok(done);
        }
        let written = match tried {
            Ok(_) => {
                let written = calls.json_patch("patch deployment", &api, name, &change);
                written.await
            }
            Err(error) => Err(error),
        };
        match written {
            Ok(object) => {
                let at = Timestamp::now();
                let value = serde_json::to_value(&object).unwrap_or_default();
                let restored = Restored {
                    hash: release::identity(&value["spec"]["template"], &ignored),
                    generation: object.metadata.generation.unwrap_or_default(),
                };
                return Ok(Done::Holds {
                    message: format!(
                        "the template of {} is written to {}",
                        step.point, step.workload
                    ),
                    written: Some(Written {
                        restored: Some(restored),
                        at,
                    }),
                    left: Vec::new(),
                });
            }
            // A test of the patch failed, or the object changed between: look again whose it is.
            Err(CallError::Conflict { message, .. }) => lost = message,
            Err(error) => return Err(error),
        }
    }
    Err(CallError::Conflict {
        operation: "patch deployment",
        message: lost,
    })
}

/// The point in full, as the server has it.
async fn good_template(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    step: &Step,
) -> Result<Result<WorkloadRelease, Done>, CallError> {
    let api: Api<RollbackPoint> = Api::namespaced(context.client.clone(), namespace);
    let unusable = |why: String| {
        Ok(Err(Done::ends(
            Outcome::PointUnusable,
            format!(
                "RollbackPoint {} {why}; {}",
                step.point,
                wish::so_far(progress)
            ),
        )))
    };
    let point = match context
        .calls
        .read("get rollbackpoint", api.get(&step.point))
        .await
    {
        Ok(point) => point,
        Err(CallError::NotFound { .. }) => return unusable("was deleted meanwhile".into()),
        Err(error) => return Err(error),
    };
    let held = point.spec.release.as_ref();
    match held.and_then(|release| release.workload(&step.workload)) {
        Some(workload) if workload.hash == step.to => Ok(Ok(workload.clone())),
        _ => unusable(format!("does not hold release {} any more", step.to)),
    }
}

/// Whose template is there: ours from before a crash, the failed one (`None`: to be replaced), or
/// somebody else's.
fn stands(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    step: &Step,
    point: &WorkloadRelease,
    found: &Value,
    ignored: &[String],
) -> Option<Done> {
    let live = release::identity(&found["spec"]["template"], ignored);
    if live == step.from {
        return None;
    }
    let ours = live == step.to
        || progress
            .event_now()
            .written(&step.workload)
            .is_some_and(|w| w.hash == live)
        || found["spec"]["template"] == point.template;
    if ours {
        return Some(Done::Holds {
            message: format!("release {live} is there already"),
            written: Some(Written {
                restored: Some(Restored {
                    hash: live,
                    generation: found["metadata"]["generation"].as_i64().unwrap_or_default(),
                }),
                at: Timestamp::now(),
            }),
            left: Vec::new(),
        });
    }
    let by = context
        .observers
        .get(namespace, &progress.event.spec.policy)
        .and_then(|o| o.member(&step.workload)?.last_writer)
        .unwrap_or_else(|| "somebody".into());
    Some(Done::superseded(format!(
        "{by} wrote release {live} before the rollback could; theirs stands, and {}",
        wish::so_far(progress)
    )))
}

/// The change: only if it is still this object, this version and this template.
fn change(step: &Step, point: &WorkloadRelease, found: &Value) -> Value {
    let mut operations = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": step.workload_uid}),
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": found["metadata"]["resourceVersion"]}),
        json!({"op": "test", "path": "/spec/template", "value": found["spec"]["template"]}),
        json!({"op": "replace", "path": "/spec/template", "value": point.template}),
    ];
    if let Some(rolling) = &step.rolling {
        let mut value = found["spec"]["strategy"]["rollingUpdate"].clone();
        if !value.is_object() {
            value = json!({});
        }
        for (key, wanted) in [
            ("maxUnavailable", &rolling.max_unavailable),
            ("maxSurge", &rolling.max_surge),
        ] {
            if let Some(wanted) = wanted {
                value[key] = json!(wanted);
            }
        }
        operations
            .push(json!({"op": "add", "path": "/spec/strategy/rollingUpdate", "value": value}));
    }
    let applied = found["metadata"]["annotations"][ANNOTATION_LAST_APPLIED].as_str();
    if let Some(text) =
        applied.and_then(|text| ownership::last_applied(text, &point.ownership, &point.template))
    {
        let path = format!(
            "/metadata/annotations/{}",
            ANNOTATION_LAST_APPLIED
                .replace('~', "~0")
                .replace('/', "~1")
        );
        operations.push(json!({"op": "replace", "path": path, "value": text}));
    }
    Value::Array(operations)
}
