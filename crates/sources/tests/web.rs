//! A web service that answers, and one that does not as it should.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, Method, Uri};
use axum::routing::any;
use backstop_engine::json_path::JsonPath;
use backstop_engine::reading::{Reading, Unavailable};
use backstop_sources::{AllowList, Credentials, LARGEST_WEB_ANSWER, Limits, Querier, WebQuery};
use jiff::Timestamp;
use support::{answer, credentials, json, nobody, serve, serve_raw, unavailable};

fn querier() -> Querier {
    Querier::new(Limits::default(), |_, _| {})
}

fn get(address: &str) -> WebQuery {
    let allowed = AllowList::new(None, [address]).expect("a list");
    let path = JsonPath::parse("$.rate").expect("a path");
    let url = format!("{address}/api/?of=hunter2");
    WebQuery {
        timeout: Duration::from_secs(1),
        ..WebQuery::get(&allowed, &url, path).expect("an allowed URL")
    }
}

async fn ask(address: &str) -> Reading {
    let (querier, query) = (querier(), get(address));
    let credentials = credentials(&[("token", "s3cret")]);
    querier.fetch(&credentials, &query, Timestamp::now()).await
}

async fn answering(status: u16, body: impl Into<String>) -> Reading {
    let body = body.into();
    let router = Router::new().fallback(any(move || async move { json(status, body) }));
    ask(&serve(router).await).await
}

#[tokio::test]
async fn a_number_is_a_value_taken_now() {
    let before = Timestamp::now();
    for (body, number) in [
        (r#"{"rate": 0.25}"#, 0.25),
        (r#"{"rate": "7"}"#, 7.0),
        (r#"{"rate": true}"#, 1.0),
    ] {
        match answering(200, body).await {
            Reading::Value { value, at } => {
                assert!((value - number).abs() < f64::EPSILON, "{body}: {value}");
                assert!(at >= before);
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn nothing_to_judge_is_no_data_and_names_the_address() {
    for (body, words) in [
        ("{}", "nothing is at $.rate"),
        (r#"{"rate": null}"#, "null is at $.rate"),
        (r#"{"rate": "NaN"}"#, "\"NaN\" is at $.rate"),
    ] {
        match answering(200, body).await {
            Reading::NoData { why } => {
                assert!(why.ends_with(&format!("/api/: {words}")), "{why}");
                assert!(
                    why.starts_with("http://127.0.0.1:") && !why.contains("hunter2"),
                    "{why}"
                );
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_is_unavailable_and_names_the_address_without_secrets() {
    let long = format!(
        r#"{{"rate": 1, "x": "{}"}}"#,
        "x".repeat(LARGEST_WEB_ANSWER)
    );
    for (status, body, reason, words) in [
        (
            200,
            r#"{"rate": "fine s3cret"}"#.to_owned(),
            Unavailable::Malformed,
            "\"fine ***\" is at $.rate, which is no number",
        ),
        (
            200,
            r#"{"rate": []}"#.into(),
            Unavailable::Malformed,
            "a list is at $.rate",
        ),
        (
            200,
            r#"{"rate": NaN}"#.into(),
            Unavailable::Malformed,
            "is not JSON",
        ),
        (
            200,
            String::new(),
            Unavailable::Malformed,
            "(application/json, 0 bytes) is not JSON",
        ),
        (200, "[".repeat(5000), Unavailable::Malformed, "is not JSON"),
        (
            200,
            long,
            Unavailable::Ambiguous,
            "longer than 262144 bytes",
        ),
        (
            302,
            r#"{"rate": 1}"#.into(),
            Unavailable::Misconfigured,
            "HTTP 302 Found, a redirect",
        ),
        (
            401,
            r#"{"rate": 1}"#.into(),
            Unavailable::Unauthorized,
            "HTTP 401",
        ),
        (
            404,
            r#"{"rate": 1}"#.into(),
            Unavailable::Rejected,
            "HTTP 404 Not Found",
        ),
        (
            429,
            r#"{"rate": 1}"#.into(),
            Unavailable::ServerError,
            "HTTP 429",
        ),
        (
            503,
            r#"{"rate": 1}"#.into(),
            Unavailable::ServerError,
            "HTTP 503",
        ),
    ] {
        let (seen, why) = unavailable(answering(status, body).await);
        assert_eq!(seen, reason, "{why}");
        assert!(why.starts_with("http://127.0.0.1:"), "{why}");
        assert!(why.contains(words), "{words}: {why}");
        assert!(!why.contains("hunter2") && !why.contains("s3cret"), "{why}");
    }
}

#[tokio::test]
async fn silence_and_broken_connections_are_unavailable() {
    for (address, reason, words) in [
        (nobody().await, Unavailable::Unreachable, "cannot be asked"),
        (
            serve_raw(b"", true).await,
            Unavailable::Timeout,
            "no answer within 1s",
        ),
        (
            serve_raw(b"what?\r\n\r\n", false).await,
            Unavailable::Unreachable,
            "cannot be asked",
        ),
        (
            serve_raw(
                b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"rate\": 1",
                false,
            )
            .await,
            Unavailable::Malformed,
            "broke off",
        ),
    ] {
        let (seen, why) = unavailable(ask(&address).await);
        assert_eq!(seen, reason, "{why}");
        assert!(
            why.starts_with(&address) && why.contains(words),
            "{words}: {why}"
        );
    }
}

#[tokio::test]
async fn a_question_has_the_policys_headers_and_body_and_the_secrets_credentials() {
    let echo = |method: Method, uri: Uri, headers: HeaderMap, body: String| async move {
        let header = |name: &str| {
            headers
                .get(name)
                .map_or("", |v| v.to_str().expect("text"))
                .to_owned()
        };
        let seen = [
            method.to_string(),
            uri.to_string(),
            header("authorization"),
            header("accept"),
            header("content-type"),
            header("x-team"),
            body,
        ];
        let right = [
            "POST",
            "/api/?of=hunter2",
            "Bearer s3cret",
            "application/json",
            "text/plain",
            "shop",
            "what?",
        ];
        json(200, format!(r#"{{"rate": {}}}"#, i32::from(seen == right)))
    };
    let address = serve(Router::new().fallback(any(echo))).await;
    let query = WebQuery {
        body: Some("what?".into()),
        headers: vec![
            ("X-Team".into(), "shop".into()),
            ("content-type".into(), "text/plain".into()),
        ],
        ..get(&address)
    };
    let reading = querier()
        .fetch(
            &credentials(&[("token", "s3cret")]),
            &query,
            Timestamp::now(),
        )
        .await;
    assert_eq!(reading.value(), Some(1.0), "{reading:?}");
}

#[tokio::test]
async fn a_failure_that_may_pass_is_asked_about_once_more_and_equal_questions_are_one() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    let router = Router::new().fallback(any(move || {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match number {
                0 => answer(503, "text/html", "later"),
                _ => json(200, r#"{"rate": 1}"#),
            }
        }
    }));
    let (querier, query) = (querier(), get(&serve(router).await));
    let (nobody, now) = (Credentials::none(), Timestamp::now());
    let (one, other) = futures::join!(
        querier.fetch(&nobody, &query, now),
        querier.fetch(&nobody, &query, now)
    );
    assert_eq!(
        (one.value(), other.value()),
        (Some(1.0), Some(1.0)),
        "{one:?} {other:?}"
    );
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}
