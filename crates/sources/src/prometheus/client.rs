//! One Prometheus: connecting, asking, and reading what comes back up to a limit.

use std::error::Error as _;
use std::time::Duration;

use backstop_engine::reading::{Reading, Unavailable};
use jiff::Timestamp;
use prometheus_http_query as promql;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Response, redirect};

use super::answer::{self, Answer};
use super::{Endpoint, Failure, InstantQuery};

/// The longest answer that is read, in bytes: a single number needs a few hundred.
pub const LARGEST_ANSWER: usize = 1 << 20;

/// A client of one endpoint, with a pool of connections.
#[derive(Clone)]
pub struct PrometheusClient {
    http: promql::Client,
    endpoint: Endpoint,
}

impl PrometheusClient {
    /// Connects to nothing yet. Fails with [`Unavailable::Misconfigured`] where the certificates
    /// cannot be used.
    ///
    /// The first call makes ring the TLS provider of the process, unless there is one.
    pub fn new(endpoint: Endpoint) -> Result<Self, Reading> {
        Self::build(endpoint).map_err(Reading::from)
    }

    pub(crate) fn build(endpoint: Endpoint) -> Result<Self, Failure> {
        // An error says that a provider is installed, which is all that is needed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let Endpoint {
            address,
            credentials,
        } = &endpoint;
        let mut headers = HeaderMap::new();
        if let Some(authorization) = credentials.authorization() {
            headers.insert(AUTHORIZATION, authorization);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("backstop/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            // A redirect would lead out of the allow-list.
            .redirect(redirect::Policy::none());
        if let Some(roots) = credentials.roots() {
            builder = builder.tls_certs_only(roots);
        } else if !address.is_encrypted() {
            // An image without system certificates can do without them here.
            builder = builder.tls_certs_only([]);
        }
        if let Some(identity) = credentials.identity() {
            builder = builder.identity(identity);
        }
        let client = builder.build().map_err(|error| {
            Failure::new(Unavailable::Misconfigured, credentials.scrub(chain(&error)))
        })?;
        let http = promql::Client::from(client, address.as_str())
            .map_err(|error| Failure::new(Unavailable::Misconfigured, error.to_string()))?;
        Ok(Self { http, endpoint })
    }

    /// Asks once. `now` is what the time of the answer is compared with, unless the query names a
    /// time.
    pub async fn query(&self, query: &InstantQuery, now: Timestamp) -> Reading {
        let answer = tokio::time::timeout(query.timeout, self.ask(query, now)).await;
        answer
            .unwrap_or_else(|_| Err(Failure::timeout(query.timeout)))
            .unwrap_or_else(Reading::from)
    }

    /// Asks once, without a limit of time of its own.
    pub(crate) async fn ask(
        &self,
        query: &InstantQuery,
        now: Timestamp,
    ) -> Result<Reading, Failure> {
        let scrub = |text: String| self.endpoint.credentials.scrub(text);
        let answer = match self.send(query).await {
            Ok(answer) => answer::read(&answer, query, now),
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(Reading::NoData { why }) => Ok(Reading::NoData { why: scrub(why) }),
            Ok(Reading::Inconclusive { why }) => Ok(Reading::Inconclusive { why: scrub(why) }),
            Ok(reading) => Ok(reading),
            Err(Failure { reason, why }) => Err(Failure {
                reason,
                why: scrub(why),
            }),
        }
    }

    async fn send(&self, query: &InstantQuery) -> Result<Answer, Failure> {
        let mut request = self
            .http
            .query(&query.promql)
            // The server gives up when nobody waits any more.
            .timeout(millis(query.timeout))
            // Thanos answers in part otherwise, when a store is down. Prometheus ignores it.
            .query("partial_response", "false");
        if let Some(at) = query.at {
            request = request.query("time", at);
        }
        match request.post_raw().await {
            Ok(response) => receive(response).await,
            Err(promql::Error::Client(error)) => Err(match error.inner() {
                Some(source) => self.unsent(source, query.timeout),
                None => Failure::new(Unavailable::Unreachable, error.to_string()),
            }),
            Err(other) => Err(Failure::new(Unavailable::Unreachable, other.to_string())),
        }
    }

    fn unsent(&self, error: &reqwest::Error, limit: Duration) -> Failure {
        if error.is_timeout() {
            return Failure::timeout(limit);
        }
        let address = &self.endpoint.address;
        Failure::new(
            Unavailable::Unreachable,
            format!("cannot ask {address}: {}", chain(error)),
        )
    }
}

impl std::fmt::Debug for PrometheusClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrometheusClient")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

async fn receive(mut response: Response) -> Result<Answer, Failure> {
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type
        .and_then(|it| it.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => {
                return Ok(Answer {
                    status,
                    content_type,
                    body,
                });
            }
            Ok(Some(chunk)) if body.len() + chunk.len() <= LARGEST_ANSWER => {
                body.extend_from_slice(&chunk);
            }
            // What an error page says in so many words does not matter, only its status does.
            Ok(Some(_)) if !status.is_success() => {
                return Ok(Answer {
                    status,
                    content_type,
                    body: Vec::new(),
                });
            }
            Ok(Some(_)) => {
                return Err(Failure::new(
                    Unavailable::Ambiguous,
                    format!(
                        "the answer is longer than {LARGEST_ANSWER} bytes; one number is meant"
                    ),
                ));
            }
            Err(error) => {
                return Err(Failure::new(
                    Unavailable::Malformed,
                    format!(
                        "the answer broke off after {} bytes: {}",
                        body.len(),
                        chain(&error)
                    ),
                ));
            }
        }
    }
}

/// The causes of an error. The outermost text is left out: it repeats the URL and adds nothing.
fn chain(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        source = cause.source();
    }
    if texts.is_empty() {
        "unknown error".to_owned()
    } else {
        texts.join(": ")
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
