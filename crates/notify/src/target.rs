//! A channel with the contents of its Secret: what a message can be sent to.

use std::collections::BTreeMap;

use backstop_sources::{Credentials, CredentialsError, WebAddress};
use secrecy::SecretString;

use crate::{
    Allowed, ValidChannel,
    channel::Way,
    send::{http::Post, smtp::Server},
    sign::SigningKey,
};

/// The contents of a Secret.
pub type SecretData = BTreeMap<String, Vec<u8>>;

const URL: &str = "url";
const TOKEN: &str = "token";
const ROUTING_KEY: &str = "routing-key";
const SIGNING_KEY: &str = "signing-key";

/// What a message can be sent to. Nothing of it is ever shown.
pub struct Target(pub(crate) Kind);

pub(crate) enum Kind {
    /// Slack's incoming webhook.
    SlackWebhook(Post),
    /// Slack's Web API, in a bot's name.
    SlackBot { to: Post, channel: String },
    /// A mail server.
    Email(Server),
    /// A web service, and the key that messages are signed with.
    Webhook { to: Post, key: Option<SigningKey> },
    /// A workflow of Microsoft Teams.
    Teams(Post),
    /// PagerDuty's Events API.
    PagerDuty { to: Post, key: SecretString },
}

impl ValidChannel {
    /// What messages of this channel are sent to, with the contents of its Secret; or why that cannot
    /// be done, in words that begin with what is wrong.
    pub fn target(&self, secret: Option<&SecretData>, allowed: &Allowed) -> Result<Target, String> {
        let none = SecretData::new();
        let secret = Secret {
            name: self.secret_name.as_deref().unwrap_or_default(),
            data: secret.unwrap_or(&none),
        };
        Ok(Target(match &self.way {
            Way::Slack { api, channel } => slack(api, channel.as_ref(), secret, allowed)?,
            Way::Email {
                host,
                port,
                security,
                from,
                to,
            } => Kind::Email(Server {
                host: host.clone(),
                port: *port,
                security: *security,
                from: from.clone(),
                to: to.clone(),
                username: secret.text("username")?.map(str::to_owned),
                password: secret.text("password")?.map(SecretString::from),
                authorities: secret.text("ca.crt")?.map(str::to_owned),
            }),
            Way::Webhook { url } => {
                let (address, is_secret) = match url {
                    Some(url) => (open(url, allowed)?, false),
                    None => (secret.url(allowed)?, true),
                };
                let key = secret.text(SIGNING_KEY)?;
                let key = key.map(SigningKey::parse).transpose();
                Kind::Webhook {
                    to: Post::new(address, secret.credentials()?, is_secret),
                    key: key.map_err(|why| secret.wrong(SIGNING_KEY, why))?,
                }
            }
            Way::Teams => Kind::Teams(Post::new(secret.url(allowed)?, Credentials::none(), true)),
            Way::PagerDuty { api } => {
                let address = open(&format!("{api}/v2/enqueue"), allowed)?;
                Kind::PagerDuty {
                    to: Post::new(address, Credentials::none(), false),
                    key: secret.required(ROUTING_KEY)?.into(),
                }
            }
        }))
    }
}

fn slack(
    api: &str,
    channel: Option<&String>,
    secret: Secret<'_>,
    allowed: &Allowed,
) -> Result<Kind, String> {
    match (secret.text(URL)?, secret.text(TOKEN)?) {
        (Some(_), None) => Ok(Kind::SlackWebhook(Post::new(
            secret.url(allowed)?,
            Credentials::none(),
            true,
        ))),
        (None, Some(_)) => {
            let channel = channel
                .ok_or("slack.channel is missing; with a bot's token it says where to write")?;
            let address = open(&format!("{api}/chat.postMessage"), allowed)?;
            Ok(Kind::SlackBot {
                to: Post::new(address, secret.credentials()?, false),
                channel: channel.clone(),
            })
        }
        (None, None) => Err(format!(
            "Secret {} has neither `url` (of an incoming webhook) nor `token` (of a bot)",
            secret.name
        )),
        (Some(_), Some(_)) => Err(format!(
            "Secret {} has both `url` and `token`: only one of them can be used",
            secret.name
        )),
    }
}

/// An address that is no secret.
fn open(url: &str, allowed: &Allowed) -> Result<WebAddress, String> {
    allowed
        .web
        .check_url(url)
        .map_err(|error| error.to_string())
}

/// A Secret, by its name, for messages that name its keys and never their contents.
#[derive(Clone, Copy)]
struct Secret<'a> {
    name: &'a str,
    data: &'a SecretData,
}

impl<'a> Secret<'a> {
    fn wrong(&self, key: &str, why: &str) -> String {
        format!("`{key}` of Secret {} {why}", self.name)
    }

    /// A value. A line break at its end is taken for an accident of the shell that made it.
    fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        let Some(value) = self.data.get(key) else {
            return Ok(None);
        };
        let value = str::from_utf8(value).map_err(|_| self.wrong(key, "is not UTF-8 text"))?;
        match value.trim_end_matches(['\r', '\n']) {
            "" => Err(self.wrong(key, "is empty")),
            value => Ok(Some(value)),
        }
    }

    fn required(&self, key: &str) -> Result<&'a str, String> {
        self.text(key)?
            .ok_or_else(|| format!("Secret {} has no key `{key}`", self.name))
    }

    fn url(&self, allowed: &Allowed) -> Result<WebAddress, String> {
        allowed
            .secret(self.required(URL)?)
            .map_err(|why| format!("Secret {}: {why}", self.name))
    }

    fn credentials(&self) -> Result<Credentials, String> {
        match Credentials::from_secret(self.data) {
            Ok(credentials) => Ok(credentials),
            Err(CredentialsError::NothingKnown) => Ok(Credentials::none()),
            Err(error) => Err(format!("Secret {}: {error}", self.name)),
        }
    }
}
