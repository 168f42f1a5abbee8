//! How many users a bad release reaches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A question that is asked once for each rollback, for its record. Nothing waits for the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AffectedUsersQuery {
    /// PromQL that answers with one number; the placeholders are those of a trigger's query.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// Where to ask; the operator's own Prometheus unless said otherwise. Must be on the operator's allow-list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub address: Option<String>,
    /// A Secret of this namespace with the credentials, as a trigger's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}
