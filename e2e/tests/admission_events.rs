//! Nobody gains rights by asking for a rollback or by calling one off.

use anyhow::ensure;
use backstop_e2e::people::People;
use backstop_e2e::raw::{event, refused, with};
use serde_json::json;

#[tokio::test]
async fn a_person_rolls_back_in_their_own_name_what_they_may_patch() -> anyhow::Result<()> {
    let people = People::new().await?;
    let (alice, bob) = (people.events(&people.alice), people.events(&people.bob));
    refused(
        alice.create("e", event("web", "bob")).await,
        "spec.requestedBy must be 'alice', the user that you are; it is 'bob'",
    )?;
    refused(
        bob.create("e", event("web", "bob")).await,
        "spec.workloads: 'bob' may not patch Deployment 'web'",
    )?;
    refused(
        alice.create("e", event("db", "alice")).await,
        "'alice' may not patch Deployment 'db'",
    )?;
    let wish = json!({"reason": "empty carts", "quarantine": true, "to": {"point": "web-good"}});
    alice.create("e", with(event("web", "alice"), wish)).await?;
    Ok(())
}

#[tokio::test]
async fn a_person_cannot_take_the_names_that_backstop_gives() -> anyhow::Result<()> {
    let people = People::new().await?;
    let alice = people.events(&people.alice);
    for metadata in [
        json!({"name": "db-1"}),
        json!({"name": "db-18446744073709551615"}),
        json!({"name": "db-1", "generateName": "d"}),
        json!({"name": "db-1234", "generateName": "db-1"}),
    ] {
        refused(
            alice.create(metadata, event("web", "alice")).await,
            "ends in a number, which is how Backstop names rollbacks of its own; use another name, such as 'web-by-hand'",
        )?;
    }
    for name in ["web-fix", "db-1-again", "r2"] {
        alice.create(name, event("web", "alice")).await?;
    }
    // As if the server had made it of the generateName.
    let generated = json!({"name": "web-24578", "generateName": "web-"});
    alice.create(generated, event("web", "alice")).await?;
    Ok(())
}

#[tokio::test]
async fn only_backstop_says_what_was_seen_and_what_is_done() -> anyhow::Result<()> {
    let people = People::new().await?;
    let (alice, operator) = (
        people.events(&people.alice),
        people.events(&people.operator),
    );
    for (field, value) in [
        ("action", json!("Rollback")),
        ("strategy", json!("Rolling")),
        ("attempt", json!(2)),
        ("firedAt", json!("2026-01-01T00:00:00Z")),
        ("notBefore", json!("2026-01-01T00:00:00Z")),
    ] {
        refused(
            alice
                .create("e", with(event("web", "alice"), json!({field: value})))
                .await,
            &format!("spec.{field}: filled by Backstop alone, and 'alice' is not Backstop"),
        )?;
    }
    let to = json!({"to": {"point": "web-good", "hash": "0123456789abcdef"}});
    refused(
        alice.create("e", with(event("web", "alice"), to)).await,
        "spec.to.hash: filled by Backstop alone",
    )?;
    let evidence = json!({"trigger": "t", "severity": "Critical", "condition": "value > 0.05"});
    let automatic = with(
        event("web", "backstop"),
        json!({
            "cause": "Trigger", "evidence": evidence, "from": {"hash": "0123456789abcdef"},
            "attempt": 2, "firedAt": "2026-01-01T00:00:00Z", "action": "Rollback", "strategy": "Rolling",
        }),
    );
    refused(
        alice
            .create(
                "e",
                with(automatic.clone(), json!({"requestedBy": "alice"})),
            )
            .await,
        "spec.cause: 'Trigger' is said by Backstop alone, and 'alice' is not Backstop; use 'Manual'",
    )?;
    operator.create("web-1", automatic).await?;
    Ok(())
}

#[tokio::test]
async fn a_rollback_is_called_off_by_whoever_may_patch_the_deployment() -> anyhow::Result<()> {
    let people = People::new().await?;
    let (alice, bob) = (people.events(&people.alice), people.events(&people.bob));
    people
        .events(&people.operator)
        .create(
            "web-1",
            with(event("web", "backstop"), json!({"cause": "Trigger"})),
        )
        .await?;
    let cancel =
        json!({"metadata": {"annotations": {"backstop.dev/cancel": "known, fix is on its way"}}});
    refused(
        bob.patch("web-1", cancel.clone()).await,
        "'bob' may not patch Deployment 'web'",
    )?;
    alice.patch("web-1", cancel).await?;
    refused(
        bob.patch(
            "web-1",
            json!({"metadata": {"annotations": {"backstop.dev/cancel": null}}}),
        )
        .await,
        "'bob' may not patch Deployment 'web'",
    )?;
    bob.patch(
        "web-1",
        json!({"metadata": {"annotations": {"note": "seen"}}}),
    )
    .await?;
    refused(
        alice
            .patch(
                "web-1",
                json!({"metadata": {"labels": {"backstop.dev/policy": "other"}}}),
            )
            .await,
        "metadata.labels: the backstop.dev/ labels of RollbackEvent 'web-1' are kept by Backstop alone",
    )?;
    Ok(())
}

#[tokio::test]
async fn a_rollback_that_goes_on_is_not_deleted() -> anyhow::Result<()> {
    let people = People::new().await?;
    let (alice, operator) = (
        people.events(&people.alice),
        people.events(&people.operator),
    );
    alice.create("e", event("web", "alice")).await?;
    refused(
        alice.delete("e").await,
        "RollbackEvent 'e' is Pending and may be deleted when it has ended",
    )?;
    // A request for all of them names none.
    refused(
        alice.delete_all().await,
        "RollbackEvent 'e' is Pending and may be deleted when it has ended",
    )?;
    operator.status("e", json!({"phase": "Executing"})).await?;
    let said = refused(
        people.events(&people.admin).delete("e").await,
        "RollbackEvent 'e' is Executing and may be deleted when it has ended",
    )?;
    ensure!(
        said.contains("annotate it with backstop.dev/cancel"),
        "{said}"
    );
    operator
        .status("e", json!({"phase": "Succeeded", "outcome": "Recovered"}))
        .await?;
    alice.delete("e").await?;
    Ok(())
}
