//! One thing to watch, with a condition.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AlertSource, BaselineSource, Comparison, MinimumSamples, Peers, ProbeSource, PrometheusSource,
    ResourceSource, VulnerabilityLimits, WebSource, WorkloadSource,
};
use crate::{duration::Duration, notification::Category};

/// One thing to watch, with a condition and what to do when it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.prometheus), has(self.workload), has(self.probe), has(self.resource), has(self.alert), has(self.web), has(self.vulnerability)].filter(x, x).size() == 1")
        .message("a trigger has exactly one source: set prometheus, workload, web, probe, resource, alert or vulnerability"),
    validation = Rule::new("!has(self.prometheus) || has(self.condition) || has(self.compare)")
        .message("condition or compare is required with prometheus, for example condition: value > 0.05"),
    validation = Rule::new("!has(self.web) || has(self.condition) || has(self.compare)")
        .message("condition or compare is required with web, for example condition: value > 0.05"),
    validation = Rule::new("!has(self.minimumSamples) || (has(self.prometheus) && has(self.prometheus.query))")
        .message("minimumSamples goes with prometheus.query only"),
    validation = Rule::new("!has(self.compare) || has(self.web) || (has(self.prometheus) && has(self.prometheus.query))")
        .message("compare goes with prometheus.query and web only"),
    validation = Rule::new("!has(self.compare) || !has(self.baseline) || !has(self.baseline.from) || self.baseline.from != 'Static'")
        .message("compare needs a baseline that has samples: LastHealthy, Offset or Stable"),
    validation = Rule::new("!has(self.baseline) || !has(self.baseline.from) || !(self.baseline.from in ['Offset', 'Stable']) || has(self.prometheus)")
        .message("baseline.from: Offset and Stable go with prometheus only"),
    validation = Rule::new("!has(self.peers) || has(self.prometheus)")
        .message("peers goes with prometheus only"),
    validation = Rule::new("!has(self.probe) || has(self.condition)")
        .message("condition is required with probe, for example: value >= 3"),
    validation = Rule::new("!has(self.probe) || duration(self.probe.timeout) <= duration(self.interval)")
        .message("probe.timeout must not be longer than interval"),
    validation = Rule::new("!has(self.resource) || has(self.condition)")
        .message("condition is required with resource, for example: value > 0.9"),
    validation = Rule::new("!has(self.interval) || (duration(self.interval) >= duration('1s') && duration(self.interval) <= duration('1h'))")
        .message("interval must be from 1s to 1h, for example 10s"),
    validation = Rule::new("!has(self.for) || duration(self.for) <= duration('24h')")
        .message("for must be at most 24h"),
    validation = Rule::new("!has(self.keepFiringFor) || duration(self.keepFiringFor) <= duration('24h')")
        .message("keepFiringFor must be at most 24h"),
    validation = Rule::new("!has(self.delay) || duration(self.delay) <= duration('24h')")
        .message("delay must be at most 24h"),
)]
pub struct Trigger {
    /// The name, unique in the policy.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// How bad it is: decides the action, and which of several triggers is acted on.
    #[serde(default)]
    pub severity: Severity,
    /// Ask Prometheus, or what speaks its API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSource>,
    /// What the cluster itself says of the workload: needs no metrics, works from the watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadSource>,
    /// Ask the release's pods, or an address, for their health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeSource>,
    /// What the release's pods use of CPU and memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceSource>,
    /// Alerts that Alertmanager posts to the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertSource>,
    /// Ask a web service for a number in JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<WebSource>,
    /// Count the known vulnerabilities of the release's images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vulnerability: Option<VulnerabilityLimits>,
    /// When it is bad: CEL over `value`, `baseline` (what it is compared with), `stable` (the same
    /// of the side that is not released to, now) and `workload` (desired, updated, ready, available,
    /// unreadyShare, restarts). For `workload`, `alert` and `vulnerability` sources `value > 0.0`
    /// unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub condition: Option<String>,
    /// What `baseline` is; the value when the release to go back to proved itself unless said
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaselineSource>,
    /// Compares whole sets of samples with the baseline's. With a condition as well, both must say
    /// that it is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Comparison>,
    /// How long the condition must hold without a break before the trigger fires.
    #[serde(rename = "for", default)]
    pub for_: Duration,
    /// How long the trigger fires on after the condition held for the last time. Nothing is begun in
    /// that time, and nothing that waits is called off.
    #[serde(default)]
    pub keep_firing_for: Duration,
    /// When a trigger that fires is well again, where that is more than its condition not holding:
    /// CEL as in `condition`, such as `value < 0.02`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub recovery: Option<String>,
    /// How often to ask. `workload` and `vulnerability` sources do not ask: they are told. So are
    /// `alert` sources, which are looked at again so often, since time alone can end an alert.
    #[serde(default = "default_interval")]
    pub interval: Duration,
    /// How long to wait between firing and acting. Recovery in this time calls the rollback off.
    #[serde(default)]
    pub delay: Duration,
    /// What an empty answer means.
    #[serde(default)]
    pub no_data: NoDataPolicy,
    /// The answer counts only when there was enough to judge by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_samples: Option<MinimumSamples>,
    /// The same question about what was not released: where that is as bad, the release is spared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Peers>,
    /// What to do; `Rollback` for Critical and `GradualRollback` for Warning unless said otherwise, and
    /// `BlockDeployment` for `vulnerability`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// What kind of trouble it is, for notifications; from the source, the action and the severity
    /// unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
}

fn default_interval() -> Duration {
    Duration::from_secs(10)
}

/// How bad a trigger is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Severity {
    /// Take back gently.
    Warning,
    /// Take back at once.
    #[default]
    Critical,
}

/// What an empty answer means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NoDataPolicy {
    /// Nothing can be said: neither good nor bad. No rollback and no point.
    #[default]
    Hold,
    /// Bad: silence itself is the sign of trouble. Only for an empty answer, never for NaN, too few
    /// samples or a Prometheus that cannot be reached.
    Fire,
    /// Good: there is nothing to report.
    Ignore,
}

/// What a firing trigger leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// Take the release back with the policy's strategy.
    Rollback,
    /// Take it back without losing capacity on the way: `maxUnavailable` 0 for Rolling, step by step
    /// for Canary.
    GradualRollback,
    /// Add capacity, then take back; for Rolling.
    ScaleAndRollback,
    /// Take the release back, keep requests from its pods, and keep those that are asked for to be looked
    /// into; for Rolling.
    IsolateAndRollback,
    /// Leave the release where it is, and record it as one that failed: it is never gone back to, and is
    /// refused when it is deployed anew.
    BlockDeployment,
    /// Say so, and change nothing.
    Notify,
}
