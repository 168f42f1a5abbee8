//! What Backstop says of a policy.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Severity;
use crate::{condition::Condition, schema};

/// What Backstop says of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackPolicyStatus {
    /// Where the policy stands, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The Deployments that the policy looks after, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<String>,
    /// The same in a sentence: what is so, why, and what to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How the live release does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Accepted, Ready, DataAvailable, Protected, ActionRequired.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The live release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseStatus>,
    /// Each trigger's state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<TriggerStatus>,
    /// The newest good point of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_point: Option<String>,
    /// The newest rollback of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<String>,
    /// Rollbacks in the incident that is going on; 0 when there is none.
    #[serde(default)]
    pub attempts: u32,
    /// No new rollback before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown_until: Option<Timestamp>,
    /// The templates of releases that failed and are kept out, newest first. The API server reads
    /// them here and refuses them; at most three of them are held in full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub quarantined: Vec<QuarantinedTemplate>,
    /// The objects of GitOps tools that rest because of a rollback.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub suspended: Vec<Suspended>,
}

/// Where a policy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// The policy is not in force; its Accepted condition says why.
    Invalid,
    /// The Deployment is not there, or its controller has not seen its newest generation.
    Waiting,
    /// A release is being watched and may still be blamed.
    Monitoring,
    /// The live release has proved itself, or its window is over.
    Idle,
    /// A trigger fires and a rollback waits for its delay.
    Pending,
    /// A rollback is being executed or verified.
    RollingBack,
    /// A trigger fires and no rollback is made; the message says why.
    Held,
    /// The policy is paused, or a person has taken over.
    Paused,
}

/// How the live release does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Health {
    /// Fully rolled out, every trigger has data and is quiet.
    Healthy,
    /// A trigger is pending, or the rollout is not complete.
    Degraded,
    /// A trigger fires.
    Failing,
    /// It cannot be told: a trigger has no data.
    Unknown,
}

/// A release, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// The UID of the Deployment: a namesake that was made since is another workload.
    pub workload_uid: String,
    /// Identity: a hash of the pod template, without what says nothing about it.
    pub hash: String,
    /// When it became live, or was first seen so.
    pub since: Timestamp,
    /// When its first pod was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ready_at: Option<Timestamp>,
    /// When its rollout completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// Since when it has been healthy without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<Timestamp>,
    /// When it last proved itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved_at: Option<Timestamp>,
    /// Until when it may be blamed; absent while its rollout goes on, and with window Always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_ends: Option<Timestamp>,
    /// The rollback that restored it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_by: Option<String>,
    /// The release that was live before it, as far as that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
}

/// The state of a trigger, as of an alert in Prometheus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerStatus {
    /// The trigger's name.
    pub name: String,
    /// Its severity.
    pub severity: Severity,
    /// Its state.
    pub state: TriggerState,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Since when the condition has held without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_since: Option<Timestamp>,
    /// The newest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The time of the newest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What it means, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The query, with its placeholders filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// The state of a trigger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TriggerState {
    /// The condition does not hold.
    #[default]
    Inactive,
    /// The condition holds, not yet for long enough.
    Pending,
    /// The condition has held for long enough.
    Firing,
    /// There is nothing to judge.
    NoData,
    /// The source or the condition cannot be evaluated.
    Error,
}

/// An object of a GitOps tool that rests because of a rollback. Written down before it is made to rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suspended {
    /// Its kind: Kustomization, HelmRelease or Application.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Deployment that it applies.
    pub workload: String,
    /// The rollback.
    pub event: String,
    /// Since when it rests; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What it would have applied then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When it was made to work again, though the rollback holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<Timestamp>,
    /// What is so, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A Deployment's template of a release that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuarantinedTemplate {
    /// The Deployment.
    pub workload: String,
    /// The release's identity.
    pub release: String,
    /// The rollback that quarantined it.
    pub event: String,
    /// The record of the release. Deleting it lets the release in again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Why the release was taken back, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until when it is kept out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The template as the server returned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub template: Option<Value>,
    /// The version of the API server that returned it: another one may fill in other defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// Why the API server lets it pass all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub let_pass: Option<String>,
}
