//! The policy reconciler: validate -> observe -> decide -> record -> say. The only one that decides.

pub(crate) mod capture;
pub(crate) mod gitops;
mod history;
mod quarantine;
mod record;
mod reproducible;
mod status;
mod validate;

use std::{sync::Arc, time::Duration};

use backstop_api::RollbackPolicy;
use backstop_engine::{
    decide::{Act, Notice, NoticeKind, decide},
    snapshot::{Snapshot, Workload},
    state::State,
};
use jiff::Timestamp;
use kube::{Resource, ResourceExt, runtime::controller::Action};
use thiserror::Error;

use crate::{
    calls::CallError,
    context::{Context, Guarded, deployment_reference},
    observe,
};

/// Caches are looked at again at least so often, whatever happens.
const AT_LEAST: Duration = Duration::from_mins(1);
/// The caches of a new policy are waited for so long before the next look.
const CACHES: Duration = Duration::from_millis(20);

/// Why a policy could not be reconciled.
#[derive(Debug, Error)]
pub enum Error {
    /// The object is in no namespace.
    #[error("a RollbackPolicy without a namespace")]
    NoNamespace,
    /// An action could not be recorded.
    #[error("recording: {0}")]
    Record(#[from] record::Error),
    /// The status could not be written.
    #[error("status: {0}")]
    Status(#[source] CallError),
}

impl Error {
    /// Whether the picture that was decided on was old: nothing is wrong, and the next look mends it.
    #[must_use]
    pub fn is_old_picture(&self) -> bool {
        matches!(
            self,
            Self::Status(CallError::Conflict { .. } | CallError::NotFound { .. })
                | Self::Record(
                    record::Error::OldPicture | record::Error::Call(CallError::Conflict { .. })
                )
        )
    }
}

/// Whether a release has begun that nobody restored.
fn is_another_release(before: &State, now: &State) -> bool {
    let live = |state: &State| state.release.as_ref().map(|r| r.hash.clone());
    let restored = |state: &State| {
        state
            .release
            .as_ref()
            .is_some_and(|r| r.restored_by.is_some())
    };
    live(before).is_some() && live(now).is_some() && live(before) != live(now) && !restored(now)
}

/// Looks at one policy.
pub async fn reconcile(
    object: Arc<Guarded<RollbackPolicy>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let policy = match &object.0 {
        Ok(policy) => policy,
        Err(invalid) => {
            tracing::error!(
                policy = invalid.metadata.name,
                namespace = invalid.metadata.namespace,
                error = invalid.error,
                "a RollbackPolicy cannot be read and is left alone; is its CRD older than the operator?"
            );
            return Ok(Action::await_change());
        }
    };
    let namespace = policy.namespace().ok_or(Error::NoNamespace)?;
    if policy.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }

    // Note what was changed. Where that cannot be written it is no reason not to decide.
    match history::note(&context, policy).await {
        Ok(()) => {}
        Err(old @ (CallError::Conflict { .. } | CallError::NotFound { .. })) => {
            return Err(Error::Status(old));
        }
        Err(error) => {
            tracing::warn!(namespace, policy = policy.name_any(), %error, "a change of the spec could not be recorded");
        }
    }

    // Validate.
    let known = context.observers.get(&namespace, &policy.name_any());
    let observer = match context
        .observers
        .of(&context, policy, || validate::validate(&context, policy))
    {
        Ok(observer) => observer,
        Err(problem) => {
            context.metrics.scored(&namespace, &policy.name_any(), None);
            let left = gitops::release(&context, policy).await;
            let again = gitops::again(&left);
            status::write_invalid(&context, policy, &problem, left)
                .await
                .map_err(Error::Status)?;
            return Ok(again.map_or_else(Action::await_change, Action::requeue));
        }
    };
    if known.is_none_or(|k| !Arc::ptr_eq(&k, &observer)) {
        observer.ask(&context);
        // Whether what its points hold is any good is a matter of its triggers.
        context.poke_points(&namespace, observer.policy.primary());
    }
    if !observer.is_ready() {
        return Ok(Action::requeue(CACHES));
    }

    // Observe, decide.
    let seen = observe::snapshot(&context, policy, &observer);
    let now = Timestamp::now();
    let before = observer.state();
    let (state, decision) = decide(&observer.policy, &before, &seen, now);

    context
        .metrics
        .scored(&namespace, &policy.name_any(), decision.say.score.value);

    // Record, then remember: what could not be recorded is decided again. Only a point may wait: that none can be made
    // must not keep anything else from being judged.
    let mut uncaptured = None;
    for act in &decision.acts {
        match record::record(&context, policy, &observer, act).await {
            Err(record::Error::Call(error))
                if matches!(act, Act::Capture { .. }) && error.is_trouble() =>
            {
                uncaptured = Some(error);
            }
            recorded => recorded?,
        }
    }
    let suspended = gitops::follow(&context, policy, &observer, &decision.rest, now).await;
    let watched = gitops::again(&suspended);
    let said = status::Said {
        state: &state,
        say: &decision.say,
        suspended,
    };
    status::write(&context, policy, &observer, said, now)
        .await
        .map_err(Error::Status)?;
    if is_another_release(&before, &state) {
        context.metrics.deployed();
    }
    observer.remember(state);

    let mut notices = decision.notices;
    if let Some(error) = &uncaptured {
        not_recorded(&context, policy, &seen, error, &mut notices);
    }
    tell(&context, policy, &seen, &notices).await;
    if let Some(error) = uncaptured {
        return Err(record::Error::from(error).into());
    }
    let at_least = watched.unwrap_or(AT_LEAST);
    let next = decision.wake_at.map_or(at_least, |at| {
        Duration::try_from(at.duration_since(now))
            .unwrap_or(Duration::ZERO)
            .min(at_least)
    });
    Ok(Action::requeue(next.max(Duration::from_millis(1))))
}

/// Says that a release has proved itself and that its point could not be recorded, once for each release.
fn not_recorded(
    context: &Context,
    policy: &RollbackPolicy,
    seen: &Snapshot,
    error: &CallError,
    notices: &mut Vec<Notice>,
) {
    notices.retain(|n| n.reason != "ReleaseProved");
    let live = seen.workload.as_ref().map(|w| w.release.as_str());
    let (uid, release) = (policy.uid().unwrap_or_default(), live.unwrap_or_default());
    if context
        .told
        .first(format!("{uid} has no point of {release}"))
    {
        notices.push(Notice {
            kind: NoticeKind::Warning,
            reason: "PointNotRecorded",
            message: format!(
                "release {release} has proved itself, and its RollbackPoint could not be recorded ({error}), so it cannot be \
                 gone back to; it is tried again"
            ),
        });
    }
}

/// Says what has changed, on the policy and on its Deployments.
async fn tell(context: &Context, policy: &RollbackPolicy, seen: &Snapshot, notices: &[Notice]) {
    if notices.is_empty() {
        return;
    }
    let namespace = policy.namespace().unwrap_or_default();
    let mut about = vec![policy.object_ref(&())];
    for workload in seen.workload.iter().flat_map(Workload::live) {
        about.push(deployment_reference(
            &namespace,
            &workload.name,
            Some(&workload.uid),
        ));
    }
    for notice in notices {
        tracing::info!(
            namespace,
            policy = policy.name_any(),
            reason = notice.reason,
            "{}",
            notice.message
        );
        let warning = notice.kind == NoticeKind::Warning;
        context
            .teller
            .say(&about, warning, notice.reason, "Watch", &notice.message)
            .await;
    }
}
