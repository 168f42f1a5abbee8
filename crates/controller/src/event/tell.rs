//! Telling: each beginning and each end once.

use backstop_api::{
    RollbackEvent,
    event::{Cause, EventPhase, Outcome},
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::about;
use crate::context::Context;

/// An end that is older than this was told by whoever was there then.
const TOLD_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// A rollback begins to change things.
pub(super) fn begun(context: &Context, event: &RollbackEvent) {
    let status = event.status.clone().unwrap_or_default();
    let again = status.steps.iter().any(|s| s.started_at.is_some());
    if again
        || !context
            .told
            .first(format!("{} begun", event.uid().unwrap_or_default()))
    {
        return;
    }
    if event.spec.cause == Cause::Trigger {
        context.metrics.deployment_failed();
    }
    let reason = match event.spec.cause {
        Cause::Drill => "DrillStarted",
        Cause::Trigger | Cause::Manual => "RollbackStarted",
    };
    let note = format!(
        "{}: {}",
        event.name_any(),
        status.message.unwrap_or_default()
    );
    // Saying so must not delay doing it.
    let (teller, about) = (context.teller.clone(), about(context, event));
    tokio::spawn(async move {
        teller.say(&about, true, reason, "Rollback", &note).await;
    });
}

/// Somebody put the release that failed back, and it is taken back again.
pub(super) fn put_back(context: &Context, event: &RollbackEvent) {
    let status = event.status.clone().unwrap_or_default();
    let times = status.reverts.len();
    let begun = status.steps.iter().any(|s| s.started_at.is_some());
    let Some(last) = status.reverts.last().filter(|_| !begun) else {
        return;
    };
    let uid = event.uid().unwrap_or_default();
    if !context.told.first(format!("{uid} put back {times}")) {
        return;
    }
    context.metrics.put_back(last.tool);
    let note = format!(
        "{}: {}",
        event.name_any(),
        status.message.unwrap_or_default()
    );
    tracing::warn!(namespace = event.namespace(), by = last.by, "{note}");
    let (teller, about) = (context.teller.clone(), about(context, event));
    tokio::spawn(async move {
        teller
            .say(&about, true, "ReleasePutBack", "Rollback", &note)
            .await;
    });
}

/// A rollback has ended.
pub(super) async fn ended(context: &Context, event: &RollbackEvent) {
    let Some(status) = &event.status else { return };
    let (Some(phase), Some(ended)) = (status.phase, status.times.ended) else {
        return;
    };
    if Timestamp::now().duration_since(ended) > TOLD_WITHIN
        || !context
            .told
            .first(format!("{} ended {ended}", event.uid().unwrap_or_default()))
    {
        return;
    }
    let drill = event.spec.cause == Cause::Drill;
    let (warning, reason) = match (phase, status.outcome) {
        (EventPhase::Succeeded, _) if drill => (false, "DrillSucceeded"),
        (EventPhase::Failed, _) if drill => (true, "DrillFailed"),
        (_, Some(Outcome::DrillNotPossible)) => (true, "DrillNotPossible"),
        (_, Some(Outcome::Blocked)) => (true, "ReleaseBlocked"),
        (EventPhase::Succeeded, _) => (false, "RollbackSucceeded"),
        (EventPhase::Failed, Some(Outcome::NotCausedByRelease)) => (true, "NotCausedByRelease"),
        (EventPhase::Failed, _) => (true, "RollbackFailed"),
        (EventPhase::Superseded, _) => (true, "RollbackSuperseded"),
        (_, Some(Outcome::ObserveOnly)) => (true, "WouldRollBack"),
        _ => (false, "RollbackCancelled"),
    };
    // What changed nothing took no time, and says nothing about how long rollbacks take.
    let acted = status.times.first_write.is_some();
    let fired = status.times.fired.filter(|_| acted);
    let took = fired.map(|fired| ended.duration_since(fired));
    // One that took its release back again has been counted.
    if let Some(outcome) = status.outcome
        && status.reverts.iter().all(|r| !r.written_back)
    {
        if drill {
            context.metrics.drilled(phase, outcome);
        } else {
            context.metrics.ended(phase, outcome, took);
        }
    }
    let note = format!(
        "{}: {}",
        event.name_any(),
        status
            .message
            .as_deref()
            .unwrap_or("the rollback has ended")
    );
    tracing::info!(namespace = event.namespace(), reason, "{note}");
    context
        .teller
        .say(&about(context, event), warning, reason, "Rollback", &note)
        .await;
}
