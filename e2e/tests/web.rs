//! A number in the JSON of a web service takes a release back; whatever else comes never does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::ensure;
use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::any;
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::TriggerState;
use backstop_e2e::metrics::{changed, policy_with};
use backstop_e2e::world::{App, World};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const TOKEN: &str = "t0ken-of-the-status-page";

/// What is answered about every release but the first that was asked about; `None` hangs.
type Answer = Option<(u16, String)>;

#[derive(Default)]
struct Asked {
    first: Option<String>,
    others: Answer,
}

/// A status page that knows the first release as a good one.
struct StatusPage {
    url: String,
    asked: Arc<Mutex<Asked>>,
}

impl StatusPage {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/api", listener.local_addr()?);
        let asked = Arc::new(Mutex::new(Asked {
            first: None,
            others: Some(rate(0.5)),
        }));
        let state = asked.clone();
        let router = Router::new().fallback(any(move |uri: Uri, headers: HeaderMap| {
            let state = state.clone();
            async move {
                let signed_in = headers
                    .get("authorization")
                    .is_some_and(|it| it == &format!("Bearer {TOKEN}"));
                if !signed_in {
                    return (StatusCode::UNAUTHORIZED, String::new());
                }
                let answer = {
                    let mut asked = state.lock().expect("the lock");
                    let about = uri.to_string();
                    let is_first = *asked.first.get_or_insert_with(|| about.clone()) == about;
                    if is_first {
                        Some(rate(0.0))
                    } else {
                        asked.others.clone()
                    }
                };
                let Some((status, body)) = answer else {
                    return std::future::pending().await;
                };
                (StatusCode::from_u16(status).expect("a status"), body)
            }
        }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, asked })
    }

    fn answers(&self, answer: Answer) {
        self.asked.lock().expect("the lock").others = answer;
    }

    fn trigger(&self) -> Value {
        json!({
            "name": "errors", "interval": "1s", "condition": "value > 0.05",
            "web": {
                "url": format!("{}/errors?of={{{{ release }}}}", self.url),
                "jsonPath": "$.errors.rate", "secretName": "status", "range": "0s",
            },
        })
    }

    /// A world in which `v1` has proved itself by what this page says of it.
    async fn world(&self, name: &str) -> anyhow::Result<World> {
        let world = World::with(name, &["--web-allow".to_owned(), self.url.clone()]).await?;
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": "status"}, "stringData": {"token": TOKEN},
        }))?;
        world
            .api::<Secret>()
            .create(&PostParams::default(), &secret)
            .await?;
        world.deploy(&App::version("v1")).await?;
        world.policy(policy_with(&self.trigger())).await?;
        world.good_point(1).await?;
        Ok(world)
    }
}

fn rate(rate: f64) -> (u16, String) {
    (200, json!({"errors": {"rate": rate}}).to_string())
}

async fn goes_back(world: &World) -> anyhow::Result<()> {
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn a_release_of_which_a_web_service_says_that_it_is_bad_goes_back() -> anyhow::Result<()> {
    let page = StatusPage::start().await?;
    let world = page.world("web-bad").await?;
    world.deploy(&App::version("v2")).await?;
    goes_back(&world).await?;
    let events = world.events().await?;
    let evidence = events[0].spec.evidence.as_ref();
    let text = serde_json::to_string(&evidence)?;
    ensure!(
        text.contains(&format!("GET {}/errors?of=", page.url)),
        "{text}"
    );
    ensure!(!text.contains(TOKEN), "{text}");
    Ok(())
}

#[tokio::test]
async fn an_odd_answer_of_a_web_service_never_takes_a_release_back_and_is_said()
-> anyhow::Result<()> {
    let page = StatusPage::start().await?;
    let world = page.world("web-odd").await?;
    page.answers(Some((500, "oh".into())));
    world.deploy(&App::version("v2")).await?;
    let ok = |body: &str| Some((200, body.to_owned()));
    for (answer, state, words) in [
        (Some((500, "oh".into())), TriggerState::Error, "HTTP 500"),
        (Some((404, rate(1.0).1)), TriggerState::Error, "HTTP 404"),
        (Some((302, rate(1.0).1)), TriggerState::Error, "a redirect"),
        (ok("<html>"), TriggerState::Error, "is not JSON"),
        (
            ok(r#"{"errors": {"rate": "many"}}"#),
            TriggerState::Error,
            "\"many\" is at $.errors.rate",
        ),
        (
            ok(r#"{"errors": {"rate": {}}}"#),
            TriggerState::Error,
            "an object is at",
        ),
        (
            ok(&"9".repeat(300_000)),
            TriggerState::Error,
            "longer than 262144 bytes",
        ),
        (None, TriggerState::Error, "no answer within 1s"),
        (
            ok(r#"{"errors": {"rate": null}}"#),
            TriggerState::NoData,
            "null is at",
        ),
        (
            ok(r#"{"errors": {"rate": "NaN"}}"#),
            TriggerState::NoData,
            "\"NaN\" is at",
        ),
        (
            ok(r#"{"errors": {}}"#),
            TriggerState::NoData,
            "nothing is at $.errors.rate",
        ),
    ] {
        page.answers(answer);
        world
            .policy_says(&format!("errors is {state:?}: {words}"), |status| {
                status.triggers.iter().any(|t| {
                    t.state == state
                        && t.message
                            .as_deref()
                            .is_some_and(|m| m.contains(words) && m.contains(&page.url))
                })
            })
            .await?;
    }
    let said = world.condition("DataAvailable", false, "NoData").await?;
    ensure!(said.contains("nothing is at $.errors.rate"), "{said}");
    world.nothing_happens(Duration::from_secs(2)).await?;
    ensure!(world.events().await?.is_empty());
    assert_eq!(world.live().await?, "v2");
    page.answers(Some(rate(0.5)));
    goes_back(&world).await
}

#[tokio::test]
async fn a_web_service_that_the_operator_does_not_allow_is_refused() -> anyhow::Result<()> {
    let page = StatusPage::start().await?;
    let world = page.world("web-allow").await?;
    let elsewhere = page.url.replace("/api", "/admin");
    let web = |url: &str| json!({"url": url, "jsonPath": "$.errors.rate"});
    let trigger = changed(page.trigger(), json!({"web": web(&elsewhere)}));
    world.policy(policy_with(&trigger)).await?;
    let said = world.condition("Accepted", false, "Invalid").await?;
    ensure!(said.contains("spec.triggers[0].web.url"), "{said}");
    ensure!(
        said.contains(&format!(
            "`{elsewhere}` is not allowed; allowed: {}",
            page.url
        )),
        "{said}"
    );
    // Where a placeholder is in the address it is known only when it is filled in.
    let trigger = changed(
        page.trigger(),
        json!({"web": web(&format!("{elsewhere}/{{{{ release }}}}"))}),
    );
    world.policy(policy_with(&trigger)).await?;
    let said = world.condition("DataAvailable", false, "Error").await?;
    ensure!(said.contains("is not allowed; allowed:"), "{said}");
    Ok(())
}
