//! Where metrics are asked for and with which credentials; and that a policy which cannot work is
//! refused in words at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::ensure;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use backstop_api::condition::ACCEPTED;
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::Phase;
use backstop_e2e::cli::Cli;
use backstop_e2e::metrics::{
    ERROR_SHARE, Metered, Metrics, changed, error_rate, failing, healthy, policy_with,
};
use backstop_e2e::world::App;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// Stands before the shared Prometheus, and lets only those through who send the right header.
struct Gate {
    address: SocketAddr,
    behind: Arc<Behind>,
}

struct Behind {
    wanted: String,
    prometheus: String,
    client: reqwest::Client,
    refused: AtomicUsize,
    passed: AtomicUsize,
}

impl Gate {
    async fn open(wanted: &str) -> anyhow::Result<Self> {
        let metrics = Metrics::shared().await?;
        let behind = Arc::new(Behind {
            wanted: wanted.to_owned(),
            prometheus: metrics.prometheus.url().to_owned(),
            client: reqwest::Client::builder().no_proxy().build()?,
            refused: AtomicUsize::new(0),
            passed: AtomicUsize::new(0),
        });
        let router = Router::new().fallback(guard).with_state(behind.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        // Ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, behind })
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn refused(&self) -> usize {
        self.behind.refused.load(Ordering::Relaxed)
    }

    fn passed(&self) -> usize {
        self.behind.passed.load(Ordering::Relaxed)
    }
}

async fn guard(
    State(behind): State<Arc<Behind>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let sent = headers.get(AUTHORIZATION);
    let sent = sent.and_then(|s| s.to_str().ok()).unwrap_or_default();
    if sent != behind.wanted {
        behind.refused.fetch_add(1, Ordering::Relaxed);
        // Repeats what it was sent, as careless proxies do.
        let said =
            json!({"status": "error", "errorType": "denied", "error": format!("not with {sent}")});
        return (StatusCode::UNAUTHORIZED, said.to_string()).into_response();
    }
    behind.passed.fetch_add(1, Ordering::Relaxed);
    match pass(&behind, method, &uri, &headers, body).await {
        Ok(answer) => answer.into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

async fn pass(
    behind: &Behind,
    method: Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Bytes,
) -> anyhow::Result<(StatusCode, [(axum::http::HeaderName, String); 1], Bytes)> {
    let url = format!("{}{uri}", behind.prometheus);
    let mut request = behind.client.request(method, url).body(body);
    if let Some(kind) = headers.get(CONTENT_TYPE) {
        request = request.header(CONTENT_TYPE, kind);
    }
    let answer = request.send().await?;
    let kind = answer.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|k| k.to_str().ok()).unwrap_or_default();
    let head = (answer.status(), [(CONTENT_TYPE, kind.to_owned())]);
    Ok((head.0, head.1, answer.bytes().await?))
}

/// The header of basic authentication.
fn basic(username: &str, password: &str) -> String {
    let pair = BASE64_STANDARD.encode(format!("{username}:{password}"));
    format!("Basic {pair}")
}

/// A world whose operator may ask at the gate, beside its own Prometheus.
async fn world(name: &str, gate: &Gate) -> anyhow::Result<Metered> {
    let metrics = Metrics::shared().await?;
    let flags = ["--prometheus-allow", &gate.url()];
    Metered::asking(name, metrics, metrics.prometheus.url(), &flags).await
}

/// The trigger on errors, asked at the gate with a Secret.
fn at(gate: &Gate) -> Value {
    let source = json!({
        "query": ERROR_SHARE.trim(), "address": gate.url(), "secretName": "prometheus",
    });
    changed(error_rate(), json!({"prometheus": source}))
}

/// Writes the Secret, in the place of what was there.
async fn secret(world: &Metered, data: Value) -> anyhow::Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "prometheus"},
        "stringData": data,
    });
    let params = PatchParams::apply("test").force();
    world
        .api::<Secret>()
        .patch("prometheus", &params, &Patch::Apply(secret))
        .await?;
    Ok(())
}

/// Checks that nothing which people read has any of the secrets in it.
async fn nobody_tells(world: &Metered, secrets: &[&str]) -> anyhow::Result<()> {
    let kinds = "rollbackpolicies,rollbackpoints,rollbackevents,events,deployments";
    let get = [
        "get",
        kinds,
        "--namespace",
        &world.namespace,
        "--output",
        "json",
    ];
    let objects = world.cluster.kubectl(&get).await?.success()?;
    ensure!(
        objects.contains("RollbackPolicy"),
        "nothing was read: {objects}"
    );
    let log = world.operator.log();
    ensure!(
        log.contains("asked"),
        "the log does not speak of queries: {log}"
    );
    for secret in secrets {
        ensure!(!objects.contains(secret), "'{secret}' is told: {objects}");
        ensure!(!log.contains(secret), "'{secret}' is logged: {log}");
    }
    Ok(())
}

async fn a_bad_release_goes_back(world: &Metered, policy: Value) -> anyhow::Result<()> {
    world.prove(policy).await?;
    world.release("v2", failing()).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn a_bad_release_goes_back_by_a_prometheus_behind_a_password() -> anyhow::Result<()> {
    let gate = Gate::open(&basic("scraper", "correct-horse")).await?;
    let world = world("a-basic", &gate).await?;
    secret(
        &world,
        json!({"username": "scraper", "password": "correct-horse"}),
    )
    .await?;
    a_bad_release_goes_back(&world, policy_with(&at(&gate))).await?;
    ensure!(gate.passed() > 0, "the gate was gone around");
    assert_eq!(gate.refused(), 0);
    let pair = BASE64_STANDARD.encode("scraper:correct-horse");
    nobody_tells(&world, &["correct-horse", &pair]).await
}

#[tokio::test]
async fn a_bad_release_goes_back_by_a_prometheus_behind_a_token() -> anyhow::Result<()> {
    let gate = Gate::open("Bearer t0ken-of-the-scraper").await?;
    // The operator's own, this time: the policy names the Secret alone.
    let metrics = Metrics::shared().await?;
    let world = Metered::asking("a-bearer", metrics, &gate.url(), &[]).await?;
    // As `echo token | kubectl create secret` makes it.
    secret(&world, json!({"token": "t0ken-of-the-scraper\n"})).await?;
    let source = json!({"query": ERROR_SHARE.trim(), "secretName": "prometheus"});
    let trigger = changed(error_rate(), json!({"prometheus": source}));
    a_bad_release_goes_back(&world, policy_with(&trigger)).await?;
    ensure!(gate.passed() > 0, "the gate was gone around");
    assert_eq!(gate.refused(), 0);
    nobody_tells(&world, &["t0ken-of-the-scraper"]).await
}

#[tokio::test]
async fn a_wrong_password_is_said_without_saying_it() -> anyhow::Result<()> {
    let gate = Gate::open(&basic("scraper", "correct-horse")).await?;
    let world = world("a-wrong", &gate).await?;
    secret(
        &world,
        json!({"username": "scraper", "password": "battery-staple"}),
    )
    .await?;
    world.load("v1", healthy()).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(policy_with(&at(&gate))).await?;
    says_of_data(&world, "Unauthorized").await?;
    for kind in ["RollbackPolicy", "Deployment"] {
        let said = world.said(kind, "TriggerError").await?;
        ensure!(said.contains("Unauthorized"), "{said}");
    }
    ensure!(gate.refused() > 0 && gate.passed() == 0);
    ensure!(
        world.points("Good").await?.is_empty(),
        "a point without data"
    );
    let pair = BASE64_STANDARD.encode("scraper:battery-staple");
    nobody_tells(&world, &["battery-staple", &pair]).await?;

    // Once it is right it is used, without anything else being touched.
    secret(
        &world,
        json!({"username": "scraper", "password": "correct-horse"}),
    )
    .await?;
    world.good_point(1).await?;
    world.condition("DataAvailable", true, "Data").await?;
    let right = BASE64_STANDARD.encode("scraper:correct-horse");
    nobody_tells(&world, &["battery-staple", &pair, "correct-horse", &right]).await
}

#[tokio::test]
async fn a_secret_that_is_missing_or_unusable_is_named_and_used_once_it_is_mended()
-> anyhow::Result<()> {
    let gate = Gate::open(&basic("scraper", "correct-horse")).await?;
    let world = world("a-missing", &gate).await?;
    world.load("v1", healthy()).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(policy_with(&at(&gate))).await?;
    says_of_data(&world, "Secret prometheus of this namespace").await?;
    // What is wrong is another thing now, and so is what is said.
    secret(&world, json!({"username": "scraper"})).await?;
    says_of_data(&world, "password").await?;
    assert_eq!(
        gate.passed() + gate.refused(),
        0,
        "asked without credentials"
    );
    secret(
        &world,
        json!({"username": "scraper", "password": "correct-horse"}),
    )
    .await?;
    world.good_point(1).await?;
    assert_eq!(gate.refused(), 0);
    nobody_tells(&world, &["correct-horse"]).await
}

async fn says_of_data(world: &Metered, words: &str) -> anyhow::Result<()> {
    world
        .condition_in_words("DataAvailable", false, "Error", words)
        .await
        .map(drop)
}

/// Writes a policy with this trigger, and expects that it is refused at once with these words.
async fn is_refused(world: &Metered, trigger: Value, words: &[&str]) -> anyhow::Result<()> {
    world.refused_at_once(&policy_with(&trigger), words).await?;
    let phase = world.status().await?.phase;
    ensure!(phase == Some(Phase::Invalid), "{phase:?}");
    Ok(())
}

#[tokio::test]
async fn a_policy_that_cannot_work_is_refused_at_once_naming_the_field_and_the_problem()
-> anyhow::Result<()> {
    let world = Metered::new("a-invalid").await?;
    world.load("v1", healthy()).await?;
    world.deploy(&App::version("v1")).await?;
    let with = |fields: Value| changed(error_rate(), fields);
    let cel = with(json!({"condition": "value >"}));
    is_refused(
        &world,
        cel,
        &["spec.triggers[0].condition", "'value >'", "CEL"],
    )
    .await?;
    let unknown = with(json!({"condition": "error_rate > 0.05"}));
    let words = [
        "spec.triggers[0].condition",
        "'error_rate'",
        "known are value",
    ];
    is_refused(&world, unknown, &words).await?;
    let promql = with(json!({"prometheus": {"query": "sum(rate(http_requests_total[5s])"}}));
    is_refused(
        &world,
        promql,
        &["spec.triggers[0].prometheus.query", "PromQL"],
    )
    .await?;
    let placeholder = with(json!({"prometheus": {"query": r#"up{pod=~"{{ pod }}"}"#}}));
    let words = ["spec.triggers[0].prometheus.query", "`pod`", "pods"];
    is_refused(&world, placeholder, &words).await?;
    let address = "http://metadata.internal:9090";
    let elsewhere = with(json!({"prometheus": {"query": "up", "address": address}}));
    let words = [
        "spec.triggers[0].prometheus.address",
        address,
        "not allowed",
    ];
    is_refused(&world, elsewhere, &words).await?;
    let inside = "http://admin:hunter2@127.0.0.1:9090";
    let credentials = with(json!({"prometheus": {"query": "up", "address": inside}}));
    is_refused(
        &world,
        credentials,
        &["spec.triggers[0].prometheus.address", "Secret"],
    )
    .await?;
    let log = world.operator.log();
    let status = serde_json::to_string(&world.status().await?)?;
    ensure!(
        !log.contains("hunter2") && !status.contains("hunter2"),
        "{status}"
    );
    let both = with(json!({"condition": "value >", "prometheus": {"query": "sum("}}));
    let words = [
        "spec.triggers[0].condition",
        "spec.triggers[0].prometheus.query",
    ];
    is_refused(&world, both, &words).await?;

    // And one that works is in force from there on.
    world.policy(policy_with(&error_rate())).await?;
    world.condition(ACCEPTED, true, "Valid").await?;
    world.good_point(1).await?;
    Ok(())
}

#[tokio::test]
async fn a_baseline_is_captured_behind_a_password_and_a_wrong_one_is_said_without_saying_it()
-> anyhow::Result<()> {
    let gate = Gate::open(&basic("scraper", "correct-horse")).await?;
    let world = Metered::new("a-capture").await?;
    world.load("v1", healthy()).await?;
    world.deploy(&App::version("v1")).await?;
    let trigger = changed(error_rate(), json!({"condition": "value > 2.0 * baseline"}));
    world.policy(policy_with(&trigger)).await?;
    world.good_point(1).await?;
    let folder = tempfile::tempdir()?;
    let password = |text: &str| {
        let path = folder.path().join(text);
        std::fs::write(&path, format!("{text}\n"))?;
        anyhow::Ok(path.display().to_string())
    };
    let (wrong, right) = (password("battery-staple")?, password("correct-horse")?);
    let url = gate.url();
    let capture = |password: &str| {
        let args = [
            "baseline",
            "capture",
            "web",
            "--prometheus",
            &url,
            "--username",
            "scraper",
            "--password-file",
            password,
        ];
        args.map(str::to_owned)
    };
    let cli = Cli::new(&world);
    let args = capture(&right);
    let args = args.each_ref().map(String::as_str);
    world
        .eventually("enough to capture", async || cli.done(&args).await)
        .await?;
    let args = capture(&wrong);
    let args = args.each_ref().map(String::as_str);
    let told = cli.refused(&args, "401 Unauthorized").await?;
    ensure!(told.contains("Sign in with --token-file"), "{told}");
    // The proxy repeats what it was sent.
    let pair = BASE64_STANDARD.encode("scraper:battery-staple");
    ensure!(!told.contains(&pair), "{told}");
    ensure!(gate.refused() > 0 && gate.passed() > 0);
    Ok(())
}
