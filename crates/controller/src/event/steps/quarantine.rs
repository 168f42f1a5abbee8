//! QuarantineRelease: the release that failed is on record, so that it is never gone back to.

use backstop_api::{
    RollbackPoint, RollbackPointSpec,
    event::Step,
    names::{self, ANNOTATION_EVENT, ANNOTATION_PROVED_AT},
    point::{Origin, Release, Verdict},
    policy::WorkloadRef,
};
use backstop_engine::release;
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use super::{Done, Progress, deployment, ignored_annotations};
use crate::{calls::CallError, context::Context, policy::capture::label};

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
    let template = found.pointer("/spec/template").cloned().unwrap_or_default();
    let ignored = ignored_annotations(context, namespace, &progress.event.spec.policy);
    if release::identity(&template, &ignored) != step.from {
        // The next step says whose template it is; this one has nothing to record.
        return Ok(Done::Holds {
            message: format!(
                "release {} is not live any more and is not recorded",
                step.from
            ),
            written: None,
        });
    }
    let event = progress.event.name_any();
    let name = names::quarantine_name(&step.workload, &step.from);
    let mut point = RollbackPoint::new(
        &name,
        RollbackPointSpec {
            workload: WorkloadRef {
                name: step.workload.clone(),
            },
            origin: Origin::Quarantine,
            verdict: Verdict::Quarantined,
            reason: progress
                .event
                .spec
                .reason
                .clone()
                .map(|r| format!("{event}: {r}")),
            release: Some(Release {
                hash: step.from.clone(),
                workload_uid: step.workload_uid.clone(),
                images: release::images(&template),
                replicas: found
                    .pointer("/spec/replicas")
                    .and_then(serde_json::Value::as_i64)
                    .and_then(|n| i32::try_from(n).ok())
                    .unwrap_or(1),
                revision: progress
                    .status
                    .from
                    .as_ref()
                    .and_then(|f| f.revision.clone()),
                floor: None,
                ownership: backstop_api::point::Ownership::default(),
                template,
            }),
            baselines: std::collections::BTreeMap::new(),
        },
    );
    label(&mut point);
    let annotations = point.annotations_mut();
    annotations.insert(ANNOTATION_EVENT.into(), event);
    annotations.insert(ANNOTATION_PROVED_AT.into(), Timestamp::now().to_string());
    let api: Api<RollbackPoint> = Api::namespaced(context.client.clone(), namespace);
    match context
        .calls
        .create("create rollbackpoint", &api, &point)
        .await
    {
        Ok(_) => {}
        Err(CallError::AlreadyExists { .. }) => {
            // It failed before, or this step was done before a crash.
            let patch = serde_json::json!({"metadata": {"annotations": point.annotations()}});
            context
                .calls
                .merge("patch rollbackpoint", &api, &name, patch)
                .await?;
        }
        Err(error) => return Err(error),
    }
    Ok(Done::Holds {
        message: format!(
            "release {} is recorded as failed in RollbackPoint {name}",
            step.from
        ),
        written: None,
    })
}
