//! Sending to a real HTTP server that is not always well.

mod common;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::any,
};
use backstop_api::policy::Channel;
use backstop_notify::{Allowed, Failure, Reason, Receipt, SecretData, ValidChannel, channels};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use common::messages;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What stands in Secrets, and must be seen nowhere.
const HIDDEN: &str = "t0psecret-and-long-enough";

/// How a request is answered; `None` hangs.
type Answer = Option<(u16, &'static str, &'static str)>;
const FINE: Answer = Some((200, "", "ok"));

#[derive(Clone)]
struct Received {
    path: String,
    headers: HeaderMap,
    body: String,
}

impl Received {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|v| v.to_str().expect("text"));
        value.unwrap_or_default()
    }
}

struct Server {
    url: String,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let (next, seen) = (answers.clone(), received.clone());
        let router =
            Router::new().fallback(any(move |uri: Uri, headers: HeaderMap, body: Bytes| {
                let received = Received {
                    path: uri.to_string(),
                    headers,
                    body: String::from_utf8_lossy(&body).into_owned(),
                };
                seen.lock().expect("the lock").push(received);
                let answer = next.lock().expect("the lock").pop_front().unwrap_or(FINE);
                async move {
                    let Some((status, retry_after, body)) = answer else {
                        return std::future::pending::<Response>().await;
                    };
                    let status = StatusCode::from_u16(status).expect("a status");
                    let mut response = (status, body).into_response();
                    if !retry_after.is_empty() {
                        let value = retry_after.parse().expect("a header");
                        response.headers_mut().insert("retry-after", value);
                    }
                    response
                }
            }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            answers,
            received,
        }
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().expect("the lock").clone()
    }
}

fn secret(entries: &[(&str, &str)]) -> SecretData {
    let bytes = |(key, value): &(&str, &str)| ((*key).to_owned(), value.as_bytes().to_vec());
    entries.iter().map(bytes).collect()
}

fn channel(allowed: &Allowed, spec: Value) -> ValidChannel {
    let spec: Channel =
        serde_json::from_value(common::merged(json!({"name": "team"}), spec)).expect("a channel");
    channels(&[spec], allowed)
        .expect("a valid channel")
        .remove(0)
}

/// Sends the message about a success.
async fn send(
    url: &str,
    spec: Value,
    secret: &SecretData,
    thread: Option<&str>,
) -> Result<Receipt, Failure> {
    let allowed = Allowed::new([url]).expect("a valid list");
    let channel = channel(&allowed, spec);
    let payload = channel.render(&messages()[2]);
    let target = channel.target(Some(secret), &allowed);
    let target = target.map_err(|why| Failure::new(Reason::Misconfigured, why))?;
    let now = Timestamp::from_second(1_700_000_000).expect("a time");
    target
        .send_within(Duration::from_secs(2), &payload, thread, now)
        .await
}

#[tokio::test]
async fn a_failure_says_what_to_do_next_and_when() {
    let webhook = json!({"webhook": {"secretName": "s"}});
    for (answer, reason, words, wait) in [
        (
            Some((429, "7", "")),
            Reason::RateLimited,
            "HTTP 429",
            Some(7),
        ),
        (
            Some((500, "", HIDDEN)),
            Reason::ServerError,
            "HTTP 500",
            None,
        ),
        (
            Some((503, "120", "")),
            Reason::ServerError,
            "HTTP 503",
            Some(120),
        ),
        (Some((404, "", "")), Reason::Refused, "HTTP 404", None),
        (
            Some((403, "", "")),
            Reason::Refused,
            "are the credentials right",
            None,
        ),
        (
            Some((302, "", "")),
            Reason::Refused,
            "a redirect, which is not followed",
            None,
        ),
        (None, Reason::Timeout, "no answer within 2s", None),
    ] {
        let server = Server::start([answer]).await;
        let url = format!("{}/{HIDDEN}?sig={HIDDEN}", server.url);
        let secret = secret(&[("url", &url), ("token", HIDDEN)]);
        let sent = send(&server.url, webhook.clone(), &secret, None).await;
        let failure = sent.expect_err("it is not taken");
        assert_eq!(failure.reason, reason, "{failure:?}");
        assert!(failure.why.contains(words), "{failure:?}");
        assert_eq!(failure.retry_after, wait.map(Duration::from_secs));
        assert!(!format!("{failure:?}").contains(HIDDEN), "{failure:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_or_reset_names_no_secret() {
    let webhook = json!({"webhook": {"secretName": "s"}});
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let resets = tokio::spawn(async move {
        let (connection, _) = listener.accept().await.expect("a connection");
        // Closed with what was sent still unread, it is reset.
        connection.readable().await.expect("something to read");
        drop(connection);
    });
    let url = format!("{origin}/{HIDDEN}");
    let secret = secret(&[("url", &url), ("token", HIDDEN)]);
    for _ in 0..2 {
        let sent = send(&origin, webhook.clone(), &secret, None).await;
        let failure = sent.expect_err("nobody is there");
        assert_eq!(failure.reason, Reason::Unreachable, "{failure:?}");
        assert!(
            failure
                .why
                .starts_with(&format!("{origin}: cannot be reached: ")),
            "{failure:?}"
        );
        assert!(!format!("{failure:?}").contains(HIDDEN), "{failure:?}");
    }
    resets.await.expect("it was asked once");
}

#[tokio::test]
async fn a_webhook_gets_a_signed_cloud_event() {
    let server = Server::start([]).await;
    let secret = secret(&[
        ("token", "a-token\n"),
        ("signing-key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ]);
    let url = format!("{}/backstop", server.url);
    let spec = json!({"webhook": {"url": url, "secretName": "s"}});
    send(&server.url, spec, &secret, None)
        .await
        .expect("it is taken");
    let received = server.received().remove(0);
    assert_eq!(received.path, "/backstop");
    assert_eq!(received.header("authorization"), "Bearer a-token");
    assert_eq!(
        received.header("content-type"),
        "application/cloudevents+json; charset=utf-8"
    );
    let event = received.json();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["type"], "dev.backstop.rollback.succeeded");
    assert_eq!(event["id"], "event-uid/Succeeded");
    assert_eq!(received.header("webhook-id"), "event-uid/Succeeded");
    assert_eq!(received.header("webhook-timestamp"), "1700000000");
    // Reckoned anew, as a receiver would.
    let key = BASE64_STANDARD
        .decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        .expect("base64");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).expect("a key");
    mac.update(format!("event-uid/Succeeded.1700000000.{}", received.body).as_bytes());
    let wanted = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(received.header("webhook-signature"), format!("v1,{wanted}"));
}

#[tokio::test]
async fn slacks_bot_writes_into_the_thread_that_it_began() {
    let server = Server::start([
        Some((200, "", r#"{"ok": true, "channel": "C1", "ts": "1700.01"}"#)),
        FINE,
    ])
    .await;
    let api = format!("{}/api", server.url);
    let spec = json!({"slack": {"secretName": "s", "channel": "#web", "address": api}});
    let token = secret(&[("token", "xoxb-1")]);
    let first = send(&server.url, spec.clone(), &token, None)
        .await
        .expect("it is taken");
    assert_eq!(first.thread.as_deref(), Some("1700.01"));
    let second = send(&server.url, spec, &token, first.thread.as_deref()).await;
    // What is not Slack's answer is no receipt.
    assert_eq!(second.expect_err("it is not taken").reason, Reason::Refused);
    let received = server.received();
    assert_eq!(received[0].path, "/api/chat.postMessage");
    assert_eq!(received[0].header("authorization"), "Bearer xoxb-1");
    assert_eq!(received[0].json()["channel"], "#web");
    assert_eq!(received[0].json().get("thread_ts"), None);
    assert_eq!(received[1].json()["thread_ts"], "1700.01");
}

#[tokio::test]
async fn what_slack_refuses_with_200_is_refused() {
    for (answer, reason, words) in [
        (
            r#"{"ok": false, "error": "channel_not_found"}"#,
            Reason::Refused,
            "invite the bot",
        ),
        (
            r#"{"ok": false, "error": "invalid_auth"}"#,
            Reason::Refused,
            "is the token",
        ),
        (
            r#"{"ok": false, "error": "ratelimited"}"#,
            Reason::RateLimited,
            "ratelimited",
        ),
        (
            r#"{"ok": false, "error": "<t0psecret-and-long-enough>"}"#,
            Reason::Refused,
            "not Slack's",
        ),
        ("<html>", Reason::Refused, "not Slack's"),
    ] {
        let server = Server::start([Some((200, "", answer))]).await;
        let spec = json!({"slack": {"secretName": "s", "channel": "C1", "address": server.url}});
        let sent = send(&server.url, spec, &secret(&[("token", HIDDEN)]), None).await;
        let failure = sent.expect_err("it is refused");
        assert_eq!(failure.reason, reason);
        assert!(failure.why.contains(words), "{failure:?}");
        assert!(!format!("{failure:?}").contains(HIDDEN), "{failure:?}");
    }
}

#[tokio::test]
async fn slacks_webhook_teams_and_pager_duty_get_what_they_understand() {
    let server = Server::start([]).await;
    let hook = format!("{}/hook", server.url);
    let url = secret(&[("url", &hook)]);
    let slack = json!({"slack": {"secretName": "s"}});
    send(&server.url, slack, &url, None)
        .await
        .expect("Slack takes it");
    let teams = json!({"teams": {"secretName": "s"}});
    send(&server.url, teams, &url, None)
        .await
        .expect("Teams takes it");
    let pager = json!({"pagerDuty": {"secretName": "s", "address": server.url}});
    let key = secret(&[("routing-key", "r0uting")]);
    send(&server.url, pager, &key, None)
        .await
        .expect("PagerDuty takes it");
    let received = server.received();
    let paths: Vec<_> = received.iter().map(|r| r.path.as_str()).collect();
    assert_eq!(paths, ["/hook", "/hook", "/v2/enqueue"]);
    assert_eq!(received[0].json()["blocks"][0]["type"], "header");
    let card = "/attachments/0/content/type";
    assert_eq!(
        received[1].json().pointer(card),
        Some(&json!("AdaptiveCard"))
    );
    assert_eq!(received[2].json()["routing_key"], "r0uting");
    assert_eq!(received[2].json()["dedup_key"], "event-uid");
}

#[tokio::test]
async fn a_secret_that_cannot_be_used_is_named_by_its_key() {
    let server = Server::start([]).await;
    let elsewhere = format!("http://127.0.0.2:1/{HIDDEN}");
    for (spec, entries, words) in [
        (
            json!({"slack": {"secretName": "s"}}),
            vec![],
            "Secret s has neither `url`",
        ),
        (
            json!({"slack": {"secretName": "s"}}),
            vec![("url", "http://x"), ("token", HIDDEN)],
            "Secret s has both `url` and `token`",
        ),
        (
            json!({"slack": {"secretName": "s"}}),
            vec![("token", HIDDEN)],
            "slack.channel is missing",
        ),
        (
            json!({"slack": {"secretName": "s"}}),
            vec![("url", "")],
            "`url` of Secret s is empty",
        ),
        (
            json!({"teams": {"secretName": "s"}}),
            vec![("url", elsewhere.as_str())],
            "the host of its `url` is not allowed (http://127.0.0.2:1)",
        ),
        (
            json!({"teams": {"secretName": "s"}}),
            vec![("url", HIDDEN)],
            "is no address",
        ),
        (
            json!({"pagerDuty": {"secretName": "s", "address": server.url}}),
            vec![("key", HIDDEN)],
            "Secret s has no key `routing-key`",
        ),
        (
            json!({"webhook": {"url": server.url, "secretName": "s"}}),
            vec![("signing-key", "short")],
            "`signing-key` of Secret s is shorter than 16 bytes",
        ),
        (
            json!({"webhook": {"url": server.url, "secretName": "s"}}),
            vec![("username", HIDDEN)],
            "Secret s: the Secret has `username` but no `password`",
        ),
    ] {
        let sent = send(&server.url, spec, &secret(&entries), None).await;
        let failure = sent.expect_err("it cannot be used");
        assert!(failure.why.contains(words), "{failure:?}");
        assert!(!failure.why.contains(HIDDEN), "{failure:?}");
    }
    assert_eq!(server.received().len(), 0);
    assert_eq!(server.answers.lock().expect("the lock").len(), 0);
}
