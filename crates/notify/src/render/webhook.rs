//! A CloudEvent 1.0, as structured JSON.

use backstop_api::notification::NotificationOutcome;
use serde_json::{Value, json};

use super::data;
use crate::{Message, template::Words};

pub(super) fn cloud_event(message: &Message, words: &Words) -> Value {
    let Message {
        namespace, policy, ..
    } = message;
    let (about, subject) = match &message.event {
        Some(event) => ("rollback", format!("rollbackevents/{event}")),
        None => ("policy", format!("rollbackpolicies/{policy}")),
    };
    json!({
        "specversion": "1.0",
        "id": message.id,
        "source": format!("/backstop/namespaces/{namespace}/rollbackpolicies/{policy}"),
        "type": format!("dev.backstop.{about}.{}", word(message.outcome)),
        "subject": subject,
        "time": message.at,
        "datacontenttype": "application/json",
        "data": data(message, words),
    })
}

/// The outcome as a part of a type.
fn word(outcome: NotificationOutcome) -> String {
    format!("{outcome:?}").to_lowercase()
}
