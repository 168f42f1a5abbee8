//! Recording: what was decided becomes objects in the cluster before anything else is changed.

use backstop_api::{
    RollbackEvent, RollbackEventSpec, RollbackEventStatus, RollbackPoint, RollbackPolicy,
    event::Cause,
    names::{self, LABEL_POLICY, LABEL_WORKLOAD},
};
use backstop_engine::{decide::Act, lifecycle::EventChange};
use kube::{Api, Resource, ResourceExt, api::ListParams};
use thiserror::Error;

use super::capture;
use crate::{
    calls::CallError, context::Context, event::steps::quarantine, merge, observe::Observer,
    point::release_of,
};

/// So many names are tried for a new rollback.
const NAMES_TRIED: u64 = 16;

/// Why something could not be recorded.
#[derive(Debug, Error)]
pub enum Error {
    /// There are rollbacks that the decision did not know of.
    #[error("decided on an old picture; deciding again")]
    OldPicture,
    /// Every name that was tried belongs to another policy.
    #[error(
        "no free name for a rollback of policy {policy} above number {highest}: rollbacks of other \
         policies have them; delete those that are over"
    )]
    NoName {
        /// The policy.
        policy: String,
        /// The highest number that the policy has used.
        highest: u64,
    },
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Records one act.
pub(super) async fn record(
    context: &Context,
    policy: &RollbackPolicy,
    observer: &Observer,
    act: &Act,
) -> Result<(), Error> {
    match act {
        Act::Capture { release, baselines } => {
            capture::capture(context, policy, observer, release, baselines).await?;
            Ok(())
        }
        Act::Start { spec, known } => start(context, policy, spec, known).await,
        Act::Change(change) => change_status(context, observer, change).await,
        Act::Block {
            release,
            event,
            version,
            reason,
        } => {
            // Where another one is live by now there is nothing to block.
            let live = release_of(observer)
                .filter(|live| &live.hash == release)
                .ok_or(Error::OldPicture)?;
            as_decided_on(context, &observer.namespace, event, version).await?;
            quarantine::record(
                context,
                &observer.namespace,
                observer.policy.primary(),
                live,
                event,
                Some(reason.as_str()),
            )
            .await?;
            Ok(())
        }
        Act::LiftQuarantine { release, event } => {
            lift(
                context,
                &observer.namespace,
                observer.policy.primary(),
                release,
                event,
            )
            .await
        }
    }
}

/// Fails unless a quorum read shows the rollback as it was when this was decided: what is recorded outside of its status
/// cannot be tested for by the write itself.
async fn as_decided_on(
    context: &Context,
    namespace: &str,
    event: &str,
    version: &str,
) -> Result<(), Error> {
    let api: Api<RollbackEvent> = Api::namespaced(context.client.clone(), namespace);
    let read = context.calls.read("get rollbackevent", api.get(event));
    let as_it_is = read.await?.resource_version();
    if as_it_is.as_deref() == Some(version) {
        Ok(())
    } else {
        Err(Error::OldPicture)
    }
}

/// Creates the RollbackEvent: its number is one above the highest, by a quorum read, and only where
/// that shows no rollback that the decision did not know of.
async fn start(
    context: &Context,
    policy: &RollbackPolicy,
    spec: &RollbackEventSpec,
    known: &[(String, String)],
) -> Result<(), Error> {
    let namespace = policy.namespace().unwrap_or_default();
    let api: Api<RollbackEvent> = Api::namespaced(context.client.clone(), &namespace);
    let all = nothing_else_has_happened(context, &namespace, &spec.policy, known).await?;
    let highest = all
        .iter()
        .filter_map(|e| names::event_number(&spec.policy, &e.name_any()))
        .max()
        .unwrap_or(0);
    // A name may be taken by a rollback of another policy: the next one is as good.
    for number in (1..=NAMES_TRIED).filter_map(|n| highest.checked_add(n)) {
        let name = names::event_name(&spec.policy, number);
        match context
            .calls
            .create("create rollbackevent", &api, &named(&name, spec))
            .await
        {
            Ok(_) => {
                if spec.cause == Cause::Trigger {
                    context.metrics.triggered();
                }
                tracing::warn!(
                    namespace,
                    event = name,
                    reason = spec.reason,
                    "a rollback is recorded"
                );
                return Ok(());
            }
            Err(CallError::AlreadyExists { .. }) => {
                let taken = context
                    .calls
                    .read("get rollbackevent", api.get(&name))
                    .await?;
                if taken.spec.policy == spec.policy {
                    // Ours, from a moment ago: it was decided on an old picture.
                    return Err(Error::OldPicture);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::NoName {
        policy: spec.policy.clone(),
        highest,
    })
}

/// The rollbacks of a policy by a quorum read, if they are those that a decision knew of.
async fn nothing_else_has_happened(
    context: &Context,
    namespace: &str,
    policy: &str,
    known: &[(String, String)],
) -> Result<Vec<RollbackEvent>, Error> {
    let api: Api<RollbackEvent> = Api::namespaced(context.client.clone(), namespace);
    let params = ListParams::default().fields(&format!("spec.policy={policy}"));
    let all = context
        .calls
        .read("list rollbackevents", api.list(&params))
        .await?;
    let is_known = |e: &RollbackEvent| {
        let as_it_is = e.uid().zip(e.resource_version());
        as_it_is.is_some_and(|pair| known.contains(&pair))
    };
    if all.iter().all(is_known) {
        Ok(all.items)
    } else {
        Err(Error::OldPicture)
    }
}

/// The object of a rollback, with the labels by which it is found.
fn named(name: &str, spec: &RollbackEventSpec) -> RollbackEvent {
    let mut event = RollbackEvent::new(name, spec.clone());
    event
        .labels_mut()
        .insert(LABEL_POLICY.into(), names::label_value(&spec.policy));
    for workload in &spec.workloads {
        event
            .labels_mut()
            .insert(LABEL_WORKLOAD.into(), names::label_value(&workload.name));
    }
    event
}

/// Writes a rollback's status, if nobody has written it since it was read.
async fn change_status(
    context: &Context,
    observer: &Observer,
    change: &EventChange,
) -> Result<(), Error> {
    let namespace = observer.namespace.as_str();
    let before = context
        .events_of(namespace, &observer.policy.name)
        .into_iter()
        .find(|e| e.resource_version().as_ref() == Some(&change.version))
        .ok_or(Error::OldPicture)?;
    if !change.known.is_empty() {
        nothing_else_has_happened(context, namespace, &observer.policy.name, &change.known).await?;
    }
    let json = |status: &RollbackEventStatus| serde_json::to_value(status).unwrap_or_default();
    let old = before.status.as_ref().map(json).unwrap_or_default();
    let api: Api<RollbackEvent> = Api::namespaced(context.client.clone(), namespace);
    let patch = serde_json::json!({
        "metadata": {"uid": change.uid, "resourceVersion": change.version},
        "status": merge::patch(&old, &json(&change.status)),
    });
    let written = context
        .calls
        .merge_status("patch rollbackevent status", &api, &change.name, patch)
        .await;
    match written {
        Ok(_) => {
            tracing::info!(
                namespace,
                event = change.name,
                phase = ?change.status.phase,
                outcome = ?change.status.outcome,
                "{}",
                change.status.message.as_deref().unwrap_or_default()
            );
            Ok(())
        }
        // Deleted by somebody: there is nothing left to say it on.
        Err(CallError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes the record of a release that was blamed wrongly, if this rollback made it.
async fn lift(
    context: &Context,
    namespace: &str,
    workload: &str,
    release: &str,
    event: &str,
) -> Result<(), Error> {
    let name = names::quarantine_name(workload, release);
    let api: Api<RollbackPoint> = Api::namespaced(context.client.clone(), namespace);
    let found = match context
        .calls
        .read("get rollbackpoint", api.get(&name))
        .await
    {
        Ok(found) => found,
        Err(CallError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let made_by = found
        .meta()
        .annotations
        .as_ref()
        .and_then(|a| a.get(names::ANNOTATION_EVENT));
    if made_by.map(String::as_str) != Some(event) {
        return Ok(());
    }
    context
        .calls
        .delete("delete rollbackpoint", &api, &name, found.uid())
        .await?;
    Ok(())
}
