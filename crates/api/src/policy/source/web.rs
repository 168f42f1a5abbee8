//! A web service.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// A number in the JSON that a web service answers with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.range) || duration(self.range) <= duration('24h')")
        .message("web.range must be at most 24h"),
)]
pub struct WebSource {
    /// Where to ask, `http` or `https`; what stands before a `?` must be on the operator's allow-list
    /// for web services. Placeholders as in a query, escaped where they need be.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// What to send. With a body it is a POST, without one a GET. Placeholders as in a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub body: Option<String>,
    /// What to send with it. No secrets: those belong in a Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub headers: Vec<WebHeader>,
    /// JSONPath (RFC 9535) of the one number in the answer, such as `$.errors.rate`. A string that
    /// is a number counts as that number; true is 1 and false is 0.
    #[schemars(length(min = 1, max = 512))]
    pub json_path: String,
    /// How far back in time the number looks, such as 5m for the share of errors in the last five
    /// minutes. A release is judged only by what is measured after it began.
    #[serde(default = "default_range")]
    pub range: Duration,
    /// A Secret of this namespace: `username` and `password`, or `token`; `ca.crt`; `tls.crt` and
    /// `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

fn default_range() -> Duration {
    Duration::from_secs(300)
}

/// A header of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebHeader {
    /// Its name, such as `Accept-Language`.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Its value.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}
