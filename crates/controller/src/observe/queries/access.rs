//! With which credentials a source is asked, and how long they are believed.

use std::{collections::BTreeMap, time::Duration};

use backstop_engine::reading::{Reading, Unavailable};
use backstop_sources::{Credentials, Endpoint};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tokio::time::Instant;

use crate::context::Context;

/// Credentials are read again after so long: they are rotated.
const CREDENTIALS_KEPT: Duration = Duration::from_mins(5);
/// And after so long when they did not work.
const CREDENTIALS_RETRIED: Duration = Duration::from_secs(10);

/// With which credentials to ask.
#[derive(Default)]
pub(super) struct Access {
    credentials: Option<(Credentials, Instant)>,
}

impl Access {
    pub(super) async fn endpoint(
        &mut self,
        context: &Context,
        namespace: &str,
        address: Option<&str>,
        secret: Option<&str>,
    ) -> Result<Endpoint, String> {
        let address = match address {
            Some(address) => context.allowed.check(address),
            None => context.allowed.own(),
        }
        .map_err(|e| e.to_string())?;
        Ok(Endpoint {
            address,
            credentials: self.credentials(context, namespace, secret).await?,
        })
    }

    pub(super) async fn credentials(
        &mut self,
        context: &Context,
        namespace: &str,
        secret: Option<&str>,
    ) -> Result<Credentials, String> {
        let Some(secret) = secret else {
            return Ok(Credentials::none());
        };
        if let Some((credentials, until)) = &self.credentials
            && Instant::now() < *until
        {
            return Ok(credentials.clone());
        }
        let read = credentials(context, namespace, secret).await?;
        self.credentials = Some((read.clone(), Instant::now() + CREDENTIALS_KEPT));
        Ok(read)
    }

    /// What did not work is read again soon.
    pub(super) fn learn_from(&mut self, reading: &Reading) {
        let failed = matches!(
            reading,
            Reading::Unavailable {
                // An authority that is not trusted, or a certificate that is not, is unreachable.
                reason: Unavailable::Unauthorized
                    | Unavailable::Misconfigured
                    | Unavailable::Unreachable,
                ..
            }
        );
        if failed && let Some((_, until)) = &mut self.credentials {
            *until = (*until).min(Instant::now() + CREDENTIALS_RETRIED);
        }
    }
}

async fn credentials(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Credentials, String> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let secret = context
        .calls
        .read("get secret", api.get(name))
        .await
        .map_err(|e| format!("Secret {name} of this namespace cannot be read: {e}"))?;
    let data: BTreeMap<String, Vec<u8>> = secret
        .data
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key, value.0))
        .collect();
    Credentials::from_secret(&data).map_err(|e| format!("Secret {name}: {e}"))
}
