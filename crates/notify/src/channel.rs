//! A channel that can be used: parsed once, with everything that is wrong with it in words.

use backstop_api::{
    notification::{Category, NotificationOutcome},
    policy::{Channel, MailSecurity, Severity},
};
use lettre::message::Mailbox;

use crate::{Allowed, template::Templates};

/// What stands before the names of the operator's channels in records.
pub const OPERATOR: &str = "operator/";

/// The kinds of channels: a closed set, so that it can label a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// Slack.
    Slack,
    /// E-mail.
    Email,
    /// A web service that takes CloudEvents.
    Webhook,
    /// Microsoft Teams.
    Teams,
    /// PagerDuty.
    PagerDuty,
}

impl ChannelKind {
    /// The word for it in a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Email => "email",
            Self::Webhook => "webhook",
            Self::Teams => "teams",
            Self::PagerDuty => "pager_duty",
        }
    }
}

/// A channel that can be used.
#[derive(Clone, Debug)]
pub struct ValidChannel {
    /// Its name in records: that in the policy, or in the operator's configuration with
    /// [`OPERATOR`] before it.
    pub name: String,
    /// The Secret that it needs.
    pub secret_name: Option<String>,
    pub(crate) way: Way,
    pub(crate) templates: Templates,
    outcomes: Vec<NotificationOutcome>,
    severities: Vec<Severity>,
    categories: Vec<Category>,
}

/// Where messages go, as far as it is no secret.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// Slack: where its Web API is, and where to write, for those who have a token.
    Slack {
        api: String,
        channel: Option<String>,
    },
    /// E-mail.
    Email {
        host: String,
        port: u16,
        security: MailSecurity,
        from: Mailbox,
        to: Vec<Mailbox>,
    },
    /// A web service; where it is may stand in the Secret.
    Webhook { url: Option<String> },
    /// Microsoft Teams; where it is stands in the Secret.
    Teams,
    /// PagerDuty: where its Events API is.
    PagerDuty { api: String },
}

/// A message, as far as it matters to whom it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routed {
    /// What it tells of.
    pub outcome: NotificationOutcome,
    /// How bad the trigger is.
    pub severity: Option<Severity>,
    /// What kind of trouble it is.
    pub category: Option<Category>,
}

/// What PagerDuty is told of unless said otherwise: what a person has to act on.
const URGENT: [NotificationOutcome; 4] = [
    NotificationOutcome::Failed,
    NotificationOutcome::NotCaused,
    NotificationOutcome::Held,
    NotificationOutcome::Resolved,
];

impl ValidChannel {
    /// Which kind it is of.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        match self.way {
            Way::Slack { .. } => ChannelKind::Slack,
            Way::Email { .. } => ChannelKind::Email,
            Way::Webhook { .. } => ChannelKind::Webhook,
            Way::Teams => ChannelKind::Teams,
            Way::PagerDuty { .. } => ChannelKind::PagerDuty,
        }
    }

    /// Whether it is told of this. What only says that something is over goes where its beginning
    /// went: `has_begun` says whether that is here.
    #[must_use]
    pub fn wants(&self, message: Routed, has_begun: bool) -> bool {
        let closes = crate::render::pager_duty::closes(message.outcome);
        if self.kind() == ChannelKind::PagerDuty && closes {
            return has_begun;
        }
        if message.outcome == NotificationOutcome::Resolved {
            return has_begun;
        }
        let outcomes: &[NotificationOutcome] = match self.kind() {
            ChannelKind::PagerDuty if self.outcomes.is_empty() => &URGENT,
            _ => &self.outcomes,
        };
        let severity = message.severity.as_ref();
        let category = message.category.as_ref();
        (outcomes.is_empty() || outcomes.contains(&message.outcome))
            && (self.severities.is_empty() || severity.is_none_or(|s| self.severities.contains(s)))
            && (self.categories.is_empty() || category.is_none_or(|c| self.categories.contains(c)))
    }
}

/// The channels of a policy, at `spec.notifications`; or everything that is wrong with them.
pub fn channels(specs: &[Channel], allowed: &Allowed) -> Result<Vec<ValidChannel>, Vec<String>> {
    parse("spec.notifications", "", specs, allowed)
}

/// The channels of a policy that can be used. What is wrong with the others is said where the policy
/// is validated.
#[must_use]
pub fn usable(specs: &[Channel], allowed: &Allowed) -> Vec<ValidChannel> {
    let each = specs.iter().map(std::slice::from_ref);
    each.filter_map(|one| channels(one, allowed).ok())
        .flatten()
        .collect()
}

pub(crate) fn parse(
    field: &str,
    prefix: &str,
    specs: &[Channel],
    allowed: &Allowed,
) -> Result<Vec<ValidChannel>, Vec<String>> {
    let mut errors = Vec::new();
    let mut valid: Vec<ValidChannel> = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let mut refuse = |name: &str, problem: String| {
            errors.push(format!("{field}[{index}].{name}: {problem}"));
        };
        let name = format!("{prefix}{}", spec.name);
        if valid.iter().any(|other| other.name == name) {
            let problem = format!(
                "'{}' is there twice; every channel needs a name of its own",
                spec.name
            );
            refuse("name", problem);
        }
        let templates = Templates::parse(spec.template.as_ref())
            .map_err(|(part, problem)| refuse(&format!("template.{part}"), problem));
        let (Some((way, secret_name)), Ok(templates)) =
            (way(spec, allowed, &mut refuse), templates)
        else {
            continue;
        };
        valid.push(ValidChannel {
            name,
            secret_name,
            way,
            templates,
            outcomes: spec.outcomes.clone(),
            severities: spec.severities.clone(),
            categories: spec.categories.clone(),
        });
    }
    if errors.is_empty() {
        Ok(valid)
    } else {
        Err(errors)
    }
}

/// Where messages go, and with which Secret; without an answer, `refuse` has been told why.
fn way(
    spec: &Channel,
    allowed: &Allowed,
    refuse: &mut impl FnMut(&str, String),
) -> Option<(Way, Option<String>)> {
    let mut address = |field: &str, url: &str| {
        let checked = allowed.web.check_url(url);
        checked
            .map_err(|error| refuse(field, error.to_string()))
            .is_ok()
    };
    match (
        &spec.slack,
        &spec.email,
        &spec.webhook,
        &spec.teams,
        &spec.pager_duty,
    ) {
        (Some(slack), None, None, None, None) => {
            // A webhook needs no API, and which of the two it is stands in the Secret.
            let way = Way::Slack {
                api: slack.address.trim_end_matches('/').to_owned(),
                channel: slack.channel.clone(),
            };
            let fine = slack.channel.is_none() || address("slack.address", &slack.address);
            fine.then(|| (way, Some(slack.secret_name.clone())))
        }
        (None, Some(email), None, None, None) => email_way(email, allowed, refuse),
        (None, None, Some(webhook), None, None) => {
            let fine = webhook
                .url
                .as_ref()
                .is_none_or(|url| address("webhook.url", url));
            let url = webhook.url.clone();
            if url.is_none() && webhook.secret_name.is_none() {
                let problem =
                    "is missing; write it, or name a Secret with a key url in webhook.secretName";
                refuse("webhook.url", problem.to_owned());
                return None;
            }
            fine.then(|| (Way::Webhook { url }, webhook.secret_name.clone()))
        }
        (None, None, None, Some(teams), None) => {
            Some((Way::Teams, Some(teams.secret_name.clone())))
        }
        (None, None, None, None, Some(pager_duty)) => {
            let api = pager_duty.address.trim_end_matches('/').to_owned();
            address("pagerDuty.address", &api)
                .then(|| (Way::PagerDuty { api }, Some(pager_duty.secret_name.clone())))
        }
        _ => {
            let problem = format!(
                "'{}' is of no kind, or of several; set one of slack, email, webhook, teams and pagerDuty",
                spec.name
            );
            refuse("name", problem);
            None
        }
    }
}

fn email_way(
    email: &backstop_api::policy::EmailChannel,
    allowed: &Allowed,
    refuse: &mut impl FnMut(&str, String),
) -> Option<(Way, Option<String>)> {
    let mut mailbox = |field: &str, text: &str| {
        let parsed = text.parse::<Mailbox>();
        parsed
            .map_err(|error| {
                let example = "write for example SRE <sre@example.com>";
                refuse(
                    field,
                    format!("'{text}' is no e-mail address ({error}); {example}"),
                );
            })
            .ok()
    };
    let from = mailbox("email.from", &email.from);
    let to: Vec<_> = email
        .to
        .iter()
        .enumerate()
        .map(|(index, to)| mailbox(&format!("email.to[{index}]"), &to.0))
        .collect();
    let server = match allowed.mail(&email.server) {
        Ok(server) => Some(server),
        Err(problem) => {
            refuse("email.server", format!("'{}' {problem}", email.server));
            None
        }
    };
    if email.security == MailSecurity::None && email.secret_name.is_some() {
        let problem =
            "'None' would send the password in clear; use STARTTLS or TLS, or leave secretName out";
        refuse("email.security", problem.to_owned());
        return None;
    }
    let (host, port) = server?;
    let way = Way::Email {
        host,
        port,
        security: email.security,
        from: from?,
        to: to.into_iter().collect::<Option<_>>()?,
    };
    Some((way, email.secret_name.clone()))
}
