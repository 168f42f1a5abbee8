//! Capturing: what Prometheus saw of the live release while it was under load.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use backstop_api::Duration;
use backstop_sources::{AllowList, Credentials, CredentialsError, Endpoint, PrometheusClient};
use clap::Args;
use jiff::Timestamp;

use super::{
    Found, Live, Named, Record,
    query::{Asking, in_words},
    window::Window,
};

/// Samples closer together say nothing more: nothing is scraped so often.
const LEAST_STEP: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct Capture {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    prometheus: Prometheus,
    #[command(flatten)]
    window: Window,
    /// How far apart the samples are; without it the trigger's interval.
    #[arg(long)]
    step: Option<Duration>,
    /// Which trigger to measure; may be given more than once. Without it all that ask Prometheus.
    #[arg(long)]
    trigger: Vec<String>,
    #[command(flatten)]
    record: Record,
}

/// Which Prometheus is asked, and as whom.
#[derive(Debug, Args)]
struct Prometheus {
    /// Its address as this machine reaches it, such as http://localhost:9090 behind a kubectl port-forward.
    #[arg(long = "prometheus", value_name = "URL")]
    address: String,
    /// A file with the token to sign in with.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// The user to sign in as.
    #[arg(long, requires = "password_file", conflicts_with = "token_file")]
    username: Option<String>,
    /// A file with the password of that user.
    #[arg(long, requires = "username")]
    password_file: Option<PathBuf>,
    /// A file with the certificates of whom to trust, in PEM form, instead of the system's.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// A file with a client certificate, in PEM form.
    #[arg(long, requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// A file with the key of the client certificate, in PEM form.
    #[arg(long, requires = "cert_file")]
    key_file: Option<PathBuf>,
}

impl Capture {
    pub async fn run(self) -> anyhow::Result<()> {
        if let Some(step) = self.step.filter(|step| *step < LEAST_STEP) {
            bail!("--step {step} is too short; the shortest is {LEAST_STEP}");
        }
        let client = self.prometheus.client()?;
        let namespace = self.named.cluster.connect().await?;
        let live = Live::read(&namespace, &self.named).await?;
        let chosen = live.chosen(&self.trigger)?;
        self.record.check(&chosen)?;
        let over = self.window.over(&live.release, Timestamp::now())?;
        eprintln!(
            "measuring release {} from {:.0} to {:.0}",
            live.about.release, over.from, over.to
        );
        let about = live.context();
        let asking = Asking {
            client: &client,
            about: &about,
            over,
            step: self.step.map(Duration::as_std),
        };
        let mut found = Found::new();
        for trigger in chosen {
            let measured = asking.measure(trigger).await;
            found.insert(trigger.name.clone(), measured);
        }
        self.record.put(&namespace, &live, &found).await
    }
}

impl Prometheus {
    fn client(&self) -> anyhow::Result<PrometheusClient> {
        let address = AllowList::new(Some(&self.address), [""; 0])
            .and_then(|list| list.own())
            .context("--prometheus")?;
        let endpoint = Endpoint {
            address,
            credentials: self.credentials()?,
        };
        PrometheusClient::new(endpoint)
            .map_err(|why| anyhow::anyhow!("--prometheus cannot be asked: {}", in_words(why)))
    }

    fn credentials(&self) -> anyhow::Result<Credentials> {
        let files = [
            ("token", "--token-file", &self.token_file),
            ("password", "--password-file", &self.password_file),
            ("ca.crt", "--ca-file", &self.ca_file),
            ("tls.crt", "--cert-file", &self.cert_file),
            ("tls.key", "--key-file", &self.key_file),
        ];
        let mut data = BTreeMap::new();
        for (key, flag, path) in files {
            if let Some(path) = path {
                data.insert(key.to_owned(), read(flag, path)?);
            }
        }
        if let Some(username) = &self.username {
            data.insert("username".to_owned(), username.clone().into_bytes());
        }
        if data.is_empty() {
            return Ok(Credentials::none());
        }
        Credentials::from_secret(&data).map_err(|error| {
            let CredentialsError::Unusable { key, problem } = error else {
                return error.into();
            };
            let flag = files.iter().find(|(of, _, _)| *of == key);
            let flag = flag.map_or("--username", |(_, flag, _)| flag);
            anyhow::anyhow!("what {flag} names {problem}")
        })
    }
}

fn read(flag: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{flag} {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prometheus(token_file: Option<PathBuf>) -> Prometheus {
        Prometheus {
            address: "http://localhost:9090".into(),
            token_file,
            username: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_and_nothing_of_it_is_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let token = folder.path().join("token");
        std::fs::write(&token, "hunter 2").expect("a file");
        let of = prometheus(Some(token));
        let refused = format!("{:#}", of.client().expect_err("a space in it"));
        assert_eq!(
            refused,
            "what --token-file names has a space or a control character"
        );
        let of = prometheus(Some(folder.path().join("none")));
        let refused = format!("{:#}", of.client().expect_err("no file"));
        assert!(refused.starts_with("--token-file "), "{refused}");
    }

    #[test]
    fn what_is_no_address_is_refused_and_a_password_in_it_is_not_shown() {
        for address in ["prometheus:9090", "http://me:hunter2@localhost:9090"] {
            let of = Prometheus {
                address: address.into(),
                ..prometheus(None)
            };
            let refused = format!("{:#}", of.client().expect_err(address));
            assert!(refused.starts_with("--prometheus: "), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
