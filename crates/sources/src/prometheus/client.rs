//! One Prometheus: connecting, asking, and reading what comes back up to a limit.

use std::time::Duration;

use backstop_api::event::Sample;
use backstop_engine::reading::{Reading, Unavailable};
use jiff::Timestamp;
use prometheus_http_query as promql;

use super::answer;
use super::{Endpoint, Failure, InstantQuery, RangeQuery};
use crate::http::{self, Answer, chain};

/// The longest answer that is read, in bytes: a single number needs a few hundred.
pub const LARGEST_ANSWER: usize = 1 << 20;

/// A client of one endpoint, with a pool of connections.
#[derive(Clone)]
pub struct PrometheusClient {
    http: promql::Client,
    web: reqwest::Client,
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
        let web =
            http::client(&endpoint).map_err(|why| Failure::new(Unavailable::Misconfigured, why))?;
        let http = promql::Client::from(web.clone(), endpoint.address.as_str())
            .map_err(|error| Failure::new(Unavailable::Misconfigured, error.to_string()))?;
        Ok(Self {
            http,
            web,
            endpoint,
        })
    }

    /// What it asks with: the same pool of connections, for other questions to this endpoint.
    pub(crate) fn web(&self) -> &reqwest::Client {
        &self.web
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

    /// Asks once about many times: the samples of the one series that there is, oldest first, also
    /// those that are no finite number. An empty answer has none.
    ///
    /// Whatever keeps it from an answer comes back as the [`Reading`] that says so.
    pub async fn range(&self, query: &RangeQuery) -> Result<Vec<Sample>, Reading> {
        let asking = async {
            let request = self
                .http
                .query_range(
                    &query.promql,
                    query.from.as_second(),
                    query.to.as_second(),
                    query.step.as_secs_f64(),
                )
                .timeout(millis(query.timeout))
                .query("partial_response", "false");
            let answer = self
                .received(request.post_raw().await, query.timeout)
                .await?;
            answer::read_range(&answer)
        };
        let answer = tokio::time::timeout(query.timeout, asking).await;
        answer
            .unwrap_or_else(|_| Err(Failure::timeout(query.timeout)))
            .map_err(|Failure { reason, why }| {
                let why = self.endpoint.credentials.scrub(why);
                Reading::from(Failure { reason, why })
            })
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
        self.received(request.post_raw().await, query.timeout).await
    }

    async fn received(
        &self,
        response: Result<reqwest::Response, promql::Error>,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        match response {
            Ok(response) => http::receive(response, LARGEST_ANSWER).await,
            Err(promql::Error::Client(error)) => Err(match error.inner() {
                Some(source) => self.unsent(source, limit),
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

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
