//! How a release is taken back.

use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{duration::Duration, schema};

/// How a release is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'BlueGreen') == has(self.blueGreen)")
        .message("strategy.blueGreen goes with type BlueGreen, and is required there: name the Service and its two stacks"),
    validation = Rule::new("(self.type == 'Canary') == has(self.canary)")
        .message("strategy.canary goes with type Canary, and is required there: name the stable and the canary Deployment and the route"),
    validation = Rule::new("self.type == 'Rolling' || !has(self.rolling)")
        .message("strategy.rolling goes with type Rolling"),
    validation = Rule::new("self.type == 'Rolling' || !has(self.scale)")
        .message("strategy.scale goes with type Rolling"),
    validation = Rule::new("self.type == 'Rolling' || !has(self.isolate)")
        .message("strategy.isolate goes with type Rolling"),
    validation = Rule::new("!has(self.timeout) || duration(self.timeout) >= duration('1s')")
        .message("strategy.timeout must be 1s or more, for example 300s"),
)]
pub struct Strategy {
    /// Which strategy. `Rolling` writes the good template and follows the Deployment's own rollout.
    #[serde(rename = "type", default)]
    pub type_: StrategyType,
    /// How long the rollout of the restored release may take before the rollback counts as failed.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// Parameters of the Deployment's rolling update during the rollback, put back afterwards.
    /// Without them the Deployment's own are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling: Option<RollingParameters>,
    /// For BlueGreen: the Service, and the two Deployments that it is switched between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreenParameters>,
    /// For Canary: the two Deployments, and the route that shares requests out between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryParameters>,
    /// For the action ScaleAndRollback: how much capacity is added first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleParameters>,
    /// For the action IsolateAndRollback: when the suspect pods lose their requests, and what becomes
    /// of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolate: Option<IsolateParameters>,
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            type_: StrategyType::default(),
            timeout: default_timeout(),
            rolling: None,
            blue_green: None,
            canary: None,
            scale: None,
            isolate: None,
        }
    }
}

fn default_timeout() -> Duration {
    Duration::from_secs(300)
}

/// The kinds of rollback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StrategyType {
    /// Write the good template; the Deployment controller replaces pods step by step.
    #[default]
    Rolling,
    /// Swap a Service's selector to the stack that was live before.
    BlueGreen,
    /// Shift route weights back to the stable side, then take the canary back.
    Canary,
    /// Stop, restore, start: never two releases at once, at the price of an outage.
    Recreate,
}

/// Two Deployments, of which a Service selects one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.stacks[0] != self.stacks[1]")
    .message("strategy.blueGreen.stacks: name two different Deployments"))]
pub struct BlueGreenParameters {
    /// The Service of this namespace. What it selects is live.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub service: String,
    /// The two Deployments of this namespace.
    #[schemars(length(min = 2, max = 2))]
    pub stacks: Vec<DeploymentName>,
    /// Whether the stack that failed keeps its pods, to be looked into. Without it, it is scaled to
    /// zero when the good one has its traffic.
    #[serde(default = "yes")]
    pub preserve_failed: bool,
}

/// Two Deployments, and the route that shares requests out between their Services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.stable != self.canary")
        .message("strategy.canary: stable and canary must be two different Deployments"),
    validation = Rule::new("!has(self.stepInterval) || duration(self.stepInterval) <= duration('1h')")
        .message("strategy.canary.stepInterval must be at most 1h, for example 60s"),
)]
pub struct CanaryParameters {
    /// The Deployment that serves when there is no canary.
    pub stable: DeploymentName,
    /// The Deployment that is tried.
    pub canary: DeploymentName,
    /// The route.
    pub route: RouteParameters,
    /// How far back a gradual rollback has gone after each step, in percent of the way.
    #[serde(default = "default_steps")]
    #[schemars(length(min = 1, max = 10), inner(range(min = 1, max = 100)))]
    pub steps: Vec<u8>,
    /// How long a gradual rollback waits between its steps.
    #[serde(default = "default_step_interval")]
    pub step_interval: Duration,
    /// When a gradual rollback need go no further: CEL over `value` of the trigger that asked for it,
    /// such as `value < 0.02`. Without it, it goes all the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub stop_when: Option<String>,
}

/// An object that shares requests out by weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteParameters {
    /// What it is: a name from the operator's table of routes, such as `gateway-httproute`,
    /// `traefik-service` or `istio`.
    #[schemars(length(min = 1, max = 63))]
    pub provider: String,
    /// Its name, in this namespace.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// The rule within it, by name or by number from 0. Without it, every rule that names both
    /// backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub rule: Option<String>,
    /// The stable backend as the route names it. The stable Deployment's name unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_backend: Option<BackendParameters>,
    /// The canary backend as the route names it. The canary Deployment's name unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_backend: Option<BackendParameters>,
}

/// A backend, as a route names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendParameters {
    /// Its name: that of a Service, mostly.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its subset, for routes that have such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub subset: Option<String>,
}

/// How much capacity is added before a release is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleParameters {
    /// So many pods more, or such a share more: `2`, or `50%`. A share is rounded up.
    #[schemars(schema_with = "schema::int_or_percent")]
    pub by: IntOrPercent,
}

/// How the pods of a release that is not trusted are kept from requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IsolateParameters {
    /// When they get no more requests.
    #[serde(default)]
    pub isolation: Isolation,
    /// So many of them are kept to be looked into; the others are deleted.
    #[serde(default)]
    pub keep: u32,
    /// Whether a NetworkPolicy keeps all traffic from and to them away.
    #[serde(default = "yes")]
    pub network_policy: bool,
}

impl Default for IsolateParameters {
    fn default() -> Self {
        Self {
            isolation: Isolation::default(),
            keep: 0,
            network_policy: true,
        }
    }
}

/// When suspect pods get no more requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Isolation {
    /// As soon as the pods of the good release have rolled out in their place.
    #[default]
    WhenReady,
    /// At once, though nobody answers until the pods of the good release are ready.
    Immediate,
}

/// The name of a Deployment of this namespace.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
#[schemars(inline)]
pub struct DeploymentName(
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub String,
);

fn yes() -> bool {
    true
}

fn default_steps() -> Vec<u8> {
    vec![25, 50, 75, 100]
}

fn default_step_interval() -> Duration {
    Duration::from_secs(60)
}

/// `rollingUpdate` of a Deployment, for the time of a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!(has(self.maxUnavailable) && has(self.maxSurge) && string(self.maxUnavailable) in ['0', '0%'] && string(self.maxSurge) in ['0', '0%'])"
).message("strategy.rolling: maxUnavailable and maxSurge cannot both be 0, or the rollout could never move"))]
pub struct RollingParameters {
    /// How many pods may be missing: a number, or a share such as `25%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_percent")]
    pub max_unavailable: Option<IntOrPercent>,
    /// How many pods may be there beyond the wanted number: a number, or a share such as `25%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_percent")]
    pub max_surge: Option<IntOrPercent>,
}

/// A number of pods, or a share of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum IntOrPercent {
    /// So many pods.
    Int(u32),
    /// Such a share of the wanted number, as `25%`.
    Percent(String),
}

impl fmt::Display for IntOrPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => n.fmt(f),
            Self::Percent(p) => p.fmt(f),
        }
    }
}
