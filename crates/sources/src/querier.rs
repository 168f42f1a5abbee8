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

use crate::outcome::{Observer, Outcome};
use crate::prometheus::{Endpoint, Failure, InstantQuery, PrometheusClient};

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

type Question = (Endpoint, InstantQuery);
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
        self.asking(endpoint, query, now).await
    }

    fn asking(&self, endpoint: &Endpoint, query: &InstantQuery, now: Timestamp) -> Shared<Asking> {
        let question = (endpoint.clone(), query.clone());
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
    async fn ask(self: Arc<Self>, (endpoint, query): Question, now: Timestamp) -> Reading {
        let begun = Instant::now();
        let reading = tokio::time::timeout(query.timeout, self.attempts(&endpoint, &query, now))
            .await
            .unwrap_or_else(|_| Err(Failure::timeout(query.timeout)))
            .unwrap_or_else(Reading::from);
        self.observer
            .observe(begun.elapsed(), Outcome::from(&reading));
        reading
    }

    async fn attempts(
        &self,
        endpoint: &Endpoint,
        query: &InstantQuery,
        now: Timestamp,
    ) -> Result<Reading, Failure> {
        let connection = self.connection(endpoint)?;
        let attempt = || async {
            // Acquiring fails only once a semaphore is closed, which none of these ever is.
            let _at_the_endpoint = connection.slots.acquire().await.ok();
            let _overall = self.slots.acquire().await.ok();
            connection.client.ask(query, now).await
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
