//! The policy's status.

use backstop_api::{
    RollbackPolicy, RollbackPolicyStatus,
    condition::{self, Condition, ConditionStatus},
    policy::{CountedUntil, Health, PeersStatus, Phase, Suspended, TriggerState},
};
use backstop_engine::{decide::Say, state::State};
use backstop_notify::health::health;
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use super::{gitops, quarantine};
use crate::{calls::CallError, context::Context, merge, observe::Observer};

/// A value of a trigger is written at least so often: each of them would be a write every few
/// seconds for every policy.
const VALUES_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

/// What there is to be said.
pub(super) struct Said<'a> {
    /// What the engine remembers.
    pub(super) state: &'a State,
    /// What it says.
    pub(super) say: &'a Say,
    /// What is suspended.
    pub(super) suspended: Vec<Suspended>,
}

/// Writes what has been decided, if it is not written already.
pub(super) async fn write(
    context: &Context,
    object: &RollbackPolicy,
    observer: &Observer,
    said: Said<'_>,
    now: Timestamp,
) -> Result<(), CallError> {
    let Said {
        state,
        say,
        suspended,
    } = said;
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
    let mut said: Vec<&str> = say.conditions.iter().map(|c| c.type_).collect();
    said.push(condition::NOTIFIED);
    set_notified(context, object, &mut conditions, now);
    said.push(condition::GITOPS_SUSPENDED);
    set_suspended(object, &suspended, &mut conditions, now);
    // These two are there only while there is something to say.
    let passing = [condition::GATES_READY, condition::OVERRIDDEN];
    conditions.retain(|c| {
        let type_ = c.type_.as_str();
        said.contains(&type_) || !passing.contains(&type_)
    });
    forget_others(&mut conditions, &said, now);
    let new = RollbackPolicyStatus {
        phase: Some(say.phase),
        workloads: Some(object.spec.deployments().join(", ")),
        message: Some(say.message.clone()),
        health: Some(say.health),
        health_score: say.score.value,
        health_trend: say.score.trend,
        health_message: Some(say.score.message.clone()).filter(|m| !m.is_empty()),
        health_history: state.scores.iter().copied().collect(),
        daily: state.daily.clone(),
        counted_until: (state.counted != CountedUntil::default()).then_some(state.counted),
        conditions,
        observed_generation: object.metadata.generation,
        release: state.release_status(&observer.policy),
        asked_about: observer.asked_about(),
        triggers: state.trigger_statuses(&observer.policy),
        last_point: say.last_point.clone(),
        last_event: say.last_event.clone(),
        attempts: say.attempts,
        cooldown_until: say.cooldown_until,
        quarantined: quarantine::templates(context, object, &say.quarantined).await?,
        notifications: old.notifications.clone(),
        gates: say.gates.clone(),
        overrides: state.overrides.clone(),
        suspended,
        spec_history: old.spec_history.clone(),
    };
    if says_the_same(&old, &new) {
        return Ok(());
    }
    patch(context, object, &new).await
}

/// Whether everybody was told who has to know, by what is on record; nothing where nobody has to.
fn set_notified(
    context: &Context,
    object: &RollbackPolicy,
    conditions: &mut Vec<Condition>,
    now: Timestamp,
) {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let events = context.events_of(&namespace, &name);
    let of_events = events.iter().flat_map(|event| {
        let records = event.status.iter().flat_map(|s| &s.notifications);
        let name = event.metadata.name.as_deref().unwrap_or_default();
        records.map(move |record| (name, record))
    });
    let own = object.status.iter().flat_map(|s| &s.notifications);
    let records = own.map(|record| (name.as_str(), record)).chain(of_events);
    let channels = context.channels.of(Some(object));
    let unusable = context.unusable.of(object);
    let said = health(&channels, records, &unusable);
    let said = said.map(|health| (health.status, health.reason, health.message));
    set_or_drop(object, condition::NOTIFIED, said, conditions, now);
}

/// Whether what would undo a rollback is suspended; nothing where nothing would.
fn set_suspended(
    object: &RollbackPolicy,
    suspended: &[Suspended],
    conditions: &mut Vec<Condition>,
    now: Timestamp,
) {
    let said = gitops::condition(suspended);
    set_or_drop(object, condition::GITOPS_SUSPENDED, said, conditions, now);
}

/// Sets a condition that is there only while there is something to say: status, reason and message.
fn set_or_drop(
    object: &RollbackPolicy,
    type_: &str,
    said: Option<(ConditionStatus, &str, String)>,
    conditions: &mut Vec<Condition>,
    now: Timestamp,
) {
    match said {
        None => conditions.retain(|c| c.type_ != type_),
        Some((status, reason, message)) => condition::set(
            conditions,
            Condition {
                type_: type_.to_owned(),
                status,
                reason: reason.to_owned(),
                message,
                last_transition_time: now,
                observed_generation: object.metadata.generation,
            },
        ),
    }
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
            trigger.baseline = None;
            trigger.tally = None;
            trigger.figures = None;
            if let Some(peers) = &mut trigger.peers {
                // That they have been as bad is news; how bad, and when last, is a value.
                *peers = PeersStatus {
                    alike_since: peers.alike_since,
                    ..PeersStatus::default()
                };
            }
            trigger.message = match trigger.state {
                TriggerState::NoData | TriggerState::Error => {
                    trigger.message.as_deref().map(wording)
                }
                _ => None,
            };
        }
        for condition in &mut status.conditions {
            if [condition::DATA_AVAILABLE, condition::ACTION_REQUIRED].contains(&&*condition.type_)
            {
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
    suspended: Vec<Suspended>,
) -> Result<(), CallError> {
    let now = Timestamp::now();
    let mut new = object.status.clone().unwrap_or_default();
    set_suspended(object, &suspended, &mut new.conditions, now);
    new.suspended = suspended;
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
        &[
            condition::ACCEPTED,
            condition::READY,
            condition::GITOPS_SUSPENDED,
        ],
        now,
    );
    new.phase = Some(Phase::Invalid);
    new.workloads = Some(object.spec.deployments().join(", "));
    new.health = Some(Health::Unknown);
    (new.health_score, new.health_trend, new.health_message) = (None, None, None);
    new.message = Some(problem.to_owned());
    new.observed_generation = object.metadata.generation;
    new.triggers.clear();
    new.asked_about = None;
    // Nobody sees to it that they expire.
    new.quarantined.clear();
    new.gates = None;
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
    let mut value = merge::patch(&old, &json(status));
    // Who was told is written by whoever tells them, meanwhile too; what was changed in the spec by a step of its own.
    if let Some(value) = value.as_object_mut() {
        value.remove("notifications");
        value.remove("specHistory");
    }
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
