//! What is left to do, for the person who reads it.

use backstop_api::{
    RollbackEvent,
    event::{Cause, Outcome, StepState},
    names::ANNOTATION_CANCEL,
    notification::NotificationOutcome,
};

use super::{Message, event::is_blocked};

/// What is left to do after an outcome of a rollback.
pub(super) fn of_event(message: &Message, event: &RollbackEvent) -> Vec<String> {
    let namespace = &message.namespace;
    let name = message.event.as_deref().unwrap_or_default();
    let look =
        format!("to look closer: kubectl describe rollbackevent {name} --namespace {namespace}");
    let status = event.status.as_ref();
    let proved = status.and_then(|s| s.outcome) == Some(Outcome::Recovered);
    let taken_over = status.and_then(|s| s.outcome) == Some(Outcome::TakenOver);
    let goes_further = status.and_then(|s| s.outcome) == Some(Outcome::TargetCannotStart)
        && event.spec.cause != Cause::Manual;
    let drill = event.spec.cause == Cause::Drill;
    let asked_for = drill && event.spec.ends_drill.is_none();
    let called_off = event
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|a| a.contains_key(ANNOTATION_CANCEL));
    let mut next = match message.outcome {
        NotificationOutcome::Started if drill => {
            vec!["nothing: the release that is taken away is brought back by itself".to_owned()]
        }
        NotificationOutcome::Succeeded | NotificationOutcome::Failed if asked_for && called_off => vec![
            "nothing, or deploy the release that was taken away again: the drill was called off, so it stays away".to_owned(),
        ],
        NotificationOutcome::Succeeded if asked_for => {
            vec!["nothing: the release that was taken away is brought back now".to_owned()]
        }
        NotificationOutcome::Succeeded if drill => vec!["nothing: all is as before".to_owned()],
        NotificationOutcome::Failed if asked_for => vec![
            "find out why before a rollback is needed: the release that was taken away is brought back now".to_owned(),
        ],
        NotificationOutcome::Pending => vec![format!(
            "nothing, or call it off: kubectl annotate rollbackevent {name} --namespace {namespace} \
             {ANNOTATION_CANCEL}='<why>'"
        )],
        NotificationOutcome::Started => {
            vec!["nothing for now; whoever deploys a fix meanwhile is not stopped".to_owned()]
        }
        NotificationOutcome::Succeeded if is_blocked(event) => {
            vec![format!("release another one of {} that mends it", message.workloads)]
        }
        NotificationOutcome::Succeeded => {
            let mut next = vec!["find out what is wrong with the release that was taken back".into()];
            if !proved {
                next.push(format!(
                    "see whether {} does well: nothing was there to prove it",
                    message.workloads
                ));
            }
            next
        }
        NotificationOutcome::Failed if goes_further => vec![format!(
            "nothing, unless it is held up (kubectl get rollbackpolicy {} --namespace {namespace} --output wide): Backstop \
             goes back to the point before by itself, if there is one",
            event.spec.policy
        )],
        NotificationOutcome::Failed => {
            vec![format!("mend {} by hand, or deploy a fix", message.workloads)]
        }
        NotificationOutcome::NotCaused => vec![
            "look at what else has changed: what the workload depends on, its configuration, its traffic"
                .to_owned(),
        ],
        NotificationOutcome::Cancelled => vec![format!(
            "nothing, unless {} is still bad",
            message.workloads
        )],
        NotificationOutcome::Superseded if taken_over => {
            vec!["nothing: the rollback that took over tells how it ends".to_owned()]
        }
        NotificationOutcome::Superseded => vec![format!(
            "see whether {} does well with that change",
            message.workloads
        )],
        NotificationOutcome::WouldRollBack => vec![format!(
            "see whether {} is bad, and deploy a fix; under mode: Enforce Backstop acts by itself",
            message.workloads
        )],
        NotificationOutcome::Held | NotificationOutcome::Resolved => Vec::new(),
    };
    if message.outcome != NotificationOutcome::Pending
        && message.outcome != NotificationOutcome::Started
    {
        let steps = status.iter().flat_map(|s| &s.steps);
        for step in steps.clone() {
            next.extend(step.left.iter().cloned());
        }
        let failed = steps.filter(|s| s.state == StepState::Failed);
        next.extend(failed.filter_map(|s| {
            let why = s.message.as_deref()?;
            Some(format!(
                "step {:?} of {} failed: {why}",
                s.step.kind, s.step.workload
            ))
        }));
    }
    next.push(look);
    next
}
