//! What is done when a release that failed is put back.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// What to do when a release that failed is put back, as GitOps tools do: to them a rollback is a
/// change that Git does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.quarantineFor) || (duration(self.quarantineFor) >= duration('1s') && duration(self.quarantineFor) <= duration('720h'))")
        .message("gitops.quarantineFor must be from 1s to 720h, for example 24h"),
)]
pub struct GitOps {
    /// Whether a release that failed is kept out, and how.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// A release that failed is kept out for so long. Afterwards it may be deployed again, and is
    /// judged as any other.
    #[serde(default = "default_quarantine_for")]
    pub quarantine_for: Duration,
}

impl Default for GitOps {
    fn default() -> Self {
        Self {
            on_conflict: OnConflict::default(),
            quarantine_for: default_quarantine_for(),
        }
    }
}

fn default_quarantine_for() -> Duration {
    Duration::from_mins(24 * 60)
}

/// What to do when a release that failed is put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnConflict {
    /// The API server refuses its template.
    #[default]
    Quarantine,
    /// The same, and the object of the GitOps tool that applies the Deployment is suspended meanwhile.
    Suspend,
    /// Nothing: whoever puts it back has it, and it is judged anew.
    Notify,
}
