//! A Prometheus that speaks TLS, with a certificate of the team's own authority.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_e2e::metrics::{
    ERROR_SHARE, Metered, Metrics, changed, error_rate, failing, healthy, policy_with,
};
use backstop_e2e::world::App;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(
            params,
            KeyPair::generate()?,
        )?))
    }

    fn issue(&self, name: &str) -> anyhow::Result<(Certificate, KeyPair)> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec![name.to_owned()])?;
        Ok((params.signed_by(&key, &self.0)?, key))
    }

    /// Stands before the shared Prometheus, and lets through who has a certificate of this authority. Returns where.
    async fn guards(&self, prometheus: &str) -> anyhow::Result<String> {
        let behind = prometheus
            .strip_prefix("http://")
            .context("no http")?
            .trim_end_matches('/')
            .to_owned();
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone())?;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()?;
        let (certificate, key) = self.issue("localhost")?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    // Who is not let in hears so by TLS.
                    let mut stream = acceptor.accept(stream).await?;
                    let mut onward = TcpStream::connect(behind).await?;
                    copy_bidirectional(&mut stream, &mut onward).await
                });
            }
        });
        Ok(format!("https://localhost:{port}"))
    }
}

async fn secret(world: &Metered, trusted: &Authority, issuer: &Authority) -> anyhow::Result<()> {
    let (certificate, key) = issuer.issue("backstop")?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "prometheus"},
        "stringData": {
            "ca.crt": trusted.0.pem(),
            "tls.crt": certificate.pem(),
            "tls.key": key.serialize_pem(),
        },
    });
    let params = PatchParams::apply("test").force();
    world
        .api::<Secret>()
        .patch("prometheus", &params, &Patch::Apply(secret))
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_bad_release_goes_back_by_a_prometheus_of_the_teams_own_authority() -> anyhow::Result<()>
{
    let (ours, other) = (Authority::new()?, Authority::new()?);
    let metrics = Metrics::shared().await?;
    let address = ours.guards(metrics.prometheus.url()).await?;
    let world = Metered::asking("a-tls", metrics, &address, &[]).await?;
    let source = json!({"query": ERROR_SHARE.trim(), "secretName": "prometheus"});
    let policy = policy_with(&changed(error_rate(), json!({"prometheus": source})));

    // Whom nobody vouches for is not believed, and it is said why.
    secret(&world, &other, &ours).await?;
    world.load("v1", healthy()).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(policy).await?;
    world
        .condition_in_words("DataAvailable", false, "Error", "certificate")
        .await?;
    ensure!(
        world.points("Good").await?.is_empty(),
        "a point without data"
    );

    // The Secret alone is mended.
    secret(&world, &ours, &ours).await?;
    world.good_point(1).await?;
    world.release("v2", failing()).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}
