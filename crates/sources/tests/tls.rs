//! TLS with certificates out of a Secret.

mod support;

use std::sync::Arc;

use backstop_engine::reading::Unavailable;
use backstop_sources::Credentials;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use support::{ask_with, credentials, one_series, unavailable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("valid names");
        (params.signed_by(&key, &self.0).expect("a certificate"), key)
    }
}

/// Serves `localhost` over TLS to clients with a certificate of the same authority.
async fn serve(ca: &Ca) -> String {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.0.der().clone()).expect("a root");
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .expect("a verifier");
    let (certificate, key) = ca.issue("localhost");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = vec![0; 65536];
            let _ = stream.read(&mut request).await;
            let body = one_series("1");
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    format!("https://localhost:{port}")
}

fn secret(trusted: &Ca, issuer: &Ca) -> Credentials {
    let (certificate, key) = issuer.issue("backstop");
    credentials(&[
        ("ca.crt", &trusted.0.pem()),
        ("tls.crt", &certificate.pem()),
        ("tls.key", &key.serialize_pem()),
    ])
}

#[tokio::test]
async fn a_certificate_of_the_secrets_authority_is_trusted() {
    let ca = Ca::new();
    let address = serve(&ca).await;
    assert_eq!(
        ask_with(&address, secret(&ca, &ca)).await.value(),
        Some(1.0)
    );
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_unreachable() {
    let ca = Ca::new();
    let address = serve(&ca).await;
    let (reason, why) = unavailable(ask_with(&address, secret(&Ca::new(), &ca)).await);
    assert_eq!(reason, Unavailable::Unreachable);
    assert!(why.contains("invalid peer certificate"), "{why}");
}

#[tokio::test]
async fn a_client_without_the_servers_certificate_gets_no_value() {
    let ca = Ca::new();
    let address = serve(&ca).await;
    let without = credentials(&[("ca.crt", &ca.0.pem())]);
    for credentials in [without, secret(&ca, &Ca::new())] {
        let (reason, why) = unavailable(ask_with(&address, credentials).await);
        assert_eq!(reason, Unavailable::Unreachable, "{why}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_the_certificates_is_misconfigured() {
    let ca = Ca::new();
    let ((certificate, _), (_, other)) = (ca.issue("backstop"), ca.issue("backstop"));
    let credentials = credentials(&[
        ("tls.crt", &certificate.pem()),
        ("tls.key", &other.serialize_pem()),
    ]);
    let endpoint = support::endpoint("https://localhost:1", credentials);
    let failure = backstop_sources::PrometheusClient::new(endpoint).expect_err("a mismatch");
    assert_eq!(unavailable(failure).0, Unavailable::Misconfigured);
}
