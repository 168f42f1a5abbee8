//! What a value is compared with, and how samples are compared.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// What a trigger's values are compared with, and when that is no good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.from) && self.from == 'Offset') == has(self.offset)")
        .message("baseline.offset goes with from: Offset and is required there, for example 168h for last week"),
    validation = Rule::new("(has(self.from) && self.from == 'Static') == has(self.value)")
        .message("baseline.value goes with from: Static and is required there, for example 0.2"),
    validation = Rule::new("!has(self.offset) || (duration(self.offset) >= duration('1m') && duration(self.offset) <= duration('2160h'))")
        .message("baseline.offset must be from 1m to 2160h (90 days), for example 168h"),
    validation = Rule::new("!has(self.maxAge) || !has(self.from) || self.from == 'LastHealthy'")
        .message("baseline.maxAge goes with from: LastHealthy only"),
)]
pub struct BaselineSource {
    /// Where it comes from.
    #[serde(default)]
    pub from: BaselineFrom,
    /// For Offset: how long ago to ask the same question about, such as `168h` for a week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<Duration>,
    /// For Static: the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// For LastHealthy: how many samples it must have been made of.
    #[serde(default = "default_minimum_samples")]
    #[schemars(range(min = 1, max = 60))]
    pub minimum_samples: u32,
    /// For LastHealthy: how old it may be; of any age unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// How wild its samples may be: their coefficient of variation, which is their standard
    /// deviation in times of their mean.
    #[serde(default = "default_max_variation")]
    #[schemars(range(min = 0.0))]
    pub max_variation: f64,
}

impl Default for BaselineSource {
    fn default() -> Self {
        Self {
            from: BaselineFrom::default(),
            offset: None,
            value: None,
            minimum_samples: default_minimum_samples(),
            max_age: None,
            max_variation: default_max_variation(),
        }
    }
}

fn default_minimum_samples() -> u32 {
    5
}

fn default_max_variation() -> f64 {
    1.0
}

/// Where a baseline comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BaselineFrom {
    /// What was measured when the release to go back to proved itself, as its point holds it.
    #[default]
    LastHealthy,
    /// The same question, asked about an earlier time and about whatever release was live then.
    Offset,
    /// The same question about the side that is not released to, now: the stable side of a canary,
    /// and the pods of the release before while a rolling update goes on.
    Stable,
    /// A number.
    Static,
}

/// Compares whole sets of samples, by the Mann-Whitney U test, where a single number is too noisy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Which way is bad.
    #[serde(default)]
    pub direction: Direction,
    /// How sure one must be that there is a difference at all, from 0.5 to below 1.
    #[serde(default = "default_confidence")]
    #[schemars(range(min = 0.5, max = 0.999_999))]
    pub confidence: f64,
    /// How many times the baseline a typical value may be: a difference that is sure, and smaller
    /// than this, is fine.
    #[serde(default = "default_allowed_increase")]
    #[schemars(range(min = 1.0))]
    pub allowed_increase: f64,
    /// The same downwards: 0.75 is a quarter less.
    #[serde(default = "default_allowed_decrease")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub allowed_decrease: f64,
    /// From so many times the baseline on the trigger fires at once, without waiting for `for`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0))]
    pub critical_increase: Option<f64>,
    /// The same downwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub critical_decrease: Option<f64>,
    /// How many of the newest samples are compared. With fewer, on either side, nothing is said.
    #[serde(default = "default_samples")]
    #[schemars(range(min = 8, max = 60))]
    pub samples: u32,
}

fn default_confidence() -> f64 {
    0.98
}

fn default_allowed_increase() -> f64 {
    1.25
}

fn default_allowed_decrease() -> f64 {
    0.75
}

fn default_samples() -> u32 {
    20
}

/// Which way is bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Direction {
    /// More is bad, as of errors or latency.
    #[default]
    Increase,
    /// Less is bad, as of orders or active users.
    Decrease,
    /// Either is.
    Either,
}

/// What a comparison of samples says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Classification {
    /// There is no difference that matters.
    Pass,
    /// The release has more.
    High,
    /// The release has less.
    Low,
    /// There is too little to compare.
    Nodata,
}
