//! How triggers decide together.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Severity;

/// How triggers decide together. Without it, any that fires takes the release back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRules {
    /// Groups of triggers that must agree. A trigger is in one group at most; one that is in none
    /// acts by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub votes: Vec<Vote>,
}

/// Triggers of which so many must fire at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.triggers) || !has(self.severity)")
        .message("a vote has triggers or severity, not both: remove one"),
    validation = Rule::new("has(self.atLeast) == (has(self.require) && self.require == 'AtLeast')")
        .message("atLeast goes with require: AtLeast, which needs it"),
    validation = Rule::new("!has(self.atLeast) || !has(self.triggers) || self.atLeast <= self.triggers.size()")
        .message("atLeast is more than there are triggers in the vote"),
)]
pub struct Vote {
    /// Who votes, by name. Without `triggers` and `severity`, every trigger that takes releases back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)))]
    pub triggers: Option<Vec<String>>,
    /// Who votes: every trigger of this severity that takes releases back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// How many of them must fire.
    #[serde(default)]
    pub require: Require,
    /// For AtLeast: so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub at_least: Option<u32>,
}

/// How many of a vote's triggers must fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Require {
    /// One.
    Any,
    /// Every one.
    #[default]
    All,
    /// So many as `atLeast` says.
    AtLeast,
}
