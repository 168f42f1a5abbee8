//! AwaitRollout: the restored release rolls out, or says why it cannot.

use backstop_api::event::{EventPhase, Outcome, Step};
use backstop_engine::{
    rollout::{self, Progress as Rollout},
    snapshot::Workload,
};
use jiff::Timestamp;

use super::{Done, Progress, deadline, deployment, ignored_annotations};
use crate::{calls::CallError, context::Context, observe};

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
) -> Result<Done, CallError> {
    let Some(workload) = look(context, namespace, progress, step).await? else {
        return Ok(Done::wait("waiting to see the Deployment"));
    };
    let now = Timestamp::now();
    let started = deadline::began(progress, index, now);
    let event = progress.event_now();
    Ok(
        match rollout::progress(&event, step, workload.as_ref(), started, now) {
            Rollout::Going { message } => Done::wait(message),
            Rollout::Complete => Done::holds(format!("{} is fully rolled out", step.workload)),
            Rollout::Ended { outcome, message } => {
                let phase = match outcome {
                    Outcome::NewerRelease => EventPhase::Superseded,
                    _ => EventPhase::Failed,
                };
                Done::Ends {
                    phase,
                    outcome,
                    message,
                }
            }
        },
    )
}

/// The Deployment as it is watched. Where its policy is gone or not in force nobody watches, and it
/// is read: what is begun has an end all the same.
async fn look(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    step: &Step,
) -> Result<Option<Option<Workload>>, CallError> {
    let policy = &progress.event.spec.policy;
    if let Some(observer) = context.observers.get(namespace, policy) {
        return Ok(observer.is_ready().then(|| observer.member(&step.workload)));
    }
    let ignored = ignored_annotations(context, namespace, policy);
    Ok(Some(match deployment(context, namespace, step).await? {
        Ok(found) => observe::unwatched(&found, &ignored),
        Err(_) => None,
    }))
}
