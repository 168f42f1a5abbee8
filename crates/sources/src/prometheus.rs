//! Prometheus, and whatever else speaks its HTTP API.

mod answer;
mod client;

use std::time::Duration;

use backstop_engine::reading::{Reading, Unavailable};
use jiff::{SignedDuration, Timestamp};

use crate::{Address, Credentials};

pub use client::{LARGEST_ANSWER, PrometheusClient};

/// Where to ask, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// An address from the allow-list.
    pub address: Address,
    /// What to authenticate with.
    pub credentials: Credentials,
}

/// An instant query: one expression at one time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstantQuery {
    /// The expression, without placeholders.
    pub promql: String,
    /// The evaluation time; `None` leaves it to the server's clock, which made the samples too.
    pub at: Option<Timestamp>,
    /// How long an answer may take in all, with retries.
    pub timeout: Duration,
    /// How far the answer's time may be from the time asked for.
    ///
    /// Prometheus answers with the evaluation time, not with the time of the scrape, so this tells
    /// clocks that differ and answers out of a cache; that a scrape is missing shows as no data, after
    /// Prometheus' lookback of 5 min.
    pub max_age: SignedDuration,
}

impl InstantQuery {
    /// A query for now, with a timeout of 10 s and a maximum age of 1 min.
    pub fn new(promql: impl Into<String>) -> Self {
        Self {
            promql: promql.into(),
            at: None,
            timeout: Duration::from_secs(10),
            max_age: SignedDuration::from_mins(1),
        }
    }
}

/// A range query: one expression at many times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeQuery {
    /// The expression, without placeholders.
    pub promql: String,
    /// The first time; parts of a second are cut off.
    pub from: Timestamp,
    /// The last time; parts of a second are cut off.
    pub to: Timestamp,
    /// How far the times are apart.
    pub step: Duration,
    /// How long an answer may take in all.
    pub timeout: Duration,
}

/// The most times that Prometheus answers for at once.
pub const MOST_TIMES: u128 = 11_000;

impl RangeQuery {
    /// How many times it asks about.
    pub fn times(&self) -> u128 {
        let length = Duration::try_from(self.to.duration_since(self.from)).unwrap_or_default();
        length.as_nanos() / self.step.as_nanos().max(1) + 1
    }
}

/// Why there is no usable answer: what becomes [`Reading::Unavailable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: Unavailable,
    pub(crate) why: String,
}

impl Failure {
    pub(crate) fn new(reason: Unavailable, why: impl Into<String>) -> Self {
        Self {
            reason,
            why: why.into(),
        }
    }

    pub(crate) fn timeout(limit: Duration) -> Self {
        Self::new(Unavailable::Timeout, format!("no answer within {limit:?}"))
    }

    /// Whether the same question may be answered a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(
            self.reason,
            Unavailable::Unreachable | Unavailable::ServerError
        )
    }
}

impl From<Failure> for Reading {
    fn from(failure: Failure) -> Self {
        Self::Unavailable {
            reason: failure.reason,
            why: failure.why,
        }
    }
}
