//! Baselines: what releases are compared with.

mod capture;
mod figures;
mod import;
mod live;
mod point;
mod query;
mod show;
mod thresholds;
mod window;

use std::collections::BTreeMap;

use anyhow::bail;
use backstop_api::Duration;
use backstop_engine::{
    baseline,
    policy::{Source, ValidTrigger},
    snapshot::Measured,
};
use clap::{Args, Subcommand, ValueEnum};

use self::{
    figures::{Row, print},
    live::Live,
    point::NewPoint,
    thresholds::Threshold,
};
use crate::cluster::{Cluster, Namespace};

#[derive(Debug, Subcommand)]
pub enum Baseline {
    /// Measure the live release, such as while it was under a load test, and put that on record as a RollbackPoint.
    Capture(capture::Capture),
    /// Put on record what a load test has measured of the live release, by a file that it wrote.
    Import(import::Import),
    /// Say what the next release will be compared with, where that comes from, and whether it is any good.
    Show(show::Show),
}

impl Baseline {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Capture(capture) => capture.run().await,
            Self::Import(import) => import.run().await,
            Self::Show(show) => show.run().await,
        }
    }
}

/// Which policy is meant.
#[derive(Debug, Args)]
struct Named {
    /// The RollbackPolicy.
    policy: String,
    #[command(flatten)]
    cluster: Cluster,
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// What becomes of what was measured.
#[derive(Debug, Args)]
struct Record {
    /// The most that a value may be, as TRIGGER=VALUE or TRIGGER.mean=VALUE (also p5, median, p95, deviation). May be given
    /// more than once. Where one is not met, nothing is put on record.
    #[arg(long, value_name = "TRIGGER=VALUE")]
    max: Vec<Threshold>,
    /// The least that a value may be, in the same way.
    #[arg(long, value_name = "TRIGGER=VALUE")]
    min: Vec<Threshold>,
    #[command(flatten)]
    point: NewPoint,
    /// Ask the API server whether it would let the point in, and make none.
    #[arg(long)]
    dry_run: bool,
    /// How long to wait for Backstop to record the release. What is not recorded by then is removed again.
    #[arg(long, default_value = "1m")]
    wait: Duration,
    /// Print the table, or the point as JSON.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// What was measured of each trigger, or why that cannot be told.
type Found = BTreeMap<String, Result<Measured, String>>;

impl Record {
    /// Refuses what can be told to be wrong before anything is measured.
    fn check(&self, chosen: &[&ValidTrigger]) -> anyhow::Result<()> {
        for (flag, threshold) in self.thresholds() {
            if !chosen.iter().any(|t| t.name == threshold.trigger) {
                let names: Vec<&str> = chosen.iter().map(|t| t.name.as_str()).collect();
                bail!(
                    "{flag} {threshold}: trigger '{}' is not measured; measured are {}",
                    threshold.trigger,
                    names.join(", ")
                );
            }
        }
        Ok(())
    }

    fn thresholds(&self) -> impl Iterator<Item = (&'static str, &Threshold)> {
        let most = self.max.iter().map(|threshold| ("--max", threshold));
        most.chain(self.min.iter().map(|threshold| ("--min", threshold)))
    }

    /// Shows what was measured, and puts it on record if all of it is any good.
    async fn put(self, namespace: &Namespace, live: &Live, found: &Found) -> anyhow::Result<()> {
        let mut rows = Vec::new();
        let mut problems = Vec::new();
        for (name, measured) in found {
            let Some(trigger) = live.trigger(name) else {
                continue;
            };
            let wrong = match measured {
                Ok(measured) => self.problems(trigger, measured),
                Err(why) => vec![why.clone()],
            };
            problems.extend(wrong.iter().map(|why| format!("{name}: {why}")));
            rows.push(Row {
                trigger: name.clone(),
                measured: measured.as_ref().ok().cloned(),
                seen: live.seen(name),
                compared: compared(trigger, &wrong),
            });
        }
        if self.output == Output::Table {
            print(&rows);
        }
        for row in &rows {
            if let Some(doubt) = row.doubt() {
                eprintln!("warning: {doubt}");
            }
        }
        if !problems.is_empty() {
            bail!(
                "nothing is put on record, since:\n  {}",
                problems.join("\n  ")
            );
        }
        let measured = found
            .iter()
            .filter_map(|(name, it)| Some((name.clone(), it.as_ref().ok()?.clone())));
        let point = self.point.of(live, measured.collect());
        if self.dry_run {
            let checked = point::try_out(namespace, &point).await?;
            return self.done(&checked, "would be made; nothing is put on record");
        }
        let limit = self.wait.as_std();
        let made = point::make(namespace, &point, &live.about.release, limit).await?;
        let words = format!(
            "is made, and release {} is recorded in it",
            live.about.release
        );
        self.done(&made, &words)
    }

    /// Why this is not put on record.
    fn problems(&self, trigger: &ValidTrigger, measured: &Measured) -> Vec<String> {
        let mut problems = Vec::new();
        if !measured.value.is_finite() {
            problems.push(format!("{} is no number to compare with", measured.value));
        } else if trigger.compares_with_a_point()
            && let Some(why) = baseline::unusable(trigger, measured)
        {
            problems.push(format!("its baseline {why}"));
        }
        let of_it = |threshold: &&Threshold| threshold.trigger == trigger.name;
        let most = self.max.iter().filter(of_it);
        problems.extend(most.filter_map(|threshold| threshold.exceeded(measured)));
        let least = self.min.iter().filter(of_it);
        problems.extend(least.filter_map(|threshold| threshold.missed(measured)));
        problems
    }

    fn done(&self, point: &backstop_api::RollbackPoint, words: &str) -> anyhow::Result<()> {
        let name = point.metadata.name.as_deref().unwrap_or_default();
        match self.output {
            Output::Table => println!("rollbackpoint {name} {words}"),
            Output::Json => println!("{}", serde_json::to_string_pretty(point)?),
        }
        Ok(())
    }
}

/// Whether a release will be compared with what was measured, in words.
fn compared(trigger: &ValidTrigger, problems: &[String]) -> String {
    if !problems.is_empty() {
        return format!("no: {}", problems.join("; "));
    }
    if trigger.compares_with_a_point() {
        return "yes".to_owned();
    }
    not_compared(trigger)
}

/// That the trigger compares with no point at all, in words.
fn not_compared(trigger: &ValidTrigger) -> String {
    if trigger.uses_baseline() {
        return "no: its baseline is not that of a point (baseline.from)".to_owned();
    }
    "no: its condition has no baseline".to_owned()
}

/// What a trigger has instead of numbers over time, where that is so.
fn unmeasured(trigger: &ValidTrigger) -> Option<&'static str> {
    match trigger.source {
        Source::Prometheus { .. } => None,
        Source::Web(_) => Some(
            "a web service tells what is so now, and not what was (web); import it from a file",
        ),
        Source::Probe(_) => {
            Some("pods are asked for their health now (probe); import it from a file")
        }
        Source::Resource(_) => Some(
            "metrics-server tells what pods use now, and not what they used (resource); import it from a file",
        ),
        Source::Alert(_) => Some("Alertmanager tells of alerts, which have no baseline (alert)"),
        Source::Workload { .. } => {
            Some("the cluster tells what is wrong with the pods, which has no baseline (workload)")
        }
        Source::Vulnerability(_) => {
            Some("reports tell of vulnerabilities, which have no baseline (vulnerability)")
        }
    }
}
