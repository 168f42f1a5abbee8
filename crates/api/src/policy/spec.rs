//! What a person writes in a RollbackPolicy.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AffectedUsersQuery, Channel, DecisionRules, Gates, GitOps, RollbackPolicyStatus, Strategy,
    Trigger, Window,
};
use crate::{
    config::{ConfigCapture, SecretCapture},
    duration::Duration,
};

/// What to watch on which workload, and what to do about it.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "backstop.dev",
    version = "v1alpha1",
    kind = "RollbackPolicy",
    namespaced,
    status = "RollbackPolicyStatus",
    shortname = "rbp",
    category = "backstop",
    cel,
    doc = "A RollbackPolicy says what Backstop watches on a workload, and when it takes a release back.",
    printcolumn(name = "Workload", type_ = "string", json_path = ".status.workloads"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Health", type_ = "string", json_path = ".status.health"),
    printcolumn(name = "Score", type_ = "integer", json_path = ".status.healthScore"),
    printcolumn(name = "Release", type_ = "string", json_path = ".status.release.hash"),
    printcolumn(
        name = "Monitored",
        type_ = "string",
        json_path = ".status.release.verdict.result",
        priority = "1"
    ),
    printcolumn(
        name = "Trend",
        type_ = "string",
        json_path = ".status.healthTrend",
        priority = "1"
    ),
    printcolumn(
        name = "Last point",
        type_ = "string",
        json_path = ".status.lastPoint",
        priority = "1"
    ),
    printcolumn(name = "Last event", type_ = "string", json_path = ".status.lastEvent"),
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
    validation = Rule::new("!has(self.strategy) || !(self.strategy.type in ['BlueGreen', 'Canary']) || self.workloads.size() == 0")
        .message("workloads: leave it out with BlueGreen and Canary, whose strategy names the Deployments"),
    validation = Rule::new("(has(self.strategy) && self.strategy.type in ['BlueGreen', 'Canary']) || self.workloads.size() > 0")
        .message("workloads: name at least one Deployment"),
)]
pub struct RollbackPolicySpec {
    /// Whether Backstop acts, only says what it would do, or rests.
    #[serde(default)]
    pub mode: Mode,
    /// The Deployments of this namespace that the policy looks after: one failure domain, taken back
    /// together, the last one first. BlueGreen and Canary name theirs in `strategy`.
    #[serde(default)]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub workloads: Vec<WorkloadRef>,
    /// How long a release may be blamed, counted from the completion of its rollout; until it is
    /// complete it may always be. `Always` for as long as it is live.
    #[serde(default)]
    pub window: Window,
    /// How a release is taken back.
    #[serde(default)]
    pub strategy: Strategy,
    /// What to watch.
    #[serde(default)]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub triggers: Vec<Trigger>,
    /// How triggers decide together; without it any that fires takes the release back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionRules>,
    /// How often to try.
    #[serde(default)]
    pub limits: Limits,
    /// When a release has proved itself, and how many such are kept.
    #[serde(default)]
    pub points: Points,
    /// Annotations of the pod template that say nothing about the release, beside
    /// `kubectl.kubernetes.io/restartedAt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub ignore_annotations: Vec<String>,
    /// What is asked before a release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Gates>,
    /// What to do when a release that failed is put back, as GitOps tools do.
    #[serde(default)]
    pub gitops: GitOps,
    /// Whom to tell, beside those whom the operator tells of every policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub notifications: Vec<Channel>,
    /// How many users a release that is taken back has reached, for the record of the rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affected_users: Option<AffectedUsersQuery>,
}

/// Whether Backstop acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Decide, record and act.
    #[default]
    Enforce,
    /// Decide and record, change nothing.
    Observe,
    /// Rest: watch and show the state, decide nothing.
    Paused,
}

impl RollbackPolicySpec {
    /// The names of all Deployments that the policy speaks of, in its order.
    #[must_use]
    pub fn deployments(&self) -> Vec<&str> {
        let strategy = &self.strategy;
        let mut names: Vec<&str> = self.workloads.iter().map(|w| w.name.as_str()).collect();
        if let Some(parameters) = &strategy.blue_green {
            names.extend(parameters.stacks.iter().map(|s| s.0.as_str()));
        }
        if let Some(parameters) = &strategy.canary {
            names.extend([parameters.stable.0.as_str(), parameters.canary.0.as_str()]);
        }
        names
    }
}

/// A Deployment of the policy's namespace.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// The name of the Deployment.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// How often to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.cooldown) || duration(self.cooldown) <= duration('24h')")
    .message("limits.cooldown must be at most 24h"))]
pub struct Limits {
    /// So many rollbacks in one incident; after that a person is called.
    #[serde(default = "default_max_attempts")]
    #[schemars(range(min = 1, max = 10))]
    pub max_attempts: u32,
    /// After a rollback, so long without another one. Going further back within one incident does
    /// not wait.
    #[serde(default = "default_cooldown")]
    pub cooldown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_attempts: default_max_attempts(),
            cooldown: default_cooldown(),
        }
    }
}

fn default_max_attempts() -> u32 {
    3
}

fn default_cooldown() -> Duration {
    Duration::from_secs(300)
}

/// When a release has proved itself, and how many such are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.soak) || duration(self.soak) <= duration('168h')")
    .message("points.soak must be at most 168h"))]
pub struct Points {
    /// A release that was healthy for so long without a break becomes a point to go back to.
    #[serde(default = "default_soak")]
    pub soak: Duration,
    /// So many points made by soaking are kept; the oldest goes first.
    #[serde(default = "default_keep")]
    #[schemars(range(min = 1, max = 100))]
    pub keep: u32,
    /// Whether the ConfigMaps and Secrets that the templates reference belong to a release.
    #[serde(default)]
    pub config: ConfigCapture,
    /// Whether Secrets do, if ConfigMaps do.
    #[serde(default)]
    pub secrets: SecretCapture,
}

impl Default for Points {
    fn default() -> Self {
        Self {
            soak: default_soak(),
            keep: default_keep(),
            config: ConfigCapture::default(),
            secrets: SecretCapture::default(),
        }
    }
}

fn default_soak() -> Duration {
    Duration::from_mins(5)
}

fn default_keep() -> u32 {
    5
}
