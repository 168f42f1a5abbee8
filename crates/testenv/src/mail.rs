//! A real mail server that keeps what it is sent, for tests that send mail.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Deserialize;

use crate::http::plain_client;
use crate::pki::Authority;
use crate::process::{Process, free_ports};
use crate::state::StateDir;
use crate::tools::{self, Tool};
use crate::wait::eventually;

const DEADLINE: Duration = Duration::from_mins(1);
/// How often to look for other ports when someone else took one.
const ATTEMPTS: usize = 3;
/// Under which name clients reach it, and its certificate names it.
const HOST: &str = "localhost";

/// How a mail server takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailSecurity {
    /// Only in TLS that begins with STARTTLS.
    StartTls,
    /// Only in TLS from the first byte.
    Tls,
    /// In clear.
    Plain,
}

/// A mail server that ends with this process. With TLS it wants a user name and a password.
#[derive(Debug)]
pub struct MailServer {
    process: Process,
    smtp: u16,
    web: u16,
    authority: String,
    client: reqwest::Client,
    // The last field, so that its lock is held until the process has gone.
    _state: StateDir,
}

/// A mail that was received.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mail {
    /// Its ID, from the header `Message-ID`, without brackets.
    #[serde(rename = "MessageID")]
    pub message_id: String,
    /// Its subject.
    pub subject: String,
    /// Its plain part.
    pub text: String,
    /// Its HTML part.
    #[serde(rename = "HTML")]
    pub html: String,
    /// Who wrote it.
    pub from: Person,
    /// Who was written to.
    pub to: Vec<Person>,
}

/// Somebody in a mail.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Person {
    /// Their address.
    pub address: String,
}

#[derive(Deserialize)]
struct List {
    messages: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "ID")]
    id: String,
}

impl MailServer {
    /// The user name that it knows.
    pub const USERNAME: &'static str = "backstop";
    /// And that user's password.
    pub const PASSWORD: &'static str = "a-password-of-mail";

    /// Starts one, and waits until it answers. Builds it first if need be.
    pub async fn start(security: MailSecurity) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(|| tools::ensure(&[Tool::Mailpit], &tools::Stderr)).await??;
        let mut attempt = 1;
        loop {
            let server = Self::prepare(security)?;
            server.process.start()?;
            match server.ready().await {
                Ok(()) => return Ok(server),
                Err(_) if attempt < ATTEMPTS && server.process.lost_its_port() => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn prepare(security: MailSecurity) -> anyhow::Result<Self> {
        let state = StateDir::new("mail")?;
        let [smtp, web] = free_ports()?;
        let authority = Authority::new()?;
        let pair = authority.server(&[HOST, "127.0.0.1"])?;
        let write = |name: &str, text: &str| -> anyhow::Result<String> {
            Ok(state.write(name, text)?.display().to_string())
        };
        let users = format!("{}:{}\n", Self::USERNAME, Self::PASSWORD);
        let mut args = vec![
            format!("--smtp=127.0.0.1:{smtp}"),
            format!("--listen=127.0.0.1:{web}"),
            format!("--database={}", state.path().join("mail.db").display()),
            "--disable-version-check".to_owned(),
            "--smtp-disable-rdns".to_owned(),
        ];
        if security != MailSecurity::Plain {
            args.push(format!(
                "--smtp-tls-cert={}",
                write("tls.crt", &pair.certificate)?
            ));
            args.push(format!("--smtp-tls-key={}", write("tls.key", &pair.key)?));
            args.push(format!("--smtp-auth-file={}", write("users", &users)?));
        }
        match security {
            MailSecurity::StartTls => args.push("--smtp-require-starttls".to_owned()),
            MailSecurity::Tls => args.push("--smtp-require-tls".to_owned()),
            MailSecurity::Plain => {}
        }
        let process = Process::new("mailpit", Tool::Mailpit.path()?, args, &state.logs());
        Ok(Self {
            process,
            smtp,
            web,
            authority: authority.certificate(),
            client: plain_client()?,
            _state: state,
        })
    }

    /// Where it takes mail: `host:port`.
    pub fn address(&self) -> String {
        format!("{HOST}:{}", self.smtp)
    }

    /// Who has signed its certificate, in PEM form.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What it has received, oldest first.
    pub async fn received(&self) -> anyhow::Result<Vec<Mail>> {
        let url = format!("http://127.0.0.1:{}/api/v1", self.web);
        let get = async |path: String| {
            let answer = self.client.get(format!("{url}/{path}")).send().await?;
            anyhow::Ok(answer.error_for_status()?)
        };
        let list: List = get("messages?limit=500".to_owned()).await?.json().await?;
        let mut mails = Vec::new();
        for listed in list.messages.iter().rev() {
            mails.push(get(format!("message/{}", listed.id)).await?.json().await?);
        }
        Ok(mails)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let url = format!("http://127.0.0.1:{}/readyz", self.web);
        let ready = eventually("the mail server to be ready", DEADLINE, async || {
            if let Some(status) = self.process.exited() {
                // No use in waiting on: the outer Ok ends it.
                return Ok(Err(anyhow!("the mail server has ended: {status}")));
            }
            self.client.get(&url).send().await?.error_for_status()?;
            tokio::net::TcpStream::connect(("127.0.0.1", self.smtp)).await?;
            anyhow::Ok(Ok(()))
        });
        ready.await.flatten().with_context(|| {
            format!(
                "the mail server did not start; the end of its log:\n{}",
                self.process.log_tail(30)
            )
        })
    }
}
