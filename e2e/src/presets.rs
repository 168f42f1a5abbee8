//! The presets, as they are and with shorter times, and what becomes of the releases that they watch.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use backstop_api::event::EventPhase;
use backstop_api::policy::{Action, Severity};
use backstop_api::{Duration, RollbackEvent, RollbackPoint, RollbackPolicy, RollbackPolicyStatus};
use backstop_testenv::eventually;
use kube::api::ListParams;
use serde_json::{Map, Value, json};

use crate::chart::{documents, root};
use crate::world::{App, World};

/// Times are so many times shorter in tests. Figures stay as they are.
pub const SHORTER: u32 = 30;
/// No time of a preset that is not zero becomes shorter than this.
const SHORTEST: std::time::Duration = std::time::Duration::from_secs(1);
/// Fields that hold a time.
const TIMES: [&str; 7] = [
    "for",
    "delay",
    "interval",
    "window",
    "startup",
    "range",
    "expireAfter",
];
/// The longest delay, the longest `for`, and a machine that is busy.
const DEADLINE: std::time::Duration = std::time::Duration::from_mins(3);

/// The policy in a file of `manifests/presets`.
pub fn preset(file: &str) -> anyhow::Result<Value> {
    let path = root().join("manifests/presets").join(file);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read {}", path.display()))?;
    let mut objects = documents(&text)?;
    ensure!(objects.len() == 1, "{file} has {} objects", objects.len());
    objects.pop().context("no object")
}

/// The triggers of a preset, with shorter times, by their names.
pub fn shorter_triggers(file: &str) -> anyhow::Result<Map<String, Value>> {
    let preset = preset(file)?;
    let triggers = preset["spec"]["triggers"].as_array().cloned();
    let mut found = Map::new();
    for mut trigger in triggers.unwrap_or_default() {
        shorten(&mut trigger)?;
        if trigger["condition"]
            .as_str()
            .is_some_and(|c| c.contains("baseline"))
        {
            // A soak of seconds has few samples, most of all of metrics-server, which measures every 15 s.
            trigger["baseline"]["minimumSamples"] = json!(1);
        }
        let name = trigger["name"].as_str().context("a trigger has no name")?;
        found.insert(name.to_owned(), trigger);
    }
    Ok(found)
}

/// A policy for a Deployment with one trigger, which acts as soon as that lets it. A release proves itself when all
/// ranges are about it, so that its values are a baseline.
pub fn policy(deployment: &str, trigger: &Value) -> Value {
    json!({
        "workloads": [{"name": deployment}],
        "points": {"soak": "20s"},
        "limits": {"cooldown": "0s"},
        "triggers": [trigger],
    })
}

/// Deploys a good release under a policy with this trigger, called as it is, and waits until it is seen.
pub async fn begin(
    world: &World,
    triggers: &Map<String, Value>,
    name: &str,
    good: &App,
) -> anyhow::Result<()> {
    world.deploy(good).await?;
    let trigger = triggers
        .get(name)
        .with_context(|| format!("there is no {name}"))?;
    world.named_policy(name, policy(name, trigger)).await?;
    // What was seen before says nothing about the release.
    eventually(&format!("{name} to be seen"), DEADLINE, async || {
        let status = said_of(world, name).await;
        ensure!(status.is_some_and(|s| s.release.is_some()), "not yet");
        Ok(())
    })
    .await
}

/// Waits until the release that is just short of the figure has proved itself.
pub async fn proved(world: &World, name: &str) -> anyhow::Result<()> {
    eventually(
        &format!("{name} to have proved itself"),
        DEADLINE,
        async || {
            let points = world
                .api::<RollbackPoint>()
                .list(&ListParams::default())
                .await?;
            let of_it = |point: &RollbackPoint| point.spec.workload.name == name;
            ensure!(
                points.iter().any(of_it),
                "{:#?}",
                said_of(world, name).await
            );
            Ok(())
        },
    )
    .await
}

/// Waits until the release beyond the figure is taken back, and checks by whom and how.
pub async fn taken_back(
    world: &World,
    triggers: &Map<String, Value>,
    name: &str,
) -> anyhow::Result<RollbackEvent> {
    let event = eventually(&format!("{name} to take back"), DEADLINE, async || {
        let event = world.api::<RollbackEvent>().get(&format!("{name}-1")).await;
        let event = event.with_context(|| format!("{name} does not fire"));
        let event = match event {
            Ok(event) => event,
            Err(error) => return Err(error.context(format!("{:#?}", said_of(world, name).await))),
        };
        let phase = event.status.as_ref().and_then(|s| s.phase);
        ensure!(
            matches!(phase, Some(EventPhase::Verifying | EventPhase::Succeeded)),
            "{:#?}",
            event.status
        );
        Ok(event)
    })
    .await?;
    let evidence = event.spec.evidence.as_ref().context("no evidence")?;
    assert_eq!(evidence.trigger, name);
    let severity: Severity = match triggers[name].get("severity") {
        Some(severity) => serde_json::from_value(severity.clone())?,
        None => Severity::Critical,
    };
    assert_eq!(evidence.severity, severity, "{name}");
    let action = match (triggers[name].get("action"), severity) {
        (Some(action), _) => serde_json::from_value(action.clone())?,
        (None, Severity::Critical) => Action::Rollback,
        (None, Severity::Warning) => Action::GradualRollback,
    };
    assert_eq!(event.spec.action, Some(action), "{name}");
    Ok(event)
}

/// What the policy says of itself.
async fn said_of(world: &World, name: &str) -> Option<RollbackPolicyStatus> {
    let policy = world.api::<RollbackPolicy>().get(name).await;
    policy.ok()?.status
}

fn shorten(value: &mut Value) -> anyhow::Result<()> {
    match value {
        Value::Array(list) => list.iter_mut().try_for_each(shorten),
        Value::Object(map) => {
            for (name, field) in map.iter_mut() {
                match field {
                    Value::String(text) if TIMES.contains(&name.as_str()) => {
                        *text = shorter(text)?.to_string();
                    }
                    Value::String(text) if name == "query" => *text = shorter_ranges(text)?,
                    other => shorten(other)?,
                }
            }
            let interval = map.get("interval").cloned();
            if let Some(probe) = map.get_mut("probe").and_then(Value::as_object_mut) {
                // A minute by default.
                probe.entry("startup").or_insert_with(|| json!("2s"));
                // An answer may take as long as an interval. Where it is said how long, that is a figure.
                match (probe.get("timeout").cloned(), interval) {
                    (Some(timeout), _) => map.insert("interval".into(), timeout),
                    (None, Some(interval)) => probe.insert("timeout".into(), interval),
                    (None, None) => None,
                };
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn shorter(text: &str) -> anyhow::Result<Duration> {
    let time: Duration = text.parse().map_err(anyhow::Error::msg)?;
    let time = time.as_std();
    Ok(if time.is_zero() {
        Duration::ZERO
    } else {
        Duration::from((time / SHORTER).max(SHORTEST))
    })
}

/// With shorter ranges, such as `[2s]` for `[1m]`.
fn shorter_ranges(query: &str) -> anyhow::Result<String> {
    let mut parts = query.split('[');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (range, rest) = part
            .split_once(']')
            .context("a bracket that is not closed")?;
        let seconds = shorter(range)?.as_std().as_secs();
        write!(text, "[{seconds}s]{rest}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_shorter_and_figures_stay() {
        let mut trigger = json!({
            "name": "slow", "condition": "value > 5000", "interval": "30s", "for": "5m", "delay": "0s",
            "probe": {"timeout": "10s", "window": "5m", "minimumResults": 10},
            "prometheus": {"query": r#"rate(x{a="b"}[1m]) > y[10m]"#},
        });
        shorten(&mut trigger).unwrap();
        assert_eq!(
            trigger,
            json!({
                "name": "slow", "condition": "value > 5000", "interval": "10s", "for": "10s", "delay": "0s",
                "probe": {"timeout": "10s", "window": "10s", "startup": "2s", "minimumResults": 10},
                "prometheus": {"query": r#"rate(x{a="b"}[2s]) > y[20s]"#},
            })
        );
    }

    #[test]
    fn an_answer_may_take_as_long_as_an_interval() {
        let mut trigger = json!({"interval": "30s", "probe": {"http": {}}});
        shorten(&mut trigger).unwrap();
        assert_eq!(trigger["probe"]["timeout"], trigger["interval"]);
    }
}
