//! What Backstop says of a policy.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Classification, CountedUntil, DailyCounts, Figures, GatesStatus, ReleaseVerdict, ScoreAt,
    Severity, Trend,
};
use crate::{audit::SpecHistory, condition::Condition, notification::NotificationStatus, schema};

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
    /// The same as a number from 0 (bad) to 100; absent where nothing can be judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub health_score: Option<u8>,
    /// Where the score goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_trend: Option<Trend>,
    /// What takes away from the score, and what is not in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_message: Option<String>,
    /// The changes of the score, oldest first; at most one in a minute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 60))]
    pub health_history: Vec<ScoreAt>,
    /// Accepted, Ready, DataAvailable, Protected, ActionRequired, Monitored; with channels to tell, Notified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The live release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseStatus>,
    /// Whose pods the triggers' queries are about; absent until its ReplicaSets are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_about: Option<AskedAbout>,
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
    /// What happened on each of the last 31 days on which anything did, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 31))]
    pub daily: Vec<DailyCounts>,
    /// Up to when rollbacks are in `daily`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_until: Option<CountedUntil>,
    /// The templates of releases that failed and are kept out, newest first. The API server reads
    /// them here and refuses them; at most three of them are held in full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub quarantined: Vec<QuarantinedTemplate>,
    /// Who was told that a person has to act, and that it is over: the newest for each channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub notifications: Vec<NotificationStatus>,
    /// What new templates are held against; absent where the policy has no gates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<GatesStatus>,
    /// Who has taken over a Deployment, newest first; at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub overrides: Vec<Override>,
    /// The objects of GitOps tools that are suspended because of a rollback, and those that should be and are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub suspended: Vec<Suspended>,
    /// Who has changed the spec, and what of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec_history: Option<SpecHistory>,
}

/// A person took over a Deployment: Backstop let everything pass there, and took nothing back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// The Deployment.
    pub workload: String,
    /// Who: the user as the API server knew it; empty where the annotation is from before that was asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
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

/// What the placeholders of queries stand for: whoever asks the same question with these is answered about the
/// same pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AskedAbout {
    /// Identity of the live release: `{{ release }}`.
    pub release: String,
    /// The Deployments that are live: `{{ workload }}`.
    #[schemars(length(max = 8))]
    pub workloads: Vec<String>,
    /// The `pod-template-hash` of each ReplicaSet of the release, several after a restart: `{{ hash }}`.
    pub template_hashes: Vec<String>,
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
    /// What came of watching it for its window; absent until that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<ReleaseVerdict>,
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
    /// For a trigger that fires on: since when its condition has not held any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovering_since: Option<Timestamp>,
    /// For such a trigger: since when it has been well, by its `recovery` where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well_since: Option<Timestamp>,
    /// The newest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The time of the newest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What the newest value was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// What the comparison of samples says, where one is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// What was counted of the release so far, where a ratio is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tally: Option<Tally>,
    /// What it means, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The query, with its placeholders filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What it measured of the live release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
    /// How what was not released does on the same question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<PeersStatus>,
}

/// How what was not released does on a trigger's question.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeersStatus {
    /// The newest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What it was when a release last proved itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// Since when they have been as bad as the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alike_since: Option<Timestamp>,
    /// When they last were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alike_at: Option<Timestamp>,
    /// How both compare, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What was counted of a release: what an operator that is started again goes on from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// The bad ones.
    pub bad: f64,
    /// All.
    pub total: f64,
    /// The newest answer about the bad ones, from which the next one is counted on.
    pub seen_bad: f64,
    /// The same of all.
    pub seen_total: f64,
    /// The moments from which on it is judged as well, oldest first: what goes wrong late is not
    /// drowned in what went well before. Bounded: the older, the further apart.
    #[serde(default)]
    pub starts: Vec<TallyStart>,
    /// How many such moments there have been.
    #[serde(default)]
    pub started: u32,
}

/// A moment from which on a release is judged as well.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TallyStart {
    /// Which one it was: the later, the more it takes to be sure.
    pub order: u32,
    /// The bad ones until then.
    pub bad: f64,
    /// All until then.
    pub total: f64,
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

/// An object of a GitOps tool that applies a Deployment whose release was taken back. Written down before the object is
/// suspended.
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
    /// The rollback that it would undo.
    pub event: String,
    /// Where it stands.
    pub state: SuspendState,
    /// Since when it is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What it would have applied then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What is so, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where an object of a GitOps tool stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SuspendState {
    /// It is about to be suspended.
    Intended,
    /// It is suspended.
    Suspended,
    /// It works again, because it would apply something else by now.
    Resumed,
    /// A person has suspended it, or has made it work again: Backstop leaves it alone until the next rollback.
    LeftAlone,
    /// It cannot be suspended; tried again from time to time.
    NotSuspended,
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
