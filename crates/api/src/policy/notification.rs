//! Whom to tell of what happens, and how.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Severity;
use crate::notification::{Category, NotificationOutcome};

/// A channel: where messages go, which ones, and in which words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.slack), has(self.email), has(self.webhook), has(self.teams), has(self.pagerDuty)].filter(x, x).size() == 1")
        .message("a channel is of exactly one kind: set slack, email, webhook, teams or pagerDuty"),
)]
pub struct Channel {
    /// The name, unique in the policy.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Slack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<SlackChannel>,
    /// E-mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailChannel>,
    /// A web service that takes CloudEvents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookChannel>,
    /// Microsoft Teams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teams: Option<TeamsChannel>,
    /// PagerDuty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pager_duty: Option<PagerDutyChannel>,
    /// What it is told of. Without it everything; PagerDuty only what a person has to act on, and that it is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub outcomes: Vec<NotificationOutcome>,
    /// Only what triggers of these severities lead to; without it, all of them. What a person asks for has none, and is
    /// told in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub severities: Vec<Severity>,
    /// Only these kinds of trouble; without it, all of them. What a person asks for has none, and is told in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub categories: Vec<Category>,
    /// Words of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<MessageTemplate>,
}

/// Slack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlackChannel {
    /// A Secret of this namespace: `url` of an incoming webhook, or `token` of a bot that may `chat:write`. With a token
    /// all messages of one rollback are in one thread.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// With a token: where to write, such as `#deployments` or a channel's ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 80))]
    pub channel: Option<String>,
    /// With a token: where Slack's Web API is.
    #[serde(default = "slack_api")]
    #[schemars(length(min = 1, max = 1024))]
    pub address: String,
}

fn slack_api() -> String {
    "https://slack.com/api".to_owned()
}

/// E-mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmailChannel {
    /// The SMTP server, with its port, such as `smtp.example.com:587`. Must be on the operator's allow-list.
    #[schemars(length(min = 3, max = 259), regex(pattern = r"^[^\s/@]+:[0-9]{1,5}$"))]
    pub server: String,
    /// How the connection is encrypted.
    #[serde(default)]
    pub security: MailSecurity,
    /// Who writes, such as `Backstop <backstop@example.com>`.
    #[schemars(length(min = 3, max = 320))]
    pub from: String,
    /// Who is written to.
    #[schemars(length(min = 1, max = 32))]
    pub to: Vec<MailAddress>,
    /// A Secret of this namespace: `username` and `password`; `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

/// Somebody's address, such as `sre@example.com` or `SRE <sre@example.com>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct MailAddress(#[schemars(length(min = 3, max = 320))] pub String);

/// How a connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MailSecurity {
    /// Begun in clear and encrypted before anything is said, or not used; usually port 587.
    #[default]
    #[serde(rename = "STARTTLS")]
    StartTls,
    /// Encrypted from the first byte; usually port 465.
    #[serde(rename = "TLS")]
    Tls,
    /// In clear. Goes with no `secretName`.
    None,
}

/// A web service that takes CloudEvents 1.0 as structured JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.url) || has(self.secretName)")
        .message("webhook.url is missing; write it, or name a Secret with a key url in webhook.secretName"),
)]
pub struct WebhookChannel {
    /// Where to send. Must be on the operator's allow-list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub url: Option<String>,
    /// A Secret of this namespace: `url` where it is secret itself; `token`, or `username` and `password`; `signing-key`
    /// for signatures; `ca.crt`; `tls.crt` and `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

/// Microsoft Teams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TeamsChannel {
    /// A Secret of this namespace: `url` of a workflow that posts what it is sent by a webhook.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// PagerDuty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PagerDutyChannel {
    /// A Secret of this namespace: `routing-key` of an integration with the Events API v2.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Where the Events API is; `https://events.eu.pagerduty.com` for accounts in Europe.
    #[serde(default = "pager_duty_api")]
    #[schemars(length(min = 1, max = 1024))]
    pub address: String,
}

fn pager_duty_api() -> String {
    "https://events.pagerduty.com".to_owned()
}

/// Words of one's own, as Jinja templates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageTemplate {
    /// One line: the subject or headline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub title: Option<String>,
    /// The message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub text: Option<String>,
}
