//! Saying that the images of a point are others by now: a tag has moved, so that going back to it brings something else than
//! what proved itself.

use backstop_api::{
    RollbackPoint,
    condition::{self, Condition, ConditionStatus, NOT_REPRODUCIBLE, REPRODUCIBLE},
    point::Release,
};
use backstop_engine::release;
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use crate::{calls::CallError, context::Context};

/// Says it in the point's status, where `running` is its release as it runs now.
pub(super) async fn say(
    context: &Context,
    api: &Api<RollbackPoint>,
    name: &str,
    running: &Release,
) -> Result<(), CallError> {
    let point = context
        .calls
        .read("get rollbackpoint", api.get(name))
        .await?;
    let Some(condition) = condition(&point, running) else {
        return Ok(());
    };
    if condition.status == ConditionStatus::False {
        tracing::warn!(
            namespace = point.namespace(),
            point = name,
            "{}",
            condition.message
        );
    }
    let mut status = point.status.clone().unwrap_or_default();
    condition::set(&mut status.conditions, condition);
    if point.status.as_ref() == Some(&status) {
        return Ok(());
    }
    // The list of conditions is written as a whole: it may not be an old one.
    let patch = serde_json::json!({
        "metadata": {"resourceVersion": point.resource_version()},
        "status": status,
    });
    let written = context
        .calls
        .merge_status("patch rollbackpoint status", api, name, patch)
        .await;
    match written {
        // It is said when the release proves itself again.
        Ok(_) | Err(CallError::Conflict { .. } | CallError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What there is to say, if anything.
fn condition(point: &RollbackPoint, running: &Release) -> Option<Condition> {
    let moved = release::moved(point.spec.release.as_ref()?, running);
    let said = point.status.iter().flat_map(|s| &s.conditions);
    let said_before = said.into_iter().any(|c| c.type_ == REPRODUCIBLE);
    let (status, reason, message) = if !moved.is_empty() {
        let message = format!(
            "a tag has moved since the release proved itself: {}; name images by their digest, so that a \
             rollback brings back what was there",
            moved.join("; ")
        );
        (ConditionStatus::False, NOT_REPRODUCIBLE, message)
    } else if said_before {
        let message = "the images are those that proved themselves".to_owned();
        (ConditionStatus::True, REPRODUCIBLE, message)
    } else {
        return None;
    };
    Some(Condition {
        type_: REPRODUCIBLE.into(),
        status,
        reason: reason.into(),
        message,
        last_transition_time: Timestamp::now(),
        observed_generation: point.metadata.generation,
    })
}
