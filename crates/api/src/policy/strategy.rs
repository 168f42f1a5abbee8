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
    validation = Rule::new("self.type == 'Rolling'")
        .message("strategy.type: only Rolling is available in this version; BlueGreen, Canary and Recreate are not"),
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
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            type_: StrategyType::default(),
            timeout: default_timeout(),
            rolling: None,
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
    /// Swap a Service's selector to the stack that was live before. Not available yet.
    BlueGreen,
    /// Shift route weights back to the stable side. Not available yet.
    Canary,
    /// Stop, restore, start. Not available yet.
    Recreate,
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
