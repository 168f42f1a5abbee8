//! What a message says, as a plain value: made from a rollback or a policy, and the same however often
//! it is sent.

mod event;
mod next;
mod policy;

use backstop_api::{
    event::Sample,
    notification::{Category, NotificationOutcome},
    point::Image,
    policy::Severity,
};
use jiff::Timestamp;
use serde::Serialize;

pub use event::{category, due, of_event};
pub use policy::{Held, held, of_policy};

/// What a message says. Its fields are the variables of templates, and the data of a CloudEvent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The same for every attempt to send it, and for no other message.
    pub id: String,
    /// The same for all messages of one rollback, or of one time that a person has to act.
    pub incident: String,
    /// What it tells of.
    pub outcome: NotificationOutcome,
    /// When that happened.
    pub at: Timestamp,
    /// What kind of trouble it is; none where a person asked for a rollback.
    pub category: Option<Category>,
    /// How bad the trigger is; none where a person asked for a rollback.
    pub severity: Option<Severity>,
    /// The namespace.
    pub namespace: String,
    /// The policy.
    pub policy: String,
    /// The Deployments, for people.
    pub workloads: String,
    /// The rollback, where it is about one.
    pub event: Option<String>,
    /// The outcome in a few words.
    pub headline: String,
    /// What happened, in a sentence.
    pub what: String,
    /// Why, in a sentence.
    pub why: Option<String>,
    /// What was measured.
    pub figures: Option<Figures>,
    /// The release that is taken back.
    pub from: Option<Release>,
    /// The release that is restored.
    pub to: Option<Release>,
    /// What was done, in order.
    pub done: Vec<String>,
    /// What is left to do, in order.
    pub next: Vec<String>,
    /// How long it took from firing to the end, such as `42s`.
    pub took: Option<String>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// The trigger.
    pub trigger: String,
    /// Its condition.
    pub condition: String,
    /// The query as it was asked.
    pub query: Option<String>,
    /// The newest value.
    pub last: Option<f64>,
    /// What it was compared with.
    pub baseline: Option<f64>,
    /// What was measured, oldest first.
    pub samples: Vec<Sample>,
    /// What the cluster said, in its words.
    pub details: Vec<String>,
}

/// A release.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Its identity.
    pub hash: String,
    /// Its images.
    pub images: Vec<String>,
    /// The point that holds it.
    pub point: Option<String>,
}

/// An image as people write it.
fn image(image: &Image) -> String {
    image.image.clone()
}

/// An outcome in a few words.
fn headline(outcome: NotificationOutcome) -> &'static str {
    match outcome {
        NotificationOutcome::Pending => "a rollback waits for its delay",
        NotificationOutcome::Started => "rolling back",
        NotificationOutcome::Succeeded => "rolled back",
        NotificationOutcome::Failed => "the rollback failed",
        NotificationOutcome::NotCaused => "rolled back, and that did not help",
        NotificationOutcome::Cancelled => "the rollback was called off",
        NotificationOutcome::Superseded => "the rollback gave way to another change",
        NotificationOutcome::WouldRollBack => "would have been rolled back",
        NotificationOutcome::Held => "a person has to act",
        NotificationOutcome::Resolved => "nothing is left to be done by a person",
    }
}
