//! What each channel is sent for each outcome.

mod common;

use std::collections::BTreeMap;

use backstop_api::notification::NotificationOutcome;
use backstop_notify::Payload;
use common::{channel, every_kind, messages};
use serde_json::json;

#[test]
fn every_outcome_is_told_on_every_channel_as_it_was_when_a_person_last_read_it() {
    for channel in every_kind() {
        let mut told = BTreeMap::new();
        for (number, message) in messages().into_iter().enumerate() {
            let name = format!("{number} {:?}", message.outcome);
            told.insert(name, channel.render(&message));
        }
        insta::assert_yaml_snapshot!(channel.kind().as_str(), told);
    }
}

#[test]
fn every_outcome_is_among_them() {
    let mut outcomes: Vec<_> = messages().iter().map(|m| m.outcome).collect();
    outcomes.sort();
    outcomes.dedup();
    assert_eq!(outcomes.len(), 10);
    assert_eq!(outcomes.last(), Some(&NotificationOutcome::Resolved));
}

/// What a person or a cluster wrote is shown as it is, and is no markup.
#[test]
fn nothing_that_is_told_is_taken_for_markup() {
    let message = messages().remove(2);
    for channel in every_kind() {
        let text = match channel.render(&message) {
            Payload::Slack(body) => body["blocks"].to_string(),
            Payload::Email(mail) => mail.html,
            // In JSON and in runs of plain text there is no markup.
            Payload::Webhook(_) | Payload::Teams(_) | Payload::PagerDuty(_) => continue,
        };
        assert!(
            !text.contains("<v2>") && !text.contains("web-<1>"),
            "{text}"
        );
        assert!(text.contains("&lt;v2&gt;&amp;co"), "{text}");
    }
}

#[test]
fn words_of_ones_own_are_escaped_for_each_channel() {
    let template = json!({
        "title": "{{ workloads }} {{ outcome }}",
        "text": "{{ 'Because'|strong }} {{ why }}{% if from %} {{ from.images[0]|code }}{% endif %}",
    });
    let message = messages().remove(2);
    let slack = channel(json!({"slack": {"secretName": "s"}, "template": template}));
    let Payload::Slack(body) = slack.render(&message) else {
        panic!("no Slack message")
    };
    assert_eq!(body["text"], "web Succeeded");
    assert_eq!(
        body["blocks"][1]["text"]["text"],
        "*Because* trigger error-rate fires: value 0.5 &gt; 0.05 for 30s `example.com/web:&lt;v2&gt;&amp;co`"
    );
    let email = json!({
        "server": "mail.example.com:587", "from": "a@example.com", "to": ["b@example.com"],
    });
    let email = channel(json!({"email": email, "template": template}));
    let Payload::Email(mail) = email.render(&message) else {
        panic!("no mail")
    };
    assert_eq!(mail.subject, "web Succeeded");
    assert_eq!(
        mail.text,
        "Because trigger error-rate fires: value 0.5 > 0.05 for 30s example.com/web:<v2>&co"
    );
    assert!(
        mail.html.contains("<strong>Because</strong>"),
        "{}",
        mail.html
    );
    assert!(
        mail.html
            .contains("example.com&#x2f;web:&lt;v2&gt;&amp;co</code>"),
        "{}",
        mail.html
    );
}
