//! What is to be told of a rollback.

use backstop_api::{
    RollbackEvent, RollbackPolicy,
    event::{Cause, EventPhase, Evidence, Outcome, StepKind, StepState},
    notification::{Category, NotificationOutcome},
    policy::{Action, Severity, Trigger},
};
use jiff::Timestamp;

use super::{Figures, Message, Release, headline, image, next};

/// What has happened to a rollback that somebody may have to know, and when; in that order.
#[must_use]
pub fn due(event: &RollbackEvent) -> Vec<(NotificationOutcome, Timestamp)> {
    let Some(status) = &event.status else {
        return Vec::new();
    };
    let times = &status.times;
    let waits = status.phase == Some(EventPhase::Pending)
        && event.spec.not_before > event.spec.fired_at
        && status.to.is_some();
    let pending = times
        .fired
        .filter(|_| waits)
        .map(|at| (NotificationOutcome::Pending, at));
    // Of the end of a drill its own end is enough.
    let told = event.spec.ends_drill.is_none();
    let started = times
        .decided
        .filter(|_| told)
        .map(|at| (NotificationOutcome::Started, at));
    let ended = times
        .ended
        .and_then(|at| Some((end(status.phase?, status.outcome)?, at)));
    [pending, started, ended].into_iter().flatten().collect()
}

/// How a rollback has ended, as a message tells it.
fn end(phase: EventPhase, outcome: Option<Outcome>) -> Option<NotificationOutcome> {
    Some(match (phase, outcome) {
        (EventPhase::Pending | EventPhase::Executing | EventPhase::Verifying, _) => return None,
        (EventPhase::Succeeded, _) => NotificationOutcome::Succeeded,
        (EventPhase::Failed, Some(Outcome::NotCausedByRelease)) => NotificationOutcome::NotCaused,
        (EventPhase::Failed, _) => NotificationOutcome::Failed,
        (EventPhase::Superseded, _) => NotificationOutcome::Superseded,
        (EventPhase::Cancelled, Some(Outcome::ObserveOnly)) => NotificationOutcome::WouldRollBack,
        (EventPhase::Cancelled, _) => NotificationOutcome::Cancelled,
    })
}

/// What kind of trouble a rollback is about; none where a person asked for it.
#[must_use]
pub fn category(event: &RollbackEvent, policy: Option<&RollbackPolicy>) -> Option<Category> {
    let evidence = event.spec.evidence.as_ref()?;
    let mut triggers = policy.iter().flat_map(|p| &p.spec.triggers);
    let trigger = triggers.find(|t| t.name == evidence.trigger);
    Some(trigger.map_or_else(
        || of_action(event.spec.action, evidence.severity),
        of_trigger,
    ))
}

/// What kind of trouble a trigger is about.
pub(super) fn of_trigger(trigger: &Trigger) -> Category {
    let by_source = trigger
        .vulnerability
        .as_ref()
        .map(|_| Category::Security)
        .or(trigger.resource.as_ref().map(|_| Category::Resource));
    trigger
        .category
        .or(by_source)
        .unwrap_or_else(|| of_action(trigger.action, trigger.severity))
}

fn of_action(action: Option<Action>, severity: Severity) -> Category {
    match (action, severity) {
        (Some(Action::IsolateAndRollback), _) => Category::SecurityIncident,
        (_, Severity::Critical) => Category::Critical,
        (_, Severity::Warning) => Category::Warning,
    }
}

/// The message about one outcome of a rollback.
#[must_use]
pub fn of_event(
    event: &RollbackEvent,
    outcome: NotificationOutcome,
    at: Timestamp,
    category: Option<Category>,
) -> Message {
    let spec = &event.spec;
    let status = event.status.clone().unwrap_or_default();
    let meta = &event.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let uid = meta.uid.clone().unwrap_or_default();
    let names: Vec<&str> = spec.workloads.iter().map(|w| w.name.as_str()).collect();
    let from = status.from.as_ref().or(spec.from.as_ref());
    let to = status.to.as_ref().or(spec.to.as_ref());
    let mut message = Message {
        id: format!("{uid}/{outcome:?}"),
        incident: uid,
        outcome,
        at,
        category,
        severity: spec.evidence.as_ref().map(|e| e.severity),
        namespace: meta.namespace.clone().unwrap_or_default(),
        policy: spec.policy.clone(),
        workloads: names.join(", "),
        event: Some(name),
        headline: match (&spec.ends_drill, spec.cause) {
            _ if is_blocked(event) => "the release stays live, and is blocked".to_owned(),
            (Some(_), _) if outcome == NotificationOutcome::Succeeded => {
                "a drill is over, and its release is back".to_owned()
            }
            (Some(_), _) => "a drill is over, and its release is not back".to_owned(),
            (None, Cause::Drill) => format!("drill: {}", headline(outcome)),
            _ => headline(outcome).to_owned(),
        },
        what: String::new(),
        why: why(event),
        figures: spec.evidence.as_ref().map(figures),
        from: from.map(|from| Release {
            hash: from.hash.clone(),
            images: from.images.iter().map(image).collect(),
            point: None,
        }),
        to: to.and_then(|to| {
            Some(Release {
                hash: status.restored_hash.clone().or(to.hash.clone())?,
                images: Vec::new(),
                point: Some(to.point.clone()),
            })
        }),
        done: done(event),
        next: Vec::new(),
        took: status.durations.total.clone().filter(|_| is_end(outcome)),
    };
    message.what = what(&message, status.message.as_deref());
    message.next = next::of_event(&message, event);
    message
}

/// Whether the rollback changed nothing but that the release is refused from now on.
pub(super) fn is_blocked(event: &RollbackEvent) -> bool {
    event.status.as_ref().and_then(|s| s.outcome) == Some(Outcome::Blocked)
}

fn is_end(outcome: NotificationOutcome) -> bool {
    !matches!(
        outcome,
        NotificationOutcome::Pending | NotificationOutcome::Started
    )
}

/// What happened. A rollback that is over says so itself; what it says before is of the moment, and
/// a message may be late.
fn what(message: &Message, status: Option<&str>) -> String {
    let release = |release: &Option<Release>| {
        let release = release.as_ref();
        release.map_or_else(|| "?".to_owned(), |release| release.hash.clone())
    };
    let (from, to) = (release(&message.from), release(&message.to));
    match (message.outcome, status) {
        (NotificationOutcome::Started, _) => {
            format!(
                "taking {} from release {from} back to {to}",
                message.workloads
            )
        }
        (_, Some(said)) => said.to_owned(),
        (_, None) => format!("{}: {}", message.workloads, message.headline),
    }
}

fn why(event: &RollbackEvent) -> Option<String> {
    let spec = &event.spec;
    match spec.cause {
        Cause::Trigger => spec.reason.clone(),
        _ => Some(match &spec.reason {
            Some(reason) => format!("{} asked for it: {reason}", spec.requested_by),
            None => format!("{} asked for it", spec.requested_by),
        }),
    }
}

fn figures(evidence: &Evidence) -> Figures {
    Figures {
        trigger: evidence.trigger.clone(),
        condition: evidence.condition.clone(),
        query: evidence.query.clone(),
        last: evidence.samples.last().map(|s| s.value),
        baseline: evidence.baseline,
        samples: evidence.samples.clone(),
        details: evidence.details.clone(),
    }
}

/// What was done, without what only puts back what the rollback itself had changed.
fn done(event: &RollbackEvent) -> Vec<String> {
    let steps = event.status.iter().flat_map(|s| &s.steps);
    steps
        .filter(|s| s.state == StepState::Done)
        .filter(|s| {
            !matches!(
                s.step.kind,
                StepKind::HandBackOwnership | StepKind::RestoreStrategy
            )
        })
        .filter_map(|s| s.message.clone())
        .collect()
}
