//! What is to be told and is not on record yet: pure, so that a crash costs at most a second message.
//!
//! A message is put on record for each channel that is told of it before the first of them is sent.
//! So whoever goes on after a crash knows what is left, and a channel that is added later is not told
//! of what the others know already.

use backstop_api::{
    RollbackEvent, RollbackPolicy,
    notification::{NotificationOutcome, NotificationState, NotificationStatus},
};
use jiff::{SignedDuration, Timestamp};

use crate::{Held, Message, Routed, ValidChannel, category, due, held, message, of_event, opens};

/// What is older than this is not told any more.
pub const TOLD_WITHIN: SignedDuration = SignedDuration::from_hours(24);
/// What nobody has put on record for so long is not news.
const RECORDED_WITHIN: SignedDuration = SignedDuration::from_hours(1);
/// What a person has to act on is over when it is over for so long: it may come and go.
const SETTLED: SignedDuration = SignedDuration::from_mins(5);
/// So many messages are on record for a policy.
const KEPT: usize = 128;

/// What is to be put on record for a rollback.
#[must_use]
pub fn missing_for_event(
    event: &RollbackEvent,
    policy: Option<&RollbackPolicy>,
    channels: &[ValidChannel],
    records: &[NotificationStatus],
    now: Timestamp,
) -> Vec<NotificationStatus> {
    let mut missing: Vec<NotificationStatus> = Vec::new();
    let category = category(event, policy);
    let severity = event.spec.evidence.as_ref().map(|e| e.severity);
    for (outcome, at) in due(event) {
        let known = records.iter().any(|r| r.outcome == outcome);
        if known || now.duration_since(at) > RECORDED_WITHIN {
            continue;
        }
        let routed = Routed {
            outcome,
            severity,
            category,
        };
        for channel in channels {
            let mut all = records.iter().chain(&missing);
            let has_begun = all.any(|r| r.channel == channel.name && opens(r.outcome));
            if channel.wants(routed, has_begun) {
                let name = channel.name.clone();
                missing.push(NotificationStatus::waiting(name, outcome, at));
            }
        }
    }
    missing
}

/// The message that a record of a rollback stands for.
#[must_use]
pub fn message_of_event(
    event: &RollbackEvent,
    policy: Option<&RollbackPolicy>,
    record: &NotificationStatus,
) -> Message {
    of_event(event, record.outcome, record.at, category(event, policy))
}

/// What is on record for a policy from now on, where that changes, and when to look again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// All of it.
    pub changed: Option<Vec<NotificationStatus>>,
    /// When to look again.
    pub again: Option<Timestamp>,
}

/// What is on record for a policy from now on.
#[must_use]
pub fn records_of_policy(
    policy: &RollbackPolicy,
    channels: &[ValidChannel],
    records: &[NotificationStatus],
    now: Timestamp,
) -> Records {
    let nothing = Records::default();
    let going_on = going_on(records);
    match held(policy) {
        Held::Since { at, reason } => {
            if going_on.iter().any(|r| r.reason.as_ref() == Some(&reason)) {
                return nothing;
            }
            // What has been so for long is news to whoever was not told, as of now.
            let at = at.max(now.checked_sub(RECORDED_WITHIN).unwrap_or(at));
            let mut all = records.to_vec();
            if going_on.is_empty() {
                all.retain(NotificationStatus::is_open);
            }
            let told = message::of_policy(policy, NotificationOutcome::Held, Some(&reason), at, at);
            let routed = Routed {
                outcome: told.outcome,
                severity: told.severity,
                category: told.category,
            };
            let wanting: Vec<_> = channels.iter().filter(|c| c.wants(routed, false)).collect();
            all.extend(wanting.iter().map(|channel| NotificationStatus {
                reason: Some(reason.clone()),
                ..NotificationStatus::waiting(channel.name.clone(), told.outcome, at)
            }));
            Records {
                changed: (!wanting.is_empty()).then(|| newest(all)),
                again: None,
            }
        }
        Held::NotSince { at } if !going_on.is_empty() => {
            let settled = at.checked_add(SETTLED).unwrap_or(Timestamp::MAX);
            if now < settled {
                return Records {
                    changed: None,
                    again: Some(settled),
                };
            }
            // Whoever was told that it began is told that it is over.
            let told = channels
                .iter()
                .filter(|c| going_on.iter().any(|r| r.channel == c.name));
            let over = told.map(|channel| {
                let name = channel.name.clone();
                NotificationStatus::waiting(name, NotificationOutcome::Resolved, at)
            });
            let over: Vec<_> = over.collect();
            let mut all = records.to_vec();
            if over.is_empty() {
                // Nobody is left to be told, so there is nothing to remember it by.
                all.retain(NotificationStatus::is_open);
            }
            all.extend(over);
            Records {
                changed: (all != records).then(|| newest(all)),
                again: None,
            }
        }
        Held::NotSince { .. } | Held::Unknown => nothing,
    }
}

/// Who was told that a person has to act, since it was last over.
fn going_on(records: &[NotificationStatus]) -> Vec<&NotificationStatus> {
    let over = records
        .iter()
        .rposition(|r| r.outcome == NotificationOutcome::Resolved);
    let since = &records[over.map_or(0, |over| over + 1)..];
    since
        .iter()
        .filter(|r| r.outcome == NotificationOutcome::Held)
        .collect()
}

/// As many as may be on record, without the oldest of those that are done.
fn newest(mut records: Vec<NotificationStatus>) -> Vec<NotificationStatus> {
    while records.len() > KEPT {
        let done = records.iter().position(|r| !r.is_open()).unwrap_or(0);
        records.remove(done);
    }
    records
}

/// The message that a record of a policy stands for.
#[must_use]
pub fn message_of_policy(
    policy: &RollbackPolicy,
    records: &[NotificationStatus],
    record: &NotificationStatus,
) -> Message {
    let incident = begun(records, record);
    message::of_policy(
        policy,
        record.outcome,
        record.reason.as_deref(),
        record.at,
        incident,
    )
}

/// When that began of which a record tells: what is told once it is over belongs to that.
fn begun(records: &[NotificationStatus], of: &NotificationStatus) -> Timestamp {
    let (mut begun, mut is_over) = (None, false);
    for record in records {
        if record.outcome == NotificationOutcome::Held && (is_over || begun.is_none()) {
            (begun, is_over) = (Some(record.at), false);
        }
        if record == of {
            break;
        }
        is_over |= record.outcome == NotificationOutcome::Resolved;
    }
    begun.unwrap_or(of.at)
}

/// What to send next over a channel: the oldest message that is not sent yet.
#[must_use]
pub fn next<'a>(
    records: &'a [NotificationStatus],
    channel: &str,
) -> Option<&'a NotificationStatus> {
    let mut open = records.iter().filter(|r| r.is_open());
    open.find(|r| r.channel == channel)
}

/// The thread that an earlier message of the same records has begun on a channel.
#[must_use]
pub fn thread(records: &[NotificationStatus], channel: &str) -> Option<String> {
    let mut sent = records.iter().filter(|r| r.channel == channel);
    sent.find_map(|r| r.thread.clone())
}

/// Gives up what is too old, or whose channel is gone. Returns whether there was any.
pub fn give_up(
    records: &mut [NotificationStatus],
    exists: impl Fn(&str) -> bool,
    now: Timestamp,
) -> bool {
    let mut some = false;
    for record in records.iter_mut().filter(|r| r.is_open()) {
        let gone = !exists(&record.channel);
        if gone || now.duration_since(record.at) > TOLD_WITHIN {
            record.state = NotificationState::GivenUp;
            if gone {
                record.error =
                    Some("the channel is not there any more, or cannot be used".to_owned());
            }
            some = true;
        }
    }
    some
}
