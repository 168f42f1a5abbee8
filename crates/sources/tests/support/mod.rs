//! Servers in this process that answer as Prometheus does, and as it does not.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use backstop_engine::reading::{Reading, Unavailable};
use backstop_sources::{AllowList, Credentials, Endpoint, InstantQuery, PrometheusClient};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The path of the query API.
pub const QUERY: &str = "/api/v1/query";

/// The answer of a Prometheus to a query with one series.
pub fn one_series(value: &str) -> String {
    let now = Timestamp::now().as_duration().as_secs_f64();
    format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[{now},"{value}"]}}]}}}}"#
    )
}

/// An answer with the type that Prometheus gives.
pub fn json(status: u16, body: impl Into<String>) -> Response {
    answer(status, "application/json", body)
}

pub fn answer(status: u16, content_type: &'static str, body: impl Into<String>) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    let kind = (
        HeaderName::from_static("content-type"),
        HeaderValue::from_static(content_type),
    );
    (status, [kind], body.into()).into_response()
}

/// Serves `router` on loopback and gives its address.
pub async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Serves one fixed answer to every query.
pub async fn serve_json(status: u16, body: impl Into<String>) -> String {
    let body = body.into();
    serve(Router::new().route(QUERY, post(move || async move { json(status, body) }))).await
}

/// Serves bytes as they are: reads a request, writes them, and closes or hangs.
pub async fn serve_raw(bytes: &'static [u8], hang: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 65536];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(bytes).await;
                let _ = stream.flush().await;
                if hang {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    address
}

/// An address on loopback where nothing listens.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

pub fn credentials(entries: &[(&str, &str)]) -> Credentials {
    let data: BTreeMap<_, _> = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
        .collect();
    Credentials::from_secret(&data).expect("a valid Secret")
}

pub fn endpoint(address: &str, credentials: Credentials) -> Endpoint {
    let allowed = AllowList::new(None, [address]).expect("a valid list");
    Endpoint {
        address: allowed.check(address).expect("an allowed address"),
        credentials,
    }
}

/// A query that waits a second at most.
pub fn query(promql: &str) -> InstantQuery {
    InstantQuery {
        timeout: Duration::from_secs(1),
        ..InstantQuery::new(promql)
    }
}

pub async fn ask_with(address: &str, credentials: Credentials) -> Reading {
    let client = PrometheusClient::new(endpoint(address, credentials)).expect("a client");
    client.query(&query("up"), Timestamp::now()).await
}

pub async fn ask(address: &str) -> Reading {
    ask_with(address, Credentials::none()).await
}

/// The reason and the text of a reading that has no value.
pub fn unavailable(reading: Reading) -> (Unavailable, String) {
    match reading {
        Reading::Unavailable { reason, why } => (reason, why),
        other => panic!("expected no usable answer, got {other:?}"),
    }
}
