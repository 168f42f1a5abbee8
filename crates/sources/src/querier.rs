//! Asking for many at once: identical questions together, not too many at a time, and once more
//! where a failure may pass.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use backstop_engine::reading::Reading;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use jiff::Timestamp;
use moka::sync::Cache;
use tokio::sync::Semaphore;

use crate::Credentials;
use crate::outcome::{Observer, Outcome};
use crate::prometheus::{Endpoint, Failure, InstantQuery, PrometheusClient};
use crate::web::{self, WebQuery};

/// How much is asked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests in flight in all.
    pub overall: usize,
    /// Requests in flight to one endpoint, so that one that hangs does not hold up the others.
    pub per_endpoint: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            overall: 64,
            per_endpoint: 8,
        }
    }
}

/// Clients are kept this long after their last use: a Secret that was changed is not kept for ever.
const KEEP_CLIENTS: Duration = Duration::from_mins(10);
/// A bound for memory, far above the endpoints that a cluster has.
const MOST_CLIENTS: u64 = 1000;

/// Asks any number of endpoints. Clones share everything.
#[derive(Clone)]
pub struct Querier(Arc<Inner>);

struct Inner {
    limits: Limits,
    slots: Semaphore,
    connections: Cache<Endpoint, Arc<Connection>>,
    in_flight: Mutex<HashMap<Question, WeakShared<Asking>>>,
    observer: Box<dyn Observer>,
}

struct Connection {
    client: PrometheusClient,
    slots: Semaphore,
}

type Question = (Endpoint, Asked);

/// What is asked.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Asked {
    Prometheus(InstantQuery),
    Web(WebQuery),
}

impl Asked {
    fn timeout(&self) -> Duration {
        match self {
            Self::Prometheus(query) => query.timeout,
            Self::Web(query) => query.timeout,
        }
    }

    /// What ran out of time, for messages: a web service is named, as in all that it says.
    fn timed_out(&self) -> Failure {
        let failure = Failure::timeout(self.timeout());
        match self {
            Self::Prometheus(_) => failure,
            Self::Web(query) => Failure::new(
                failure.reason,
                format!("{}: {}", query.address, failure.why),
            ),
        }
    }
}

type Asking = BoxFuture<'static, Reading>;

impl Querier {
    /// A querier that tells `observer` of each question that it sends.
    pub fn new(limits: Limits, observer: impl Observer) -> Self {
        Self(Arc::new(Inner {
            limits,
            slots: Semaphore::new(limits.overall),
            connections: Cache::builder()
                .max_capacity(MOST_CLIENTS)
                .time_to_idle(KEEP_CLIENTS)
                .build(),
            in_flight: Mutex::default(),
            observer: Box::new(observer),
        }))
    }

    /// Asks, or joins whoever is asking the same endpoint the same thing right now.
    ///
    /// The query's timeout bounds everything: waiting for a free slot, and one more attempt after a
    /// moment where the endpoint is unreachable or failing. Dropping the future of everyone who asks
    /// cancels the request.
    pub async fn query(
        &self,
        endpoint: &Endpoint,
        query: &InstantQuery,
        now: Timestamp,
    ) -> Reading {
        let asked = Asked::Prometheus(query.clone());
        self.asking(endpoint.clone(), asked, now).await
    }

    /// Asks a web service, as [`Self::query`] does a Prometheus: together with whoever is asking it
    /// the same with the same credentials, and under the same limits, those of its host and port.
    pub async fn fetch(
        &self,
        credentials: &Credentials,
        query: &WebQuery,
        now: Timestamp,
    ) -> Reading {
        let endpoint = Endpoint {
            address: query.address.origin(),
            credentials: credentials.clone(),
        };
        self.asking(endpoint, Asked::Web(query.clone()), now).await
    }

    fn asking(&self, endpoint: Endpoint, asked: Asked, now: Timestamp) -> Shared<Asking> {
        let question = (endpoint, asked);
        // Whoever panicked while holding the lock left the map whole.
        let mut in_flight = self
            .0
            .in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(asking) = in_flight.get(&question).and_then(WeakShared::upgrade)
            && asking.peek().is_none()
        {
            return asking;
        }
        let asking = Arc::clone(&self.0)
            .ask(question.clone(), now)
            .boxed()
            .shared();
        in_flight.retain(|_, asking| asking.upgrade().is_some());
        in_flight.extend(asking.downgrade().map(|weak| (question, weak)));
        asking
    }
}

impl Inner {
    async fn ask(self: Arc<Self>, (endpoint, asked): Question, now: Timestamp) -> Reading {
        let begun = Instant::now();
        let reading = tokio::time::timeout(asked.timeout(), self.attempts(&endpoint, &asked, now))
            .await
            .unwrap_or_else(|_| Err(asked.timed_out()))
            .unwrap_or_else(Reading::from);
        self.observer
            .observe(begun.elapsed(), Outcome::from(&reading));
        reading
    }

    async fn attempts(
        &self,
        endpoint: &Endpoint,
        asked: &Asked,
        now: Timestamp,
    ) -> Result<Reading, Failure> {
        let connection = self.connection(endpoint)?;
        let attempt = || async {
            // Acquiring fails only once a semaphore is closed, which none of these ever is.
            let _at_the_endpoint = connection.slots.acquire().await.ok();
            let _overall = self.slots.acquire().await.ok();
            match asked {
                Asked::Prometheus(query) => connection.client.ask(query, now).await,
                Asked::Web(query) => web::ask(connection.client.web(), endpoint, query, now).await,
            }
        };
        let once_more = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_jitter()
            .with_max_times(1);
        attempt.retry(once_more).when(Failure::is_transient).await
    }

    fn connection(&self, endpoint: &Endpoint) -> Result<Arc<Connection>, Failure> {
        let connect = || {
            let client = PrometheusClient::build(endpoint.clone())?;
            let slots = Semaphore::new(self.limits.per_endpoint);
            Ok(Arc::new(Connection { client, slots }))
        };
        self.connections
            .try_get_with_by_ref(endpoint, connect)
            .map_err(|failure: Arc<Failure>| Failure::clone(&failure))
    }
}

impl fmt::Debug for Querier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Querier")
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}
