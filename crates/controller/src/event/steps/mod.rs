//! The steps: each looks first whether it holds already, so that doing it twice does no harm.

mod await_rollout;
mod hand_back;
mod quarantine;
mod restore_strategy;
mod write_template;

use backstop_api::{
    event::{EventPhase, Outcome, Step, StepKind},
    names::ANNOTATION_CANCEL,
};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
};
use serde_json::Value;

use super::{Done, progress::Progress};
use crate::{calls::CallError, context::Context};

/// What the server made of a written template.
pub(crate) struct Written {
    /// Identity of the release that it is.
    pub(crate) release: String,
    /// The Deployment's generation.
    pub(crate) generation: i64,
    /// When it was written.
    pub(crate) at: Timestamp,
}

/// Does one step.
pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
) -> Result<Done, CallError> {
    match step.kind {
        StepKind::QuarantineRelease => {
            quarantine::perform(context, namespace, progress, step).await
        }
        StepKind::WriteTemplate => {
            write_template::perform(context, namespace, progress, step).await
        }
        StepKind::HandBackOwnership => hand_back::perform(context, namespace, progress, step).await,
        StepKind::AwaitRollout => {
            await_rollout::perform(context, namespace, progress, index, step).await
        }
        StepKind::RestoreStrategy => restore_strategy::perform(context, namespace, step).await,
    }
}

/// What must not be left behind when a rollback ends at step `index`: a changed `rollingUpdate`.
pub(super) async fn clean_up(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
) {
    if !progress.has_written() {
        return;
    }
    for status in progress.status.steps.iter().skip(index + 1) {
        if status.step.kind == StepKind::RestoreStrategy
            && let Err(error) = restore_strategy::perform(context, namespace, &status.step).await
        {
            tracing::error!(%error, namespace, deployment = status.step.workload,
                "spec.strategy could not be put back as it was; do so by hand");
        }
    }
}

/// Why a person calls the rollback off, asked of the server: the cache may not know yet.
async fn called_off(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
) -> Result<Option<String>, CallError> {
    let api: Api<backstop_api::RollbackEvent> = Api::namespaced(context.client.clone(), namespace);
    let name = progress.event.name_any();
    let fresh = context
        .calls
        .read("get rollbackevent", api.get_metadata(&name))
        .await?;
    Ok(fresh.annotations().get(ANNOTATION_CANCEL).cloned())
}

/// Deployments as they come, with the fields of whatever version the server has.
fn deployments(context: &Context, namespace: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "apps".into(),
        version: "v1".into(),
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        plural: "deployments".into(),
    };
    Api::namespaced_with(context.client.clone(), namespace, &resource)
}

/// The Deployment that a step is about, as it is now; or how the rollback ends because it is not
/// there.
async fn deployment(
    context: &Context,
    namespace: &str,
    step: &Step,
) -> Result<Result<Value, Done>, CallError> {
    let api = deployments(context, namespace);
    let found = context
        .calls
        .read("get deployment", api.get(&step.workload))
        .await;
    let gone = |message: String| {
        Ok(Err(Done::Ends {
            phase: EventPhase::Failed,
            outcome: Outcome::WorkloadDeleted,
            message,
        }))
    };
    let object = match found {
        Ok(object) => object,
        Err(CallError::NotFound { .. }) => {
            return gone(format!(
                "Deployment {} is not there any more",
                step.workload
            ));
        }
        Err(error) => return Err(error),
    };
    if object.uid().as_ref() != Some(&step.workload_uid) {
        return gone(format!(
            "Deployment {} is another one now than the one that failed",
            step.workload
        ));
    }
    if object.metadata.deletion_timestamp.is_some() {
        return gone(format!("Deployment {} is being deleted", step.workload));
    }
    Ok(Ok(serde_json::to_value(&object).unwrap_or_default()))
}

/// Annotations of the template that say nothing about a release, by the rollback's policy.
fn ignored_annotations(context: &Context, namespace: &str, policy: &str) -> Vec<String> {
    context
        .policies_of(namespace)
        .into_iter()
        .find(|p| p.name_any() == policy)
        .map(|p| p.spec.ignore_annotations)
        .unwrap_or_default()
}
