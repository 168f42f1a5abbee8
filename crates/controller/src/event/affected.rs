//! How many users the release that failed has reached: asked once for each rollback, beside it.
//!
//! A rollback never waits for the answer.

use std::sync::Arc;

use backstop_api::{RollbackEvent, audit::AffectedUsers};
use backstop_engine::reading::Reading;
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use crate::{context::Context, observe::queries};

/// Asks, if the policy wants to know and nobody has asked yet.
pub(super) fn ask(context: &Arc<Context>, event: &RollbackEvent, namespace: &str) {
    let known = event
        .status
        .as_ref()
        .is_some_and(|s| s.affected_users.is_some());
    let Some(observer) = context.observers.get(namespace, &event.spec.policy) else {
        return;
    };
    let uid = event.uid().unwrap_or_default();
    if known
        || observer.policy.affected_users.is_none()
        || !observer.is_ready()
        || !context.told.first(format!("{uid} affected users"))
    {
        return;
    }
    let (context, name, namespace) = (context.clone(), event.name_any(), namespace.to_owned());
    tokio::spawn(async move {
        let asked_at = Timestamp::now();
        let Some((query, reading)) = queries::affected_users(&observer, &context).await else {
            return;
        };
        let (count, message) = match reading {
            Reading::Value { value, .. } => (Some(value), None),
            Reading::NoData { why }
            | Reading::Inconclusive { why }
            | Reading::Unavailable { why, .. } => (None, Some(why)),
            Reading::Stale { at } => (
                None,
                Some(format!("the newest sample is of {at}, which is too old")),
            ),
        };
        if let Some(why) = &message {
            tracing::warn!(
                namespace,
                event = name,
                query,
                why,
                "it could not be told how many users were affected"
            );
        }
        let told = AffectedUsers {
            count,
            query,
            asked_at,
            message,
        };
        let api: Api<RollbackEvent> = Api::namespaced(context.client.clone(), &namespace);
        let patch =
            serde_json::json!({"metadata": {"uid": uid}, "status": {"affectedUsers": told}});
        let written = context
            .calls
            .merge_status("patch rollbackevent status", &api, &name, patch)
            .await;
        if let Err(error) = written {
            tracing::warn!(namespace, event = name, %error, "the number of affected users could not be recorded");
        }
    });
}
