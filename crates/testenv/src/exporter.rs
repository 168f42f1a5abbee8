//! A metrics endpoint in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context as _;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::sync::oneshot;

/// Gives the text that is scraped, in Prometheus' text format.
pub trait Metrics: Send + Sync + 'static {
    /// The text as of now.
    fn render(&self) -> String;
}

impl<F: Fn() -> String + Send + Sync + 'static> Metrics for F {
    fn render(&self) -> String {
        self()
    }
}

/// Serves metrics on a free loopback port until it is dropped.
///
/// It has a thread and a runtime of its own, so it answers while the test's runtime is busy or gone.
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Starts to serve what `metrics` gives, under `/metrics`.
    pub fn start(metrics: impl Metrics) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let metrics = Arc::new(metrics);
        let text_of = move || {
            let text = metrics.render();
            async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
        };
        let router = Router::new().route("/metrics", get(text_of));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::select! {
                served = axum::serve(listener, router) => served,
                // Sent, or the sender is gone: over either way.
                _ = stopped => Ok(()),
            }
        };
        let thread = std::thread::Builder::new()
            .name("exporter".to_owned())
            .spawn(move || {
                if let Err(error) = runtime.block_on(serve) {
                    eprintln!("[testenv] an exporter ended: {error}");
                }
            })
            .context("no thread for the exporter")?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where to scrape it: `host:port`.
    pub fn target(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
