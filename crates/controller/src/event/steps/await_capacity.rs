//! AwaitCapacity and AwaitStopped: so many replicas are available, or none is left.

use backstop_api::event::{Outcome, Step};
use backstop_engine::{rollout, snapshot::Workload};
use jiff::Timestamp;

use super::{Done, Progress, deadline, scale, watched, wish};
use crate::{calls::CallError, context::Context, observe::Observer};

/// At least so many replicas of the Deployment are available.
pub(super) async fn ready(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
) -> Result<Done, CallError> {
    let wanted = scale::possible(progress, step, step.replicas.unwrap_or(1));
    let observer = match watched(context, namespace, progress).await? {
        Ok(observer) => observer,
        Err(done) => return Ok(done),
    };
    Ok(watch(&observer, progress, index, step, |workload| {
        let state = format!(
            "{} of {wanted} replicas of {} are available",
            workload.available, workload.name
        );
        let enough = workload.is_current()
            && workload.available >= wanted
            // Pods that are about to go are no capacity.
            && workload.desired >= wanted;
        let hopeless = rollout::start_failure(workload)
            .map(|words| format!("{} cannot get the capacity: {words}", workload.name));
        (enough, hopeless, state)
    }))
}

/// No replica of the Deployment is left.
pub(super) async fn stopped(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
) -> Result<Done, CallError> {
    let observer = match watched(context, namespace, progress).await? {
        Ok(observer) => observer,
        Err(done) => return Ok(done),
    };
    Ok(watch(&observer, progress, index, step, |workload| {
        // The Deployment counts pods no more that are still on their way out.
        let left = observer.pod_names(&workload.name).len();
        let state = format!("{left} pods of {} are left", workload.name);
        let none = workload.is_current() && workload.replicas == 0 && left == 0;
        (none, None, state)
    }))
}

/// Waits until it is so: `look` says whether it is, why it never will be, and how far it is.
fn watch(
    observer: &Observer,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
    look: impl Fn(&Workload) -> (bool, Option<String>, String),
) -> Done {
    let there = observer
        .member(&step.workload)
        .filter(|w| w.uid == step.workload_uid && !w.deleting);
    let Some(workload) = there else {
        return Done::ends(
            Outcome::WorkloadDeleted,
            format!("Deployment {} is not there any more", step.workload),
        );
    };
    let (so, hopeless, state) = look(&workload);
    if so {
        return Done::holds(state);
    }
    let late = deadline::late(progress, index, step, &state, Timestamp::now());
    match hopeless.or(late) {
        None => Done::wait(state),
        Some(why) if step.optional => {
            Done::holds(format!("{why}; the rollback goes on without it"))
        }
        Some(why) => Done::ends(
            Outcome::TimedOut,
            format!(
                "{why}; {}. kubectl describe deployment/{} and its pods say what \
                 they wait for",
                wish::so_far(progress),
                step.workload
            ),
        ),
    }
}
