//! Nobody gains rights through a strategy: whoever writes a policy may patch all that it may change.

use std::time::Duration;

use anyhow::ensure;
use backstop_e2e::people::{People, Right, UNNAMED, right};
use backstop_e2e::raw::{Raw, policy, refused, with};
use backstop_testenv::eventually;
use backstop_traffic::Table;
use kube::Client;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// The eight Deployments that a policy may name.
const EIGHT: [&str; 8] = [
    "web-0", "web-1", "web-2", "web-3", "web-4", "web-5", "web-6", "web-7",
];

/// Somebody who may write Backstop's objects, and patch this besides and what is reached without being named.
async fn person(people: &People, name: &str, rights: &[Right<'_>]) -> anyhow::Result<Client> {
    people.person(name, &[&UNNAMED, rights].concat()).await
}

/// Waits until a policy is accepted: the authorizer learns of roles by watching.
async fn accepted(policies: &Raw, name: &str, spec: Value) -> anyhow::Result<()> {
    eventually("the policy to be accepted", SOON, async || {
        policies.create(name, spec.clone()).await
    })
    .await
    .map(drop)
}

fn several(names: &[&str]) -> Value {
    let workloads: Value = names.iter().map(|name| json!({"name": name})).collect();
    with(policy("web"), json!({"workloads": workloads}))
}

fn own(strategy: &Value) -> Value {
    with(
        policy("web"),
        json!({"workloads": [], "strategy": strategy}),
    )
}

fn blue_green(stacks: [&str; 2]) -> Value {
    own(&json!({"type": "BlueGreen", "blueGreen": {"service": "shop", "stacks": stacks}}))
}

fn canary(stable: &str, canary: &str, provider: &str) -> Value {
    let route = json!({"provider": provider, "name": "shop"});
    own(&json!({
        "type": "Canary", "canary": {"stable": stable, "canary": canary, "route": route},
    }))
}

/// Eight Deployments, of which one is another.
fn eight_but(position: usize, other: &'static str) -> [&'static str; 8] {
    let mut names = EIGHT;
    names[position] = other;
    names
}

#[tokio::test]
async fn of_several_deployments_every_one_counts() -> anyhow::Result<()> {
    let people = People::new().await?;
    let carol = person(&people, "carol", &[right("apps", "deployments", &EIGHT)]).await?;
    let carol = people.policies(&carol);
    // As dear as it gets: all eight are asked for, and then the eight of before as well.
    accepted(&carol, "all", several(&EIGHT)).await?;
    let mut turned = EIGHT;
    turned.reverse();
    let spec = several(&turned);
    carol
        .patch("all", json!({"spec": {"workloads": spec["workloads"]}}))
        .await?;

    let admin = people.policies(&people.admin);
    for position in 0..EIGHT.len() {
        let names = eight_but(position, "db");
        let said = refused(
            carol.create("one-too-many", several(&names)).await,
            "spec.workloads: 'carol' may not patch Deployment",
        )?;
        ensure!(said.contains("'db'"), "{said}");
        let name = format!("of-others-{position}");
        admin.create(name.clone(), several(&names)).await?;
        let taken_away = json!({"spec": {"workloads": [{"name": "web-0"}]}});
        refused(
            carol.patch(&name, taken_away).await,
            "which this RollbackPolicy looks after; whoever takes that away must be allowed to",
        )?;
        admin.delete(&name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_lets_a_service_be_switched_may_patch_it_and_both_stacks() -> anyhow::Result<()> {
    let people = People::new().await?;
    let deployments = || right("apps", "deployments", &["web-blue", "web-green"]);
    let carol = person(&people, "carol", &[deployments()]).await?;
    let service = right("", "services", &["shop"]);
    let dave = person(&people, "dave", &[deployments(), service]).await?;
    let (carol, dave) = (people.policies(&carol), people.policies(&dave));
    accepted(&dave, "shop", blue_green(["web-blue", "web-green"])).await?;
    for stacks in [["web-blue", "db"], ["db", "web-green"]] {
        refused(
            dave.create("other", blue_green(stacks)).await,
            "'dave' may not patch Deployment",
        )?;
    }
    accepted(&carol, "both", several(&["web-blue", "web-green"])).await?;
    let said = refused(
        carol
            .create("other", blue_green(["web-blue", "web-green"]))
            .await,
        "spec.strategy.blueGreen.service: 'carol' may not patch Service 'shop'",
    )?;
    ensure!(said.contains("(verb patch on services)"), "{said}");
    // Nor takes a policy away from stacks that they may not patch.
    let alone = several(&["web-blue"]);
    let admin = people.policies(&people.admin);
    admin
        .create("of-others", blue_green(["db", "web-green"]))
        .await?;
    refused(
        carol
            .patch(
                "of-others",
                json!({"spec": {"workloads": alone["workloads"], "strategy": null}}),
            )
            .await,
        "which this RollbackPolicy looks after",
    )?;
    Ok(())
}

#[tokio::test]
async fn who_lets_a_route_be_shifted_may_patch_it_and_both_sides() -> anyhow::Result<()> {
    let people = People::new().await?;
    let deployments = || right("apps", "deployments", &["web", "web-canary"]);
    let table = Table::builtin();
    let mut rights = vec![deployments()];
    rights.extend(
        table
            .iter()
            .map(|of| right(&of.group, &of.plural, &["shop"])),
    );
    let carol = person(&people, "carol", &[deployments()]).await?;
    let dave = person(&people, "dave", &rights).await?;
    let erin = person(&people, "erin", &[right("*", "*", &[])]).await?;
    let (carol, dave) = (people.policies(&carol), people.policies(&dave));
    accepted(&carol, "both", several(&["web", "web-canary"])).await?;
    for provider in table.iter() {
        let spec = || canary("web", "web-canary", &provider.name);
        accepted(&dave, &provider.name, spec()).await?;
        let said = refused(
            carol.create("other", spec()).await,
            "spec.strategy.canary.route: 'carol' may not patch route 'shop'",
        )?;
        let right = format!("(verb patch on {}.{})", provider.plural, provider.group);
        ensure!(said.contains(&right), "{said}");
    }
    for (stable, tried) in [("web", "db"), ("db", "web-canary")] {
        refused(
            dave.create("other", canary(stable, tried, "istio")).await,
            "'dave' may not patch Deployment",
        )?;
    }
    // What the operator's own file adds may be any kind.
    let said = refused(
        dave.create("other", canary("web", "web-canary", "gloo"))
            .await,
        "'dave' may not patch route 'shop'",
    )?;
    ensure!(
        said.contains(
            "verb patch on *.*, because 'gloo' is no kind of route that comes with Backstop"
        ),
        "{said}"
    );
    accepted(
        &people.policies(&erin),
        "other",
        canary("web", "web-canary", "gloo"),
    )
    .await
}
