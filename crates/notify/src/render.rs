//! From a message to what is sent: pure, and without secrets.

pub(crate) mod email;
pub(crate) mod pager_duty;
mod slack;
mod teams;
mod webhook;

use serde::Serialize;
use serde_json::Value;

use crate::{
    ChannelKind, Message, ValidChannel,
    template::{Format, Words},
};

/// What is sent, without what is secret.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Payload {
    /// Slack: the message, without where it goes.
    Slack(Value),
    /// E-mail: subject, parts, and which others it belongs to.
    Email(email::Mail),
    /// A CloudEvent.
    Webhook(Value),
    /// Microsoft Teams: a message with an adaptive card.
    Teams(Value),
    /// PagerDuty: an event, without its routing key.
    PagerDuty(Value),
}

impl ValidChannel {
    /// What is sent over this channel.
    #[must_use]
    pub fn render(&self, message: &Message) -> Payload {
        let words = |format| self.templates.words(format, message);
        match self.kind() {
            ChannelKind::Slack => Payload::Slack(slack::message(&words(Format::Slack))),
            ChannelKind::Email => {
                let html = words(Format::Html);
                Payload::Email(email::mail(message, words(Format::Plain), &html.text))
            }
            ChannelKind::Webhook => {
                Payload::Webhook(webhook::cloud_event(message, &words(Format::Plain)))
            }
            ChannelKind::Teams => Payload::Teams(teams::card(message, &words(Format::Plain))),
            ChannelKind::PagerDuty => {
                Payload::PagerDuty(pager_duty::event(message, &words(Format::Plain)))
            }
        }
    }
}

/// The message as JSON, without what it does not say, and with its words.
fn data(message: &Message, words: &Words) -> Value {
    let mut data = serde_json::to_value(message).unwrap_or_default();
    without_nulls(&mut data);
    data["title"] = words.title.clone().into();
    data["text"] = words.text.clone().into();
    data
}

fn without_nulls(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, value| !value.is_null());
        map.values_mut().for_each(without_nulls);
    }
}

/// A text of at most so many characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}
