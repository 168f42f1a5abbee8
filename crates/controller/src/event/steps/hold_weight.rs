//! HoldWeight: the time between two steps of a gradual rollback.

use backstop_api::event::{EventPhase, Outcome, Step};
use backstop_api::policy::CanaryParameters;
use backstop_engine::gradual::{self, Between};
use jiff::Timestamp;

use super::{Done, Progress, deadline, watched, wish};
use crate::{calls::CallError, context::Context, observe::Observer};

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
) -> Result<Done, CallError> {
    Ok(match watched(context, namespace, progress).await? {
        Ok(observer) => look(&observer, progress, index, step),
        Err(done) => done,
    })
}

/// What comes of it where one of the two sides is not there. Without a canary nobody has to be led away gently.
fn incomplete(observer: &Observer, progress: &Progress<'_>, sides: &CanaryParameters) -> Done {
    let is_there = |name: &str| observer.member(name).is_some();
    if !is_there(&sides.stable.0) {
        return Done::ends(
            Outcome::WorkloadDeleted,
            format!(
                "Deployment {} is not there any more; {}",
                sides.stable.0,
                wish::so_far(progress)
            ),
        );
    }
    if !is_there(&sides.canary.0) {
        return Done::holds(format!(
            "Deployment {} is not there any more, so there is nothing to wait for",
            sides.canary.0
        ));
    }
    Done::wait("waiting to see the canary")
}

fn look(observer: &Observer, progress: &Progress<'_>, index: usize, step: &Step) -> Done {
    let (Some(canary), Some(change)) = (observer.policy.strategy.canary(), &step.weight) else {
        return Done::holds("there is nothing to wait for");
    };
    let share = observer.route().and_then(Result::ok).map(|r| r.share);
    if share.is_some_and(|share| share != change.to && share != change.from) {
        return Done::superseded(format!(
            "somebody gave the canary {} % instead of {} %; theirs stands, and {}",
            share.unwrap_or_default(),
            change.to,
            wish::so_far(progress)
        ));
    }
    let Some(workload) = observer.workload() else {
        return incomplete(observer, progress, &canary.parameters);
    };
    let now = Timestamp::now();
    let since = deadline::began(progress, index, now);
    let between = gradual::between(
        &observer.policy,
        canary,
        &observer.state(),
        &progress.event_now(),
        &workload,
        since,
        now,
    );
    match between {
        Between::Wait(message) => Done::wait(message),
        Between::GoOn(message) => Done::holds(message),
        Between::Stop(why) => Done::Ends {
            phase: EventPhase::Succeeded,
            outcome: Outcome::Recovered,
            message: format!(
                "{why}, so the rollback stops here: the canary keeps {} % of the requests, and is not \
                 held to have failed",
                change.to
            ),
        },
    }
}
