//! One client against a server that answers over HTTP.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect};
use axum::routing::{any, post};
use backstop_engine::reading::{Reading, Unavailable};
use backstop_sources::{Credentials, InstantQuery, LARGEST_ANSWER, PrometheusClient, RangeQuery};
use jiff::Timestamp;
use support::{QUERY, answer, ask, ask_with, credentials, endpoint, json, one_series, query};
use support::{nobody, serve, serve_json, serve_raw, unavailable};

#[tokio::test]
async fn a_value_comes_back_with_its_time() {
    let before = Timestamp::now();
    let address = serve_json(200, one_series("0.05")).await;
    let Reading::Value { value, at } = ask(&address).await else {
        panic!("no value")
    };
    assert!((value - 0.05).abs() < f64::EPSILON);
    assert!(at >= before - jiff::SignedDuration::from_millis(1));
}

#[tokio::test]
async fn the_query_and_its_limits_are_sent_below_the_path_of_the_address() {
    let seen = Arc::new(Mutex::new(String::new()));
    let record = Arc::clone(&seen);
    let handler = move |headers: HeaderMap, body: String| async move {
        let agent = headers.get("user-agent").cloned();
        *record.lock().expect("the lock") = format!("{agent:?} {body}");
        json(200, one_series("1"))
    };
    let address = serve(Router::new().route("/prom/api/v1/query", post(handler))).await;
    let client = PrometheusClient::new(endpoint(&format!("{address}/prom/"), Credentials::none()))
        .expect("a client");
    let at = Timestamp::now();
    let query = InstantQuery {
        at: Some(at),
        ..query(r#"x{a="b"} > 1"#)
    };
    assert_eq!(client.query(&query, at).await.value(), Some(1.0));
    let seen = seen.lock().expect("the lock").clone();
    assert!(seen.contains("query=x%7Ba%3D%22b%22%7D+%3E+1"), "{seen}");
    assert!(seen.contains("timeout=1000ms"), "{seen}");
    assert!(seen.contains("partial_response=false"), "{seen}");
    assert!(
        seen.contains(&format!("time={}", at.to_string().replace(':', "%3A"))),
        "{seen}"
    );
    assert!(seen.contains("backstop/"), "{seen}");
}

#[tokio::test]
async fn prometheus_own_message_is_kept() {
    let body = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": unknown position: parse error: no expression found in input"}"#;
    let address = serve_json(400, body).await;
    let (reason, why) = unavailable(ask(&address).await);
    assert_eq!(reason, Unavailable::Rejected);
    assert!(
        why.ends_with("parse error: no expression found in input"),
        "{why}"
    );
}

#[tokio::test]
async fn a_refused_connection_is_unreachable() {
    let address = nobody().await;
    let (reason, why) = unavailable(ask(&address).await);
    assert_eq!(reason, Unavailable::Unreachable);
    assert!(why.contains(&address) && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_unreachable() {
    let (reason, why) = unavailable(ask("http://prometheus.invalid:9090").await);
    assert!(
        matches!(reason, Unavailable::Unreachable | Unavailable::Timeout),
        "{why}"
    );
}

#[tokio::test]
async fn a_server_that_never_answers_times_out() {
    for bytes in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"] {
        let address = serve_raw(bytes, true).await;
        assert_eq!(
            unavailable(ask(&address).await),
            (Unavailable::Timeout, "no answer within 1s".to_owned())
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_malformed() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"status\"";
    let (reason, why) = unavailable(ask(&serve_raw(half, false).await).await);
    assert_eq!(reason, Unavailable::Malformed);
    assert!(
        why.starts_with("the answer broke off after 9 bytes"),
        "{why}"
    );

    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"sta";
    let (reason, _) = unavailable(ask(&serve_raw(chunked, false).await).await);
    assert_eq!(reason, Unavailable::Malformed);
}

#[tokio::test]
async fn a_connection_that_closes_without_an_answer_is_unreachable() {
    let (reason, why) = unavailable(ask(&serve_raw(b"", false).await).await);
    assert_eq!(reason, Unavailable::Unreachable, "{why}");
}

#[tokio::test]
async fn what_is_not_http_is_unreachable() {
    let (reason, why) = unavailable(ask(&serve_raw(b"SSH-2.0-OpenSSH_9.6\r\n", false).await).await);
    assert_eq!(reason, Unavailable::Unreachable, "{why}");
}

#[tokio::test]
async fn an_empty_answer_and_a_page_are_malformed() {
    let empty = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (reason, why) = unavailable(ask(&serve_raw(empty, false).await).await);
    assert_eq!(
        (reason, why.as_str()),
        (Unavailable::Malformed, "the answer is empty")
    );

    let login = || async { answer(200, "text/html; charset=utf-8", "<html>Sign in</html>") };
    let (reason, why) = unavailable(ask(&serve(Router::new().fallback(login)).await).await);
    assert_eq!(reason, Unavailable::Malformed);
    assert_eq!(
        why,
        "the answer is text/html; charset=utf-8, not JSON: is this address a Prometheus?"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let asked_elsewhere = Arc::new(Mutex::new(false));
    let record = Arc::clone(&asked_elsewhere);
    let elsewhere = serve(Router::new().fallback(any(move || async move {
        *record.lock().expect("the lock") = true;
        json(200, one_series("1"))
    })))
    .await;
    for status in [302, 307, 308] {
        let target = format!("{elsewhere}{QUERY}?token=hunter2");
        let redirect = move || async move {
            let mut response = Redirect::temporary(&target).into_response();
            *response.status_mut() = axum::http::StatusCode::from_u16(status).expect("a status");
            response
        };
        let address = serve(Router::new().fallback(redirect)).await;
        let (reason, why) = unavailable(ask(&address).await);
        assert_eq!(reason, Unavailable::Misconfigured, "{why}");
        assert!(!why.contains("hunter2"), "{why}");
    }
    assert!(!*asked_elsewhere.lock().expect("the lock"));
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_read_to_its_end() {
    let (reason, why) =
        unavailable(ask(&serve_json(200, " ".repeat(LARGEST_ANSWER + 1)).await).await);
    assert_eq!(reason, Unavailable::Ambiguous, "{why}");
    let (reason, _) =
        unavailable(ask(&serve_json(502, " ".repeat(LARGEST_ANSWER + 1)).await).await);
    assert_eq!(reason, Unavailable::ServerError);
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    // A proxy that repeats what it was sent, as debugging proxies do.
    let echo = |request: Request| async move {
        let sent = request.headers().get("authorization").cloned();
        let sent = sent
            .and_then(|it| it.to_str().map(str::to_owned).ok())
            .unwrap_or_default();
        let error = format!("no access with {sent}, password hunter2");
        json(
            403,
            format!(r#"{{"status":"error","errorType":"forbidden","error":"{error}"}}"#),
        )
    };
    let address = serve(Router::new().fallback(echo)).await;
    for (credentials, expected) in [
        (
            credentials(&[("username", "admin"), ("password", "hunter2")]),
            "HTTP 403 Forbidden: are the credentials right, and is there a Secret with them? \
             (forbidden: no access with Basic ***, password ***)",
        ),
        (
            credentials(&[("token", "hunter2")]),
            "HTTP 403 Forbidden: are the credentials right, and is there a Secret with them? \
             (forbidden: no access with Bearer ***, password ***)",
        ),
    ] {
        let (reason, why) = unavailable(ask_with(&address, credentials.clone()).await);
        assert_eq!(
            (reason, why.as_str()),
            (Unavailable::Unauthorized, expected)
        );
        let client = PrometheusClient::new(endpoint(&address, credentials)).expect("a client");
        assert!(!format!("{client:?} {client:#?}").contains("hunter2"));
    }
    let down = nobody().await;
    let (_, why) = unavailable(ask_with(&down, credentials(&[("token", "hunter2")])).await);
    assert!(!why.contains("hunter2"), "{why}");
}

#[tokio::test]
async fn a_range_is_asked_for_with_its_times_and_no_secret_is_in_what_comes_of_it() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let handler = move |body: String| async move {
        let mut seen = record.lock().expect("the lock");
        seen.push(body);
        if seen.len() == 1 {
            let series = r#"[{"metric":{},"values":[[1000,"0.5"],[1010,"0.25"]]}]"#;
            json(
                200,
                format!(
                    r#"{{"status":"success","data":{{"resultType":"matrix","result":{series}}}}}"#
                ),
            )
        } else {
            json(
                422,
                r#"{"status":"error","errorType":"execution","error":"no user hunter2"}"#,
            )
        }
    };
    let address = serve(Router::new().route("/api/v1/query_range", post(handler))).await;
    let credentials = credentials(&[("token", "hunter2")]);
    let client = PrometheusClient::new(endpoint(&address, credentials)).expect("a client");
    let second = |second| Timestamp::from_second(second).expect("a time");
    let query = RangeQuery {
        promql: "sum(x)".to_owned(),
        from: second(1000),
        to: second(1015),
        step: Duration::from_millis(2500),
        timeout: Duration::from_secs(1),
    };
    assert_eq!(query.times(), 7);
    let samples = client.range(&query).await.expect("samples");
    let samples: Vec<_> = samples.iter().map(|s| (s.at, s.value)).collect();
    assert_eq!(samples, [(second(1000), 0.5), (second(1010), 0.25)]);
    let asked = seen.lock().expect("the lock")[0].clone();
    for part in [
        "query=sum%28x%29",
        "start=1000",
        "end=1015",
        "step=2.5",
        "timeout=1000",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    let Err(Reading::Unavailable { reason, why }) = client.range(&query).await else {
        panic!("an answer")
    };
    assert_eq!(
        (reason, why.as_str()),
        (Unavailable::Rejected, "execution: no user ***")
    );
}
