//! The steps: each looks first whether it holds already, so that doing it twice does no harm.

mod await_capacity;
mod await_endpoints;
mod await_rollout;
mod deadline;
mod detach;
mod hand_back;
mod hold_weight;
mod isolate;
pub(crate) mod quarantine;
mod restart;
mod restore_config;
mod restore_strategy;
mod scale;
mod scale_back;
mod shift_weight;
mod swap_selector;
mod watched;
mod wish;
mod write_template;

use std::{fmt::Write as _, time::Duration};

use backstop_api::{
    event::{Outcome, Restored, Step, StepKind},
    names::{LABEL_SUSPECT, label_value},
};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
};
use serde_json::Value;

use super::{Done, progress::Progress};
use crate::{calls::CallError, context::Context};
use watched::watched;
pub(super) use wish::so_far;

/// So often is it tried to put back what must not be left behind.
const TRIES: usize = 3;
/// So long apart.
const BETWEEN: Duration = Duration::from_secs(1);

/// Something was written.
pub(crate) struct Written {
    /// For a template: what the server made of it.
    pub(crate) restored: Option<Restored>,
    /// When it was written.
    pub(crate) at: Timestamp,
}

impl Written {
    /// Something other than a template, now.
    pub(super) fn now() -> Self {
        Self {
            restored: None,
            at: Timestamp::now(),
        }
    }
}

/// Does one step.
pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
) -> Result<Done, CallError> {
    let several = progress.event.spec.workloads.len() > 1;
    let of_several = [StepKind::QuarantineRelease, StepKind::WriteTemplate].contains(&step.kind);
    if several
        && of_several
        && let Err(done) = watched(context, namespace, progress).await?
    {
        // Which Deployments belong together must be known before one of them is changed.
        return Ok(done);
    }
    match step.kind {
        StepKind::QuarantineRelease => {
            quarantine::perform(context, namespace, progress, step).await
        }
        StepKind::WriteTemplate => {
            write_template::perform(context, namespace, progress, step).await
        }
        StepKind::DetachSuspects => {
            detach::perform(context, namespace, progress, index, step).await
        }
        StepKind::IsolateSuspects => isolate::perform(context, namespace, progress, step).await,
        StepKind::HandBackOwnership => hand_back::perform(context, namespace, progress, step).await,
        StepKind::AwaitRollout => {
            await_rollout::perform(context, namespace, progress, index, step).await
        }
        StepKind::RestoreStrategy => restore_strategy::perform(context, namespace, step).await,
        StepKind::RestoreConfig => {
            restore_config::perform(context, namespace, progress, step).await
        }
        StepKind::Restart => restart::perform(context, namespace, progress, step).await,
        StepKind::Scale => scale::perform(context, namespace, progress, index, step).await,
        StepKind::ScaleBack => scale_back::perform(context, namespace, progress, step).await,
        StepKind::AwaitCapacity => {
            await_capacity::ready(context, namespace, progress, index, step).await
        }
        StepKind::AwaitStopped => {
            await_capacity::stopped(context, namespace, progress, index, step).await
        }
        StepKind::SwapSelector => {
            swap_selector::perform(context, namespace, progress, index, step).await
        }
        StepKind::AwaitEndpoints => {
            await_endpoints::perform(context, namespace, progress, index, step).await
        }
        StepKind::ShiftWeight => {
            shift_weight::perform(context, namespace, progress, index, step).await
        }
        StepKind::HoldWeight => {
            hold_weight::perform(context, namespace, progress, index, step).await
        }
    }
}

/// What must not be left behind when a rollback ends at step `index`: a changed `rollingUpdate`, and
/// replicas that were changed for its time. Returns what a person has to put back, in words.
pub(super) async fn clean_up(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
) -> String {
    let mut unmended = String::new();
    for status in progress.status.steps.iter().skip(index + 1) {
        let step = &status.step;
        let concerns = match step.kind {
            StepKind::RestoreStrategy => progress.has_written(&step.workload),
            StepKind::ScaleBack => true,
            _ => false,
        };
        if !concerns {
            continue;
        }
        let Err(error) = put_back(context, namespace, progress, step).await else {
            continue;
        };
        let what = match step.kind {
            StepKind::RestoreStrategy => {
                format!(
                    "spec.strategy.rollingUpdate of Deployment {}",
                    step.workload
                )
            }
            _ => scale_back::in_words(progress, step),
        };
        let _ = write!(
            unmended,
            "; {what} could not be put back as it was, do so by hand ({error})"
        );
    }
    unmended
}

/// Puts one thing back, if need be at the third try: nobody comes back to it.
async fn put_back(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    step: &Step,
) -> Result<(), CallError> {
    let mut tries = 0;
    loop {
        let result = match step.kind {
            StepKind::RestoreStrategy => restore_strategy::perform(context, namespace, step).await,
            _ => scale_back::perform(context, namespace, progress, step).await,
        };
        tries += 1;
        match result {
            Ok(_) => return Ok(()),
            Err(error) if tries == TRIES => return Err(error),
            Err(_) => tokio::time::sleep(BETWEEN).await,
        }
    }
}

/// What a person has to know of a rollback that ends at step `index`, beside why it ended.
pub(super) fn left_behind(progress: &Progress<'_>, index: usize) -> String {
    let steps = &progress.status.steps;
    let not_isolated = |workload: &str| {
        steps[index..]
            .iter()
            .any(|s| s.step.kind == StepKind::IsolateSuspects && s.step.workload == workload)
    };
    let suspects: Vec<String> = steps
        .iter()
        .filter(|s| s.step.kind == StepKind::DetachSuspects && s.found.is_some())
        .filter(|s| not_isolated(&s.step.workload))
        .map(|s| format!("{LABEL_SUSPECT}={}", label_value(&s.step.workload)))
        .collect();
    if suspects.is_empty() {
        return String::new();
    }
    format!(
        "; pods of the release that failed run on in no ReplicaSet and get requests, until a rollback \
         succeeds or you delete them: kubectl get pods -l {}",
        suspects.join(", and -l ")
    )
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
    let gone = |message: String| Ok(Err(Done::ends(Outcome::WorkloadDeleted, message)));
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
