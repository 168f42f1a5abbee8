//! Status conditions, as `metav1.Condition`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The type of a policy's condition: the policy is valid and in force.
pub const ACCEPTED: &str = "Accepted";
/// The type of a policy's condition: the workload is there and can be judged.
pub const READY: &str = "Ready";
/// The type of a policy's condition: every trigger has data.
pub const DATA_AVAILABLE: &str = "DataAvailable";
/// The type of a policy's condition: there is a good release to go back to.
pub const PROTECTED: &str = "Protected";
/// The type of a policy's condition: a person has to act.
pub const ACTION_REQUIRED: &str = "ActionRequired";
/// The type of a policy's condition: the live release was watched for its window, and passed.
pub const MONITORED: &str = "Monitored";
/// The type of a policy's condition: everybody was told who has to know. It is there only where there are channels.
pub const NOTIFIED: &str = "Notified";
/// The type of a policy's condition: its gates can be judged. It is there only where the policy has gates.
pub const GATES_READY: &str = "GatesReady";
/// The type of a policy's condition: a person has taken over a Deployment. It is there only while that is so.
pub const OVERRIDDEN: &str = "Overridden";
/// The type of a policy's condition: what would undo a rollback is suspended in the GitOps tool. It is there only while
/// something is suspended or should be.
pub const GITOPS_SUSPENDED: &str = "GitOpsSuspended";
/// The type of a point's condition: the release is recorded.
pub const CAPTURED: &str = "Captured";
/// The type of a point's condition: the contents of the release's configuration are kept. It is there only where it is
/// False, with the reason [`CONFIG_NOT_CAPTURED`].
pub const CONFIG_CAPTURED: &str = "ConfigCaptured";
/// The reason why configuration does not go back with a release.
pub const CONFIG_NOT_CAPTURED: &str = "ConfigNotCaptured";
/// The type of a point's condition: the Secrets that are kept with it can be decrypted. It is there only from where it was
/// False once.
pub const CONFIG_READABLE: &str = "ConfigReadable";
/// The reason why a Secret does not go back with a release: the key that it is encrypted with is gone, or is none.
pub const KEY_LOST: &str = "KeyLost";
/// The type of a point's condition: its images are still those that proved themselves. It is there only from where it was
/// False once.
pub const REPRODUCIBLE: &str = "Reproducible";
/// The reason why the images of a release are others by now.
pub const NOT_REPRODUCIBLE: &str = "NotReproducible";

/// The reason why a point is not filled: its baselines were measured of a release that is not live.
pub const ANOTHER_RELEASE: &str = "AnotherRelease";

/// The type of a point's condition: later releases can be compared with what was measured of this one. It is there only
/// where it is False, with the reason [`BASELINES_NOT_USABLE`].
pub const BASELINES_USABLE: &str = "BaselinesUsable";
/// The reason why some triggers cannot compare with a point.
pub const BASELINES_NOT_USABLE: &str = "BaselinesNotUsable";

/// One thing that is true, false or unknown of an object, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is spoken of, such as `Accepted`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// Why, in one word for programs.
    pub reason: String,
    /// What happened, why, and what to do next, for a person.
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
    /// The generation of the spec that this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// Puts `new` in the place of the condition of its type, keeping the transition time where the
/// status did not change.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time;
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}
