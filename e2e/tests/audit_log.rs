//! The audit log: every rollback is in it, and whatever is done to it is found.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context as _, ensure};
use backstop_api::RollbackEvent;
use backstop_api::event::{EventPhase, Outcome};
use backstop_e2e::operator::binary;
use backstop_e2e::world::{App, World, quick_policy};
use backstop_testenv::fate;
use tokio::process::Command;

/// The command line, for a namespace.
struct Cli<'a> {
    world: &'a World,
}

impl Cli<'_> {
    async fn run(&self, args: &[&str]) -> anyhow::Result<Output> {
        let binary = binary()?.with_file_name("kubectl-backstop");
        let mut command = Command::new(&binary);
        command
            .arg("audit")
            .args(args)
            .args(["--namespace", &self.world.namespace])
            .arg("--kubeconfig")
            .arg(self.world.cluster.kubeconfig_path());
        let output = command.output().await;
        output.with_context(|| format!("{} is not built", binary.display()))
    }
}

fn said(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr];
    both.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
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
    policy["limits"] = serde_json::json!({"cooldown": "0s"});
    world.deploy(&App::version("v1")).await?;
    world.policy(policy).await?;
    world.good_point(1).await?;
    goes_back(&world, 1).await?;
    // Another operator goes on after the last line.
    world.operator.stop();
    world.operator.restart()?;
    let last = goes_back(&world, 2).await?;

    let log = lines(&path)?;
    assert_eq!(log.len(), 2, "{log:#?}");
    let record: serde_json::Value = serde_json::from_str(&log[1])?;
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
    assert_eq!(exported.sequence, 2);
    ensure!(
        log[1].ends_with(&format!("{}\"}}", exported.hash)),
        "{exported:?}"
    );

    let cli = Cli { world: &world };
    let whole = cli
        .run(&["verify", &path.display().to_string(), "--in-cluster"])
        .await?;
    ensure!(whole.status.success(), "{}", said(&whole));
    ensure!(
        said(&whole).contains(&format!("whole: 2 lines; head 2:{}", exported.hash)),
        "{}",
        said(&whole)
    );

    let changed = vec![log[0].replace("\"Recovered\"", "\"Held\""), log[1].clone()];
    ensure!(changed != log, "nothing was changed");
    for (name, lines, words) in [
        ("changed", changed, "line 1 (number 1) was changed"),
        (
            "removed",
            vec![log[1].clone()],
            "before line 1 (number 2) lines are missing: numbers 1 to 1",
        ),
        (
            "cut",
            vec![log[0].clone()],
            "number 2 is known to be in it: lines are missing at the end",
        ),
        (
            "moved",
            vec![log[1].clone(), log[0].clone()],
            "line 2 (number 1) is out of place",
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
