//! Nobody gains rights by what a policy reaches without their naming it: configuration and autoscalers, and all of a
//! policy when they ask for a rollback by it or name a point of it.

use std::time::Duration;

use anyhow::ensure;
use backstop_e2e::people::{People, Right, UNNAMED, right};
use backstop_e2e::raw::{Raw, event, point, policy, refused, with};
use backstop_testenv::eventually;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// A policy that neither keeps nor puts back configuration.
fn without_config(spec: Value) -> Value {
    with(spec, json!({"points": {"config": "Ignore"}}))
}

fn blue_green() -> Value {
    let parameters = json!({"service": "shop", "stacks": ["web-blue", "web-green"]});
    with(
        policy("web"),
        json!({"workloads": [], "strategy": {"type": "BlueGreen", "blueGreen": parameters}}),
    )
}

fn canary(provider: &str) -> Value {
    let route = json!({"provider": provider, "name": "shop"});
    let parameters = json!({"stable": "web-blue", "canary": "web-green", "route": route});
    with(
        policy("web"),
        json!({"workloads": [], "strategy": {"type": "Canary", "canary": parameters}}),
    )
}

/// Both Deployments, with these and without `but`.
fn rights(more: &[Right<'static>], unnamed: impl Fn(usize) -> bool) -> Vec<Right<'static>> {
    let mut all = vec![right("apps", "deployments", &["web-blue", "web-green"])];
    all.extend(more);
    let kept = UNNAMED.iter().enumerate().filter(|(n, _)| unnamed(*n));
    all.extend(kept.map(|(_, right)| *right));
    all
}

/// Waits until it is accepted: the authorizer learns of roles, and admission of policies, by watching.
async fn accepted(objects: &Raw, name: &str, spec: Value) -> anyhow::Result<()> {
    eventually("it to be accepted", SOON, async || {
        objects.create(name, spec.clone()).await
    })
    .await
    .map(drop)
}

/// Waits until it is refused with these words. What is accepted before that was held against an older picture.
async fn comes_to_be_refused(
    objects: &Raw,
    name: &str,
    spec: Value,
    words: &str,
) -> anyhow::Result<()> {
    let mut tries = 0;
    eventually("it to be refused", SOON, async || {
        tries += 1;
        let answer = objects
            .create(format!("{name}-{tries}-x"), spec.clone())
            .await;
        refused(answer, words)
    })
    .await
    .map(drop)
}

#[tokio::test]
async fn who_lets_configuration_be_put_back_may_patch_it() -> anyhow::Result<()> {
    let people = People::new().await?;
    let service = right("", "services", &["shop"]);
    let words = [
        "spec.points.config: 'carol' may not patch every ConfigMap",
        "spec.points.secrets: 'dave' may not patch every Secret",
        "spec.strategy: 'erin' may not patch every HorizontalPodAutoscaler",
    ];
    for (missing, name) in ["carol", "dave", "erin"].into_iter().enumerate() {
        let client = people
            .person(name, &rights(&[service], |n| n != missing))
            .await?;
        let policies = people.policies(&client);
        // Until the role is known everything is refused, in other words.
        eventually("the right words", SOON, async || {
            refused(policies.create("other", blue_green()).await, words[missing])
        })
        .await?;
        let wish = match missing {
            0 => without_config(blue_green()),
            1 => with(blue_green(), json!({"points": {"secrets": "Ignore"}})),
            _ => policy("web-blue"),
        };
        accepted(&policies, name, wish).await?;
    }
    let policies = people.policies(&people.person("frank", &rights(&[], |n| n < 2)).await?);
    accepted(&policies, "frank", policy("web-blue")).await?;
    let mut spec = policy("web-blue");
    spec["triggers"][0]["action"] = json!("ScaleAndRollback");
    refused(
        policies.create("other", spec).await,
        "'frank' may not patch every HorizontalPodAutoscaler",
    )?;
    Ok(())
}

#[tokio::test]
async fn who_asks_for_a_rollback_may_patch_all_that_the_policy_reaches() -> anyhow::Result<()> {
    let people = People::new().await?;
    let admin = people.policies(&people.admin);
    admin.create("web", blue_green()).await?;
    admin.create("shop", canary("istio")).await?;
    // A policy that has nothing to do with it asks for nothing.
    admin.create("db", policy("db")).await?;
    let route = right("networking.istio.io", "virtualservices", &["shop"]);
    let service = right("", "services", &["shop"]);
    let all = [service, route];
    let gail = people.events(&people.person("gail", &rights(&all, |_| true)).await?);
    let wish = |by: &str, of: &str| with(event("web-blue", by), json!({"policy": of}));
    accepted(&gail, "by-service", wish("gail", "web")).await?;
    accepted(&gail, "by-route", wish("gail", "shop")).await?;
    for (name, of, rights, words) in [
        (
            "heidi",
            "web",
            rights(&[route], |_| true),
            "may not patch Service 'shop'",
        ),
        (
            "ivan",
            "shop",
            rights(&[service], |_| true),
            "may not patch route 'shop'",
        ),
        (
            "judy",
            "web",
            rights(&all, |n| n != 0),
            "may not patch every ConfigMap",
        ),
        (
            "karl",
            "web",
            rights(&all, |n| n != 1),
            "may not patch every Secret",
        ),
        (
            "liam",
            "web",
            rights(&all, |n| n != 2),
            "may not patch every HorizontalPodAutoscaler",
        ),
    ] {
        let events = people.events(&people.person(name, &rights).await?);
        let words = format!("RollbackPolicy '{of}': '{name}' {words}");
        comes_to_be_refused(&events, name, wish(name, of), &words).await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_names_a_point_may_patch_every_deployment_of_it() -> anyhow::Result<()> {
    let people = People::new().await?;
    let two = json!([{"name": "web"}, {"name": "db"}]);
    let points = people.points(&people.alice);
    points.create("before", point("web")).await?;
    people
        .policies(&people.admin)
        .create("web", with(policy("web"), json!({"workloads": two})))
        .await?;
    let words = "RollbackPolicy 'web': 'alice' may not patch Deployment 'web', 'db'";
    comes_to_be_refused(&points, "good", point("web"), words).await?;
    let said = refused(points.delete("before").await, words)?;
    ensure!(
        said.contains("whoever makes, changes or deletes its RollbackPoints"),
        "{said}"
    );
    people
        .points(&people.admin)
        .create("good", point("web"))
        .await?;
    Ok(())
}
