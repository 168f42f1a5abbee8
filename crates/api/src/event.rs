//! RollbackEvent: one rollback, from intent to verified outcome.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    audit::{AffectedUsers, Exported},
    condition::Condition,
    config::ConfigRef,
    notification::NotificationStatus,
    point::Image,
    policy::{
        Action, Classification, IsolateParameters, RollingParameters, RouteParameters, Severity,
        StrategyType, WorkloadRef,
    },
    schema,
};

/// One rollback, from intent to verified outcome: write-ahead log, work item and audit record.
///
/// A person rolls back by creating one with `cause: Manual`, and tries that out with `cause: Drill`; Backstop creates the
/// others.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "backstop.dev",
    version = "v1alpha1",
    kind = "RollbackEvent",
    namespaced,
    status = "RollbackEventStatus",
    derive = "PartialEq",
    shortname = "rbe",
    category = "backstop",
    cel,
    doc = "A RollbackEvent is one rollback: why, from which release to which, step by step, and how it ended.",
    selectable = ".spec.policy",
    printcolumn(name = "Workload", type_ = "string", json_path = ".status.workloads"),
    printcolumn(name = "Cause", type_ = "string", json_path = ".status.causeText"),
    printcolumn(name = "From", type_ = "string", json_path = ".status.from.hash"),
    printcolumn(name = "To", type_ = "string", json_path = ".status.to.hash"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.outcome"),
    printcolumn(
        name = "Duration",
        type_ = "string",
        json_path = ".status.durations.total"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("a RollbackEvent's spec is immutable; to call it off, annotate it with backstop.dev/cancel"),
    validation = Rule::new("!has(self.endsDrill) || self.cause == 'Drill'").message("endsDrill: only with cause: Drill"),
    validation = Rule::new("self.cause != 'Drill' || !(has(self.quarantine) && self.quarantine)")
        .message("quarantine: a Drill takes back what is good, and quarantines nothing; leave it out"),
    validation = Rule::new("self.workloads.size() > 0").message("workloads: name the policy's Deployments"),
    validation = Rule::new("self.cause == 'Trigger' || (!has(self.evidence) && (!has(self.from) || has(self.endsDrill)))")
        .message("a Manual or Drill event has no evidence and no from: Backstop takes back what is live"),
)]
pub struct RollbackEventSpec {
    /// The policy that it belongs to.
    #[schemars(length(min = 1, max = 253))]
    pub policy: String,
    /// The Deployments that the policy speaks of: all of them, since they are one failure domain and
    /// are taken back together.
    #[schemars(length(min = 1, max = 8))]
    pub workloads: Vec<WorkloadRef>,
    /// What started it.
    pub cause: Cause,
    /// Who asked for it: the user's name as the API server knows it; `backstop` for its own.
    #[schemars(length(min = 1, max = 253))]
    pub requested_by: String,
    /// Why, in a sentence, for whoever reads it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub reason: Option<String>,
    /// For Manual: record the release that is taken back as one that failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quarantine: bool,
    /// What to do; from the trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// How; from the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategyType>,
    /// Which try of the incident this is, from 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub attempt: u32,
    /// The release that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ReleaseRef>,
    /// Where to go back to. A person may name a point; without it, the newest good one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Target>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// When the trigger fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired_at: Option<Timestamp>,
    /// Nothing is done before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The Drill that this one ends: it brings back the release that was live before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ends_drill: Option<String>,
}

fn one() -> u32 {
    1
}

/// What started a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Cause {
    /// A trigger of the policy.
    Trigger,
    /// A person.
    Manual,
    /// A person, to try a rollback out while all is well: it is taken back, and brought back after that.
    Drill,
}

/// A release, named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRef {
    /// Identity of the release.
    pub hash: String,
    /// Its images.
    #[serde(default)]
    pub images: Vec<Image>,
    /// The Deployment's revision, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// A point to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The name of the RollbackPoint.
    #[schemars(length(min = 1, max = 253))]
    pub point: String,
    /// Identity of its release; filled by Backstop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The trigger that fired.
    pub trigger: String,
    /// Its severity.
    pub severity: Severity,
    /// Its condition.
    pub condition: String,
    /// The query as it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What was measured, oldest first.
    #[serde(default)]
    pub samples: Vec<Sample>,
    /// What it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// What the comparison of samples said, where the trigger asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// What the cluster said, in its words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// The other triggers that fired at that time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub also_firing: Vec<AlsoFiring>,
}

/// Another trigger that fired when a rollback was decided on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlsoFiring {
    /// Its name.
    pub trigger: String,
    /// Its severity.
    pub severity: Severity,
    /// What it measured, for a person.
    pub message: String,
}

/// One measured value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// What.
    pub value: f64,
}

/// How a rollback goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackEventStatus {
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<EventPhase>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What happened, why, and what to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The Deployments that it is about, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<String>,
    /// What started it, in a word or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause_text: Option<String>,
    /// The release that is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ReleaseRef>,
    /// The release that is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Target>,
    /// The UID of the Deployment; where there are several, of each, joined by `+`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_uid: Option<String>,
    /// The plan: what is done, in order, and how far it has come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub steps: Vec<StepStatus>,
    /// The release that the server made of the restored template: its own hash, because admission
    /// may change what is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_hash: Option<String>,
    /// Who put the release that failed back, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub reverts: Vec<Revert>,
    /// When things happened.
    #[serde(default)]
    pub times: Times,
    /// How long things took.
    #[serde(default)]
    pub durations: Durations,
    /// `Complete`: whether it has ended, and how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Who was told, of what, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub notifications: Vec<NotificationStatus>,
    /// How many users the release that failed has reached, where the policy asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affected_users: Option<AffectedUsers>,
    /// Which line of the audit log holds this record; absent while it is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported: Option<Exported>,
}

/// Somebody put the release that failed back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revert {
    /// When it was seen.
    pub at: Timestamp,
    /// The field manager that did it.
    pub by: String,
    /// The GitOps tool that writes as this manager, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<GitOpsTool>,
    /// Whether this rollback took it back again.
    pub written_back: bool,
}

/// A GitOps tool.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum GitOpsTool {
    /// Argo CD.
    ArgoCD,
    /// Flux.
    Flux,
}

/// Where a rollback stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EventPhase {
    /// Recorded; nothing is done yet, and recovery, a newer release or a person ends it.
    Pending,
    /// Past the point of no return.
    Executing,
    /// Executed; being watched.
    Verifying,
    /// The restored release is live and holds.
    Succeeded,
    /// It did not work; the message says what is left to do.
    Failed,
    /// Called off before anything was changed.
    Cancelled,
    /// Somebody else's change took its place.
    Superseded,
}

impl EventPhase {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Superseded
        )
    }
}

/// How a rollback ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// The restored release is live, and every trigger is quiet on new samples.
    Recovered,
    /// The restored release is live and in place; there were no data to prove the recovery.
    Held,
    /// Observe: this is what would have been done.
    ObserveOnly,
    /// The trigger went quiet before anything was done.
    RecoveredBeforeActing,
    /// A person called it off.
    CancelledByPerson,
    /// The policy was paused or deleted, or a person has taken over the workload.
    PolicyNotInForce,
    /// There is no release that could be gone back to.
    NoTarget,
    /// A drill: the live release could not be brought back after it, or is not well.
    DrillNotPossible,
    /// A trigger that is more urgent fires, and its own rollback begins instead.
    TakenOver,
    /// A newer release came before, or somebody fixed forward meanwhile.
    NewerRelease,
    /// The Deployment was deleted.
    WorkloadDeleted,
    /// The restored release cannot start by its own evidence.
    TargetCannotStart,
    /// The restored release runs, and the same trigger still fires.
    NotCausedByRelease,
    /// The restored release runs, and another trigger fires.
    TargetUnhealthy,
    /// The rollout did not complete in time.
    TimedOut,
    /// The API server refused a change.
    WriteRefused,
    /// The point to go back to is gone or cannot be used.
    PointUnusable,
    /// Somebody changed the Service, the route or the replicas while they were changed back.
    Contested,
    /// Somebody put the release that failed back more often than Backstop takes it back again.
    Reverted,
    /// BlockDeployment: the release stays live, is recorded as one that failed, and is refused from now on.
    Blocked,
}

/// A step of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// What is done.
    pub step: Step,
    /// How far it has come.
    #[serde(default)]
    pub state: StepState,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// For WriteTemplate: what the server made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    /// For RestoreConfig: what was left as it is, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// For Scale, SwapSelector and others: what was there before, recorded before it is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
}

/// What was there before a step changed it, to be put back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// For Scale: how many pods were wanted, and by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// For DetachSuspects: the ReplicaSets of the release that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub replica_sets: Vec<FoundReplicaSet>,
    /// Who owned the field: managedFields entries, cut to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::any_objects")]
    pub owners: Vec<Value>,
}

/// A ReplicaSet, and how its pods are told from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundReplicaSet {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The labels that its pods have.
    pub labels: BTreeMap<String, String>,
}

/// What the server made of a template that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// Identity of the template: admission may change what is written.
    pub hash: String,
    /// The Deployment's generation from then on.
    pub generation: i64,
}

/// How many pods are wanted, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// `/spec/replicas` of the Deployment.
    pub replicas: i32,
    /// The HorizontalPodAutoscaler to which they belong, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<Autoscaler>,
}

/// A HorizontalPodAutoscaler, as far as it bounds replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaler {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// `/spec/minReplicas`.
    pub min_replicas: i32,
    /// `/spec/maxReplicas`.
    pub max_replicas: i32,
}

/// One step of a plan: safe to do twice, and nothing is left to choose when it is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What kind of step.
    pub kind: StepKind,
    /// The Deployment.
    pub workload: String,
    /// Its UID: a namesake that was made since is another workload.
    pub workload_uid: String,
    /// The Deployment's release when the rollback was planned.
    pub from: String,
    /// The Deployment's release in the point.
    pub to: String,
    /// The point that holds it.
    pub point: String,
    /// `rollingUpdate` for the time of the rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling: Option<RollingParameters>,
    /// What `/spec/strategy` was before, to be put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub strategy_before: Option<Value>,
    /// Who owned the fields of `/spec/strategy` before: managedFields entries, cut to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::any_objects")]
    pub strategy_owners: Vec<Value>,
    /// For what is waited for: how long it may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<crate::duration::Duration>,
    /// For what is waited for: whether the rollback goes on without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// For Scale and AwaitCapacity: how many replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// For SwapSelector and AwaitEndpoints: which Service, and what it selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<SelectorChange>,
    /// For IsolateSuspects: what becomes of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolate: Option<IsolateParameters>,
    /// For RestoreConfig: the configuration of the release that failed. What is other than that by
    /// now has been changed by somebody since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub config: Vec<ConfigRef>,
    /// For ShiftWeight and HoldWeight: which route, and how it shares requests out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<WeightChange>,
}

/// What a Service selects, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SelectorChange {
    /// The Service.
    pub service: String,
    /// Its UID.
    pub service_uid: String,
    /// What it selects when the step begins.
    pub from: BTreeMap<String, String>,
    /// What it selects when the step holds.
    pub to: BTreeMap<String, String>,
}

/// How a route shares requests out, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WeightChange {
    /// The route, as the policy names it.
    pub route: RouteParameters,
    /// Its UID.
    pub route_uid: String,
    /// The canary's share in percent when the step begins.
    pub from: u8,
    /// The canary's share in percent when the step holds.
    pub to: u8,
}

/// The kinds of steps.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum StepKind {
    /// Record the release that failed, so that it is never gone back to.
    QuarantineRelease,
    /// Write the good template, if the failed one is still there.
    WriteTemplate,
    /// Give the fields back to those who owned them at the point.
    HandBackOwnership,
    /// Take the pods of the release that failed from their ReplicaSet, so that nothing replaces or
    /// deletes them.
    DetachSuspects,
    /// Take the labels of those pods away, by which Services find them; keep some, delete the others.
    IsolateSuspects,
    /// Wait until the Deployment has rolled out.
    AwaitRollout,
    /// Put `rollingUpdate` back as it was.
    RestoreStrategy,
    /// Put ConfigMaps and Secrets back as they were at the point, as far as they are the release's.
    RestoreConfig,
    /// Replace the pods, so that they start with the configuration that was put back.
    Restart,
    /// Change the number of replicas, or raise the minimum of the autoscaler to which they belong.
    Scale,
    /// Put replicas, or the autoscaler's minimum, back as they were before Scale. With `replicas`
    /// the pods stay, and only the autoscaler gets its minimum back.
    ScaleBack,
    /// Wait until so many replicas are ready.
    AwaitCapacity,
    /// Wait until no pod is left.
    AwaitStopped,
    /// Point the Service at the good stack.
    SwapSelector,
    /// Wait until the Service's endpoints are the good stack's, and ready.
    AwaitEndpoints,
    /// Change the canary's share of the requests.
    ShiftWeight,
    /// Wait between two steps of a gradual rollback, unless it gets worse.
    HoldWeight,
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepState {
    /// Not begun.
    #[default]
    Waiting,
    /// Begun.
    Running,
    /// Done, and seen to hold.
    Done,
    /// Failed; the message says why.
    Failed,
    /// Not needed any more.
    Skipped,
}

/// When things happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// The condition began to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition_held: Option<Timestamp>,
    /// The trigger fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired: Option<Timestamp>,
    /// The decision to act was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Timestamp>,
    /// The first change was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_write: Option<Timestamp>,
    /// The rollout of the restored release completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_out: Option<Timestamp>,
    /// It ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Durations {
    /// From the condition's beginning to the trigger's firing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect: Option<String>,
    /// From firing to the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decide: Option<String>,
    /// From the decision to the first change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_write: Option<String>,
    /// From the first change to the completed rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_out: Option<String>,
    /// From the completed rollout to the verified end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<String>,
    /// From firing (or asking) to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
}
