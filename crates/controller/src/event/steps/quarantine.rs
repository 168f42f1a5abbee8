//! QuarantineRelease: the release that failed is on record, so that it is never gone back to.

use backstop_api::{
    RollbackPoint, RollbackPointSpec,
    event::Step,
    names::{self, ANNOTATION_EVENT, ANNOTATION_PROVED_AT},
    point::{Origin, Release, Verdict},
    policy::WorkloadRef,
    text::{POINT_REASON, cut},
};
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use super::{Done, Progress, deployment, ignored_annotations};
use crate::{
    calls::CallError,
    context::Context,
    observe,
    point::{of_deployment, release_of},
    policy::capture::label,
};

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    step: &Step,
) -> Result<Done, CallError> {
    let release = match failed(context, namespace, progress, step).await? {
        Ok(release) => release,
        Err(done) => return Ok(done),
    };
    let Some(release) = release else {
        // The next step says whose template it is; this one has nothing to record.
        return Ok(Done::holds(format!(
            "release {} is not live any more and is not recorded",
            step.from
        )));
    };
    let event = progress.event.name_any();
    let reason = progress.event.spec.reason.as_deref();
    let watched = context
        .observers
        .get(namespace, &progress.event.spec.policy);
    let primary = watched.map(|o| o.policy.primary().to_owned());
    let primary = primary.as_deref().unwrap_or(&step.workload);
    let name = record(context, namespace, primary, release, &event, reason).await?;
    Ok(Done::holds(format!(
        "release {} is recorded as failed in RollbackPoint {name}",
        step.from
    )))
}

/// Records a release as one that failed, by the RollbackEvent that says so, under the Deployment that stands for all of
/// the policy's. Returns the record's name.
pub(crate) async fn record(
    context: &Context,
    namespace: &str,
    primary: &str,
    release: Release,
    event: &str,
    reason: Option<&str>,
) -> Result<String, CallError> {
    let release = without_floor(release);
    let workload = primary.to_owned();
    let name = names::quarantine_name(&workload, &release.hash);
    let mut point = RollbackPoint::new(
        &name,
        RollbackPointSpec {
            workload: WorkloadRef { name: workload },
            origin: Origin::Quarantine,
            verdict: Verdict::Quarantined,
            reason: reason.map(|r| cut(&format!("{event}: {r}"), POINT_REASON)),
            measured_of: None,
            release: Some(release),
            baselines: std::collections::BTreeMap::new(),
            distributions: std::collections::BTreeMap::new(),
        },
    );
    label(&mut point);
    let annotations = point.annotations_mut();
    annotations.insert(ANNOTATION_EVENT.into(), event.to_owned());
    annotations.insert(ANNOTATION_PROVED_AT.into(), Timestamp::now().to_string());
    let api: Api<RollbackPoint> = Api::namespaced(context.client.clone(), namespace);
    match context
        .calls
        .create("create rollbackpoint", &api, &point)
        .await
    {
        Ok(_) => {}
        Err(CallError::AlreadyExists { .. }) => {
            // It failed before, or this was done before a crash.
            let patch = serde_json::json!({"metadata": {"annotations": point.annotations()}});
            context
                .calls
                .merge("patch rollbackpoint", &api, &name, patch)
                .await?;
        }
        Err(error) => return Err(error),
    }
    Ok(name)
}

/// The release that fails, as long as it is live. Where nobody watches its policy any more, a single
/// Deployment is read; of several it cannot be told then which belong together.
async fn failed(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    step: &Step,
) -> Result<Result<Option<Release>, Done>, CallError> {
    let spec = &progress.event.spec;
    let live = |release: &Release| release.hash == step.from;
    if let Some(observer) = context.observers.get(namespace, &spec.policy) {
        if !observer.is_ready() {
            return Ok(Err(Done::wait("waiting to see the Deployment")));
        }
        let release = release_of(&observer).filter(live);
        return Ok(Ok(release));
    }
    if spec.workloads.len() != 1 {
        return Ok(Ok(None));
    }
    let found = match deployment(context, namespace, step).await? {
        Ok(found) => found,
        Err(done) => return Ok(Err(done)),
    };
    let ignored = ignored_annotations(context, namespace, &spec.policy);
    let release = observe::unwatched(&found, &ignored).map(|workload| Release {
        hash: workload.release.clone(),
        workloads: vec![of_deployment(
            &found,
            &workload,
            found.pointer("/spec/template").cloned().unwrap_or_default(),
            workload.images.clone(),
        )],
        stack: None,
        floor: None,
        config: Vec::new(),
    });
    Ok(Ok(release.filter(live)))
}

/// A release that failed is no floor, whatever it says of itself.
fn without_floor(release: Release) -> Release {
    Release {
        floor: None,
        ..release
    }
}
