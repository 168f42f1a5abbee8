//! A person's wish: until a change is made, a person may still call it off.

use backstop_api::{
    RollbackEvent,
    event::{EventPhase, Outcome},
    names::{ANNOTATION_CANCEL, ANNOTATION_OVERRIDE},
    policy::Mode,
};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{Done, Progress};
use crate::{calls::CallError, context::Context};

/// How the rollback ends, if a person does not want it; or that it has changed since it was read. Asked of the server: the cache may not know
/// yet. `deployment` is the one that is about to be changed, as it is now.
pub(super) async fn against(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    deployment: Option<&Value>,
) -> Result<Option<Done>, CallError> {
    let off = |outcome, why: String| {
        let phase = if progress.has_changed_anything() {
            EventPhase::Failed
        } else {
            EventPhase::Cancelled
        };
        Some(Done::Ends {
            phase,
            outcome,
            message: format!("{why}; {}", so_far(progress)),
        })
    };
    let api: Api<RollbackEvent> = Api::namespaced(context.client.clone(), namespace);
    let name = progress.event.name_any();
    let fresh = context
        .calls
        .read("get rollbackevent", api.get_metadata(&name))
        .await?;
    if !progress.is_based_on(fresh.metadata.resource_version.as_deref()) {
        // Its end may have been written meanwhile: what has ended changes nothing any more.
        return Ok(Some(Done::OldPicture));
    }
    if let Some(why) = fresh.annotations().get(ANNOTATION_CANCEL) {
        let message = format!("called off by a person: {why}");
        return Ok(off(Outcome::CancelledByPerson, message));
    }
    if let Some(deployment) = deployment {
        if deployment["spec"]["paused"] == json!(true) {
            let message = "a person paused the rollout of the Deployment".to_owned();
            return Ok(off(Outcome::PolicyNotInForce, message));
        }
        if let Some(why) = deployment["metadata"]["annotations"].get(ANNOTATION_OVERRIDE) {
            let message = format!("a person has taken over ({ANNOTATION_OVERRIDE}: {why})");
            return Ok(off(Outcome::PolicyNotInForce, message));
        }
    }
    if let Some(why) = context.paused.borrow().in_words() {
        return Ok(off(Outcome::PolicyNotInForce, why));
    }
    let mode = context
        .policies_of(namespace)
        .into_iter()
        .find(|p| p.name_any() == progress.event.spec.policy)
        .map(|p| p.spec.mode);
    Ok(match mode {
        Some(mode @ (Mode::Paused | Mode::Observe)) => off(
            Outcome::PolicyNotInForce,
            format!("the policy's mode is {mode:?} now"),
        ),
        _ => None,
    })
}

/// What has been changed until now, for the message of an end.
pub(crate) fn so_far(progress: &Progress<'_>) -> &'static str {
    if progress.has_changed_anything() {
        "what was changed until then is in status.steps"
    } else {
        "nothing was changed"
    }
}
