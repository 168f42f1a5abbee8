//! Which version the API server has: another one may fill other defaults into what is written.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;

use crate::{
    calls::{CallError, Calls},
    context::Context,
};

/// How often the version is asked for.
const LOOKED_AT: Duration = Duration::from_mins(1);

/// The version of the API server, and since when it is known to have it.
#[derive(Debug)]
pub struct ServerVersion(Mutex<(String, Timestamp)>);

impl ServerVersion {
    /// What the server says of itself now.
    pub async fn ask(client: &Client, calls: &Calls) -> Result<Self, CallError> {
        let asked = client.apiserver_version();
        let version = calls.read("get version", asked).await?;
        Ok(Self::new(version.git_version, Timestamp::now()))
    }

    /// It is so, as of now.
    #[must_use]
    pub fn new(version: String, now: Timestamp) -> Self {
        Self(Mutex::new((version, now)))
    }

    /// The version, and since when it is known.
    #[must_use]
    pub fn get(&self) -> (String, Timestamp) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes in what the server says of itself. Returns whether it is another one now.
    fn is_now(&self, version: String, now: Timestamp) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = known.0 != version;
        if changed {
            *known = (version, now);
        }
        changed
    }
}

/// Follows the version, and has every policy looked at again when it changes.
pub(crate) async fn follow(context: &Context) {
    loop {
        tokio::time::sleep(LOOKED_AT).await;
        let asked = context.client.apiserver_version();
        let version = match context.calls.read("get version", asked).await {
            Ok(version) => version.git_version,
            Err(error) => {
                tracing::debug!(%error, "the version of the API server could not be read");
                continue;
            }
        };
        if context.server.is_now(version.clone(), Timestamp::now()) {
            tracing::info!(
                version,
                "the API server has another version: quarantined templates are looked at again"
            );
            for policy in context.policies.state() {
                let meta = kube::Resource::meta(&*policy);
                let name = meta.name.as_deref().unwrap_or_default();
                context.poke_policy(meta.namespace.as_deref().unwrap_or_default(), name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_known_since_it_was_first_seen() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let server = ServerVersion::new("v1.36.3".into(), at(1));
        assert!(!server.is_now("v1.36.3".into(), at(2)));
        assert_eq!(server.get(), ("v1.36.3".to_owned(), at(1)));
        assert!(server.is_now("v1.37.0".into(), at(3)));
        assert_eq!(server.get(), ("v1.37.0".to_owned(), at(3)));
    }
}
