//! The presets, as they are and with shorter times.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use backstop_api::Duration;
use serde_json::{Map, Value, json};

use crate::chart::{documents, root};

/// Times are so many times shorter in tests. Figures stay as they are.
pub const SHORTER: u32 = 30;
/// No time of a preset that is not zero becomes shorter than this.
const SHORTEST: std::time::Duration = std::time::Duration::from_secs(1);
/// Fields that hold a time.
const TIMES: [&str; 5] = ["for", "delay", "interval", "window", "startup"];

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
