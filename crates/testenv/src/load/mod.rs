//! Requests at constant concurrency, and a record of every answer.

mod drawing;
mod responses;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use reqwest::header::HOST;
use tokio::sync::watch;

pub use drawing::{Drawing, output_folder};
pub use responses::{Failure, Outcome, Response, Responses};

/// The header in which the application names its version.
const VERSION: &str = "x-version";

/// What can be chosen about a [`LoadGenerator`].
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The value of the header `Host`, where routes are told apart by it.
    pub host: Option<String>,
    /// Requests under way at any time, each followed by the next.
    pub concurrency: usize,
    /// Between an answer and the next request. It bounds the rate, which should be the same on any machine.
    pub pause: Duration,
    /// After so long a request counts as not answered.
    pub timeout: Duration,
    /// Whether connections are used again. A Service picks a pod for each connection and a proxy one for each
    /// request, so without a proxy in between this has to be off, as it is by default.
    pub keep_alive: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            host: None,
            concurrency: 4,
            pause: Duration::from_millis(10),
            timeout: Duration::from_secs(5),
            keep_alive: false,
        }
    }
}

/// Asks for one URL again and again, until it is stopped or dropped.
///
/// It has a thread and a runtime of its own, so it goes on while the test's runtime is busy.
#[derive(Debug)]
pub struct LoadGenerator {
    started: Instant,
    record: Arc<Mutex<Responses>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl LoadGenerator {
    /// Begins at once.
    pub fn start(url: &str, options: LoadOptions) -> anyhow::Result<Self> {
        let client = client(&options)?;
        let url = reqwest::Url::parse(url).with_context(|| format!("{url} is no URL"))?;
        let started = Instant::now();
        let record = Arc::new(Mutex::new(Responses::since(SystemTime::now())));
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let worker = Worker {
            client,
            url,
            options,
            started,
            record: record.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                let workers = (0..worker.options.concurrency)
                    .map(|_| worker.clone().ask_until(stopped.clone()));
                runtime.block_on(futures::future::join_all(workers));
            })
            .context("no thread for the load")?;
        Ok(Self {
            started,
            record,
            stop,
            thread: Some(thread),
        })
    }

    /// Time since the start, which is what the record counts in.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Every answer so far.
    pub fn responses(&self) -> Responses {
        self.record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for the requests that are under way, and gives every answer. Blocks for that long.
    pub fn stop(mut self) -> Responses {
        self.end();
        self.responses()
    }

    fn end(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for LoadGenerator {
    fn drop(&mut self) {
        self.end();
    }
}

fn client(options: &LoadOptions) -> anyhow::Result<reqwest::Client> {
    crate::http::install_provider();
    let mut builder = reqwest::Client::builder()
        .timeout(options.timeout)
        .no_proxy();
    if !options.keep_alive {
        builder = builder.pool_max_idle_per_host(0);
    }
    Ok(builder.build()?)
}

#[derive(Clone)]
struct Worker {
    client: reqwest::Client,
    url: reqwest::Url,
    options: LoadOptions,
    started: Instant,
    record: Arc<Mutex<Responses>>,
}

impl Worker {
    async fn ask_until(self, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            let response = self.ask().await;
            self.record
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(response);
            // Ends early when it is stopped, or when the generator is gone.
            let _ = tokio::time::timeout(self.options.pause, stopped.changed()).await;
        }
    }

    async fn ask(&self) -> Response {
        let asked = Instant::now();
        let mut request = self.client.get(self.url.clone());
        if let Some(host) = &self.options.host {
            request = request.header(HOST, host);
        }
        let mut version = None;
        let answer = async {
            let answer = request.send().await?;
            let status = answer.status().as_u16();
            let header = answer.headers().get(VERSION);
            version = header.and_then(|value| Some(value.to_str().ok()?.to_owned()));
            // An answer that breaks off is no answer.
            answer.bytes().await?;
            Ok(status)
        };
        let outcome = match answer.await {
            Ok(status) => Outcome::Status(status),
            Err(error) => Outcome::Failed(failure(&error)),
        };
        Response {
            at: self.started.elapsed(),
            latency: asked.elapsed(),
            outcome,
            version,
        }
    }
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        Failure::Timeout
    } else if error.is_connect() {
        Failure::Connect
    } else {
        Failure::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn wait_for(load: &LoadGenerator, count: usize) {
        crate::eventually("answers", Duration::from_secs(10), async || {
            let seen = load.responses().len();
            if seen >= count { Ok(()) } else { Err(seen) }
        })
        .await
        .unwrap();
    }

    /// Answers version a and b in turn, b with an error.
    async fn serve() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let answer = move || {
            let odd = asked.fetch_add(1, Ordering::Relaxed) % 2 == 1;
            async move {
                if odd {
                    (StatusCode::INTERNAL_SERVER_ERROR, [(VERSION, "b")])
                } else {
                    (StatusCode::OK, [(VERSION, "a")])
                }
            }
        };
        tokio::spawn(async move {
            axum::serve(listener, Router::new().route("/", get(answer)))
                .await
                .unwrap();
        });
        url
    }

    #[tokio::test]
    async fn every_answer_is_recorded_with_its_status_and_version() {
        let url = serve().await;
        let load = LoadGenerator::start(&url, LoadOptions::default()).unwrap();
        wait_for(&load, 40).await;
        let responses = tokio::task::spawn_blocking(|| load.stop()).await.unwrap();
        assert!((responses.share("a") - 0.5).abs() < 0.1, "{responses:?}");
        assert!(
            (responses.failed_share() - 0.5).abs() < 0.1,
            "{responses:?}"
        );
        assert!(responses.iter().all(|response| match response.outcome {
            Outcome::Status(500) => response.version.as_deref() == Some("b"),
            Outcome::Status(200) => response.version.as_deref() == Some("a"),
            _ => false,
        }));
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_a_failure_to_connect() {
        let [port] = crate::process::free_ports().unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let load = LoadGenerator::start(&url, LoadOptions::default()).unwrap();
        wait_for(&load, 4).await;
        let responses = load.responses();
        assert!(
            responses
                .iter()
                .all(|response| response.outcome == Outcome::Failed(Failure::Connect)),
            "{responses:?}"
        );
    }
}
