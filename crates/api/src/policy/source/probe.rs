//! The health that a release's pods, or an address, tell of themselves.

use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Aggregate;
use crate::{duration::Duration, schema};

/// A question about health, asked again and again: of each pod of the release, or of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.http) != has(self.grpc)")
        .message("a probe asks by one protocol: set http or grpc"),
    validation = Rule::new("duration(self.timeout) >= duration('100ms') && duration(self.timeout) <= duration('30s')")
        .message("probe.timeout must be from 100ms to 30s, for example 5s"),
    validation = Rule::new("duration(self.window) >= duration('1s') && duration(self.window) <= duration('24h')")
        .message("probe.window must be from 1s to 24h, for example 5m"),
    validation = Rule::new("duration(self.startup) <= duration('1h')")
        .message("probe.startup must be at most 1h, for example 1m"),
    validation = Rule::new("self.measure != 'FailureRate' || !has(self.aggregate) || self.aggregate == 'Average'")
        .message("probe.aggregate: the failure rate is one of all results together; leave aggregate out"),
)]
pub struct ProbeSource {
    /// Ask by HTTP. An answer of 200 to 399 is well, as for the kubelet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,
    /// Ask by gRPC (`grpc.health.v1.Health/Check`), without TLS. The answer SERVING is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcProbe>,
    /// What the value is.
    #[serde(default)]
    pub measure: ProbeMeasure,
    /// Which of several pods the value is of; `Max`, the worst pod, unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
    /// So long without an answer is a failure. At most the trigger's `interval`.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// How far back results count.
    #[serde(default = "default_window")]
    pub window: Duration,
    /// For so long after it started, a pod that has never been well may fail.
    #[serde(default = "default_startup")]
    pub startup: Duration,
    /// For FailureRate: with fewer results in the window nothing is said.
    #[serde(default = "default_minimum")]
    #[schemars(range(min = 1, max = 1000))]
    pub minimum_results: u32,
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

fn default_window() -> Duration {
    Duration::from_secs(300)
}

fn default_startup() -> Duration {
    Duration::from_secs(60)
}

fn default_minimum() -> u32 {
    10
}

/// What to ask by HTTP: every pod of the release, or a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.url) || !(has(self.path) || has(self.port) || has(self.scheme))")
        .message("probe.http: url says all of it; leave path, port and scheme out"),
    validation = Rule::new("!has(self.secretName) || has(self.url)")
        .message("probe.http.secretName goes with url: pods are sent no credentials"),
)]
pub struct HttpProbe {
    /// The path to ask a pod for, with a query if need be; `/` unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/"))]
    pub path: Option<String>,
    /// The port of a pod: its number, or the name of a container's port. Without it the one port that
    /// the containers declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::port")]
    pub port: Option<Port>,
    /// How to speak to a pod; `HTTP` unless said otherwise. Its certificate is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<ProbeScheme>,
    /// An address to ask instead of pods, such as that of a Service. Must be on the operator's
    /// allow-list for web services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub url: Option<String>,
    /// With `url`, a Secret of this namespace: `username` and `password`, or `token`; `ca.crt`;
    /// `tls.crt` and `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

/// What to ask by gRPC: every pod of the release, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.url) || !has(self.port)")
        .message("probe.grpc: url says all of it; leave port out"),
    validation = Rule::new("!has(self.url) || self.url.startsWith('http://')")
        .message("probe.grpc.url must begin with http://: gRPC is asked without TLS"),
)]
pub struct GrpcProbe {
    /// The service to ask about; the server as a whole unless said otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub service: String,
    /// The port of a pod, as for `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::port")]
    pub port: Option<Port>,
    /// An address to ask instead of pods, as `http://web.shop.svc:9000`. Must be on the operator's
    /// allow-list for web services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub url: Option<String>,
}

/// How to speak to a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProbeScheme {
    /// Without TLS.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// With TLS.
    #[serde(rename = "HTTPS")]
    Https,
}

/// What the value of a probe is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProbeMeasure {
    /// So many times in a row, up to now, a pod has failed.
    #[default]
    ConsecutiveFailures,
    /// The share of all results in the window that are failures, 0 to 1.
    FailureRate,
    /// How long a pod's newest answer took, in milliseconds. One that did not come in time took as
    /// long as it was waited for.
    ResponseTime,
}

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Port {
    /// Its number.
    Number(u16),
    /// The name that a container's port has.
    Name(String),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}
