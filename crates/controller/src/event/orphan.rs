//! A rollback whose policy is gone or not in force: nobody decides about it any more.

use backstop_api::{
    RollbackEvent, RollbackPolicy,
    condition::{self, ConditionStatus},
    event::{EventPhase, Outcome},
};
use backstop_engine::lifecycle;
use jiff::Timestamp;
use kube::{Api, ResourceExt, runtime::controller::Action};

use super::Error;
use crate::{calls::CallError, context::Context};

/// Ends such a rollback: what is begun is finished by its plan first, and what has changed nothing
/// is called off. `None` where the policy is there and decides.
pub(super) async fn look(
    context: &Context,
    event: &RollbackEvent,
    namespace: &str,
) -> Result<Option<Action>, Error> {
    let why = match policy(context, event, namespace)
        .await
        .map_err(Error::Status)?
    {
        None => format!(
            "there is no RollbackPolicy {} in this namespace",
            event.spec.policy
        ),
        Some(policy) => match refused(&policy) {
            Some(why) => format!(
                "RollbackPolicy {} is not in force: {why}",
                event.spec.policy
            ),
            None => return Ok(None),
        },
    };
    let status = event.status.clone().unwrap_or_default();
    let (phase, outcome, message) = match status.phase {
        Some(EventPhase::Executing) => return Ok(None),
        Some(EventPhase::Verifying) => (
            EventPhase::Succeeded,
            Outcome::Held,
            format!("the good release was restored; {why}, so nobody verifies it"),
        ),
        _ => (
            EventPhase::Cancelled,
            Outcome::PolicyNotInForce,
            format!("{why}; nothing was changed"),
        ),
    };
    let status = lifecycle::ended(status, phase, outcome, message, Timestamp::now());
    let api: Api<RollbackEvent> = Api::namespaced(context.client.clone(), namespace);
    let patch = serde_json::json!({
        "metadata": {"uid": event.uid(), "resourceVersion": event.resource_version()},
        "status": status,
    });
    context
        .calls
        .merge_status("patch rollbackevent status", &api, &event.name_any(), patch)
        .await
        .map_err(Error::Status)?;
    Ok(Some(Action::await_change()))
}

/// The policy: from the cache, and where that does not have it, from the server, since a rollback
/// and its policy may be applied together.
pub(super) async fn policy(
    context: &Context,
    event: &RollbackEvent,
    namespace: &str,
) -> Result<Option<RollbackPolicy>, CallError> {
    let cached = context
        .policies_of(namespace)
        .into_iter()
        .find(|p| p.name_any() == event.spec.policy);
    if cached.is_some() {
        return Ok(cached.filter(|p| p.metadata.deletion_timestamp.is_none()));
    }
    let api: Api<RollbackPolicy> = Api::namespaced(context.client.clone(), namespace);
    context
        .calls
        .read("get rollbackpolicy", api.get_opt(&event.spec.policy))
        .await
}

/// Why the policy is not in force, if it says so of its newest spec.
pub(super) fn refused(policy: &RollbackPolicy) -> Option<String> {
    let accepted = policy
        .status
        .as_ref()?
        .conditions
        .iter()
        .find(|c| c.type_ == condition::ACCEPTED && c.status == ConditionStatus::False)?;
    (accepted.observed_generation == policy.metadata.generation).then(|| accepted.message.clone())
}
