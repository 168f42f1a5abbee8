//! PagerDuty: an event of the Events API v2.

use backstop_api::{
    notification::{Category, NotificationOutcome},
    policy::Severity,
};
use serde_json::{Value, json};

use super::{cut, data, without_nulls};
use crate::{Message, template::Words};

/// The longest summary that PagerDuty takes.
const SUMMARY: usize = 1024;

/// Whether an outcome ends what another one began.
pub(crate) fn closes(outcome: NotificationOutcome) -> bool {
    matches!(
        outcome,
        NotificationOutcome::Succeeded
            | NotificationOutcome::Cancelled
            | NotificationOutcome::Superseded
            | NotificationOutcome::Resolved
    )
}

/// Whether an outcome begins something that another one ends.
#[must_use]
pub fn opens(outcome: NotificationOutcome) -> bool {
    !closes(outcome)
}

pub(super) fn event(message: &Message, words: &Words) -> Value {
    if closes(message.outcome) {
        return json!({"event_action": "resolve", "dedup_key": message.incident});
    }
    let mut event = json!({
        "event_action": "trigger",
        "dedup_key": message.incident,
        "client": "Backstop",
        "payload": {
            "summary": cut(&words.title, SUMMARY),
            "source": format!("{}/{}", message.namespace, message.workloads),
            "severity": severity(message),
            "timestamp": message.at,
            "component": message.workloads,
            "group": message.namespace,
            "class": message.category.map(|category| format!("{category:?}")),
            "custom_details": data(message, words),
        },
    });
    without_nulls(&mut event);
    event
}

/// PagerDuty's word for how bad it is.
fn severity(message: &Message) -> &'static str {
    match (message.outcome, message.category, message.severity) {
        (NotificationOutcome::Pending | NotificationOutcome::WouldRollBack, _, _) => "info",
        (_, Some(Category::Critical | Category::SecurityIncident), _)
        | (_, _, Some(Severity::Critical)) => "critical",
        (_, _, Some(Severity::Warning)) => "warning",
        (_, _, None) => "error",
    }
}
