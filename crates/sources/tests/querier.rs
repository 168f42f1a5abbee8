//! Many questions at once.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use axum::routing::post;
use backstop_engine::reading::{Reading, Unavailable};
use backstop_sources::{Credentials, Endpoint, Limits, Outcome, Querier};
use futures::future::join_all;
use jiff::Timestamp;
use support::{QUERY, credentials, endpoint, json, nobody, one_series, query, serve, serve_raw};
use tokio::sync::Semaphore;

/// A Prometheus that counts requests and answers each when let.
struct Counting {
    address: String,
    requests: Arc<AtomicUsize>,
    at_once: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Counting {
    /// The first answers are made by `first`, by their number; the later ones are values.
    async fn new(open: usize, first: fn(usize) -> Option<Response>) -> Self {
        let (requests, at_once) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new(Semaphore::new(open));
        let state = (requests.clone(), at_once.clone(), gate.clone());
        let handler = move || {
            let (requests, at_once, gate) = state.clone();
            async move {
                let number = requests.fetch_add(1, Ordering::SeqCst);
                at_once.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.expect("an open gate").forget();
                at_once.fetch_sub(1, Ordering::SeqCst);
                first(number).unwrap_or_else(|| json(200, one_series("1")))
            }
        };
        let address = serve(Router::new().route(QUERY, post(handler))).await;
        Self {
            address,
            requests,
            at_once,
            gate,
        }
    }

    fn endpoint(&self) -> Endpoint {
        endpoint(&self.address, Credentials::none())
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Waits until so many requests are waiting at the gate.
    async fn waiting(&self, expected: usize) {
        let seen = || self.at_once.load(Ordering::SeqCst);
        let reached = async {
            while seen() < expected {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(5), reached).await;
        assert!(in_time.is_ok(), "{} of {expected} requests came", seen());
    }
}

/// A querier, and the outcomes that it tells.
fn querier(limits: Limits) -> (Querier, Arc<Mutex<Vec<Outcome>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&told);
    let querier = Querier::new(limits, move |_: Duration, outcome| {
        record.lock().expect("the lock").push(outcome);
    });
    (querier, told)
}

async fn ask(querier: &Querier, endpoint: &Endpoint, promql: &str) -> Reading {
    let query = backstop_sources::InstantQuery {
        timeout: Duration::from_secs(5),
        ..query(promql)
    };
    querier.query(endpoint, &query, Timestamp::now()).await
}

#[tokio::test]
async fn twenty_identical_queries_make_one_request() {
    let server = Counting::new(0, |_| None).await;
    let (querier, told) = querier(Limits::default());
    let endpoint = server.endpoint();
    let all = join_all((0..20).map(|_| ask(&querier, &endpoint, "up")));
    let open = async {
        server.waiting(1).await;
        server.gate.add_permits(1);
    };
    let (readings, ()) = tokio::join!(all, open);
    assert!(
        readings.iter().all(|reading| reading.value() == Some(1.0)),
        "{readings:?}"
    );
    assert_eq!(server.requests(), 1);
    assert_eq!(*told.lock().expect("the lock"), [Outcome::Value]);
}

#[tokio::test]
async fn an_answer_is_shared_only_while_it_is_awaited() {
    let server = Counting::new(2, |_| None).await;
    let (querier, _) = querier(Limits::default());
    ask(&querier, &server.endpoint(), "up").await;
    ask(&querier, &server.endpoint(), "up").await;
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn other_queries_and_other_credentials_are_not_shared() {
    let server = Counting::new(0, |_| None).await;
    let (querier, _) = querier(Limits::default());
    let open = server.endpoint();
    let secret = endpoint(&server.address, credentials(&[("token", "a")]));
    let other = endpoint(&server.address, credentials(&[("token", "b")]));
    let let_through = async {
        server.waiting(4).await;
        server.gate.add_permits(4);
    };
    tokio::join!(
        ask(&querier, &open, "up"),
        ask(&querier, &open, "down"),
        ask(&querier, &secret, "up"),
        ask(&querier, &other, "up"),
        let_through
    );
    assert_eq!(server.requests(), 4);
}

#[tokio::test]
async fn no_more_than_the_limit_is_asked_at_once() {
    let server = Counting::new(0, |_| None).await;
    for limits in [
        Limits {
            overall: 3,
            per_endpoint: 8,
        },
        Limits {
            overall: 8,
            per_endpoint: 3,
        },
    ] {
        let (querier, _) = querier(limits);
        let endpoint = server.endpoint();
        let texts: Vec<String> = (0..10).map(|number| format!("x{number}")).collect();
        let all = join_all(texts.iter().map(|text| ask(&querier, &endpoint, text)));
        let let_through = async {
            for _ in 0..10 {
                server.waiting(1).await;
                assert!(server.at_once.load(Ordering::SeqCst) <= 3);
                server.gate.add_permits(1);
            }
        };
        let (readings, ()) = tokio::join!(all, let_through);
        assert!(
            readings.iter().all(|reading| reading.value().is_some()),
            "{readings:?}"
        );
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_does_not_hold_up_another() {
    let hanging = endpoint(&serve_raw(b"", true).await, Credentials::none());
    let server = Counting::new(1, |_| None).await;
    let (querier, _) = querier(Limits {
        overall: 3,
        per_endpoint: 2,
    });
    let texts: Vec<String> = (0..10).map(|number| format!("x{number}")).collect();
    let stuck = join_all(texts.iter().map(|text| ask(&querier, &hanging, text)));
    let fine = async { ask(&querier, &server.endpoint(), "up").await };
    tokio::select! {
        biased;
        _ = stuck => panic!("the hanging endpoint answered first"),
        reading = fine => assert_eq!(reading.value(), Some(1.0)),
    }
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_once_more() {
    let server = Counting::new(9, |number| {
        (number == 0).then(|| json(503, "Service Unavailable"))
    })
    .await;
    let (querier, told) = querier(Limits::default());
    assert_eq!(
        ask(&querier, &server.endpoint(), "up").await.value(),
        Some(1.0)
    );
    assert_eq!(server.requests(), 2);
    assert_eq!(*told.lock().expect("the lock"), [Outcome::Value]);
}

#[tokio::test]
async fn a_failure_that_stays_is_tried_no_third_time() {
    let server = Counting::new(9, |_| Some(json(503, "Service Unavailable"))).await;
    let (querier, told) = querier(Limits::default());
    let (reason, _) = support::unavailable(ask(&querier, &server.endpoint(), "up").await);
    assert_eq!(reason, Unavailable::ServerError);
    assert_eq!(server.requests(), 2);
    assert_eq!(
        *told.lock().expect("the lock"),
        [Outcome::Unavailable(Unavailable::ServerError)]
    );
}

#[tokio::test]
async fn a_refused_query_is_not_tried_again() {
    let server = Counting::new(9, |_| Some(json(400, "{}"))).await;
    let (querier, _) = querier(Limits::default());
    let (reason, _) = support::unavailable(ask(&querier, &server.endpoint(), "up").await);
    assert_eq!(reason, Unavailable::Rejected);
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn nobody_there_stays_unreachable() {
    let (querier, _) = querier(Limits::default());
    let endpoint = endpoint(&nobody().await, Credentials::none());
    let (reason, _) = support::unavailable(ask(&querier, &endpoint, "up").await);
    assert_eq!(reason, Unavailable::Unreachable);
}

#[tokio::test]
async fn the_timeout_bounds_waiting_for_a_free_slot() {
    let hanging = endpoint(&serve_raw(b"", true).await, Credentials::none());
    let (querier, told) = querier(Limits {
        overall: 1,
        per_endpoint: 1,
    });
    let now = Timestamp::now();
    let texts = ["a", "b", "c"].map(query);
    let readings = join_all(texts.iter().map(|text| querier.query(&hanging, text, now))).await;
    for reading in readings {
        assert_eq!(
            support::unavailable(reading),
            (Unavailable::Timeout, "no answer within 1s".to_owned())
        );
    }
    assert_eq!(told.lock().expect("the lock").len(), 3);
}

#[tokio::test]
async fn unusable_certificates_are_misconfigured() {
    let (querier, _) = querier(Limits::default());
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let endpoint = endpoint("https://localhost:1", credentials(&[("ca.crt", pem)]));
    let (reason, why) = support::unavailable(ask(&querier, &endpoint, "up").await);
    assert_eq!(reason, Unavailable::Misconfigured, "{why}");
}
