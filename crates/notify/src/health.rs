//! Whether everybody was told who has to know: the policy's condition Notified.

use backstop_api::{
    condition::ConditionStatus,
    notification::{NotificationState, NotificationStatus},
};

use crate::{ValidChannel, queue::TOLD_WITHIN};

/// What the condition Notified says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether everybody was told.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
}

/// Reads it out of the records of a policy and of its rollbacks, each with what it is about; none
/// where there is no channel. `unusable` has the channels that could not be tried, and why.
#[must_use]
pub fn health<'a>(
    channels: &[ValidChannel],
    records: impl IntoIterator<Item = (&'a str, &'a NotificationStatus)>,
    unusable: &[(String, String)],
) -> Option<Health> {
    if channels.is_empty() {
        return None;
    }
    let records: Vec<_> = records.into_iter().collect();
    let mut failing = Vec::new();
    let mut reason = "ChannelFailing";
    for channel in channels {
        let named = |what: &str| {
            format!(
                "channel {} ({}) {what}",
                channel.name,
                channel.kind().as_str()
            )
        };
        let of_it = records.iter().filter(|(_, r)| r.channel == channel.name);
        // The newest that was tried; of several at one time, one that failed.
        let newest = of_it
            .filter(|(_, r)| r.state != NotificationState::Waiting)
            .max_by_key(|(_, r)| (r.at, r.state != NotificationState::Sent));
        let failed = newest.filter(|(_, r)| r.state != NotificationState::Sent);
        if let Some((about, record)) = failed {
            failing.push(named(&in_words(about, record)));
        } else if let Some((_, why)) = unusable.iter().find(|(name, _)| *name == channel.name) {
            reason = "ChannelUnusable";
            failing.push(named(&format!("cannot be used: {why}")));
        }
    }
    Some(if failing.is_empty() {
        let told = records
            .iter()
            .any(|(_, r)| r.state == NotificationState::Sent);
        let (reason, message) = if told {
            ("Told", "everybody was told who has to know")
        } else {
            (
                "NothingToTell",
                "nothing has happened yet that anybody has to be told of",
            )
        };
        Health {
            status: ConditionStatus::True,
            reason,
            message: message.to_owned(),
        }
    } else {
        Health {
            status: ConditionStatus::False,
            reason,
            message: failing.join("; "),
        }
    })
}

fn in_words(about: &str, record: &NotificationStatus) -> String {
    let error = record.error.as_deref().unwrap_or("it was too old");
    let outcome = record.outcome;
    if record.state == NotificationState::GivenUp {
        return format!("was not told of {about} {outcome:?}, and will not be: {error}");
    }
    let until = record.at.checked_add(TOLD_WITHIN).unwrap_or(record.at);
    format!(
        "could not be told of {about} {outcome:?}: {error}; it is tried again until {until:.0}. See its \
         Secret and its address"
    )
}
