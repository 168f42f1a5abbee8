//! The listener for alerts, apart from that of health and metrics: it is for others.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, routing::post};
use axum_server::{Handle, Server, tls_rustls::RustlsConfig};
use tokio::task::JoinHandle;

use super::{Inbox, receive};
use crate::{metrics::Metrics, settings::Settings};

/// Who connects says what he wants within this time.
const SILENT: Duration = Duration::from_secs(10);
/// Posts that are under way when the operator stops have so long to end.
const GRACE: Duration = Duration::from_secs(2);
/// The certificate is read again after so long: it is renewed while we run.
const KEPT: Duration = Duration::from_mins(5);

/// What hears alerts.
pub struct Hearing {
    /// Where they are kept.
    pub inbox: Arc<Inbox>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Hearing {
    /// Waits until it has stopped.
    pub async fn ended(self) -> anyhow::Result<()> {
        self.server.await?.context("hearing alerts")
    }
}

/// Begins to hear alerts, until `stop` resolves; nothing where no address is set. What is set and
/// cannot work is said now.
pub async fn start(
    settings: &Settings,
    metrics: &Arc<Metrics>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<Option<Hearing>> {
    let Some(listen) = settings.alerts_listen else {
        return Ok(None);
    };
    let inbox = Arc::new(Inbox::new(
        settings.alerts_credentials.clone(),
        metrics.clone(),
    ));
    inbox.access.check().await.map_err(anyhow::Error::msg)?;
    let listener =
        std::net::TcpListener::bind(listen).with_context(|| format!("--alerts-listen {listen}"))?;
    let tls = match &settings.alerts_tls {
        Some(folder) => Some(certificate(folder).await?),
        None => None,
    };
    tracing::info!(address = %listener.local_addr()?, tls = tls.is_some(), "hearing alerts");
    let handle = Handle::new();
    let stopping = handle.clone();
    tokio::spawn(async move {
        stop.await;
        stopping.graceful_shutdown(Some(GRACE));
    });
    let app = Router::new()
        .route("/alerts", post(receive::about_the_cluster))
        .route("/alerts/{namespace}", post(receive::about_a_namespace))
        .with_state(inbox.clone())
        .into_make_service();
    let server = match tls {
        None => {
            let server = patient(axum_server::from_tcp(listener)?.handle(handle));
            tokio::spawn(server.serve(app))
        }
        Some(tls) => {
            let server = patient(axum_server::from_tcp_rustls(listener, tls)?.handle(handle));
            tokio::spawn(server.serve(app))
        }
    };
    Ok(Some(Hearing { inbox, server }))
}

/// The certificate in a folder, which is read again while we run.
async fn certificate(folder: &Path) -> anyhow::Result<RustlsConfig> {
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let config = RustlsConfig::from_pem_file(&certificate, &key)
        .await
        .with_context(|| format!("--alerts-tls {}", folder.display()))?;
    let renewed = config.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(KEPT).await;
            if let Err(error) = renewed.reload_from_pem_file(&certificate, &key).await {
                tracing::warn!(%error, "the certificate for alerts cannot be read; the old one is used on");
            }
        }
    });
    Ok(config)
}

/// Waits for requests, but not for ever.
fn patient<A>(server: Server<SocketAddr, A>) -> Server<SocketAddr, A> {
    let mut server = server.http1_only().first_request_timeout(SILENT);
    server.http_builder().http1().header_read_timeout(SILENT);
    server
}
