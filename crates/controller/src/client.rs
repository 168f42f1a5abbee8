//! The way to the API server.

use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::USER_AGENT;
use kube::{Client, Config};

/// How the operator calls itself, so that the API server's audit log tells its requests from those of others who have its
/// rights.
const NAME: HeaderValue = HeaderValue::from_static(concat!("backstop/", env!("CARGO_PKG_VERSION")));

/// An answer about the Lease that takes longer is none.
const IMPATIENT: Duration = Duration::from_secs(3);

/// The way for short questions alone: a connection that died is noticed soon.
pub(crate) async fn impatient_client() -> anyhow::Result<Client> {
    let mut config = config().await?;
    config.connect_timeout = Some(IMPATIENT);
    config.read_timeout = Some(IMPATIENT);
    config.write_timeout = Some(IMPATIENT);
    Ok(Client::try_from(config)?)
}

/// In a cluster by the service account, elsewhere by `KUBECONFIG`.
pub(crate) async fn client() -> anyhow::Result<Client> {
    Ok(Client::try_from(config().await?)?)
}

async fn config() -> anyhow::Result<Config> {
    let mut config = Config::infer().await?;
    config.headers.push((USER_AGENT, NAME));
    Ok(config)
}
