//! Restart: the pods are replaced, so that they start with the configuration that was put back. As
//! `kubectl rollout restart` does it, with the time of the decision: done twice, it is done once.

use backstop_api::{
    event::{Restored, Step},
    names::ANNOTATION_RESTARTED_AT,
};
use backstop_engine::release;
use serde_json::{Value, json};

use super::{Done, Progress, Written, deployment, deployments, ignored_annotations, wish};
use crate::{calls::CallError, context::Context};

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    step: &Step,
) -> Result<Done, CallError> {
    let found = match deployment(context, namespace, step).await? {
        Ok(found) => found,
        Err(done) => return Ok(done),
    };
    let status = &progress.status;
    // One that takes its release back again restarts the pods again.
    let again = status.reverts.last().map(|r| r.at);
    let at = json!(
        again
            .or(status.times.decided)
            .unwrap_or_default()
            .to_string()
    );
    let template = &found["spec"]["template"];
    let ignored = ignored_annotations(context, namespace, &progress.event.spec.policy);
    let live = release::identity(template, &ignored);
    let holds = |object: &Value| Done::Holds {
        message: format!("the pods of {} are replaced", step.workload),
        written: Some(Written {
            restored: Some(Restored {
                hash: step.from.clone(),
                generation: object["metadata"]["generation"]
                    .as_i64()
                    .unwrap_or_default(),
            }),
            ..Written::now()
        }),
        left: Vec::new(),
    };
    if template["metadata"]["annotations"][ANNOTATION_RESTARTED_AT] == at {
        return Ok(holds(&found));
    }
    if live != step.from {
        return Ok(Done::superseded(format!(
            "somebody wrote release {live} to {} before the rollback could restart it; theirs stands, \
                 and {}",
            step.workload,
            wish::so_far(progress)
        )));
    }
    if let Some(done) = wish::against(context, namespace, progress, Some(&found)).await? {
        return Ok(done);
    }
    let mut annotations = template["metadata"]["annotations"].clone();
    if !annotations.is_object() {
        annotations = json!({});
    }
    annotations[ANNOTATION_RESTARTED_AT] = at;
    let operations: Value = json!([
        {"op": "test", "path": "/metadata/uid", "value": step.workload_uid},
        {"op": "test", "path": "/spec/template", "value": template},
        {"op": "add", "path": "/spec/template/metadata/annotations", "value": annotations},
    ]);
    let api = deployments(context, namespace);
    let patched = context
        .calls
        .json_patch("patch deployment", &api, &step.workload, &operations)
        .await?;
    Ok(holds(&serde_json::to_value(&patched).unwrap_or_default()))
}
