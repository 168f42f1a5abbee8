//! Importing: what a load test wrote into a file.

mod csv;
mod json;

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use backstop_engine::{policy::Source, policy::ValidTrigger};
use clap::{Args, ValueEnum};

use self::json::{Place, Take};
use super::{Found, Live, Named, Record, unmeasured};

#[derive(Debug, Args)]
pub struct Import {
    #[command(flatten)]
    named: Named,
    /// The file: JSON, or CSV with the columns trigger, value and, where it is known, time. `-` for standard input.
    #[arg(long, short)]
    file: PathBuf,
    /// What the file is; without it, what its name ends in says so.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Where in a JSON file the numbers of a trigger are, as TRIGGER=JSONPATH or TRIGGER=JSONPATH*FACTOR, such as
    /// latency=$.summary.p95*0.001 where the file has milliseconds. One number is taken as it is, several are samples.
    /// May be given more than once.
    #[arg(long, value_name = "TRIGGER=JSONPATH[*FACTOR]")]
    take: Vec<Take>,
    /// For a ratio: where in a JSON file it is written how many were bad, as TRIGGER=JSONPATH.
    #[arg(long, value_name = "TRIGGER=JSONPATH")]
    bad: Vec<Place>,
    /// For a ratio: how many there were in all.
    #[arg(long, value_name = "TRIGGER=JSONPATH")]
    total: Vec<Place>,
    #[command(flatten)]
    record: Record,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Csv,
}

impl Import {
    pub async fn run(self) -> anyhow::Result<()> {
        let format = self.format()?;
        let text = read(&self.file)?;
        let namespace = self.named.cluster.connect().await?;
        let live = Live::read(&namespace, &self.named).await?;
        let found = match format {
            Format::Csv => csv::measured(&text, &|name| importable(&live, name))
                .with_context(|| format!("--file {}", self.file.display()))?,
            Format::Json => self.json(&text, &live)?,
        };
        let chosen: anyhow::Result<Vec<_>> = found.keys().map(|name| live.named(name)).collect();
        self.record.check(&chosen?)?;
        self.record.put(&namespace, &live, &found).await
    }

    fn format(&self) -> anyhow::Result<Format> {
        let by_name = match self.file.extension().and_then(|ending| ending.to_str()) {
            Some("json") => Some(Format::Json),
            Some("csv") => Some(Format::Csv),
            _ => None,
        };
        let format = self.format.or(by_name).with_context(|| {
            format!(
                "--file {} ends in neither .json nor .csv; say what it is with --format",
                self.file.display()
            )
        })?;
        let takes = !(self.take.is_empty() && self.bad.is_empty() && self.total.is_empty());
        match format {
            Format::Csv => ensure!(
                !takes,
                "--take, --bad and --total find numbers in JSON; a CSV file names the trigger in each of its lines"
            ),
            Format::Json => ensure!(
                takes,
                "nothing is taken from --file {}: say what with --take, such as --take latency=$.latency.p95",
                self.file.display()
            ),
        }
        Ok(format)
    }

    fn json(&self, text: &str, live: &Live) -> anyhow::Result<Found> {
        let file = self.file.display();
        let document = serde_json::from_str(text)
            .with_context(|| format!("--file {file} is no JSON document"))?;
        let mut found = Found::new();
        let mut add = |name: &str, measured| {
            let twice = found.insert(name.to_owned(), measured).is_some();
            ensure!(!twice, "trigger '{name}' is taken more than once");
            Ok(())
        };
        for take in &self.take {
            let trigger = importable(live, &take.place.trigger)?;
            ensure!(
                trigger.ratio().is_none(),
                "--take {}: trigger '{}' is a ratio, which is made of two counts; name them with --bad and --total",
                take.place,
                trigger.name
            );
            add(&trigger.name, take.of(&document))?;
        }
        let totals: BTreeMap<&str, &Place> = by_trigger(&self.total);
        for bad in &self.bad {
            let trigger = importable(live, &bad.trigger)?;
            let Some(ratio) = trigger.ratio() else {
                bail!(
                    "--bad {bad}: trigger '{}' is no ratio; use --take",
                    trigger.name
                );
            };
            let total = totals.get(trigger.name.as_str()).with_context(|| {
                format!("--bad {bad} needs to know of how many: name that with --total")
            })?;
            add(
                &trigger.name,
                json::share(bad, total, &document, ratio.error),
            )?;
        }
        let bads: BTreeMap<&str, &Place> = by_trigger(&self.bad);
        if let Some(alone) = self
            .total
            .iter()
            .find(|t| !bads.contains_key(t.trigger.as_str()))
        {
            bail!("--total {alone} needs to know how many of them were bad: name that with --bad");
        }
        Ok(found)
    }
}

fn by_trigger(places: &[Place]) -> BTreeMap<&str, &Place> {
    places.iter().map(|p| (p.trigger.as_str(), p)).collect()
}

/// A trigger that has numbers, whoever measures them.
fn importable<'a>(live: &'a Live, name: &str) -> anyhow::Result<&'a ValidTrigger> {
    let trigger = live.named(name)?;
    match (&trigger.source, unmeasured(trigger)) {
        (Source::Web(_) | Source::Probe(_) | Source::Resource(_), _) | (_, None) => Ok(trigger),
        (_, Some(why)) => bail!("trigger '{name}' has no numbers to import: {why}"),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .read_to_string(&mut text)
            .map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.with_context(|| format!("--file {}", path.display()))
}
