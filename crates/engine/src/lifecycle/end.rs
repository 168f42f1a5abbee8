//! How rollbacks end, and how long everything took.

use backstop_api::{
    Duration, RollbackEventStatus,
    condition::{Condition, ConditionStatus},
    event::{EventPhase, Outcome},
};
use jiff::{SignedDuration, Timestamp};

use super::{COMPLETE, EventChange, change};
use crate::{decide::Act, snapshot::Event};

/// Another policy looks after the workload already.
pub(crate) fn refused_policy(event: &Event, older: &str, now: Timestamp) -> Act {
    let message = format!(
        "policy {} is not in force, because {older} is older and looks after the same Deployment; \
         nothing was changed. Create a RollbackEvent for {older} instead",
        event.spec.policy
    );
    let status = ended(
        event.status.clone(),
        EventPhase::Cancelled,
        Outcome::PolicyNotInForce,
        message,
        now,
    );
    change(event, status)
}

/// The Deployment is not there any more.
pub(crate) fn workload_is_gone(event: &Event, now: Timestamp) -> EventChange {
    let phase = if event.has_acted() {
        EventPhase::Failed
    } else {
        EventPhase::Superseded
    };
    let message =
        "the Deployment is not there any more, so there is nothing to take back".to_owned();
    EventChange {
        name: event.name.clone(),
        uid: event.uid.clone(),
        version: event.version.clone(),
        status: ended(
            event.status.clone(),
            phase,
            Outcome::WorkloadDeleted,
            message,
            now,
        ),
        known: Vec::new(),
    }
}

/// The status of a rollback that ends now, with how long everything took.
#[must_use]
pub fn ended(
    mut status: RollbackEventStatus,
    phase: EventPhase,
    outcome: Outcome,
    message: String,
    now: Timestamp,
) -> RollbackEventStatus {
    let times = &mut status.times;
    times.ended = Some(now);
    let between = |from: Option<Timestamp>, to: Option<Timestamp>| {
        from.zip(to)
            .map(|(from, to)| length(to.duration_since(from)))
    };
    let durations = &mut status.durations;
    // One that takes its release back again later took as long as it did the first time.
    if durations.total.is_none() {
        durations.detect = between(times.condition_held, times.fired);
        durations.decide = between(times.fired, times.decided);
        durations.first_write = between(times.decided, times.first_write);
        durations.roll_out = between(times.first_write, times.rolled_out);
        durations.verify = between(times.rolled_out, times.ended);
        durations.total = between(times.fired, times.ended);
    }
    backstop_api::condition::set(
        &mut status.conditions,
        Condition {
            type_: COMPLETE.into(),
            status: ConditionStatus::from(phase == EventPhase::Succeeded),
            reason: format!("{outcome:?}"),
            message: message.clone(),
            last_transition_time: now,
            observed_generation: None,
        },
    );
    status.phase = Some(phase);
    status.outcome = Some(outcome);
    status.message = Some(message);
    status
}

/// A length of time for people, to the millisecond.
fn length(length: SignedDuration) -> String {
    let millis = u64::try_from(length.as_millis().max(0)).unwrap_or(u64::MAX);
    Duration::from_millis(millis).to_string()
}
