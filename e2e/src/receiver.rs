//! A web server that is told of rollbacks, and is not always well.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// With 200, and with a thread as Slack's Web API does.
    Well,
    /// With this status.
    Status(u16),
    /// Never.
    Hangs,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Received {
    /// The path.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as it is.
    pub text: String,
    /// The body as JSON.
    pub body: Value,
}

/// A web server that ends with the test's runtime.
pub struct Receiver {
    /// Where it is, without a slash at the end.
    pub url: String,
    mood: Arc<Mutex<Mood>>,
    received: Arc<Mutex<Vec<Received>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    /// Starts one.
    pub async fn start(mood: Mood) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mood = Arc::new(Mutex::new(mood));
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let (feels, sees) = (mood.clone(), received.clone());
        let router =
            Router::new().fallback(any(move |uri: Uri, headers: HeaderMap, body: Bytes| {
                let number = {
                    let mut received = lock(&sees);
                    received.push(Received {
                        path: uri.path().to_owned(),
                        headers,
                        text: String::from_utf8_lossy(&body).into_owned(),
                        body: serde_json::from_slice(&body).unwrap_or_default(),
                    });
                    received.len()
                };
                let mood = *lock(&feels);
                async move {
                    let status = match mood {
                        Mood::Well => 200,
                        Mood::Status(status) => status,
                        Mood::Hangs => std::future::pending().await,
                    };
                    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
                    (
                        status,
                        json!({"ok": true, "ts": format!("{number}.0")}).to_string(),
                    )
                }
            }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            url,
            mood,
            received,
        })
    }

    /// Answers like this from now on.
    pub fn feels(&self, mood: Mood) {
        *lock(&self.mood) = mood;
    }

    /// What it was sent at a path, oldest first.
    pub fn received(&self, path: &str) -> Vec<Received> {
        let all = lock(&self.received);
        all.iter().filter(|r| r.path == path).cloned().collect()
    }
}
