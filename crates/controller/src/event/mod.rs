//! The event reconciler: carries out the steps of a rollback that was decided, and tells how it
//! ended. Nothing is chosen here: the plan says everything.

mod affected;
mod done;
mod orphan;
mod progress;
pub(crate) mod steps;
mod tell;

use std::{sync::Arc, time::Duration};

use backstop_api::{
    RollbackEvent,
    event::{EventPhase, Outcome, Step, StepKind, StepState},
};
use jiff::Timestamp;
use kube::{Resource, ResourceExt, runtime::controller::Action};
use thiserror::Error;
use tracing::Instrument;

use crate::{
    calls::CallError,
    context::{Context, Guarded},
};
pub(crate) use done::Done;
use progress::Progress;

/// A rollout is looked at again after so long, beside every change that the watch tells of.
const FOLLOW: Duration = Duration::from_millis(500);

/// So often is a refused step tried again, because an API server that has just started may not know yet who may do
/// what.
const REFUSALS: usize = 3;
/// After so long.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// A rollback that was read from an old cache is read again after so long.
const AGAIN: Duration = Duration::from_millis(10);

/// Why an event could not be reconciled.
#[derive(Debug, Error)]
pub enum Error {
    /// A step could not be done now.
    #[error("step {step:?}: {source}")]
    Step {
        /// Which step.
        step: StepKind,
        /// What went wrong.
        source: CallError,
    },
    /// The status could not be written.
    #[error("status: {0}")]
    Status(#[source] CallError),
}

impl Error {
    /// Whether somebody else wrote meanwhile: the next look starts from what they wrote.
    #[must_use]
    pub fn is_old_picture(&self) -> bool {
        matches!(
            self,
            Self::Status(CallError::Conflict { .. } | CallError::NotFound { .. })
        )
    }
}

/// Looks at one rollback.
pub async fn reconcile(
    object: Arc<Guarded<RollbackEvent>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let Ok(event) = &object.0 else {
        return Ok(Action::await_change());
    };
    if event.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = event.namespace().unwrap_or_default();
    context.poke_policy(&namespace, &event.spec.policy);
    let phase = event.status.as_ref().and_then(|s| s.phase);
    if phase.is_some_and(EventPhase::is_terminal) {
        tell::ended(&context, event).await;
        return Ok(Action::await_change());
    }
    if let Some(action) = orphan::look(&context, event, &namespace).await? {
        return Ok(action);
    }
    affected::ask(&context, event, &namespace);
    match phase {
        Some(EventPhase::Executing) => execute(&context, event, &namespace).await,
        // The policy reconciler decides what becomes of the others.
        _ => Ok(Action::await_change()),
    }
}

/// Does the steps that are not done yet, in order.
async fn execute(
    context: &Arc<Context>,
    event: &RollbackEvent,
    namespace: &str,
) -> Result<Action, Error> {
    let mut progress = Progress::of(context, event, namespace);
    if progress.status.times.first_write.is_none() {
        tell::begun(context, event);
    } else {
        tell::put_back(context, event);
    }
    while let Some(index) = progress.next_step() {
        let step = progress.status.steps[index].step.clone();
        let began = Timestamp::now();
        let span = tracing::info_span!(
            "step",
            otel.name = ?step.kind,
            index,
            workload = step.workload,
        );
        let result = attempt(context, namespace, &progress, index, &step)
            .instrument(span)
            .await;
        match result {
            Ok(Done::Holds {
                message,
                written,
                left,
            }) => {
                progress.done(index, message, written, began, Timestamp::now());
                progress.leaves(index, left);
                context.metrics.step(step.kind, StepState::Done);
                progress.save().await.map_err(Error::Status)?;
            }
            Ok(Done::OldPicture) => return Ok(Action::requeue(AGAIN)),
            Ok(Done::Found(found)) => {
                progress.found(index, found, began);
                progress.save().await.map_err(Error::Status)?;
            }
            Ok(Done::Wait { message }) => {
                if progress.waiting(index, message, Timestamp::now()) {
                    progress.save().await.map_err(Error::Status)?;
                }
                return Ok(Action::requeue(FOLLOW));
            }
            Ok(Done::Ends {
                phase,
                outcome,
                message,
            }) => {
                context.metrics.step(step.kind, StepState::Failed);
                let unmended = steps::clean_up(context, namespace, &progress, index).await;
                let left = steps::left_behind(&progress, index);
                let message = format!("{message}{unmended}{left}");
                progress.end(index, phase, outcome, message, Timestamp::now());
                progress.save().await.map_err(Error::Status)?;
                return Ok(Action::await_change());
            }
            Err(source) => {
                let message = format!("{source}; it is tried again");
                if source.is_trouble() && progress.waiting(index, message, Timestamp::now()) {
                    // Where people look. If that cannot be written either, the log has it.
                    let _ = progress.save().await;
                }
                return Err(Error::Step {
                    step: step.kind,
                    source,
                });
            }
        }
    }
    if !progress.is_seen(Timestamp::now()) {
        return Ok(Action::requeue(FOLLOW / 10));
    }
    progress.executed(Timestamp::now());
    progress.save().await.map_err(Error::Status)?;
    context.poke_policy(namespace, &event.spec.policy);
    Ok(Action::await_change())
}

/// Tries a step. What the server refuses ends the rollback: it refuses until a person changes something.
async fn attempt(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
) -> Result<Done, CallError> {
    let mut refusals = 0;
    loop {
        let result = steps::perform(context, namespace, progress, index, step).await;
        let Err(CallError::Refused {
            operation,
            code,
            message,
        }) = result
        else {
            return result;
        };
        refusals += 1;
        if refusals > REFUSALS {
            return Ok(Done::ends(
                Outcome::WriteRefused,
                format!(
                    "{:?} of {}: the API server refuses '{operation}' ({code}): {message}; {}, a person has to go on",
                    step.kind,
                    step.workload,
                    steps::so_far(progress)
                ),
            ));
        }
        tokio::time::sleep(AFTER_REFUSAL).await;
    }
}

/// The objects that a rollback is told on: itself, its policy and its Deployment.
fn about(
    context: &Context,
    event: &RollbackEvent,
) -> Vec<k8s_openapi::api::core::v1::ObjectReference> {
    let namespace = event.namespace().unwrap_or_default();
    let mut about = vec![event.object_ref(&())];
    about.extend(
        context
            .policies_of(&namespace)
            .iter()
            .find(|p| p.name_any() == event.spec.policy)
            .map(|p| p.object_ref(&())),
    );
    let uid = |name: &str| {
        let observer = context.observers.get(&namespace, &event.spec.policy)?;
        Some(observer.member(name)?.uid)
    };
    about.extend(event.spec.workloads.iter().map(|w| {
        crate::context::deployment_reference(&namespace, &w.name, uid(&w.name).as_deref())
    }));
    about
}
