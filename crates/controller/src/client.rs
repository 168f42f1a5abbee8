//! The way to the API server.

use axum::http::HeaderValue;
use axum::http::header::USER_AGENT;
use kube::{Client, Config};

/// How the operator calls itself, so that the API server's audit log tells its requests from those of others who have its
/// rights.
const NAME: HeaderValue = HeaderValue::from_static(concat!("backstop/", env!("CARGO_PKG_VERSION")));

/// In a cluster by the service account, elsewhere by `KUBECONFIG`.
pub(crate) async fn client() -> anyhow::Result<Client> {
    let mut config = Config::infer().await?;
    config.headers.push((USER_AGENT, NAME));
    Ok(Client::try_from(config)?)
}
