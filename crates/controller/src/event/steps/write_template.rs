//! WriteTemplate: the good template takes the place of the failed one, if that is still there.

use backstop_api::{
    RollbackPoint,
    event::{EventPhase, Outcome, Step},
    names::{ANNOTATION_LAST_APPLIED, ANNOTATION_OVERRIDE, FIELD_MANAGER},
    policy::Mode,
};
use backstop_engine::{ownership, release};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{Done, Progress, Written, called_off, deployment, deployments, ignored_annotations};
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
    let point = match good_template(context, namespace, step).await? {
        Ok(point) => point,
        Err(done) => return Ok(done),
    };
    let ignored = ignored_annotations(context, namespace, &progress.event.spec.policy);
    let mut lost = String::new();
    for _ in 0..RACES {
        let found = match deployment(context, namespace, step).await? {
            Ok(found) => found,
            Err(done) => return Ok(done),
        };
        if let Some(done) = stands(context, namespace, progress, step, &point, &found, &ignored) {
            return Ok(done);
        }
        if let Some(done) = persons_wish(context, namespace, progress, &found).await? {
            return Ok(done);
        }
        let patch = patch(step, &point, &found, namespace)?;
        let api = deployments(context, namespace);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let dry = PatchParams {
            dry_run: true,
            ..params.clone()
        };
        let tried = api.patch(&step.workload, &dry, &patch);
        let written = match context.calls.write("dry-run deployment", tried).await {
            Ok(_) => {
                let write = api.patch(&step.workload, &params, &patch);
                context.calls.write("patch deployment", write).await
            }
            Err(error) => Err(error),
        };
        match written {
            Ok(object) => {
                let at = Timestamp::now();
                let value = serde_json::to_value(&object).unwrap_or_default();
                let made = release::identity(&value["spec"]["template"], &ignored);
                return Ok(Done::Holds {
                    message: format!(
                        "the template of {} is written to {}",
                        step.point, step.workload
                    ),
                    written: Some(Written {
                        release: made,
                        generation: object.metadata.generation.unwrap_or_default(),
                        at,
                    }),
                });
            }
            // A test of the patch failed, or the object changed between: look again whose it is.
            Err(CallError::Conflict { message, .. }) => lost = message,
            Err(CallError::Refused {
                code: 422, message, ..
            }) if is_failed_test(&message) => {
                lost = message;
            }
            Err(CallError::Refused { code, message, .. }) => {
                return Ok(Done::Ends {
                    phase: EventPhase::Failed,
                    outcome: Outcome::WriteRefused,
                    message: format!(
                        "the API server refuses the template of {} ({code}): {message}; nothing was \
                         changed, a person has to roll back",
                        step.point
                    ),
                });
            }
            Err(error) => return Err(error),
        }
    }
    Err(CallError::Conflict {
        operation: "patch deployment",
        message: lost,
    })
}

/// A JSON Patch whose test does not hold is refused as invalid.
fn is_failed_test(message: &str) -> bool {
    message.contains("test") || message.contains("the server rejected our request")
}

/// The point in full, as the server has it.
async fn good_template(
    context: &Context,
    namespace: &str,
    step: &Step,
) -> Result<Result<backstop_api::point::Release, Done>, CallError> {
    let api: Api<RollbackPoint> = Api::namespaced(context.client.clone(), namespace);
    let unusable = |why: String| {
        Ok(Err(Done::Ends {
            phase: EventPhase::Failed,
            outcome: Outcome::PointUnusable,
            message: format!("RollbackPoint {} {why}; nothing was changed", step.point),
        }))
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
    match point.spec.release {
        Some(release) if release.hash == step.to => Ok(Ok(release)),
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
    point: &backstop_api::point::Release,
    found: &Value,
    ignored: &[String],
) -> Option<Done> {
    let live = release::identity(&found["spec"]["template"], ignored);
    if live == step.from {
        return None;
    }
    let ours = live == step.to
        || progress.status.restored_hash.as_ref() == Some(&live)
        || found["spec"]["template"] == point.template;
    if ours {
        return Some(Done::Holds {
            message: format!("release {live} is there already"),
            written: Some(Written {
                release: live,
                generation: found["metadata"]["generation"].as_i64().unwrap_or_default(),
                at: Timestamp::now(),
            }),
        });
    }
    let by = context
        .observers
        .get(namespace, &progress.event.spec.policy)
        .and_then(|o| o.workload()?.last_writer)
        .unwrap_or_else(|| "somebody".into());
    Some(Done::Ends {
        phase: EventPhase::Superseded,
        outcome: Outcome::NewerRelease,
        message: format!(
            "{by} wrote release {live} before the rollback could; theirs stands, and nothing was changed"
        ),
    })
}

/// Until the template is written, a person may still call it off.
async fn persons_wish(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    found: &Value,
) -> Result<Option<Done>, CallError> {
    let off = |outcome, message| {
        Some(Done::Ends {
            phase: EventPhase::Cancelled,
            outcome,
            message,
        })
    };
    if let Some(why) = called_off(context, namespace, progress).await? {
        let message = format!("called off by a person before anything was changed: {why}");
        return Ok(off(Outcome::CancelledByPerson, message));
    }
    if found["spec"]["paused"] == json!(true) {
        let message =
            "a person paused the rollout of the Deployment; nothing was changed".to_owned();
        return Ok(off(Outcome::PolicyNotInForce, message));
    }
    if let Some(why) = found["metadata"]["annotations"].get(ANNOTATION_OVERRIDE) {
        let message =
            format!("a person has taken over ({ANNOTATION_OVERRIDE}: {why}); nothing was changed");
        return Ok(off(Outcome::PolicyNotInForce, message));
    }
    let mode = context
        .policies_of(namespace)
        .into_iter()
        .find(|p| p.name_any() == progress.event.spec.policy)
        .map(|p| p.spec.mode);
    Ok(match mode {
        Some(Mode::Paused | Mode::Observe) => off(
            Outcome::PolicyNotInForce,
            format!(
                "the policy's mode is {mode:?} now; nothing was changed",
                mode = mode.unwrap_or_default()
            ),
        ),
        _ => None,
    })
}

/// The change: only if it is still this object, this version and this template.
fn patch(
    step: &Step,
    point: &backstop_api::point::Release,
    found: &Value,
    namespace: &str,
) -> Result<Patch<Value>, CallError> {
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
    let patch = serde_json::from_value(Value::Array(operations)).map_err(|error| {
        tracing::error!(%error, namespace, deployment = step.workload, "the patch is malformed");
        CallError::Refused {
            operation: "patch deployment",
            code: 0,
            message: error.to_string(),
        }
    })?;
    Ok(Patch::Json(patch))
}
