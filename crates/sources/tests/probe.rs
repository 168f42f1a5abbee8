//! Pods and addresses that are asked for their health: what came of it, and nothing else that they said.

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::Redirect;
use axum::routing::get;
use backstop_api::policy::ProbeScheme;
use backstop_engine::probe::{Answer, ProbeQuestion};
use backstop_sources::{AllowList, Credentials, Prober};
use support::{answer, credentials, nobody, serve, serve_raw};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic_health::ServingStatus;

const LIMIT: Duration = Duration::from_secs(2);
const SECRET: &str = "what-the-body-says";

fn prober() -> Prober {
    Prober::new(|_, _| {}).expect("a prober")
}

fn pod(address: &str) -> SocketAddr {
    let address = address.trim_start_matches("http://");
    address.parse().expect("an address")
}

fn http(scheme: ProbeScheme) -> ProbeQuestion {
    ProbeQuestion::Http {
        scheme,
        path: "/healthz?of=web".into(),
    }
}

fn grpc(service: &str) -> ProbeQuestion {
    ProbeQuestion::Grpc {
        service: service.into(),
    }
}

async fn ask_within(address: &str, question: &ProbeQuestion, limit: Duration) -> Answer {
    let answer = prober().pod(pod(address), question, limit).await;
    assert!(!format!("{answer:?}").contains(SECRET), "{answer:?}");
    answer
}

async fn ask(address: &str, question: &ProbeQuestion) -> Answer {
    ask_within(address, question, LIMIT).await
}

async fn answering(status: u16) -> String {
    let health = get(move || async move { answer(status, "text/plain", SECRET) });
    serve(Router::new().route("/healthz", health)).await
}

/// What is ill, and whether it was an answer.
fn ill(answer: Answer) -> (String, bool) {
    match answer {
        Answer::Ill { took, why } => (why, took.is_some()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_of_200_to_399_is_well_and_any_other_is_ill() {
    for status in [200, 204, 304, 399] {
        let answer = ask(&answering(status).await, &http(ProbeScheme::Http)).await;
        assert!(
            matches!(answer, Answer::Well { .. }),
            "{status}: {answer:?}"
        );
    }
    for status in [400, 404, 429, 500, 503] {
        let answer = ask(&answering(status).await, &http(ProbeScheme::Http)).await;
        let (why, answered) = ill(answer);
        assert!(
            why.starts_with(&format!("HTTP {status}")) && answered,
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_well_and_is_not_followed() {
    let elsewhere = answering(500).await;
    let to = format!("{elsewhere}/healthz");
    let there = get(move || async move { Redirect::temporary(&to) });
    let here = serve(Router::new().route("/healthz", there)).await;
    let answer = ask(&here, &http(ProbeScheme::Http)).await;
    assert!(matches!(answer, Answer::Well { .. }), "{answer:?}");
}

#[tokio::test]
async fn a_pod_that_does_not_answer_in_time_took_as_long_as_it_was_waited_for() {
    let hangs = serve_raw(b"", true).await;
    let limit = Duration::from_millis(200);
    for question in [http(ProbeScheme::Http), http(ProbeScheme::Https), grpc("")] {
        let answer = ask_within(&hangs, &question, limit).await;
        assert_eq!(
            answer,
            Answer::Ill {
                took: Some(limit),
                why: "no answer within 200ms".into()
            },
            "{question:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_answer_is_ill() {
    let garbage = serve_raw(b"what-the-body-says\r\n\r\n", false).await;
    for question in [http(ProbeScheme::Http), http(ProbeScheme::Https), grpc("")] {
        let (_, answered) = ill(ask(&garbage, &question).await);
        // By gRPC, what came instead of an answer came at a time of its own.
        assert!(
            !answered || matches!(question, ProbeQuestion::Grpc { .. }),
            "{question:?}"
        );
    }
}

#[tokio::test]
async fn where_nobody_listens_the_connection_is_refused() {
    for question in [http(ProbeScheme::Http), http(ProbeScheme::Https), grpc("")] {
        let answer = ask(&nobody().await, &question).await;
        assert_eq!(answer, Answer::Refused, "{question:?}");
    }
    assert!(!prober().connects(pod(&nobody().await), LIMIT).await);
    assert!(prober().connects(pod(&answering(500).await), LIMIT).await);
}

#[tokio::test]
async fn a_pods_certificate_is_not_looked_at() {
    let issued = rcgen::generate_simple_self_signed(["somebody.else".to_owned()]).expect("a pair");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(issued.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await;
            let _ = stream.flush().await;
        }
    });
    let answer = ask(&address, &http(ProbeScheme::Https)).await;
    assert!(matches!(answer, Answer::Well { .. }), "{answer:?}");
}

/// A server whose service `shop.Payments` has this health.
async fn grpc_server(status: ServingStatus) -> String {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop.Payments", status).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(async move {
        let _reporter = reporter;
        server.serve_with_incoming(incoming).await
    });
    address
}

#[tokio::test]
async fn a_grpc_service_is_well_when_it_says_that_it_serves() {
    let serving = grpc_server(ServingStatus::Serving).await;
    for service in ["shop.Payments", ""] {
        let answer = ask(&serving, &grpc(service)).await;
        assert!(
            matches!(answer, Answer::Well { .. }),
            "{service}: {answer:?}"
        );
    }
    let (why, answered) = ill(ask(&serving, &grpc("shop.Orders")).await);
    assert_eq!((why.as_str(), answered), ("gRPC status NotFound", true));
    let stopped = grpc_server(ServingStatus::NotServing).await;
    let (why, answered) = ill(ask(&stopped, &grpc("shop.Payments")).await);
    assert_eq!((why.as_str(), answered), ("health is NOT_SERVING", true));
}

#[tokio::test]
async fn an_address_is_asked_with_credentials_which_are_never_told() {
    let health = get(|headers: HeaderMap| async move {
        let signed_in = headers
            .get("authorization")
            .is_some_and(|it| it == "Bearer s3cret");
        answer(if signed_in { 200 } else { 401 }, "text/plain", SECRET)
    });
    let origin = serve(Router::new().route("/healthz", health)).await;
    let allowed = AllowList::new(None, [origin.as_str()]).expect("a list");
    let url = allowed
        .check_url(&format!("{origin}/healthz?a=1"))
        .expect("allowed");
    let question = http(ProbeScheme::Http);
    let credentials = credentials(&[("token", "s3cret")]);
    let well = prober().address(&url, &credentials, &question, LIMIT).await;
    assert!(matches!(well, Answer::Well { .. }), "{well:?}");
    let none = Credentials::none();
    let (why, _) = ill(prober().address(&url, &none, &question, LIMIT).await);
    assert_eq!(why, "HTTP 401 Unauthorized");
}

/// Who refuses may be a proxy, or a Service without endpoints: that says nothing about the release.
#[tokio::test]
async fn an_address_without_a_connection_is_not_reached() {
    let origin = nobody().await;
    let allowed = AllowList::new(None, [origin.as_str()]).expect("a list");
    let url = allowed.check_url(&origin).expect("allowed");
    for question in [http(ProbeScheme::Http), grpc("")] {
        let answer = prober()
            .address(&url, &Credentials::none(), &question, LIMIT)
            .await;
        assert!(matches!(answer, Answer::NotReached { .. }), "{answer:?}");
    }
}

#[tokio::test]
async fn every_question_is_counted() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    let prober = Prober::new(move |_, result| told.lock().expect("the lock").push(result));
    let prober = prober.expect("a prober");
    for address in [answering(200).await, answering(500).await, nobody().await] {
        prober
            .pod(pod(&address), &http(ProbeScheme::Http), LIMIT)
            .await;
    }
    assert_eq!(*seen.lock().expect("the lock"), ["well", "ill", "refused"]);
}
