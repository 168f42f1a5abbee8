//! Alerts that Alertmanager posts.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// Alerts of this namespace that Alertmanager posts to the operator. The value is the number of those
/// that fire and that are about the live release.
///
/// An alert counts that names one of the release's pods; and one that names no pod, but the workload,
/// when all that it looks at was measured on this release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.matchLabels) && self.matchLabels.size() > 0) || (has(self.matchers) && self.matchers.size() > 0)")
        .message("alert needs matchLabels or matchers that say which alerts are meant, for example matchLabels: {alertname: HighErrorRate}"),
    validation = Rule::new("!has(self.range) || duration(self.range) <= duration('24h')")
        .message("alert.range must be at most 24h"),
    validation = Rule::new("!has(self.expireAfter) || (duration(self.expireAfter) >= duration('5s') && duration(self.expireAfter) <= duration('24h'))")
        .message("alert.expireAfter must be from 5s to 24h, and longer than Alertmanager's repeat_interval"),
)]
pub struct AlertSource {
    /// Labels that an alert must have, each with this value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub match_labels: BTreeMap<String, String>,
    /// Further demands on its labels, all of which must be met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub matchers: Vec<AlertMatcher>,
    /// The label that holds the alert's namespace, which must be this one. Alerts posted to the
    /// namespace's own address need not have it.
    #[serde(default = "default_namespace_label")]
    #[schemars(length(min = 1, max = 128))]
    pub namespace_label: String,
    /// The label that holds the name of the pod that an alert is about.
    #[serde(default = "default_pod_label")]
    #[schemars(length(min = 1, max = 128))]
    pub pod_label: String,
    /// The label that holds the name of the Deployment that an alert is about, where it names no pod.
    #[serde(default = "default_workload_label")]
    #[schemars(length(min = 1, max = 128))]
    pub workload_label: String,
    /// How far back the alert's expression looks, its `for` included. An alert that names no pod counts
    /// only when all of that lies behind the release's first ready pod.
    #[serde(default = "default_minutes")]
    pub range: Duration,
    /// How long an alert that is not heard again still fires. Longer than Alertmanager's
    /// `repeat_interval`; it is also how long a new leader listens before silence means something.
    #[serde(default = "default_minutes")]
    pub expire_after: Duration,
    /// An alert that always fires. While it is heard, silence means that nothing is wrong; without it
    /// silence is no data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<AlertHeartbeat>,
}

fn default_namespace_label() -> String {
    "namespace".into()
}

fn default_pod_label() -> String {
    "pod".into()
}

fn default_workload_label() -> String {
    "deployment".into()
}

fn default_minutes() -> Duration {
    Duration::from_mins(5)
}

/// An alert that always fires, such as Watchdog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "(has(self.matchLabels) && self.matchLabels.size() > 0) || (has(self.matchers) && self.matchers.size() > 0)"
).message("alert.heartbeat needs matchLabels or matchers, for example matchLabels: {alertname: Watchdog}"))]
pub struct AlertHeartbeat {
    /// Labels that it must have, each with this value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub match_labels: BTreeMap<String, String>,
    /// Further demands on its labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub matchers: Vec<AlertMatcher>,
}

/// A demand on a label, as in Alertmanager's own configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertMatcher {
    /// The label. One that an alert does not have is taken as empty.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// How it is compared.
    #[serde(default)]
    pub match_type: MatchType,
    /// With what. A regular expression must match the whole value.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MatchType {
    /// It is that value.
    #[default]
    #[serde(rename = "=")]
    Equal,
    /// It is another value.
    #[serde(rename = "!=")]
    NotEqual,
    /// The regular expression matches all of it.
    #[serde(rename = "=~")]
    Regex,
    /// The regular expression does not match all of it.
    #[serde(rename = "!~")]
    NotRegex,
}

impl MatchType {
    /// The sign for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}
