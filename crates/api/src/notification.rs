//! What people are told, and whether they have been.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a message tells of.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum NotificationOutcome {
    /// A rollback waits for its delay; a person can still call it off.
    Pending,
    /// A rollback has begun to change things.
    Started,
    /// The good release is live again.
    Succeeded,
    /// A rollback did not work, and a person has to act.
    Failed,
    /// A good release is live again, and it is as bad as before: a person has to look elsewhere.
    NotCaused,
    /// A rollback was called off; nothing was changed.
    Cancelled,
    /// Somebody else's change took the rollback's place.
    Superseded,
    /// Observe: this would have been done.
    WouldRollBack,
    /// There is reason to take a release back, none is, and a person has to act.
    Held,
    /// What was Held is over.
    Resolved,
}

/// What kind of trouble a message is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Category {
    /// Users are hit.
    Critical,
    /// Something gets worse.
    Warning,
    /// Memory, CPU, disk.
    Resource,
    /// A weakness, such as a vulnerable image.
    Security,
    /// Somebody may be using a weakness.
    SecurityIncident,
}

/// How far one message to one channel has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum NotificationState {
    /// To be sent.
    Waiting,
    /// It could not be sent yet, and is tried again.
    Retrying,
    /// The channel has taken it.
    Sent,
    /// It was tried for a day, and is not tried any more.
    GivenUp,
}

/// One message to one channel: what has been sent is read here, so that it is sent once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationStatus {
    /// The channel's name in the policy, or in the operator's configuration with `operator/` before it.
    pub channel: String,
    /// What it tells of.
    pub outcome: NotificationOutcome,
    /// Of a policy: the reason of its condition ActionRequired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When that happened.
    pub at: Timestamp,
    /// How far it has come.
    pub state: NotificationState,
    /// How often it was tried.
    #[serde(default)]
    pub attempts: u32,
    /// When the channel took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What later messages refer to, such as the thread that it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
}

impl NotificationStatus {
    /// A message that is to be sent.
    #[must_use]
    pub fn waiting(channel: String, outcome: NotificationOutcome, at: Timestamp) -> Self {
        Self {
            channel,
            outcome,
            reason: None,
            at,
            state: NotificationState::Waiting,
            attempts: 0,
            sent_at: None,
            error: None,
            thread: None,
        }
    }

    /// Whether it is still to be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(
            self.state,
            NotificationState::Waiting | NotificationState::Retrying
        )
    }
}
