//! The audit log: every rollback is in it, and what people do, and whatever is done to it is found.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::{RollbackEvent, RollbackPolicy};
use backstop_e2e::cli::{self, said};
use backstop_e2e::world::{APP, App, World, cannot_start, quick_policy};
use backstop_testenv::fate;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// `kubectl backstop audit`, for a namespace.
struct Cli<'a> {
    world: &'a World,
}

impl Cli<'_> {
    async fn run(&self, args: &[&str]) -> anyhow::Result<Output> {
        let audit: Vec<&str> = [&["audit"], args].concat();
        cli::Cli::new(self.world).run(&audit).await
    }
}

/// Takes the failed release back, and waits until it is in the log.
async fn goes_back(world: &World, number: u32) -> anyhow::Result<RollbackEvent> {
    let name = format!("web-{number}");
    let bad = App::version(&format!("bad-{number}")).fate(fate::CRASH_LOOP);
    world.deploy(&bad).await?;
    world
        .ended(&name, EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    world
        .eventually("the rollback to be in the log", async || {
            let event = world.api::<RollbackEvent>().get(&name).await?;
            let exported = event.status.as_ref().and_then(|s| s.exported.as_ref());
            ensure!(exported.is_some(), "it is in no line");
            Ok(event)
        })
        .await
}

fn lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn written(folder: &tempfile::TempDir, name: &str, lines: &[String]) -> anyhow::Result<PathBuf> {
    let path = folder.path().join(name);
    std::fs::write(&path, lines.join("\n") + "\n")?;
    Ok(path)
}

#[tokio::test]
async fn every_rollback_is_in_the_log_and_whatever_is_done_to_it_is_found() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("audit.jsonl");
    let flags = ["--audit-file".to_owned(), path.display().to_string()];
    let world = World::with("audit-log", &flags).await?;
    let mut policy = quick_policy();
    policy["limits"] = json!({"cooldown": "0s"});
    world.deploy(&App::version("v1")).await?;
    world.policy(policy).await?;
    world.good_point(1).await?;
    goes_back(&world, 1).await?;
    // Another operator goes on after the last line.
    world.operator.stop();
    world.operator.restart()?;
    let last = goes_back(&world, 2).await?;

    let log = lines(&path)?;
    assert_eq!(log.len(), 3, "the policy's and two more: {log:#?}");
    let record: Value = serde_json::from_str(&log[2])?;
    let record = &record["record"];
    assert_eq!(record["kind"], "Rollback");
    assert_eq!(record["name"], "web-2");
    assert_eq!(record["outcome"], "Recovered");
    assert_eq!(record["requestedBy"], "backstop");
    ensure!(
        record["trigger"].is_string() && record["severity"].is_string(),
        "{record}"
    );
    ensure!(record["durationSeconds"].as_f64() > Some(0.0), "{record}");
    let exported = last.status.and_then(|s| s.exported).context("marked")?;
    assert_eq!(exported.sequence, 3);
    ensure!(
        log[2].ends_with(&format!("{}\"}}", exported.hash)),
        "{exported:?}"
    );

    let cli = Cli { world: &world };
    let whole = cli
        .run(&["verify", &path.display().to_string(), "--in-cluster"])
        .await?;
    ensure!(whole.status.success(), "{}", said(&whole));
    ensure!(
        said(&whole).contains(&format!("whole: 3 lines; head 3:{}", exported.hash)),
        "{}",
        said(&whole)
    );

    let changed = log[1].replace("\"Recovered\"", "\"Held\"");
    ensure!(changed != log[1], "nothing was changed");
    let of = |lines: [&String; 2]| lines.map(Clone::clone).to_vec();
    let all = |second: String, third: &String| vec![log[0].clone(), second, third.clone()];
    for (name, lines, words) in [
        (
            "changed",
            all(changed, &log[2]),
            "line 2 (number 2) was changed",
        ),
        (
            "removed",
            of([&log[0], &log[2]]),
            "before line 2 (number 3) lines are missing: numbers 2 to 2",
        ),
        (
            "cut",
            of([&log[0], &log[1]]),
            "number 3 is known to be in it: lines are missing at the end",
        ),
        (
            "moved",
            all(log[2].clone(), &log[1]),
            "line 3 (number 2) is out of place",
        ),
    ] {
        let path = written(&folder, name, &lines)?;
        let found = cli
            .run(&["verify", &path.display().to_string(), "--in-cluster"])
            .await?;
        ensure!(
            !found.status.success() && said(&found).contains(words),
            "{name}: {}",
            said(&found)
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_is_on_record_is_exported_by_a_command() -> anyhow::Result<()> {
    let (world, _) =
        World::with_good_release("audit-export", quick_policy(), &App::version("v1")).await?;
    world.crashes_and_goes_back().await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("export.jsonl").display().to_string();
    let cli = Cli { world: &world };
    let export = cli.run(&["export", "--output", &path]).await?;
    ensure!(export.status.success(), "{}", said(&export));
    let told = said(&export);
    let head = told
        .lines()
        .find_map(|l| l.split_once("; head "))
        .context("a head")?
        .1;
    let verified = cli.run(&["verify", &path, "--head", head]).await?;
    ensure!(verified.status.success(), "{}", said(&verified));
    let text = std::fs::read_to_string(&path)?;
    ensure!(
        text.contains("\"name\":\"web-1\"") && text.contains("\"kind\":\"Rollback\""),
        "{text}"
    );
    let again = cli.run(&["export", "--output", &path]).await?;
    ensure!(!again.status.success(), "a log was written over");
    Ok(())
}

/// The records of a log, in its order.
fn records(path: &Path) -> anyhow::Result<Vec<Value>> {
    let parsed = lines(path)?.into_iter().map(|line| {
        let line: Value = serde_json::from_str(&line)?;
        anyhow::Ok(line["record"].clone())
    });
    parsed.collect()
}

/// Those of a kind.
fn of_kind<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|r| r["kind"] == kind).collect()
}

/// The rollback of this name.
fn rollback<'a>(records: &'a [Value], name: &str) -> anyhow::Result<&'a Value> {
    let of_name: Vec<_> = of_kind(records, "Rollback")
        .into_iter()
        .filter(|record| record["name"] == name)
        .collect();
    ensure!(of_name.len() == 1, "{name}: {of_name:#?}");
    Ok(of_name[0])
}

/// Waits until so many records of a kind are in the log, and returns all that are.
async fn in_the_log(
    world: &World,
    path: &Path,
    kind: &str,
    count: usize,
) -> anyhow::Result<Vec<Value>> {
    world
        .eventually(&format!("{count} {kind} in the log"), async || {
            let records = records(path)?;
            ensure!(of_kind(&records, kind).len() >= count, "{records:#?}");
            Ok(records)
        })
        .await
}

/// Changes the policy under a name of one's own.
async fn changed_by(world: &World, by: &str, spec: Value) -> anyhow::Result<()> {
    let params = PatchParams {
        field_manager: Some(by.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"spec": spec}));
    world
        .api::<RollbackPolicy>()
        .patch(APP, &params, &patch)
        .await?;
    Ok(())
}

/// Calls the rollback of a bad release off while it waits for its delay.
async fn called_off(world: &World, name: &str) -> anyhow::Result<()> {
    let bad = App::version("v3").fate(fate::CRASH_LOOP);
    world.deploy(&bad).await?;
    world.event_in(name, EventPhase::Pending).await?;
    let event = format!("rollbackevent/{name}");
    let cancel = [
        "annotate",
        event.as_str(),
        "backstop.dev/cancel=we look at it",
    ];
    world.kubectl(&cancel).await?;
    world
        .ended(name, EventPhase::Cancelled, Outcome::CancelledByPerson)
        .await?;
    Ok(())
}

/// Takes the Deployment over, and gives it back when the log has that.
async fn taken_over_and_given_back(world: &World, path: &Path) -> anyhow::Result<()> {
    let over = [
        "annotate",
        "deployment/web",
        "backstop.dev/override=INC-17",
        "backstop.dev/override-by=admin",
    ];
    world.kubectl(&over).await?;
    let records = in_the_log(world, path, "Override", 1).await?;
    let taken = of_kind(&records, "Override")[0];
    ensure!(taken["until"].is_null(), "{taken}");
    let back = [
        "annotate",
        "deployment/web",
        "backstop.dev/override-",
        "backstop.dev/override-by-",
    ];
    world.kubectl(&back).await?;
    in_the_log(world, path, "Override", 2).await?;
    Ok(())
}

/// What an auditor asks for, of the policy's own records.
fn policy_is_accounted_for(records: &[Value], policy: &Value) -> anyhow::Result<()> {
    for kind in ["PolicyCreated", "PolicyChanged", "Override"] {
        for record in of_kind(records, kind) {
            for (field, wanted) in policy.as_object().context("an object")? {
                ensure!(record[field] == *wanted, "{field}: {record}");
            }
            ensure!(record["at"].is_string(), "{record}");
        }
    }
    assert_eq!(of_kind(records, "PolicyCreated").len(), 1);
    let change = of_kind(records, "PolicyChanged")[0];
    assert_eq!(change["by"], "night-shift");
    assert_eq!(change["fields"], json!(["spec.triggers"]));
    ensure!(change["generation"].is_i64(), "{change}");
    let taken = of_kind(records, "Override");
    let over = taken.last().context("nobody took over")?;
    assert_eq!(over["workload"], "web");
    assert_eq!(over["by"], "admin");
    assert_eq!(over["reason"], "INC-17");
    ensure!(over["until"].is_string(), "{over}");
    assert_eq!(over["at"], taken[0]["at"], "both ends of the same");
    Ok(())
}

/// The same of the drill, of the rollback that ended it, and of the one that was called off.
fn rollbacks_are_accounted_for(records: &[Value]) -> anyhow::Result<()> {
    assert_eq!(of_kind(records, "Rollback").len(), 3);
    let drill = rollback(records, "quarterly")?;
    let back = rollback(records, "web-1")?;
    for record in [drill, back] {
        assert_eq!(record["cause"], "Drill");
        assert_eq!(record["outcome"], "Recovered");
        ensure!(
            record["from"].is_object() && record["to"].is_object(),
            "{record}"
        );
    }
    assert_eq!(drill["requestedBy"], "admin");
    assert_eq!(drill["reason"], "a test asks for it");
    assert_eq!(back["endsDrill"], "quarterly");
    let off = rollback(records, "web-2")?;
    assert_eq!(off["cause"], "Trigger");
    assert_eq!(off["phase"], "Cancelled");
    assert_eq!(off["outcome"], "CancelledByPerson");
    assert_eq!(off["trigger"], "cannot-start");
    assert_eq!(off["severity"], "Critical");
    let message = off["message"].as_str().unwrap_or_default();
    ensure!(message.contains("we look at it"), "{message}");
    for record in [drill, back, off] {
        assert_eq!(record["policy"], "web");
        assert_eq!(record["workloads"], json!(["web"]));
        ensure!(record["at"].is_string(), "{record}");
        ensure!(record["times"].is_object(), "{record}");
        ensure!(record["durationSeconds"].is_f64(), "{record}");
    }
    Ok(())
}

#[tokio::test]
async fn what_people_do_is_in_the_log_once_whoever_leads() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("audit.jsonl");
    let flags = ["--audit-file".to_owned(), path.display().to_string()];
    let world = World::with("audit-people", &flags).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(quick_policy()).await?;
    world.good_point(1).await?;
    world.deploy(&App::version("v2")).await?;
    world.known_point(2).await?;
    world.drill("quarterly").await?;
    for name in ["quarterly", "web-1"] {
        world
            .ended(name, EventPhase::Succeeded, Outcome::Recovered)
            .await?;
    }
    world.rolled_out("v2").await?;
    let mut patient = cannot_start();
    patient["delay"] = json!("1m");
    changed_by(&world, "night-shift", json!({"triggers": [patient]})).await?;
    in_the_log(&world, &path, "PolicyChanged", 1).await?;
    called_off(&world, "web-2").await?;
    taken_over_and_given_back(&world, &path).await?;
    let written = in_the_log(&world, &path, "Rollback", 3).await?;

    let uid = world.api::<RollbackPolicy>().get(APP).await?.metadata.uid;
    let policy = json!({"namespace": world.namespace, "policy": "web", "uid": uid});
    policy_is_accounted_for(&written, &policy)?;
    rollbacks_are_accounted_for(&written)?;
    // What is on record in the cluster says the same.
    let cli = Cli { world: &world };
    let export = folder.path().join("export.jsonl");
    let exported = cli
        .run(&["export", "--output", &export.display().to_string()])
        .await?;
    ensure!(exported.status.success(), "{}", said(&exported));
    let exported = records(&export)?;
    policy_is_accounted_for(&exported, &policy)?;
    rollbacks_are_accounted_for(&exported)?;

    // Another operator goes on after the last line, and writes nothing again.
    world.operator.stop();
    world.operator.restart()?;
    changed_by(&world, "day-shift", json!({"limits": {"maxAttempts": 2}})).await?;
    in_the_log(&world, &path, "PolicyChanged", 2).await?;
    world.delete_policy(APP).await?;
    let all = in_the_log(&world, &path, "PolicyDeleted", 1).await?;
    let gone = of_kind(&all, "PolicyDeleted")[0];
    assert_eq!(gone["uid"], policy["uid"]);
    for (kind, count) in [
        ("PolicyCreated", 1),
        ("PolicyChanged", 2),
        ("Override", 2),
        ("Rollback", 3),
        ("PolicyDeleted", 1),
    ] {
        assert_eq!(of_kind(&all, kind).len(), count, "{kind}: {all:#?}");
    }
    let whole = cli
        .run(&["verify", &path.display().to_string(), "--in-cluster"])
        .await?;
    ensure!(
        whole.status.success() && said(&whole).contains("whole: 9 lines"),
        "{}",
        said(&whole)
    );
    Ok(())
}
