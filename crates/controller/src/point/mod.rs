//! The point reconciler: fills in the points that people make, and keeps as many as are wanted.

mod baselines;
mod config;
mod fill;
mod retain;

use std::{sync::Arc, time::Duration};

use backstop_api::{
    RollbackPoint,
    point::{Image, Release, Stack, WorkloadRelease},
};
use backstop_engine::{ownership, release, snapshot::Workload};
use jiff::Timestamp;
use kube::{ResourceExt, runtime::controller::Action};
use serde_json::Value;
use thiserror::Error;

use crate::{
    calls::CallError,
    context::{Context, Guarded},
    observe::{Observer, managed_fields},
};

/// A point that cannot be filled yet is looked at again after so long.
const AGAIN: Duration = Duration::from_secs(2);

/// Why a point could not be reconciled.
#[derive(Debug, Error)]
pub enum Error {
    /// The release could not be filled in.
    #[error("filling in: {0}")]
    Fill(#[source] CallError),
    /// It could not be said which configuration is not kept, or which triggers cannot compare with it.
    #[error("status: {0}")]
    Status(#[source] CallError),
    /// Old points could not be removed.
    #[error("retaining: {0}")]
    Retain(#[source] CallError),
}

/// Looks at one point.
pub async fn reconcile(
    object: Arc<Guarded<RollbackPoint>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let Ok(point) = &object.0 else {
        return Ok(Action::await_change());
    };
    if point.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = point.namespace().unwrap_or_default();
    context.poke_policies_of(&namespace, std::slice::from_ref(&point.spec.workload.name));
    if point.spec.release.is_none() {
        let filled = fill::fill(&context, point).await.map_err(Error::Fill)?;
        return Ok(if filled {
            Action::await_change()
        } else {
            Action::requeue(AGAIN)
        });
    }
    retain::retain(&context, point)
        .await
        .map_err(Error::Retain)?;
    let config_is_said = config::say(&context, point).await.map_err(Error::Status)?;
    let policy = baselines::policy(&context, point);
    let baselines_are_said = baselines::say(&context, point, policy.as_ref())
        .await
        .map_err(Error::Status)?;
    if !config_is_said || !baselines_are_said {
        return Ok(Action::requeue(AGAIN));
    }
    Ok(
        match policy.and_then(|policy| baselines::too_old_at(&policy, point)) {
            None => Action::await_change(),
            Some(at) => {
                let left = at.duration_since(Timestamp::now());
                Action::requeue(left.unsigned_abs() + AGAIN)
            }
        },
    )
}

/// The live release, as it is recorded: with all Deployments of the policy, so that it can be gone
/// back to as a whole.
#[must_use]
pub fn release_of(observer: &Observer) -> Option<Release> {
    let live = observer.workload()?;
    let names = observer.policy.deployments.iter();
    let there = names.filter_map(|name| live.deployment(name));
    let workloads: Option<Vec<_>> = there.map(|w| recorded(observer, w)).collect();
    let stack = observer.service().map(|service| Stack {
        workload: live.live()[0].name.clone(),
        selector: service.selector,
    });
    Some(Release {
        hash: live.release,
        workloads: workloads?,
        stack,
        floor: live.floor,
        config: live.config,
    })
}

fn recorded(observer: &Observer, workload: &Workload) -> Option<WorkloadRelease> {
    let deployment = observer.deployment(&workload.name)?;
    let template = deployment.pointer("/spec/template")?.clone();
    let digests = observer.digests(&workload.name);
    let images = release::images(&template)
        .into_iter()
        .map(|mut image| {
            image.digest = digests
                .iter()
                .find(|d| d.container == image.container)
                .and_then(|d| d.digest.clone());
            image
        })
        .collect();
    Some(of_deployment(&deployment, workload, template, images))
}

/// A Deployment as it is recorded.
#[must_use]
pub fn of_deployment(
    deployment: &Value,
    workload: &Workload,
    template: Value,
    images: Vec<Image>,
) -> WorkloadRelease {
    let last_applied = deployment
        .pointer("/metadata/annotations")
        .and_then(|a| a.get(backstop_api::names::ANNOTATION_LAST_APPLIED))
        .and_then(Value::as_str);
    WorkloadRelease {
        name: workload.name.clone(),
        uid: workload.uid.clone(),
        hash: workload.release.clone(),
        replicas: workload.desired,
        revision: workload.revision.clone(),
        ownership: ownership::capture(&managed_fields(deployment), last_applied),
        template,
        images,
    }
}
