//! What happened is on record, and stays there for its time.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::RollbackPolicy;
use backstop_api::event::{EventPhase, Outcome};
use backstop_e2e::metrics::{Metered, error_rate, failing, healthy, policy_with};
use backstop_e2e::operator::Running;
use backstop_e2e::people::People;
use backstop_e2e::raw::{event, refused, with};
use backstop_e2e::world::{App, World, quick_policy};
use backstop_testenv::eventually;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

fn ended(at: &str) -> Value {
    json!({"phase": "Succeeded", "outcome": "Recovered", "times": {"ended": at}})
}

#[tokio::test]
async fn a_record_is_deleted_before_its_time_only_by_whoever_may_purge() -> anyhow::Result<()> {
    let people = People::new().await?;
    let role = r"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: cleaner}
rules:
- {apiGroups: [backstop.dev], resources: [rollbackevents], verbs: [get, list, delete, deletecollection]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: cleaner}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: cleaner}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: carl}
";
    people.cluster.apply(&people.namespace, role).await?;
    let carl = people.events(&people.cluster.client_for("carl", &[]).await?);
    let operator = people.events(&people.operator);
    let spec = with(event("web", "backstop"), json!({"cause": "Trigger"}));
    operator.create("web-1", spec).await?;
    operator
        .status("web-1", ended("2020-01-01T00:00:00Z"))
        .await?;
    eventually("carl's rights", SOON, async || carl.get("none").await).await?;

    let words = "'carl' lacks the verb purge on rollbackevents.backstop.dev";
    refused(carl.delete("web-1").await, words)?;
    refused(carl.delete_all().await, words)?;
    ensure!(operator.get("web-1").await?.is_some(), "it is gone");
    // Alice has every verb there is, and this one with them.
    people.events(&people.alice).delete("web-1").await?;
    Ok(())
}

#[tokio::test]
async fn old_records_are_let_go_and_the_newest_of_each_workload_stays() -> anyhow::Result<()> {
    let people = People::new().await?;
    let events = people.events(&people.operator);
    let records = [
        ("web-1", "web", "2020-01-01T00:00:00Z"),
        ("web-2", "web", "2020-02-01T00:00:00Z"),
        ("web-3", "web", "2020-03-01T00:00:00Z"),
        ("worker-by-hand", "worker", "2020-01-01T00:00:00Z"),
    ];
    for (name, workload, at) in records {
        let spec = with(event(workload, "backstop"), json!({"cause": "Trigger"}));
        events.create(name, spec).await?;
        events.status(name, ended(at)).await?;
    }
    let _operator = Running::start(people.cluster, &people.namespace, "a", &[]).await?;
    eventually("old records to go", SOON, async || {
        for name in ["web-1", "web-2"] {
            ensure!(events.get(name).await?.is_none(), "{name} is still there");
        }
        Ok(())
    })
    .await?;
    for name in ["web-3", "worker-by-hand"] {
        ensure!(events.get(name).await?.is_some(), "{name} is gone");
    }
    Ok(())
}

#[tokio::test]
async fn where_records_are_many_the_newest_stay_in_the_cluster_and_the_rest_in_the_log()
-> anyhow::Result<()> {
    let people = People::new().await?;
    let events = people.events(&people.operator);
    let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(48);
    for number in 1..=4 {
        let name = format!("web-{number}");
        let spec = with(event("web", "backstop"), json!({"cause": "Trigger"}));
        events.create(name.as_str(), spec).await?;
        let at = long_ago + jiff::SignedDuration::from_mins(number);
        events.status(&name, ended(&at.to_string())).await?;
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("audit.jsonl");
    let flags = ["--audit-file".to_owned(), path.display().to_string()];
    let limit = ["--event-limit".to_owned(), "2".to_owned()];
    let all = [flags, limit].concat();
    let operator = Running::start(people.cluster, &people.namespace, "a", &all).await?;
    let lines = || std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
    eventually("all to be in the log", SOON, async || {
        ensure!(lines() == 4, "{} lines", lines());
        // Whoever is stopped between a line and its mark leaves a record that is written again.
        for number in 1..=4 {
            let marked = events.get(&format!("web-{number}")).await?;
            let marked = marked.map(|event| event.data["status"]["exported"]["sequence"].clone());
            ensure!(
                marked.is_some_and(|it| it.is_i64()),
                "{number} is not marked"
            );
        }
        Ok(())
    })
    .await?;
    // It looks when it begins to lead, and then every hour.
    operator.stop();
    operator.restart()?;
    eventually("those beyond the newest to go", SOON, async || {
        for name in ["web-1", "web-2"] {
            ensure!(events.get(name).await?.is_none(), "{name} is still there");
        }
        Ok(())
    })
    .await?;
    for name in ["web-3", "web-4"] {
        ensure!(events.get(name).await?.is_some(), "{name} is gone");
    }
    assert_eq!(lines(), 4, "what is gone is in the log, once");
    Ok(())
}

#[tokio::test]
async fn a_rollback_says_how_many_users_were_affected() -> anyhow::Result<()> {
    let world = Metered::new("affected").await?;
    let mut policy = policy_with(&error_rate());
    // Every pod is an exporter's target: as good a number as any, and never nothing.
    policy["affectedUsers"] = json!({"query": "vector(1234)"});
    world.load("v1", healthy()).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(policy).await?;
    world.good_point(1).await?;
    world.release("v2", failing()).await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    let told = world
        .eventually("the number of users", async || {
            let events = world.events().await?;
            let status = events.first().and_then(|e| e.status.clone());
            status
                .and_then(|s| s.affected_users)
                .context("it is not there yet")
        })
        .await?;
    assert_eq!(told.count, Some(1234.0), "{told:?}");
    assert_eq!(told.query, "vector(1234)");
    Ok(())
}

#[tokio::test]
async fn who_changed_a_policy_and_what_of_it_is_on_record() -> anyhow::Result<()> {
    let world = World::new("changed").await?;
    world.policy(quick_policy()).await?;
    let history = async || {
        let history = world.status().await?.spec_history;
        history.context("no history yet")
    };
    let first = world
        .eventually("the first spec to be seen", history)
        .await?;
    ensure!(first.changes.is_empty(), "nobody has changed it: {first:?}");

    let params = PatchParams {
        field_manager: Some("night-shift".into()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"spec": {"window": "3m", "limits": {"maxAttempts": 2}}}));
    world
        .api::<RollbackPolicy>()
        .patch("web", &params, &patch)
        .await?;
    let change = world
        .eventually("the change to be on record", async || {
            let history = history().await?;
            history.changes.first().cloned().context("none yet")
        })
        .await?;
    assert_eq!(change.by.as_deref(), Some("night-shift"));
    assert_eq!(change.fields, ["spec.limits", "spec.window"]);
    let said = world.said("RollbackPolicy", "PolicyChanged").await?;
    ensure!(
        said.contains("night-shift changed spec.limits, spec.window"),
        "{said}"
    );
    let noted = history().await?;
    assert_eq!(noted.changes.len(), 1, "{noted:?}");
    Ok(())
}
