//! What was not released, asked the same question: it tells a bad day from a bad release.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// The same question about what was not released, asked beside the trigger's own. Where that is as
/// bad, the release is not blamed for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.share) || !has(self.condition)")
        .message("peers has share or condition, not both: remove one"),
    validation = Rule::new("!has(self.share) || (self.share > 0.0 && self.share <= 1.0)")
        .message("peers.share must be above 0 and at most 1, for example 0.5"),
    validation = Rule::new("!has(self.holdFor) || duration(self.holdFor) <= duration('24h')")
        .message("peers.holdFor must be at most 24h"),
)]
pub struct Peers {
    /// PromQL that answers with one number about what was not released, in the unit of the trigger's
    /// own query: the stable side, or other workloads of the namespace. Placeholders as there; leave
    /// the whole workload out, as in `pod!~"{{ workload }}-.+"`: of the release before there are fewer pods
    /// each moment of a rollout, and what is asked about should not change by that.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// The peers are as bad when they got worse by this share of what the release did; `0.5` unless
    /// said otherwise. Both are measured from what they were when a release last proved itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// When the peers are bad, instead of `share`: CEL over their `value` and their `baseline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub condition: Option<String>,
    /// For so long at most the release is spared because its peers are as bad.
    #[serde(default = "default_hold_for")]
    pub hold_for: Duration,
}

fn default_hold_for() -> Duration {
    Duration::from_mins(30)
}
