//! A mail server.

use std::error::Error as _;

use backstop_api::policy::MailSecurity;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, MultiPart},
    transport::smtp::{
        Error,
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};
use secrecy::{ExposeSecret, SecretString};

use super::{Failure, LIMIT, Reason};
use crate::render::email::Mail;

/// A mail server, from whom and to whom.
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) security: MailSecurity,
    pub(crate) from: Mailbox,
    pub(crate) to: Vec<Mailbox>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<SecretString>,
    /// Whom to trust instead of the system's authorities, in PEM form.
    pub(crate) authorities: Option<String>,
}

impl Server {
    pub(super) async fn send(&self, mail: &Mail) -> Result<(), Failure> {
        let message = self.message(mail)?;
        let transport = self.transport()?;
        match transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn message(&self, mail: &Mail) -> Result<Message, Failure> {
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(&mail.subject)
            .message_id(Some(mail.id.clone()))
            .references(mail.thread.clone())
            .in_reply_to(mail.thread.clone());
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let parts = MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone());
        builder.multipart(parts).map_err(|error| {
            Failure::new(
                Reason::Misconfigured,
                format!("the mail cannot be written: {error}"),
            )
        })
    }

    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, Failure> {
        let tls = match self.security {
            MailSecurity::None => Tls::None,
            MailSecurity::StartTls => Tls::Required(self.tls()?),
            MailSecurity::Tls => Tls::Wrapper(self.tls()?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .tls(tls)
            .timeout(Some(LIMIT));
        match (&self.username, &self.password) {
            (Some(username), Some(password)) => {
                let password = password.expose_secret().to_owned();
                builder = builder.credentials(Credentials::new(username.clone(), password));
            }
            (None, None) => {}
            _ => {
                return Err(Failure::new(
                    Reason::Misconfigured,
                    "the Secret has only one of `username` and `password`",
                ));
            }
        }
        Ok(builder.build())
    }

    fn tls(&self) -> Result<TlsParameters, Failure> {
        let wrong = |error: Error| {
            let why = format!("`ca.crt` of the Secret cannot be used: {error}");
            Failure::new(Reason::Misconfigured, why)
        };
        let mut builder = TlsParameters::builder(self.host.clone());
        if let Some(authorities) = &self.authorities {
            let authorities = Certificate::from_pem(authorities.as_bytes()).map_err(wrong)?;
            // Instead of the system's authorities, as everywhere.
            builder = builder
                .certificate_store(CertificateStore::None)
                .add_root_certificate(authorities);
        }
        builder.build_rustls().map_err(wrong)
    }

    fn failure(&self, error: &Error) -> Failure {
        let mut words = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !words.contains(&text) {
                words = format!("{words}: {text}");
            }
            source = cause.source();
        }
        let reason = if error.is_timeout() {
            Reason::Timeout
        } else if error.is_permanent() || error.is_client() {
            Reason::Refused
        } else if error.is_transient() {
            Reason::ServerError
        } else {
            Reason::Unreachable
        };
        Failure::new(
            reason,
            self.scrub(format!("{}:{}: {words}", self.host, self.port)),
        )
    }

    /// The text without the password: servers may repeat what they were sent.
    fn scrub(&self, text: String) -> String {
        let Some(password) = &self.password else {
            return text;
        };
        let password = password.expose_secret();
        let username = self.username.as_deref().unwrap_or_default();
        [
            password.to_owned(),
            BASE64_STANDARD.encode(password),
            BASE64_STANDARD.encode(format!("\0{username}\0{password}")),
        ]
        .iter()
        .fold(text, |text, secret| text.replace(secret, "***"))
    }
}
