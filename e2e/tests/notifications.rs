//! Everyone who must know is told, once; a channel that is dead is seen, and holds up nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::RollbackEvent;
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::notification::{
    NotificationOutcome as Told, NotificationState, NotificationStatus,
};
use backstop_e2e::receiver::{Mood, Receiver};
use backstop_e2e::world::{App, World, quick_policy};
use backstop_testenv::fate;
use backstop_testenv::mail::{MailSecurity, MailServer};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What stands in Secrets, and must be seen nowhere else.
const HIDDEN: &str = "t0psecret-and-long-enough";

fn bad() -> App {
    App::version("v2").fate(fate::CRASH_LOOP)
}

/// A policy that acts quickly, and tells these channels.
fn telling(channels: Value) -> Value {
    let mut policy = quick_policy();
    policy["notifications"] = channels;
    policy
}

/// Flags that allow these addresses.
fn allowing(addresses: &[&str]) -> Vec<String> {
    let flags = addresses
        .iter()
        .map(|a| format!("--notifications-allow={a}"));
    flags.collect()
}

async fn secret(world: &World, name: &str, entries: Value) -> anyhow::Result<()> {
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": name}, "stringData": entries}))?;
    world.api().create(&PostParams::default(), &secret).await?;
    Ok(())
}

/// A world in which `v1` has proved itself under a policy that tells these channels.
async fn good_release(
    name: &str,
    allowed: &[&str],
    secrets: &[(&str, Value)],
    channels: Value,
) -> anyhow::Result<World> {
    let world = World::with(name, &allowing(allowed)).await?;
    for (name, entries) in secrets {
        secret(&world, name, entries.clone()).await?;
    }
    world.deploy(&App::version("v1")).await?;
    world.policy(telling(channels)).await?;
    world.good_point(1).await?;
    Ok(world)
}

async fn goes_back(world: &World) -> anyhow::Result<RollbackEvent> {
    world.deploy(&bad()).await?;
    let event = world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(event)
}

/// Waits until so many messages are on record for the rollback, and all are sent.
async fn all_sent(world: &World, count: usize) -> anyhow::Result<Vec<NotificationStatus>> {
    world
        .eventually(&format!("{count} messages to be sent"), async || {
            let event = world.api::<RollbackEvent>().get("web-1").await?;
            let records = event.status.unwrap_or_default().notifications;
            let all = records.len() == count
                && records.iter().all(|r| r.state == NotificationState::Sent);
            ensure!(all, "{records:#?}");
            Ok(records)
        })
        .await
}

/// Sees to it that what is secret is in no place where somebody could read it.
async fn nothing_is_given_away(world: &World) -> anyhow::Result<()> {
    let params = ListParams::default();
    let seen = [
        serde_json::to_string(&world.events().await?)?,
        serde_json::to_string(&world.status().await?)?,
        serde_json::to_string(&world.api::<Event>().list(&params).await?.items)?,
        world.operator.log(),
    ];
    for (text, place) in seen
        .iter()
        .zip(["rollback", "policy", "Kubernetes Event", "log"])
    {
        for secret in [HIDDEN, MailServer::PASSWORD] {
            ensure!(!text.contains(secret), "{secret} is in the {place}");
        }
    }
    Ok(())
}

/// That it began and that it ended, each in a mail.
async fn mails_say_what_and_why(server: &MailServer) -> anyhow::Result<()> {
    let mails = server.received().await?;
    assert_eq!(mails.len(), 2, "{mails:?}");
    ensure!(
        mails[0].subject.ends_with("rolling back (web-1)"),
        "{mails:?}"
    );
    ensure!(
        mails[1].subject.ends_with("rolled back (web-1)"),
        "{mails:?}"
    );
    ensure!(
        mails[1].text.contains("Why: trigger cannot-start fires"),
        "{}",
        mails[1].text
    );
    ensure!(
        mails[1].html.contains("<strong>Why</strong>"),
        "{}",
        mails[1].html
    );
    assert_eq!(mails[1].to[0].address, "sre@example.com");
    ensure!(mails[0].message_id != mails[1].message_id, "{mails:?}");
    Ok(())
}

#[tokio::test]
async fn a_rollback_is_told_once_on_every_channel_and_gives_no_secret_away() -> anyhow::Result<()> {
    let hooks = Receiver::start(Mood::Well).await?;
    let (starttls, tls) = tokio::try_join!(
        MailServer::start(MailSecurity::StartTls),
        MailServer::start(MailSecurity::Tls),
    )?;
    let url = &hooks.url;
    let hook = |name: &str| format!("{url}/{name}/{HIDDEN}");
    let mail = |server: &MailServer| {
        json!({
            "username": MailServer::USERNAME, "password": MailServer::PASSWORD,
            "ca.crt": server.authority(),
        })
    };
    let channel = |server: &MailServer, security: &str, secret: &str| {
        json!({
            "server": server.address(), "security": security, "secretName": secret,
            "from": "Backstop <backstop@example.com>", "to": ["SRE <sre@example.com>"],
        })
    };
    let allowed = [&starttls, &tls].map(|server| format!("smtp://{}", server.address()));
    let world = good_release(
        "told",
        &[url, &allowed[0], &allowed[1]],
        &[
            ("slack", json!({"url": hook("slack")})),
            ("bot", json!({"token": HIDDEN})),
            ("teams", json!({"url": hook("teams")})),
            ("webhook", json!({"token": HIDDEN, "signing-key": HIDDEN})),
            ("pager", json!({"routing-key": HIDDEN})),
            ("starttls", mail(&starttls)),
            ("tls", mail(&tls)),
        ],
        json!([
            {"name": "slack", "slack": {"secretName": "slack"}},
            {"name": "bot", "slack": {"secretName": "bot", "channel": "#web", "address": format!("{url}/api")}},
            {"name": "teams", "teams": {"secretName": "teams"}},
            {"name": "ci", "webhook": {"url": format!("{url}/ci"), "secretName": "webhook"}},
            {"name": "pager", "pagerDuty": {"secretName": "pager", "address": url}, "outcomes": ["Started"]},
            {"name": "starttls", "email": channel(&starttls, "STARTTLS", "starttls")},
            {"name": "tls", "email": channel(&tls, "TLS", "tls"), "outcomes": ["Succeeded"]},
        ]),
    )
    .await?;
    goes_back(&world).await?;
    let records = all_sent(&world, 13).await?;
    for record in &records {
        ensure!(record.attempts == 1 && record.error.is_none(), "{record:?}");
    }

    for path in [
        format!("/slack/{HIDDEN}"),
        "/api/chat.postMessage".to_owned(),
        format!("/teams/{HIDDEN}"),
        "/ci".to_owned(),
        "/v2/enqueue".to_owned(),
    ] {
        let count = hooks.received(&path).len();
        ensure!(count == 2, "{count} messages at {path}");
    }
    let bot = hooks.received("/api/chat.postMessage");
    ensure!(bot[0].body.get("thread_ts").is_none(), "{}", bot[0].text);
    let begun = records
        .iter()
        .find(|r| r.channel == "bot" && r.outcome == Told::Started);
    let thread = begun.and_then(|r| r.thread.clone()).context("no thread")?;
    assert_eq!(bot[1].body["thread_ts"], thread);
    let pager = hooks.received("/v2/enqueue");
    assert_eq!(pager[0].body["event_action"], "trigger");
    assert_eq!(pager[1].body["event_action"], "resolve");
    assert_eq!(pager[0].body["dedup_key"], pager[1].body["dedup_key"]);
    let ci = hooks.received("/ci");
    assert_eq!(ci[0].body["type"], "dev.backstop.rollback.started");
    assert_eq!(ci[1].body["type"], "dev.backstop.rollback.succeeded");
    assert_eq!(ci[1].body["data"]["event"], "web-1");
    ensure!(
        ci[1].headers.contains_key("webhook-signature"),
        "{:?}",
        ci[1].headers
    );

    mails_say_what_and_why(&starttls).await?;
    assert_eq!(tls.received().await?.len(), 1);

    world.condition("Notified", true, "Told").await?;
    nothing_is_given_away(&world).await
}

#[tokio::test]
async fn a_message_that_was_on_its_way_when_the_operator_was_killed_is_sent_again()
-> anyhow::Result<()> {
    let hooks = Receiver::start(Mood::Hangs).await?;
    let world = good_release(
        "told-kill",
        &[&hooks.url],
        &[],
        json!([{"name": "ci", "webhook": {"url": format!("{}/ci", hooks.url)}}]),
    )
    .await?;
    world.deploy(&bad()).await?;
    world
        .eventually("the first message to be on its way", async || {
            ensure!(!hooks.received("/ci").is_empty(), "nothing was sent");
            Ok(())
        })
        .await?;
    world.operator.kill()?;
    hooks.feels(Mood::Well);
    world.operator.restart()?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    all_sent(&world, 2).await?;
    let id =
        |r: &backstop_e2e::receiver::Received| r.body["id"].as_str().unwrap_or_default().to_owned();
    let received: Vec<String> = hooks.received("/ci").iter().map(id).collect();
    // The one that was on its way twice, under one ID, and the other once.
    assert_eq!(received.len(), 3, "{received:?}");
    assert_eq!(received[0], received[1]);
    let different: BTreeSet<_> = received.iter().collect();
    assert_eq!(different.len(), 2, "{received:?}");
    // What has been told is not told again.
    world.operator.kill()?;
    world.operator.restart()?;
    world.operator.leads().await?;
    world.nothing_happens(Duration::from_secs(3)).await?;
    assert_eq!(hooks.received("/ci").len(), 3);
    Ok(())
}

/// A mail server that takes every call and never says a word. Ends when it is dropped.
struct Mute {
    address: String,
    calls: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Mute {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let calls = Arc::<AtomicUsize>::default();
        let counted = calls.clone();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut open = Vec::new();
            while let Ok(call) = listener.accept().await {
                open.push(call);
                counted.store(open.len(), Ordering::Relaxed);
            }
        });
        Ok(Self {
            address,
            calls,
            _server: server,
        })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_rollback_takes_no_longer_while_every_channel_hangs() -> anyhow::Result<()> {
    let hooks = Receiver::start(Mood::Hangs).await?;
    let url = &hooks.url;
    let mail = Mute::start().await?;
    let channels = json!([
        {"name": "hook", "webhook": {"url": format!("{url}/webhook")}},
        {"name": "teams", "teams": {"secretName": "teams"}},
        {"name": "slack", "slack": {"secretName": "slack"}},
        {"name": "bot", "slack": {"secretName": "bot", "channel": "#web", "address": format!("{url}/api")}},
        {"name": "pager", "pagerDuty": {"secretName": "pager", "address": url}, "outcomes": ["Started"]},
        {"name": "mail", "email": {
            "server": mail.address, "security": "STARTTLS", "from": "Backstop <backstop@example.com>",
            "to": ["SRE <sre@example.com>"],
        }},
    ]);
    let secrets = [
        ("teams", json!({"url": format!("{url}/teams")})),
        ("slack", json!({"url": format!("{url}/slack")})),
        ("bot", json!({"token": HIDDEN})),
        ("pager", json!({"routing-key": HIDDEN})),
    ];
    let allowed = [url.as_str(), &format!("smtp://{}", mail.address)];
    let (hanging, silent) = tokio::try_join!(
        good_release("told-hang", &allowed, &secrets, channels),
        good_release("told-none", &[], &[], json!([])),
    )?;
    let (with, without) = tokio::try_join!(goes_back(&hanging), goes_back(&silent))?;
    for path in [
        "/webhook",
        "/teams",
        "/slack",
        "/api/chat.postMessage",
        "/v2/enqueue",
    ] {
        ensure!(!hooks.received(path).is_empty(), "{path} was not tried");
    }
    ensure!(mail.calls() > 0, "no mail was tried");
    // Until the good template is written, and until everything is over.
    let took = |event: RollbackEvent| {
        let times = event.status.unwrap_or_default().times;
        let fired = times.fired.context("not fired")?;
        let written = times.first_write.context("nothing was written")?;
        let ended = times.ended.context("not ended")?;
        let since = |end: Timestamp| Duration::try_from(end.duration_since(fired));
        anyhow::Ok((since(written)?, since(ended)?))
    };
    let (with, without) = (took(with)?, took(without)?);
    println!(
        "written and over with every channel hanging: {with:?}; without channels: {without:?}"
    );
    // One attempt hangs for 10 s.
    ensure!(
        with.0 < without.0 + Duration::from_secs(2) && with.1 < without.1 + Duration::from_secs(3),
        "{with:?} with channels that hang, {without:?} without channels"
    );
    Ok(())
}

#[tokio::test]
async fn a_channel_that_fails_is_seen_until_it_has_taken_everything() -> anyhow::Result<()> {
    let hooks = Receiver::start(Mood::Status(500)).await?;
    let path = format!("/{HIDDEN}");
    let world = good_release(
        "told-dead",
        &[&hooks.url],
        &[("slack", json!({"url": format!("{}{path}", hooks.url)}))],
        json!([{"name": "team", "slack": {"secretName": "slack"}}]),
    )
    .await?;
    world.condition("Notified", true, "NothingToTell").await?;
    goes_back(&world).await?;
    let said = world.condition("Notified", false, "ChannelFailing").await?;
    ensure!(
        said.contains(&format!(
            "channel team (slack) could not be told of web-1 Started: {}: HTTP 500",
            hooks.url
        )),
        "{said}"
    );
    nothing_is_given_away(&world).await?;
    hooks.feels(Mood::Well);
    let records = all_sent(&world, 2).await?;
    ensure!(records[0].attempts > 1, "{records:?}");
    world.condition("Notified", true, "Told").await?;
    let well: Vec<_> = hooks.received(&path).into_iter().rev().take(2).collect();
    ensure!(well[0].text.contains("rolled back") && well[1].text.contains("rolling back"));
    Ok(())
}

#[tokio::test]
async fn a_channel_that_could_not_be_used_is_said_before_it_has_to_be() -> anyhow::Result<()> {
    let world = World::with("told-unusable", &allowing(&["https://hooks.slack.com"])).await?;
    world.deploy(&App::version("v1")).await?;
    let slack = |template: Value| {
        telling(json!([{"name": "team", "slack": {"secretName": "slack"}, "template": template}]))
    };
    world
        .policy(slack(json!({"title": "{{ workloads }}"})))
        .await?;
    let said = world
        .condition("Notified", false, "ChannelUnusable")
        .await?;
    ensure!(said.contains("Secret slack of namespace"), "{said}");
    let elsewhere = format!("https://hooks.example.com/{HIDDEN}");
    secret(&world, "slack", json!({"url": elsewhere})).await?;
    world
        .policy(slack(json!({"title": "{{ policy }}"})))
        .await?;
    world
        .policy_says("the host not to be allowed", |status| {
            status.conditions.iter().any(|c| {
                c.type_ == "Notified"
                    && c.message.contains(
                        "the host of its `url` is not allowed (https://hooks.example.com)",
                    )
            })
        })
        .await?;
    nothing_is_given_away(&world).await?;

    world
        .policy(slack(json!({"text": "fine\n{{ wat }}"})))
        .await?;
    let said = world.condition("Accepted", false, "Invalid").await?;
    ensure!(
        said.contains("spec.notifications[0].template.text: line 2: undefined value"),
        "{said}"
    );
    world
        .policy(telling(
            json!([{"name": "ci", "webhook": {"url": "http://10.0.0.1/admin"}}]),
        ))
        .await?;
    world
        .policy_says("the address to be refused", |status| {
            status.conditions.iter().any(|c| {
                c.type_ == "Accepted"
                    && c.message
                        == "spec.notifications[0].webhook.url: `http://10.0.0.1/admin` is not allowed; \
                            allowed: https://hooks.slack.com"
            })
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn the_operators_channels_are_told_of_every_policy_and_that_a_person_has_to_act()
-> anyhow::Result<()> {
    let hooks = Receiver::start(Mood::Well).await?;
    let file = tempfile::NamedTempFile::new()?;
    let text = format!(
        "channels: [{{name: platform, webhook: {{url: '{}/all'}}, outcomes: [Held, Resolved]}}]",
        hooks.url
    );
    std::fs::write(file.path(), text)?;
    let mut flags = allowing(&[&hooks.url]);
    flags.push(format!("--notifications-file={}", file.path().display()));
    let world = World::with("told-held", &flags).await?;
    world
        .deploy(&App::version("v1").fate(fate::CRASH_LOOP))
        .await?;
    world.policy(quick_policy()).await?;
    let status = world
        .policy_says("the operator's channel to be told", |status| {
            status
                .notifications
                .iter()
                .any(|r| r.state == NotificationState::Sent)
        })
        .await?;
    let record = &status.notifications[0];
    assert_eq!(
        (record.channel.as_str(), record.outcome),
        ("operator/platform", Told::Held)
    );
    let required = status
        .conditions
        .iter()
        .find(|c| c.type_ == "ActionRequired");
    assert_eq!(record.reason.as_ref(), required.map(|c| &c.reason));
    let told = hooks.received("/all").pop().context("nothing was sent")?;
    assert_eq!(told.body["type"], "dev.backstop.policy.held");
    assert_eq!(told.body["data"]["namespace"], world.namespace);
    assert_eq!(told.body["data"]["category"], "Critical");
    let policy = world
        .api::<backstop_api::RollbackPolicy>()
        .get("web")
        .await?;
    assert_eq!(told.body["data"]["policy"], policy.name_any());
    Ok(())
}
