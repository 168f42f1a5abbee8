//! Who may post, and about what.
//!
//! Two kinds of doors. By `/alerts` come posts about any namespace; they sign in with what the
//! administrator put into files. By `/alerts/<namespace>` come posts about that namespace alone; they
//! sign in with a Secret of it, which its owners make.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use backstop_api::names::ALERTS_SECRET;
use backstop_sources::Credentials;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tokio::time::Instant;

use super::board::Door;
use crate::{calls::CallError, context::Context};

/// A namespace's Secret is read again after so long.
const KEPT: Duration = Duration::from_mins(1);
/// And after so long when somebody does not get in: it may have been changed.
const RETRIED: Duration = Duration::from_secs(5);
/// The files that may be there.
const FILES: [&str; 3] = ["token", "username", "password"];

/// Whether somebody may come in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Yes.
    Welcome,
    /// No.
    Unknown,
    /// It cannot be told now, and why.
    Unclear(String),
}

/// Who may post.
#[derive(Debug)]
pub(super) struct Access {
    files: Option<PathBuf>,
    secrets: Mutex<HashMap<String, (Option<Credentials>, Instant)>>,
}

impl Access {
    pub(super) fn new(files: Option<PathBuf>) -> Self {
        Self {
            files,
            secrets: Mutex::default(),
        }
    }

    /// Whether a request with this `Authorization` header may come in by this door.
    pub(super) async fn judge(&self, context: &Context, door: &Door, header: &[u8]) -> Verdict {
        match door {
            Door::Cluster => match self.by_files().await {
                Ok(Some(credentials)) => verdict(&credentials, header),
                Ok(None) => Verdict::Unknown,
                Err(why) => Verdict::Unclear(why),
            },
            Door::Namespace(namespace) => self.by_secret(context, namespace, header).await,
        }
    }

    /// Whether the files can be used.
    pub(super) async fn check(&self) -> Result<(), String> {
        self.by_files().await.map(drop)
    }

    /// Read each time: they are small, and replaced when they are rotated.
    async fn by_files(&self) -> Result<Option<Credentials>, String> {
        let Some(folder) = &self.files else {
            return Ok(None);
        };
        let mut data = BTreeMap::new();
        for name in FILES {
            let path = folder.join(name);
            match tokio::fs::read(&path).await {
                Ok(content) => {
                    data.insert(name.to_owned(), content);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
            }
        }
        let read = Credentials::from_secret(&data);
        read.map(Some)
            .map_err(|error| format!("--alerts-credentials {}: {error}", folder.display()))
    }

    async fn by_secret(&self, context: &Context, namespace: &str, header: &[u8]) -> Verdict {
        // Who asks for namespaces at random does not make the operator read Secrets.
        let policies = context.policies_of(namespace);
        let mut triggers = policies.iter().flat_map(|p| &p.spec.triggers);
        if !triggers.any(|trigger| trigger.alert.is_some()) {
            return Verdict::Unknown;
        }
        if let Some((credentials, read_at)) = self.known(namespace) {
            let verdict = credentials.map_or(Verdict::Unknown, |it| verdict(&it, header));
            let good_for = match verdict {
                Verdict::Welcome => KEPT,
                Verdict::Unknown | Verdict::Unclear(_) => RETRIED,
            };
            if read_at.elapsed() < good_for {
                return verdict;
            }
        }
        match read(context, namespace).await {
            Ok(credentials) => {
                let verdict = credentials
                    .as_ref()
                    .map_or(Verdict::Unknown, |it| verdict(it, header));
                self.secrets
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(namespace.to_owned(), (credentials, Instant::now()));
                verdict
            }
            Err(why) => Verdict::Unclear(why),
        }
    }

    fn known(&self, namespace: &str) -> Option<(Option<Credentials>, Instant)> {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.get(namespace).cloned()
    }
}

fn verdict(credentials: &Credentials, header: &[u8]) -> Verdict {
    if credentials.admit(header) {
        Verdict::Welcome
    } else {
        Verdict::Unknown
    }
}

/// The credentials of a namespace's door; none where there is no such Secret.
async fn read(context: &Context, namespace: &str) -> Result<Option<Credentials>, String> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let secret = match context
        .calls
        .read("get secret", api.get(ALERTS_SECRET))
        .await
    {
        Ok(secret) => secret,
        Err(CallError::NotFound { .. }) => return Ok(None),
        Err(error) => {
            return Err(format!(
                "Secret {ALERTS_SECRET} of {namespace} cannot be read: {error}"
            ));
        }
    };
    let data = secret.data.unwrap_or_default();
    let data = data
        .into_iter()
        .map(|(key, value)| (key, value.0))
        .collect();
    Credentials::from_secret(&data)
        .map(Some)
        .map_err(|error| format!("Secret {ALERTS_SECRET} of {namespace}: {error}"))
}
