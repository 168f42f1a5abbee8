//! A client for what is on this machine.

use std::time::Duration;

use anyhow::{Context as _, anyhow};

use crate::process::Process;
use crate::wait::eventually;

/// So long a program may take until it answers.
const READY_DEADLINE: Duration = Duration::from_mins(1);

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

/// Waits until a program answers at its address that it is ready.
pub(crate) async fn ready(
    process: &Process,
    name: &str,
    client: &reqwest::Client,
    url: &str,
) -> anyhow::Result<()> {
    let what = format!("{name} to be ready");
    let ready = eventually(&what, READY_DEADLINE, async || {
        if let Some(status) = process.exited() {
            // No use in waiting on: the outer Ok ends it.
            return Ok(Err(anyhow!("{name} has ended: {status}")));
        }
        client.get(url).send().await?.error_for_status()?;
        anyhow::Ok(Ok(()))
    });
    ready.await.flatten().with_context(|| {
        let log = process.log_tail(30);
        format!("{name} did not start; the end of its log:\n{log}")
    })
}
