//! Filling in: a person or a pipeline names the live release good, Backstop records it.

use std::sync::Arc;

use backstop_api::{
    RollbackPoint, RollbackPointStatus,
    condition::{self, ANOTHER_RELEASE, CAPTURED, Condition, ConditionStatus},
    names::ANNOTATION_PROVED_AT,
    point::Verdict,
    policy::{Severity, TriggerState},
};
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use super::release_of;
use crate::{
    calls::CallError,
    context::Context,
    observe::Observer,
    policy::capture::{label, own_config, store_config},
};

/// Fills in the release that is live, or says what stands in the way. Returns whether it is done.
pub(super) async fn fill(context: &Context, point: &RollbackPoint) -> Result<bool, CallError> {
    let namespace = point.namespace().unwrap_or_default();
    let api: Api<RollbackPoint> = Api::namespaced(context.client.clone(), &namespace);
    let now = Timestamp::now();
    let (observer, mut release) = match live(context, point, &namespace) {
        Ok(found) => found,
        Err((reason, message)) => {
            say(
                context,
                &api,
                point,
                ConditionStatus::False,
                reason,
                message,
                None,
            )
            .await?;
            return Ok(false);
        }
    };
    release.config = store_config(context, &observer).await?;
    let config = release.config.clone();
    let mut filled = point.clone();
    filled.spec.release = Some(release);
    label(&mut filled);
    let hash = filled
        .spec
        .release
        .as_ref()
        .map(|r| r.hash.clone())
        .unwrap_or_default();
    let patch = serde_json::json!({
        "metadata": {
            "uid": point.uid(),
            "resourceVersion": point.resource_version(),
            "labels": filled.labels(),
            "annotations": {ANNOTATION_PROVED_AT: now.to_string()},
        },
        "spec": {"release": filled.spec.release},
    });
    match context
        .calls
        .merge("patch rollbackpoint", &api, &point.name_any(), patch)
        .await
    {
        Ok(point) => own_config(context, &observer, &point, &config).await?,
        Err(CallError::Conflict { .. }) => return Ok(false),
        Err(error) => return Err(error),
    }
    let message = match record_of(context, &namespace, point, &hash) {
        Some(record) => format!(
            "release {hash} is recorded, and is not gone back to: RollbackPoint {record} says that \
             it failed; delete that one if the release is good after all"
        ),
        None => format!("release {hash} is recorded and may be gone back to"),
    };
    say(
        context,
        &api,
        point,
        ConditionStatus::True,
        "Captured",
        message,
        Some(now),
    )
    .await?;
    Ok(true)
}

/// The record that the release failed, which outranks a good point of it.
fn record_of(
    context: &Context,
    namespace: &str,
    point: &RollbackPoint,
    hash: &str,
) -> Option<String> {
    context
        .points_of(namespace, &point.spec.workload.name)
        .iter()
        .filter(|p| p.spec.verdict == Verdict::Quarantined)
        .find(|p| p.spec.release.as_ref().is_some_and(|r| r.hash == hash))
        .map(ResourceExt::name_any)
}

fn live(
    context: &Context,
    point: &RollbackPoint,
    namespace: &str,
) -> Result<(Arc<Observer>, backstop_api::point::Release), (&'static str, String)> {
    let workload = &point.spec.workload.name;
    let observer = context
        .policy_over(namespace, workload)
        .and_then(|p| context.observers.get(namespace, &p.name_any()))
        .ok_or_else(|| {
            let message = format!(
                "no RollbackPolicy of this namespace looks after Deployment {workload}; make one first"
            );
            ("NoPolicy", message)
        })?;
    let primary = observer.policy.primary();
    if primary != workload {
        let message = format!(
            "policy {} takes {} back together, and {primary} stands for all of them; name that one in \
             spec.workload.name",
            observer.policy.name,
            observer.policy.names()
        );
        return Err(("NotTheFirst", message));
    }
    let seen = observer
        .workload()
        .filter(|_| observer.is_ready())
        .ok_or_else(|| {
            (
                "WorkloadNotFound",
                format!("there is no Deployment {workload} in this namespace"),
            )
        })?;
    if !seen.can_prove_itself() {
        let message = format!(
            "Deployment {workload} is not fully rolled out, so its release is not recorded yet: \
             {} wanted, {} updated, {} available{}",
            seen.desired,
            seen.updated,
            seen.available,
            if seen.paused { ", paused" } else { "" }
        );
        return Err(("NotRolledOut", message));
    }
    if let Some(name) = fires(&observer) {
        let message = format!(
            "trigger {name} fires on the release of Deployment {workload}, so it is not recorded as a \
             good one; it is when the trigger is quiet"
        );
        return Err(("TriggerFiring", message));
    }
    let release = release_of(&observer).ok_or_else(|| {
        (
            "WorkloadNotFound",
            format!("Deployment {workload} cannot be read"),
        )
    })?;
    if let Some(measured) = &point.spec.measured_of
        && *measured != release.hash
    {
        let message = format!(
            "release {} of Deployment {workload} is live, and the baselines of this point were measured of release \
             {measured} (spec.measuredOf); delete the point, and measure the one that is live",
            release.hash
        );
        return Err((ANOTHER_RELEASE, message));
    }
    Ok((observer, release))
}

/// A Critical trigger that fires. One without data does not stand in a person's way: to know more
/// than the metrics do is what naming a release by hand is for.
fn fires(observer: &Observer) -> Option<String> {
    let state = observer.state();
    let critical = observer
        .policy
        .triggers
        .iter()
        .filter(|t| t.severity == Severity::Critical);
    let firing = |name: &String| {
        state
            .triggers
            .get(name)
            .is_some_and(|m| m.state == TriggerState::Firing)
    };
    critical.map(|t| &t.name).find(|name| firing(name)).cloned()
}

async fn say(
    context: &Context,
    api: &Api<RollbackPoint>,
    point: &RollbackPoint,
    status: ConditionStatus,
    reason: &str,
    message: String,
    captured_at: Option<Timestamp>,
) -> Result<(), CallError> {
    let mut new: RollbackPointStatus = point.status.clone().unwrap_or_default();
    condition::set(
        &mut new.conditions,
        Condition {
            type_: CAPTURED.into(),
            status,
            reason: reason.into(),
            message,
            last_transition_time: Timestamp::now(),
            observed_generation: point.metadata.generation,
        },
    );
    new.captured_at = new.captured_at.or(captured_at);
    if point.status.as_ref() == Some(&new) {
        return Ok(());
    }
    let patch = serde_json::json!({"status": new});
    context
        .calls
        .merge_status("patch rollbackpoint status", api, &point.name_any(), patch)
        .await
        .map(|_| ())
}
