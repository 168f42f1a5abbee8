//! Nobody gains rights through Backstop: what the admission policies let pass and what they refuse, and in which words.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_e2e::people::People;
use backstop_e2e::raw::{Raw, event, point, policy, refused, release, with};
use backstop_testenv::eventually;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

/// The garbage collector looks for new kinds every 30 s only.
const COLLECTED: Duration = Duration::from_secs(90);

/// One kind of object, as a user sees it in a namespace.
type Of = fn(&Client, &str) -> Raw;

#[tokio::test]
async fn who_may_not_patch_the_deployment_may_not_write_a_policy_for_it() -> anyhow::Result<()> {
    let people = People::new().await?;
    let (alice, bob) = (people.policies(&people.alice), people.policies(&people.bob));
    let said = refused(
        bob.create("web", policy("web")).await,
        "spec.workloads: 'bob' may not patch Deployment 'web'",
    )?;
    ensure!(said.contains("verb patch on deployments.apps"), "{said}");
    refused(
        alice.create("db", policy("db")).await,
        "'alice' may not patch Deployment 'db'",
    )?;
    alice.create("web", policy("web")).await?;

    let pause = json!({"spec": {"mode": "Paused"}});
    refused(
        bob.patch("web", pause.clone()).await,
        "'bob' may not patch Deployment 'web'",
    )?;
    alice.patch("web", pause).await?;
    // What says nothing of the workload asks for no right to it.
    bob.patch("web", json!({"metadata": {"labels": {"team": "shop"}}}))
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_policy_moves_only_between_deployments_that_one_may_patch() -> anyhow::Result<()> {
    let people = People::new().await?;
    people
        .policies(&people.admin)
        .create("db", policy("db"))
        .await?;
    let alice = people.policies(&people.alice);
    alice.create("web", policy("web")).await?;
    refused(
        alice
            .patch("web", json!({"spec": {"workloads": [{"name": "db"}]}}))
            .await,
        "'alice' may not patch Deployment 'db'",
    )?;
    let said = refused(
        alice
            .patch("db", json!({"spec": {"workloads": [{"name": "web"}]}}))
            .await,
        "'alice' may not patch Deployment 'db'",
    )?;
    ensure!(
        said.contains("which this RollbackPolicy looks after"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn who_may_not_patch_the_deployment_may_neither_make_nor_delete_its_points()
-> anyhow::Result<()> {
    let people = People::new().await?;
    let (alice, bob) = (people.points(&people.alice), people.points(&people.bob));
    refused(
        bob.create("good", point("web")).await,
        "spec.workload: 'bob' may not patch Deployment 'web'",
    )?;
    alice.create("good", point("web")).await?;
    refused(
        bob.patch("good", json!({"spec": {"reason": "mine now"}}))
            .await,
        "'bob' may not patch Deployment 'web'",
    )?;
    refused(
        bob.delete("good").await,
        "'bob' may not patch Deployment 'web'",
    )?;
    alice.delete("good").await?;
    Ok(())
}

#[tokio::test]
async fn only_backstop_fills_the_release_of_a_point() -> anyhow::Result<()> {
    let people = People::new().await?;
    let (alice, operator) = (
        people.points(&people.alice),
        people.points(&people.operator),
    );
    let filled = with(point("web"), json!({"release": release()}));
    refused(
        alice.create("forged", filled.clone()).await,
        "spec.release is filled by Backstop alone, and 'alice' is not Backstop; leave it out",
    )?;
    alice.create("good", point("web")).await?;
    let fill = json!({"spec": {"release": release()}});
    refused(
        alice.patch("good", fill.clone()).await,
        "spec.release is filled by Backstop alone",
    )?;
    operator.patch("good", fill).await?;
    // A point that is filled may still be given another reason.
    alice
        .patch("good", json!({"spec": {"reason": "load test passed"}}))
        .await?;
    operator
        .create("soaked", with(filled, json!({"origin": "Soak"})))
        .await?;
    Ok(())
}

#[tokio::test]
async fn only_backstop_says_that_a_release_soaked_or_failed() -> anyhow::Result<()> {
    let people = People::new().await?;
    let (alice, operator) = (
        people.points(&people.alice),
        people.points(&people.operator),
    );
    for origin in ["Soak", "Quarantine"] {
        refused(
            alice
                .create("p", with(point("web"), json!({"origin": origin})))
                .await,
            &format!(
                "spec.origin: '{origin}' is said by Backstop alone, and 'alice' is not Backstop; use 'Manual' or 'Pipeline'"
            ),
        )?;
    }
    for origin in ["Manual", "Pipeline"] {
        let name = origin.to_lowercase();
        alice
            .create(name, with(point("web"), json!({"origin": origin})))
            .await?;
    }
    let failed = with(
        point("web"),
        json!({"verdict": "Quarantined", "origin": "Quarantine", "release": release()}),
    );
    // It breaks three rules; the server names one of them.
    refused(
        alice.create("web-quarantined", failed.clone()).await,
        "by Backstop alone, and 'alice' is not Backstop",
    )?;
    operator.create("web-quarantined", failed).await?;
    // Lifting a quarantine is a person's right, for whoever may patch the workload.
    refused(
        people.points(&people.bob).delete("web-quarantined").await,
        "'bob' may not patch Deployment 'web'",
    )?;
    alice.delete("web-quarantined").await?;
    Ok(())
}

#[tokio::test]
async fn a_person_cannot_relabel_a_point() -> anyhow::Result<()> {
    let people = People::new().await?;
    let (alice, operator) = (
        people.points(&people.alice),
        people.points(&people.operator),
    );
    let labels = json!({
        "backstop.dev/workload": "web", "backstop.dev/verdict": "Good",
        "backstop.dev/origin": "Manual",
    });
    alice
        .create(json!({"name": "good", "labels": labels}), point("web"))
        .await?;
    for (label, value) in [
        ("workload", "db"),
        ("verdict", "Quarantined"),
        ("origin", "Soak"),
        ("release", "0123456789abcdef"),
    ] {
        let key = format!("backstop.dev/{label}");
        refused(
            alice
                .create(json!({"name": "p", "labels": {&key: value}}), point("web"))
                .await,
            "metadata.labels of RollbackPoint 'p' must agree with its spec",
        )?;
        refused(
            alice
                .create(
                    json!({"generateName": "p-", "labels": {&key: value}}),
                    point("web"),
                )
                .await,
            "metadata.labels of RollbackPoint 'p-",
        )?;
        refused(
            alice
                .patch("good", json!({"metadata": {"labels": {&key: value}}}))
                .await,
            &format!("metadata.labels: {key} of RollbackPoint 'good' is kept by Backstop alone"),
        )?;
        operator
            .patch("good", json!({"metadata": {"labels": {&key: value}}}))
            .await?;
        refused(
            alice
                .patch("good", json!({"metadata": {"labels": {&key: null}}}))
                .await,
            &format!("metadata.labels: {key} of RollbackPoint 'good' is kept by Backstop alone"),
        )?;
    }
    alice
        .patch("good", json!({"metadata": {"labels": {"team": "shop"}}}))
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_person_cannot_say_when_a_release_proved_itself() -> anyhow::Result<()> {
    let people = People::new().await?;
    let (alice, operator) = (
        people.points(&people.alice),
        people.points(&people.operator),
    );
    let proved = |at: &str| json!({"metadata": {"annotations": {"backstop.dev/proved-at": at}}});
    let own =
        json!({"name": "p", "annotations": {"backstop.dev/proved-at": "2026-01-01T00:00:00Z"}});
    refused(
        alice.create(own, point("web")).await,
        "metadata.annotations: backstop.dev/proved-at of RollbackPoint 'p' is kept by Backstop alone",
    )?;
    alice.create("good", point("web")).await?;
    operator
        .patch("good", proved("2026-01-01T00:00:00Z"))
        .await?;
    refused(
        alice.patch("good", proved("2027-01-01T00:00:00Z")).await,
        "backstop.dev/proved-at of RollbackPoint 'good' is kept by Backstop alone",
    )?;
    // Nor which rollback made a record.
    refused(
        alice
            .patch(
                "good",
                json!({"metadata": {"annotations": {"backstop.dev/event": "web-1"}}}),
            )
            .await,
        "metadata.annotations: backstop.dev/event of RollbackPoint 'good' is kept by Backstop alone",
    )?;
    alice
        .patch(
            "good",
            json!({"metadata": {"annotations": {"note": "ours"}}}),
        )
        .await?;
    Ok(())
}

#[tokio::test]
async fn only_backstop_writes_status() -> anyhow::Result<()> {
    let people = People::new().await?;
    let admin = &people.admin;
    people.policies(admin).create("web", policy("web")).await?;
    people.points(admin).create("web", point("web")).await?;
    people
        .events(admin)
        .create("web", event("web", "admin"))
        .await?;
    let kinds: [(&str, Of, Value); 3] = [
        ("RollbackPolicy", Raw::policies, json!({"phase": "Idle"})),
        (
            "RollbackPoint",
            Raw::points,
            json!({"capturedAt": "2026-01-01T00:00:00Z"}),
        ),
        ("RollbackEvent", Raw::events, json!({"phase": "Succeeded"})),
    ];
    for (kind, api, status) in kinds {
        for (client, name) in [(&people.alice, "alice"), (admin, "admin")] {
            refused(
                api(client, &people.namespace)
                    .status("web", status.clone())
                    .await,
                &format!(
                    "status of {kind} 'web' is written by Backstop alone ({}), and '{name}' is not Backstop",
                    people.operator_is.username()
                ),
            )?;
        }
        let written = api(&people.operator, &people.namespace)
            .status("web", status.clone())
            .await?;
        let (field, value) = status
            .as_object()
            .and_then(|s| s.iter().next())
            .context("a field")?;
        ensure!(
            written.data["status"][field] == *value,
            "{kind}: {:?}",
            written.data
        );
    }
    Ok(())
}

#[tokio::test]
async fn kubernetes_itself_may_clear_everything_away() -> anyhow::Result<()> {
    let people = People::new().await?;
    let policy_made = people
        .policies(&people.admin)
        .create("web", policy("web"))
        .await?;
    let (points, events) = (
        people.points(&people.operator),
        people.events(&people.operator),
    );
    let owned = json!({
        "name": "owned",
        "ownerReferences": [{
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackPolicy", "name": "web",
            "uid": policy_made.uid().context("a uid")?,
        }],
    });
    let running = with(event("web", "backstop"), json!({"cause": "Trigger"}));
    points.create(owned.clone(), point("web")).await?;
    events.create(owned, running.clone()).await?;
    people.policies(&people.alice).delete("web").await?;
    eventually(
        "what the policy owns to be collected",
        COLLECTED,
        async || {
            ensure!(points.get("owned").await?.is_none(), "the point is there");
            ensure!(events.get("owned").await?.is_none(), "the event is there");
            Ok(())
        },
    )
    .await?;

    points.create("left", point("web")).await?;
    events.create("left", running).await?;
    let namespaces = ["namespace", &people.namespace];
    let mut delete = vec!["delete", "--timeout=60s"];
    delete.extend(namespaces);
    people.cluster.kubectl(&delete).await?.success()?;
    Ok(())
}
