//! What a policy's status keeps of the past: scores, verdicts, figures and daily counters. All of it
//! is bounded.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The health score at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScoreAt {
    /// From this minute on.
    pub at: Timestamp,
    /// The lowest score of that minute, which holds until the next one in the list.
    pub score: u8,
}

/// Where the health score goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Trend {
    /// It is higher than ten minutes ago.
    Better,
    /// It is lower than ten minutes ago.
    Worse,
    /// It is about what it was ten minutes ago.
    Steady,
}

/// What came of watching a release for its window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseVerdict {
    /// In one word.
    pub result: Monitored,
    /// When the window ended.
    pub at: Timestamp,
    /// With the figures of each trigger, for a person.
    pub message: String,
}

/// What came of watching a release for its window, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Monitored {
    /// Every trigger was judged, and none fires at the end.
    Passed,
    /// Some triggers were never judged for want of data; none of the others fires at the end.
    PartlyJudged,
    /// No trigger was judged, so nothing can be said.
    NotJudged,
    /// A trigger fires at the end.
    Failing,
}

/// What a trigger measured of the live release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// How many values.
    pub samples: u32,
    /// The lowest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowest: Option<f64>,
    /// The highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest: Option<f64>,
    /// The time of the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Timestamp>,
    /// Whether it could be judged at any time.
    pub judged: bool,
    /// Whether it fired at any time.
    pub fired: bool,
}

/// What happened on one day, counted from midnight to midnight UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DailyCounts {
    /// The day, as 2026-11-25.
    #[schemars(length(max = 10))]
    pub date: String,
    /// Releases that became live, not counting those that Backstop restored.
    #[serde(default)]
    pub releases: u32,
    /// Rollbacks that were begun.
    #[serde(default)]
    pub rollbacks: u32,
    /// Rollbacks that succeeded.
    #[serde(default)]
    pub succeeded: u32,
    /// Rollbacks that failed.
    #[serde(default)]
    pub failed: u32,
    /// How often there was reason to take a release back, it was not done, and a person had to act.
    #[serde(default)]
    pub held: u32,
    /// Rollbacks that mode Observe would have made.
    #[serde(default)]
    pub observed: u32,
    /// Drills that changed something.
    #[serde(default)]
    pub drills: u32,
}

/// Up to when rollbacks are in the daily counters, so that none is counted twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CountedUntil {
    /// Those that were begun until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Timestamp>,
    /// Those that ended until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}
