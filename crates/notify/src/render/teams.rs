//! Microsoft Teams: an adaptive card, in runs of plain text, since only those take no text for markup.

use backstop_api::notification::{Category, NotificationOutcome};
use serde_json::{Value, json};

use super::cut;
use crate::{Message, template::Words};

/// A message may have 28 KB.
const TEXT: usize = 6000;
const TITLE: usize = 300;

pub(super) fn card(message: &Message, words: &Words) -> Value {
    let mut body = vec![json!({
        "type": "RichTextBlock",
        "inlines": [{
            "type": "TextRun", "text": cut(&words.title, TITLE),
            "weight": "Bolder", "size": "Medium", "color": color(message),
        }],
    })];
    let mut spacing = "Medium";
    for line in cut(&words.text, TEXT).lines() {
        if line.is_empty() {
            spacing = "Medium";
            continue;
        }
        body.push(json!({
            "type": "RichTextBlock",
            "spacing": spacing,
            "inlines": [{"type": "TextRun", "text": line}],
        }));
        spacing = "None";
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "body": body,
            },
        }],
    })
}

fn color(message: &Message) -> &'static str {
    match (message.outcome, message.category) {
        (NotificationOutcome::Succeeded | NotificationOutcome::Resolved, _) => "Good",
        (NotificationOutcome::Failed | NotificationOutcome::NotCaused, _)
        | (_, Some(Category::Critical | Category::SecurityIncident)) => "Attention",
        (_, Some(_)) => "Warning",
        (_, None) => "Default",
    }
}
