//! AwaitRollout: the restored release rolls out, or says why it cannot.

use backstop_api::event::{EventPhase, Outcome, Step};
use backstop_engine::rollout::{self, Progress as Rollout};
use jiff::{SignedDuration, Timestamp};

use super::{Done, Progress};
use crate::{context::Context, observe};

pub(super) fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
) -> Done {
    let Some(observer) = context
        .observers
        .get(namespace, &progress.event.spec.policy)
        .filter(|o| o.is_ready())
    else {
        return Done::Wait {
            message: "waiting to see the Deployment".into(),
        };
    };
    let now = Timestamp::now();
    let started = progress.status.steps[index].started_at.unwrap_or(now);
    let timeout = step.timeout.map_or(
        SignedDuration::from_secs(300),
        backstop_api::Duration::as_signed,
    );
    let mut event = observe::event(progress.event);
    event.status = progress.status.clone();
    match rollout::progress(&event, observer.workload().as_ref(), timeout, started, now) {
        Rollout::Going { message } => Done::Wait { message },
        Rollout::Complete => Done::Holds {
            message: "the release is fully rolled out".into(),
            written: None,
        },
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
    }
}
