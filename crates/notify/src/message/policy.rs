//! What is to be told of a policy: that a person has to act, and that it is over.

use backstop_api::{
    RollbackPolicy,
    condition::{ACTION_REQUIRED, Condition, ConditionStatus},
    notification::NotificationOutcome,
    policy::{Phase, Severity, Trigger, TriggerState, TriggerStatus},
};
use backstop_engine::guards::HoldReason;
use jiff::Timestamp;

use super::{Figures, Message, event::of_trigger, headline};

/// Whether a person has to act, as far as no rollback tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Yes.
    Since {
        /// Since when.
        at: Timestamp,
        /// Why, in one word.
        reason: String,
    },
    /// No.
    NotSince {
        /// Since when.
        at: Timestamp,
    },
    /// It cannot be told.
    Unknown,
}

/// Whether a person has to act. What a rollback that failed leaves behind is told as its outcome, and
/// so is that a release was not the cause.
#[must_use]
pub fn held(policy: &RollbackPolicy) -> Held {
    let Some(required) = action_required(policy) else {
        return Held::Unknown;
    };
    let at = required.last_transition_time;
    let phase = policy.status.as_ref().and_then(|s| s.phase);
    match required.status {
        ConditionStatus::False => Held::NotSince { at },
        ConditionStatus::True
            if phase == Some(Phase::Held)
                && required.reason != format!("{:?}", HoldReason::NotCausedByRelease) =>
        {
            Held::Since {
                at,
                reason: required.reason.clone(),
            }
        }
        ConditionStatus::True | ConditionStatus::Unknown => Held::Unknown,
    }
}

fn action_required(policy: &RollbackPolicy) -> Option<&Condition> {
    let mut conditions = policy.status.as_ref()?.conditions.iter();
    conditions.find(|c| c.type_ == ACTION_REQUIRED)
}

/// The message that a person has to act, or that it is over; `incident` is when it began.
#[must_use]
pub fn of_policy(
    policy: &RollbackPolicy,
    outcome: NotificationOutcome,
    reason: Option<&str>,
    at: Timestamp,
    incident: Timestamp,
) -> Message {
    let meta = &policy.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let namespace = meta.namespace.clone().unwrap_or_default();
    let uid = meta.uid.clone().unwrap_or_default();
    let workloads = policy.spec.deployments().join(", ");
    let worst = worst(policy).filter(|_| outcome == NotificationOutcome::Held);
    let said = action_required(policy).filter(|c| c.status == ConditionStatus::True);
    let what = match (outcome, said) {
        (NotificationOutcome::Held, Some(said)) => said.message.clone(),
        (NotificationOutcome::Held, None) => {
            format!("{workloads} was held ({})", reason.unwrap_or_default())
        }
        _ => format!("what {workloads} needed a person for is over"),
    };
    let look =
        format!("to look closer: kubectl describe rollbackpolicy {name} --namespace {namespace}");
    let next = match outcome {
        NotificationOutcome::Held => vec![
            format!("see whether {workloads} is bad, and mend it by hand or deploy a fix"),
            look,
        ],
        _ => Vec::new(),
    };
    Message {
        id: match reason {
            Some(reason) => format!("{uid}/{outcome:?}/{reason}/{at}"),
            None => format!("{uid}/{outcome:?}/{at}"),
        },
        incident: format!("{uid}/{incident}"),
        outcome,
        at,
        category: worst.map(|(trigger, _)| of_trigger(trigger)),
        severity: worst.map(|(trigger, _)| trigger.severity),
        namespace,
        policy: name,
        workloads,
        event: None,
        headline: headline(outcome).to_owned(),
        what,
        why: worst.and_then(|(trigger, seen)| {
            Some(format!(
                "trigger {} fires: {}",
                trigger.name,
                seen.message.as_deref()?
            ))
        }),
        figures: worst.map(|(trigger, seen)| figures(trigger, seen)),
        from: None,
        to: None,
        done: Vec::new(),
        next,
        took: None,
    }
}

/// The firing trigger that matters most: Critical before Warning, then the one that fired first.
fn worst(policy: &RollbackPolicy) -> Option<(&Trigger, &TriggerStatus)> {
    let status = policy.status.as_ref()?;
    let firing = policy.spec.triggers.iter().filter_map(|trigger| {
        let mut all = status.triggers.iter();
        let seen = all.find(|s| s.name == trigger.name && s.state == TriggerState::Firing)?;
        Some((trigger, seen))
    });
    firing.min_by_key(|(trigger, seen)| (trigger.severity != Severity::Critical, seen.since))
}

fn figures(trigger: &Trigger, seen: &TriggerStatus) -> Figures {
    Figures {
        trigger: trigger.name.clone(),
        condition: trigger
            .condition
            .clone()
            .unwrap_or_else(|| "value > 0.0".to_owned()),
        query: seen.query.clone(),
        last: seen.value,
        baseline: None,
        samples: Vec::new(),
        details: Vec::new(),
    }
}
