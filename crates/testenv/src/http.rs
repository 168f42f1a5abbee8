//! A client for what is on this machine.

use std::time::Duration;

/// A client without encryption and without the proxies that the environment names.
pub(crate) fn plain_client() -> anyhow::Result<reqwest::Client> {
    install_provider();
    Ok(reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .no_proxy()
        .build()?)
}

/// reqwest wants a provider even where nothing is encrypted.
pub(crate) fn install_provider() {
    // Someone else may have installed one: that is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
