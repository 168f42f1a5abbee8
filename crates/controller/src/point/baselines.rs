//! Saying which triggers cannot compare with a point, because what was measured of its release is no good for that.

use backstop_api::{
    RollbackPoint,
    condition::{self, BASELINES_NOT_USABLE, BASELINES_USABLE, Condition, ConditionStatus},
    point::Verdict,
};
use backstop_engine::{
    baseline,
    policy::{ValidPolicy, validate},
    snapshot::Point,
};
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use crate::{calls::CallError, context::Context};

/// Says it in the point's status, once. `policy` is that whose triggers compare with it. Returns false where the point is
/// not any more as it was read.
pub(super) async fn say(
    context: &Context,
    point: &RollbackPoint,
    policy: Option<&ValidPolicy>,
) -> Result<bool, CallError> {
    let mut status = point.status.clone().unwrap_or_default();
    match policy.and_then(|policy| message(policy, point)) {
        Some(message) => condition::set(
            &mut status.conditions,
            Condition {
                type_: BASELINES_USABLE.into(),
                status: ConditionStatus::False,
                reason: BASELINES_NOT_USABLE.into(),
                message,
                last_transition_time: Timestamp::now(),
                observed_generation: point.metadata.generation,
            },
        ),
        None => status.conditions.retain(|c| c.type_ != BASELINES_USABLE),
    }
    if point.status.clone().unwrap_or_default() == status {
        return Ok(true);
    }
    let api: Api<RollbackPoint> = Api::namespaced(
        context.client.clone(),
        &point.namespace().unwrap_or_default(),
    );
    // The list of conditions is written as a whole: it may not be an old one.
    let patch = serde_json::json!({
        "metadata": {"resourceVersion": point.resource_version()},
        "status": {"conditions": status.conditions},
    });
    match context
        .calls
        .merge_status("patch rollbackpoint status", &api, &point.name_any(), patch)
        .await
    {
        Ok(_) => Ok(true),
        Err(CallError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// When the next of its values is too old to compare with, and that is to be said.
pub(super) fn too_old_at(policy: &ValidPolicy, point: &RollbackPoint) -> Option<Timestamp> {
    baseline::too_old_at(policy, &Point::from(point), Timestamp::now())
}

/// Which triggers of its policy cannot compare with it, why, and what to do.
fn message(policy: &ValidPolicy, point: &RollbackPoint) -> Option<String> {
    let complaints = baseline::complaints(policy, &Point::from(point), Timestamp::now());
    (!complaints.is_empty()).then(|| {
        format!(
            "later releases are not compared with this one, and so not taken back, by {}; the next release that proves \
             itself is measured anew",
            complaints.join("; ")
        )
    })
}

/// The policy whose triggers compare with it.
pub(super) fn policy(context: &Context, point: &RollbackPoint) -> Option<ValidPolicy> {
    if point.spec.verdict != Verdict::Good || point.spec.baselines.is_empty() {
        return None;
    }
    let workload = point.spec.workload.name.as_str();
    let policy = context
        .policy_over(&point.namespace().unwrap_or_default(), workload)
        .filter(|p| p.spec.deployments().first() == Some(&workload))?;
    // What is wrong with a policy is said in the policy.
    validate(&policy.name_any(), &policy.spec).ok()
}
