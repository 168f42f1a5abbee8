//! Samples out of a CSV file: a line for each.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use backstop_engine::{baseline::of_samples, policy::ValidTrigger};
use jiff::Timestamp;

use super::Found;

/// The columns, by their names in the first line.
#[derive(Clone, Copy)]
struct Columns {
    trigger: usize,
    value: usize,
    time: Option<usize>,
}

/// A sample, and when it was taken if the file says so.
type Timed = (Option<Timestamp>, f64);

/// The samples of each trigger in the file, oldest first where the file says when they were taken.
pub fn measured<'a>(
    text: &str,
    trigger: &dyn Fn(&str) -> anyhow::Result<&'a ValidTrigger>,
) -> anyhow::Result<Found> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let columns = Columns::of(reader.headers().context("the first line")?)?;
    let mut samples: BTreeMap<String, Vec<Timed>> = BTreeMap::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let (name, sample) = columns
            .read(&record)
            .with_context(|| format!("line {line}"))?;
        let of = trigger(&name).with_context(|| format!("line {line}"))?;
        ensure!(
            of.ratio().is_none(),
            "line {line}: trigger '{name}' is a ratio, which is made of two counts and not of samples; import those from \
             JSON with --bad and --total"
        );
        samples.entry(name).or_default().push(sample);
    }
    ensure!(!samples.is_empty(), "has no line with a sample in it");
    let found = samples.into_iter().map(|(name, mut samples)| {
        samples.sort_by_key(|(at, _)| *at);
        let values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
        let time = |of: Option<&Timed>| of.and_then(|(at, _)| *at);
        let times = (time(samples.first()), time(samples.last()));
        let measured = of_samples(&values, times).ok_or_else(|| "has no samples".to_owned());
        (name, measured)
    });
    Ok(found.collect())
}

impl Columns {
    fn of(headings: &csv::StringRecord) -> anyhow::Result<Self> {
        let (mut trigger, mut value, mut time) = (None, None, None);
        for (index, name) in headings.iter().enumerate() {
            match name {
                "trigger" => trigger = Some(index),
                "value" => value = Some(index),
                "time" => time = Some(index),
                other => bail!(
                    "the first line names a column '{other}'; known are trigger, value and time"
                ),
            }
        }
        match (trigger, value) {
            (Some(trigger), Some(value)) => Ok(Self {
                trigger,
                value,
                time,
            }),
            _ => bail!("the first line must name the columns: trigger,value or trigger,value,time"),
        }
    }

    fn read(self, record: &csv::StringRecord) -> anyhow::Result<(String, Timed)> {
        let cell = |index: usize| record.get(index).unwrap_or_default();
        let text = cell(self.value);
        let value: f64 = text
            .parse()
            .ok()
            .filter(|v: &f64| v.is_finite())
            .with_context(|| {
                format!("value '{text}' is no number to compare with; write it like 0.25")
            })?;
        let at = self.time.map(|index| time(cell(index))).transpose()?;
        Ok((cell(self.trigger).to_owned(), (at, value)))
    }
}

/// A time as in RFC 3339, or in seconds since 1970.
fn time(text: &str) -> anyhow::Result<Timestamp> {
    let in_seconds = || {
        text.parse()
            .ok()
            .and_then(|s| Timestamp::from_second(s).ok())
    };
    text.parse().ok().or_else(in_seconds).with_context(|| {
        format!(
            "time '{text}' is no time; write it like 2026-11-26T14:00:00Z, or in seconds since 1970"
        )
    })
}

#[cfg(test)]
mod tests {
    use backstop_api::RollbackPolicySpec;
    use backstop_engine::policy::{ValidPolicy, validate};
    use serde_json::json;

    use super::*;

    fn policy() -> ValidPolicy {
        let spec: RollbackPolicySpec = serde_json::from_value(json!({
            "workloads": [{"name": "web"}],
            "triggers": [
                {"name": "latency", "condition": "value > 1.3 * baseline", "prometheus": {"query": "sum(x)"}},
                {
                    "name": "failed", "condition": "value > 0.05",
                    "prometheus": {"ratio": {"bad": "sum(x)", "total": "sum(y)"}},
                },
            ],
        }))
        .expect("a policy");
        validate("web", &spec).expect("valid")
    }

    fn read(text: &str) -> anyhow::Result<Found> {
        let policy = policy();
        measured(text, &|name| {
            let mut triggers = policy.triggers.iter();
            triggers
                .find(|t| t.name == name)
                .with_context(|| format!("no trigger '{name}'"))
        })
    }

    #[test]
    fn samples_are_sorted_by_their_time() {
        let text =
            "trigger,value,time\nlatency,0.3,2026-11-26T14:00:20Z\n\"latency\", 0.1 ,1795701600\n";
        let found = read(text).expect("samples");
        let measured = found["latency"].clone().expect("samples");
        let spread = measured.distribution.expect("a distribution");
        assert_eq!(spread.samples, [0.1, 0.3]);
        let time = |text: &str| Some(text.parse::<Timestamp>().expect(text));
        assert_eq!(spread.from, time("2026-11-26T14:00:00Z"));
        assert_eq!(spread.to, time("2026-11-26T14:00:20Z"));
        let without_times = read("value,trigger\n2,latency\n1,latency\n").expect("samples");
        let spread = without_times["latency"]
            .clone()
            .expect("samples")
            .distribution;
        let spread = spread.expect("a distribution");
        assert_eq!((spread.samples, spread.to), (vec![2.0, 1.0], None));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, problem) in [
            ("", "the first line must name the columns"),
            ("latency,0.1\n", "names a column 'latency'"),
            (
                "trigger,value,p95\n",
                "names a column 'p95'; known are trigger, value and time",
            ),
            ("trigger,value\n", "has no line with a sample in it"),
            (
                "trigger,value\nlatency,fast\n",
                "line 2: value 'fast' is no number",
            ),
            (
                "trigger,value\nlatency,NaN\n",
                "line 2: value 'NaN' is no number",
            ),
            (
                "trigger,value\nlatency,1\nother,1\n",
                "line 3: no trigger 'other'",
            ),
            (
                "trigger,value\nfailed,1\n",
                "line 2: trigger 'failed' is a ratio",
            ),
            (
                "trigger,value,time\nlatency,1,noon\n",
                "line 2: time 'noon' is no time",
            ),
            ("trigger,value\nlatency,1,2\n", "found record with 3 fields"),
        ] {
            let refused = format!("{:#}", read(text).expect_err(text));
            assert!(refused.contains(problem), "{problem}: {refused}");
        }
    }
}
