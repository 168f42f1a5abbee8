//! Two counts, such as of failed and of all requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What share of all is bad, judged by everything that was counted of the release so far.
///
/// For little traffic: three requests of which one failed say little, and thirty of which ten failed
/// say enough. `value` in the condition is the share that is bad at least, with the confidence asked
/// for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ratio {
    /// PromQL that answers with the number of bad ones so far: a sum of counters, without `rate` or
    /// `increase`. An empty answer is 0 where `total` has one. Placeholders as in a query.
    #[schemars(length(min = 1, max = 4096))]
    pub bad: String,
    /// The same of all, the bad ones among them.
    #[schemars(length(min = 1, max = 4096))]
    pub total: String,
    /// How sure one must be, over all looks together, from 0.5 to below 1.
    #[serde(default = "default_confidence")]
    #[schemars(range(min = 0.5, max = 0.999_999))]
    pub confidence: f64,
}

fn default_confidence() -> f64 {
    0.999
}
