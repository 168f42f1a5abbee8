//! The policy's status.

use backstop_api::{
    RollbackPolicy, RollbackPolicyStatus,
    condition::{self, Condition, ConditionStatus},
    policy::{Health, Phase, Suspended, TriggerState},
};
use backstop_engine::{decide::Say, state::State};
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use super::quarantine;
use crate::{calls::CallError, context::Context, merge, observe::Observer};

/// A value of a trigger is written at least so often: each of them would be a write every few
/// seconds for every policy.
const VALUES_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

/// Writes what has been decided, if it is not written already.
pub(super) async fn write(
    context: &Context,
    object: &RollbackPolicy,
    observer: &Observer,
    state: &State,
    say: &Say,
    suspended: Vec<Suspended>,
    now: Timestamp,
) -> Result<(), CallError> {
    let old = object.status.clone().unwrap_or_default();
    let mut conditions = old.conditions.clone();
    for said in &say.conditions {
        condition::set(
            &mut conditions,
            Condition {
                type_: said.type_.to_owned(),
                status: said.status,
                reason: said.reason.clone(),
                message: said.message.clone(),
                last_transition_time: now,
                observed_generation: object.metadata.generation,
            },
        );
    }
    let said: Vec<&str> = say.conditions.iter().map(|c| c.type_).collect();
    forget_others(&mut conditions, &said, now);
    let new = RollbackPolicyStatus {
        phase: Some(say.phase),
        workloads: Some(object.spec.deployments().join(", ")),
        message: Some(say.message.clone()),
        health: Some(say.health),
        conditions,
        observed_generation: object.metadata.generation,
        release: state.release_status(&observer.policy),
        triggers: state.trigger_statuses(&observer.policy),
        last_point: say.last_point.clone(),
        last_event: say.last_event.clone(),
        attempts: say.attempts,
        cooldown_until: say.cooldown_until,
        quarantined: quarantine::templates(context, object, &say.quarantined).await?,
        suspended,
    };
    if says_the_same(&old, &new) {
        return Ok(());
    }
    patch(context, object, &new).await
}

/// What is not spoken of now is not known: an old answer would mislead.
fn forget_others(conditions: &mut [Condition], said: &[&str], now: Timestamp) {
    for old in conditions
        .iter_mut()
        .filter(|c| !said.contains(&c.type_.as_str()))
    {
        if old.status != ConditionStatus::Unknown {
            old.status = ConditionStatus::Unknown;
            "NotJudged".clone_into(&mut old.reason);
            "not judged while the policy is not in force or has no Deployment"
                .clone_into(&mut old.message);
            old.last_transition_time = now;
        }
    }
}

/// Whether `new` says nothing that a reader of `old` does not know: the newest values alone are
/// worth a write only every now and then. Why something cannot be judged is not such a value.
fn says_the_same(old: &RollbackPolicyStatus, new: &RollbackPolicyStatus) -> bool {
    let without_values = |status: &RollbackPolicyStatus| {
        let mut status = status.clone();
        for trigger in &mut status.triggers {
            trigger.value = None;
            trigger.at = None;
            trigger.message = match trigger.state {
                TriggerState::NoData | TriggerState::Error => {
                    trigger.message.as_deref().map(wording)
                }
                _ => None,
            };
        }
        for condition in &mut status.conditions {
            if condition.type_ == condition::DATA_AVAILABLE {
                condition.message = wording(&condition.message);
            }
        }
        status.message = None;
        status
    };
    let aged = old
        .triggers
        .iter()
        .zip(&new.triggers)
        .any(|(old, new)| match (old.at, new.at) {
            (Some(old), Some(new)) => new.duration_since(old) >= VALUES_EVERY,
            (old, new) => old.is_some() != new.is_some(),
        });
    let silent = old
        .triggers
        .iter()
        .zip(&new.triggers)
        .any(|(old, new)| old.at.is_none() && new.at.is_none() && old.message != new.message);
    !aged && !silent && without_values(old) == without_values(new)
}

/// A text without its numbers, which may be others at every look.
fn wording(text: &str) -> String {
    text.replace(|c: char| c.is_ascii_digit(), "")
}

/// Says that a policy is not in force, and why.
pub(super) async fn write_invalid(
    context: &Context,
    object: &RollbackPolicy,
    problem: &str,
) -> Result<(), CallError> {
    let now = Timestamp::now();
    let mut new = object.status.clone().unwrap_or_default();
    for type_ in [condition::ACCEPTED, condition::READY] {
        condition::set(
            &mut new.conditions,
            Condition {
                type_: type_.to_owned(),
                status: ConditionStatus::False,
                reason: "Invalid".to_owned(),
                message: problem.to_owned(),
                last_transition_time: now,
                observed_generation: object.metadata.generation,
            },
        );
    }
    forget_others(
        &mut new.conditions,
        &[condition::ACCEPTED, condition::READY],
        now,
    );
    new.phase = Some(Phase::Invalid);
    new.workloads = Some(object.spec.deployments().join(", "));
    new.health = Some(Health::Unknown);
    new.message = Some(problem.to_owned());
    new.observed_generation = object.metadata.generation;
    new.triggers.clear();
    // Nobody sees to it that they expire.
    new.quarantined.clear();
    if object.status.as_ref() == Some(&new) {
        return Ok(());
    }
    tracing::warn!(
        policy = object.name_any(),
        namespace = object.namespace(),
        problem,
        "a policy is not in force"
    );
    patch(context, object, &new).await
}

async fn patch(
    context: &Context,
    object: &RollbackPolicy,
    status: &RollbackPolicyStatus,
) -> Result<(), CallError> {
    let api: Api<RollbackPolicy> = Api::namespaced(
        context.client.clone(),
        &object.namespace().unwrap_or_default(),
    );
    let json = |status: &RollbackPolicyStatus| serde_json::to_value(status).unwrap_or_default();
    let old = object.status.as_ref().map(json).unwrap_or_default();
    let value = merge::patch(&old, &json(status));
    let patch = serde_json::json!({"metadata": {"uid": object.uid()}, "status": value});
    context
        .calls
        .merge_status(
            "patch rollbackpolicy status",
            &api,
            &object.name_any(),
            patch,
        )
        .await
        .map(|_| ())
}
