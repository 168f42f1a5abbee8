//! The operator.

use std::sync::Arc;

use backstop_controller::{Settings, metrics::Metrics, telemetry::Telemetry};
use clap::Parser;

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let metrics = Arc::new(Metrics::default());
            let telemetry = Telemetry::start(&settings, &metrics)?;
            let result = backstop_controller::run(settings, metrics).await;
            tokio::task::spawn_blocking(|| telemetry.end()).await?;
            result
        })
}
