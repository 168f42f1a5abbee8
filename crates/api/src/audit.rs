//! What is kept for whoever has to account for what happened.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many users a release that failed has reached, as the policy's query told when the rollback was
/// decided on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AffectedUsers {
    /// How many; absent where that could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<f64>,
    /// The query as it was asked.
    pub query: String,
    /// When.
    pub asked_at: Timestamp,
    /// Why there is no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Which line of the audit log holds the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    /// The line's number, from 1.
    #[schemars(range(min = 1))]
    pub sequence: i64,
    /// The line's SHA-256 in hexadecimal. Where the log ends before it, lines are missing.
    #[schemars(length(max = 64))]
    pub hash: String,
    /// When it was written.
    pub at: Timestamp,
}

/// What a policy's status keeps of changes to its spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpecHistory {
    /// A digest of every field of the spec, by which the next change is told.
    #[serde(default)]
    pub digests: std::collections::BTreeMap<String, String>,
    /// The generation that they are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// The changes, newest first; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub changes: Vec<SpecChange>,
}

/// Somebody changed a policy's spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpecChange {
    /// When it was seen.
    pub at: Timestamp,
    /// The field manager that wrote last, such as `kubectl-edit` or `argocd-controller`. Which user it was, the API
    /// server's own audit log knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The generation of the spec since then.
    pub generation: i64,
    /// The fields that are others since then, such as `spec.triggers`.
    #[schemars(length(max = 32))]
    pub fields: Vec<String>,
}
