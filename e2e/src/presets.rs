//! The presets, as they are and with shorter times, and what becomes of the releases that they watch.

use std::fmt::Write as _;

use anyhow::{Context as _, anyhow, bail, ensure};
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
/// What stands before a time in PromQL, where no bracket does.
const OFFSET: &str = " offset ";
/// The longest delay, the longest `for`, and a machine that is busy.
const DEADLINE: std::time::Duration = std::time::Duration::from_mins(3);

/// What the presets are asked to say, written down apart from them: file, trigger, severity, action, condition, over
/// which time it is measured, `for`, interval, delay. What a preset leaves out is here too, as what it is then; `-` is
/// for what measures over no time, or over one that is not the policy's.
pub const PROMISED: &str = "\
application.yaml | error-rate | Critical | Rollback | value > 0.05 | 1m | 0s | 10s | 60s
application.yaml | service-down | Critical | Rollback | value >= 1.0 && workload.ready == 0.0 | - | 0s | 10s | 30s
application.yaml | response-time | Warning | GradualRollback | value > 2000 | 1m | 0s | 10s | 120s
infrastructure.yaml | cpu | Warning | GradualRollback | value > 0.9 | - | 0s | 15s | 180s
infrastructure.yaml | memory | Critical | Rollback | value > 0.95 | - | 0s | 15s | 60s
infrastructure.yaml | database-connections-failed | Critical | Rollback | value > 5 | 1m | 0s | 10s | 30s
infrastructure.yaml | database-connections-active | Warning | GradualRollback | value > 0.9 | - | 1m | 10s | 30s
infrastructure.yaml | disk | Warning | GradualRollback | value > 0.9 | - | 1m | 10s | 0s
business.yaml | conversion | Critical | Rollback | value < 0.8 * baseline | 5m | 0s | 30s | 300s
business.yaml | user-activity | Warning | GradualRollback | value < 0.7 * baseline && workload.updated == workload.desired | - | 5m | 30s | 600s
baseline.yaml | error-rate | Critical | Rollback | value > 0.05 | 5m | 0s | 10s | 0s
baseline.yaml | latency | Warning | GradualRollback | value > 1.3 * baseline | 3m | 3m | 10s | 0s
baseline.yaml | memory | Critical | ScaleAndRollback | value > baseline + 50.0 | - | 2m | 15s | 0s
health.yaml | three-in-a-row | Critical | Rollback | value >= 3 | 5m | 0s | 30s | 0s
health.yaml | failure-rate | Critical | Rollback | value > 0.1 | 5m | 0s | 30s | 0s
health.yaml | response-time | Warning | GradualRollback | value > 5000 | 5m | 60s | 30s | 0s
security.yaml | unauthorized-access | Critical | IsolateAndRollback | value > 5 | 1m | 0s | 10s | 0s
security.yaml | suspicious-pattern | Critical | IsolateAndRollback | value > 0 | 5m | 0s | 10s | 0s
alerts.yaml | critical-alert | Critical | Rollback | value > 0 | 5m | 0s | 10s | 0s
alerts.yaml | intrusion | Critical | IsolateAndRollback | value > 5 | 1m | 0s | 10s | 0s
vulnerabilities.yaml | vulnerable | Critical | BlockDeployment | value > 0.0 | - | 0s | 10s | 0s
cluster.yaml | cannot-start | Critical | Rollback | value > 0.0 | - | 0s | 10s | 0s
cluster.yaml | restarts | Warning | GradualRollback | value >= 3 | - | 0s | 10s | 0s
custom.yaml | queue-length | Warning | GradualRollback | value > 1000 | 0s | 1m | 10s | 60s";

/// What a trigger of a preset is asked to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// How bad it is.
    pub severity: Severity,
    /// What it leads to.
    pub action: Action,
    /// When it is bad.
    pub condition: String,
    /// Over which time it is measured.
    pub over: Option<Duration>,
    /// How long the condition must hold.
    pub for_: Duration,
    /// How often is asked.
    pub interval: Duration,
    /// Between firing and acting.
    pub delay: Duration,
}

/// What is promised of a file's trigger.
pub fn promise(file: &str, trigger: &str) -> anyhow::Result<Promise> {
    let time = |text: &str| text.parse::<Duration>().map_err(anyhow::Error::msg);
    for line in PROMISED.lines() {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [
            of,
            name,
            severity,
            action,
            condition,
            over,
            for_,
            interval,
            delay,
        ] = columns[..]
        else {
            bail!("not as many columns as there should be: {line}");
        };
        if (of, name) == (file, trigger) {
            return Ok(Promise {
                severity: serde_json::from_value(json!(severity))?,
                action: serde_json::from_value(json!(action))?,
                condition: condition.to_owned(),
                over: (over != "-").then(|| time(over)).transpose()?,
                for_: time(for_)?,
                interval: time(interval)?,
                delay: time(delay)?,
            });
        }
    }
    bail!("nothing is promised of trigger {trigger} in {file}")
}

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
        if trigger["prometheus"].is_object() && trigger["interval"].is_null() {
            // What it is then, to be shorter as the ranges are.
            trigger["interval"] = json!("10s");
        }
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

/// Waits until the release beyond the figure is taken back, and checks that it is by the trigger that is called so, and
/// as is promised of that one in this file.
pub async fn taken_back(world: &World, file: &str, name: &str) -> anyhow::Result<RollbackEvent> {
    let promised = promise(file, name)?;
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
    assert_eq!(evidence.severity, promised.severity, "{file}: {name}");
    assert_eq!(evidence.condition, promised.condition, "{file}: {name}");
    assert_eq!(event.spec.action, Some(promised.action), "{file}: {name}");
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

/// The times in a query, such as `1m` in `x[1m]` and in `x offset 1m`, and the text around each.
pub fn times(query: &str) -> anyhow::Result<Vec<(&str, Option<Duration>)>> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(start) = [rest.find('['), rest.find(OFFSET)].iter().flatten().min() {
        let opens = if rest[*start..].starts_with('[') {
            1
        } else {
            OFFSET.len()
        };
        let (before, from) = rest.split_at(start + opens);
        let ends = from.find(|c: char| !c.is_ascii_alphanumeric());
        let (time, behind) = from.split_at(ends.unwrap_or(from.len()));
        let time = time.parse().map_err(|why| anyhow!("{time}: {why}"))?;
        found.push((before, Some(time)));
        rest = behind;
    }
    found.push((rest, None));
    Ok(found)
}

/// With shorter times, such as `[2s]` for `[1m]`.
fn shorter_ranges(query: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    for (before, time) in times(query)? {
        text += before;
        if let Some(time) = time {
            write!(text, "{}s", shorter(&time.to_string())?.as_std().as_secs())?;
        }
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
            "prometheus": {"query": r#"rate(x{a="b"}[1m]) > y[10m] - z offset 5m"#},
        });
        shorten(&mut trigger).unwrap();
        assert_eq!(
            trigger,
            json!({
                "name": "slow", "condition": "value > 5000", "interval": "10s", "for": "10s", "delay": "0s",
                "probe": {"timeout": "10s", "window": "10s", "startup": "2s", "minimumResults": 10},
                "prometheus": {"query": r#"rate(x{a="b"}[2s]) > y[20s] - z offset 10s"#},
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
