//! Prometheus, or what speaks its API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A query to Prometheus, or to what speaks its API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusSource {
    /// PromQL that answers with one number. Placeholders: `{{ pods }}` (a regular expression of the
    /// release's pod names), `{{ hash }}` (of its pod-template-hash), `{{ workload }}`,
    /// `{{ namespace }}`, `{{ release }}`.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// Where to ask; the operator's own Prometheus unless said otherwise. Must be on the
    /// operator's allow-list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub address: Option<String>,
    /// A Secret of this namespace: `username` and `password`, or `token`; `ca.crt`; `tls.crt` and
    /// `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

/// How much there must be to judge by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MinimumSamples {
    /// PromQL that answers with the number of samples, such as requests in the range.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// Fewer than so many: NoData.
    #[schemars(range(min = 0.0))]
    pub at_least: f64,
}
