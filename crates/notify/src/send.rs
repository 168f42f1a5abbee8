//! Sending: one attempt, which always ends, and a failure without anything secret in it.

pub(crate) mod http;
pub(crate) mod smtp;

use std::time::Duration;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::{
    Payload,
    target::{Kind, Target},
};

/// No attempt may take longer.
const LIMIT: Duration = Duration::from_secs(10);

/// The channel has taken the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// What later messages of the same rollback refer to.
    pub thread: Option<String>,
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In one word.
    pub reason: Reason,
    /// In a sentence, without anything secret.
    pub why: String,
    /// The channel asks not to be tried again before so long.
    pub retry_after: Option<Duration>,
}

/// Why a message was not taken: a closed set, so that it can label a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The channel's Secret or address cannot be used.
    Misconfigured,
    /// No connection.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// Too many messages.
    RateLimited,
    /// The channel does not want the message, or does not know us.
    Refused,
    /// The channel has trouble of its own.
    ServerError,
}

impl Reason {
    /// The word for it in a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Misconfigured => "misconfigured",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::Refused => "refused",
            Self::ServerError => "server_error",
        }
    }
}

impl Failure {
    /// A failure that says no time.
    pub fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self {
            reason,
            why: why.into(),
            retry_after: None,
        }
    }
}

impl Target {
    /// Sends once. `thread` is what an earlier message of the same rollback left behind.
    ///
    /// Ends within 10 s. The same payload may arrive twice, when the answer is lost; `id` tells the
    /// receiver so where its interface has a place for it.
    pub async fn send(
        &self,
        payload: &Payload,
        thread: Option<&str>,
        now: Timestamp,
    ) -> Result<Receipt, Failure> {
        self.send_within(LIMIT, payload, thread, now).await
    }

    /// The same, with a limit of one's own.
    pub async fn send_within(
        &self,
        limit: Duration,
        payload: &Payload,
        thread: Option<&str>,
        now: Timestamp,
    ) -> Result<Receipt, Failure> {
        let sent = tokio::time::timeout(limit, self.attempt(payload, thread, now));
        sent.await.unwrap_or_else(|_| {
            Err(Failure::new(
                Reason::Timeout,
                format!("no answer within {limit:?}"),
            ))
        })
    }

    async fn attempt(
        &self,
        payload: &Payload,
        thread: Option<&str>,
        now: Timestamp,
    ) -> Result<Receipt, Failure> {
        match (&self.0, payload) {
            (
                Kind::SlackWebhook(to) | Kind::Teams(to),
                Payload::Slack(body) | Payload::Teams(body),
            ) => {
                to.send(body, &[]).await?;
                Ok(Receipt::default())
            }
            (Kind::SlackBot { to, channel }, Payload::Slack(body)) => {
                let mut body = body.clone();
                body["channel"] = channel.clone().into();
                if let Some(thread) = thread {
                    body["thread_ts"] = thread.into();
                }
                let answer = to.send(&body, &[]).await?;
                slack_answer(&answer)
            }
            (Kind::Email(server), Payload::Email(mail)) => {
                server.send(mail).await?;
                Ok(Receipt::default())
            }
            (Kind::Webhook { to, key }, Payload::Webhook(event)) => {
                let body = event.to_string();
                let id = event["id"].as_str().unwrap_or_default();
                let mut headers = vec![
                    (
                        "content-type",
                        "application/cloudevents+json; charset=utf-8".to_owned(),
                    ),
                    ("webhook-id", id.to_owned()),
                    ("webhook-timestamp", now.as_second().to_string()),
                ];
                if let Some(key) = key {
                    let signature = key.sign(id, now.as_second(), body.as_bytes());
                    headers.push(("webhook-signature", signature));
                }
                to.send_text(body, &headers).await?;
                Ok(Receipt::default())
            }
            (Kind::PagerDuty { to, key }, Payload::PagerDuty(event)) => {
                let mut body = event.clone();
                body["routing_key"] = key.expose_secret().into();
                to.send(&body, &[]).await?;
                Ok(Receipt::default())
            }
            _ => Err(Failure::new(
                Reason::Misconfigured,
                "the message was made for another kind of channel",
            )),
        }
    }
}

/// Slack's Web API answers 200 to what it does not do as well.
fn slack_answer(answer: &[u8]) -> Result<Receipt, Failure> {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    if answer["ok"] == true {
        return Ok(Receipt {
            thread: answer["ts"].as_str().map(str::to_owned),
        });
    }
    // A word of Slack's own; anything else is not repeated.
    let error = answer["error"].as_str().unwrap_or_default();
    let is_word = !error.is_empty()
        && error.len() <= 64
        && error.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let (reason, hint) = match error {
        "ratelimited" | "rate_limited" => (Reason::RateLimited, ""),
        "internal_error" | "fatal_error" | "service_unavailable" => (Reason::ServerError, ""),
        "channel_not_found" | "not_in_channel" => (
            Reason::Refused,
            ": invite the bot to the channel, and see slack.channel",
        ),
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            (Reason::Refused, ": is the token in the Secret right?")
        }
        "missing_scope" => (Reason::Refused, ": the bot needs the scope chat:write"),
        _ => (Reason::Refused, ""),
    };
    let shown = if is_word {
        error
    } else {
        "an answer that is not Slack's"
    };
    Err(Failure::new(reason, format!("Slack says {shown}{hint}")))
}
