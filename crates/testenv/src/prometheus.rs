//! A real Prometheus on loopback.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::http::{self, plain_client};
use crate::process::{Process, free_ports};
use crate::state::StateDir;
use crate::tools::{self, Tool};
use crate::wait::eventually;

/// How often to look for another port when someone else took it.
const ATTEMPTS: usize = 3;
/// Files in which Prometheus looks for its targets.
const TARGETS: &str = "targets*.json";

/// What can be chosen about a [`Prometheus`].
#[derive(Debug, Clone)]
pub struct PrometheusOptions {
    /// Between two scrapes, and between two evaluations of rules.
    pub scrape_interval: Duration,
    /// What to scrape, as `host:port`, such as [`Exporter::target`](crate::Exporter::target) gives. Labels that the
    /// targets themselves give win over those that Prometheus would attach.
    pub targets: Vec<String>,
    /// Rule groups, in Prometheus' own format; empty for none.
    pub rules: String,
    /// The Alertmanagers that it tells of alerts, as `host:port`.
    pub alertmanagers: Vec<String>,
    /// Further flags.
    pub flags: Vec<String>,
}

/// What to scrape, and what is known of it besides what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// As `host:port`.
    #[serde(rename = "targets", serialize_with = "alone")]
    pub address: String,
    /// Labels for all of its series, as service discovery attaches them.
    pub labels: BTreeMap<String, String>,
}

/// Prometheus reads lists of targets that share their labels.
fn alone<S: Serializer>(address: &str, serializer: S) -> Result<S::Ok, S::Error> {
    [address].serialize(serializer)
}

impl Default for PrometheusOptions {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(1),
            targets: Vec::new(),
            rules: String::new(),
            alertmanagers: Vec::new(),
            flags: Vec::new(),
        }
    }
}

/// A Prometheus server that ends with this process. It can be stopped and started again on the same port, with the
/// same data.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    url: String,
    client: reqwest::Client,
    // The last field, so that its lock is held until the process has gone.
    state: StateDir,
}

impl Prometheus {
    /// Starts one, and waits until it answers queries. Builds it first if need be.
    pub async fn start(options: PrometheusOptions) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(|| tools::ensure(&[Tool::Prometheus], &tools::Stderr))
            .await??;
        let mut attempt = 1;
        loop {
            let prometheus = Self::prepare(&options)?;
            prometheus.process.start()?;
            match prometheus.ready().await {
                Ok(()) => return Ok(prometheus),
                Err(_) if attempt < ATTEMPTS && prometheus.process.lost_its_port() => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn prepare(options: &PrometheusOptions) -> anyhow::Result<Self> {
        let state = StateDir::new("prometheus")?;
        let [port] = free_ports()?;
        let rules = if options.rules.is_empty() {
            Vec::new()
        } else {
            vec![state.write("rules.yaml", &options.rules)?]
        };
        write_targets(&state, "targets", &without_labels(&options.targets))?;
        let config = state.write("prometheus.yaml", configuration(options, &rules)?)?;
        let mut args = vec![
            format!("--config.file={}", config.display()),
            format!(
                "--storage.tsdb.path={}",
                state.path().join("data").display()
            ),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-lifecycle".to_owned(),
            // Lets a test put samples of last week in.
            "--web.enable-remote-write-receiver".to_owned(),
        ];
        args.extend(options.flags.iter().cloned());
        let process = Process::new("prometheus", Tool::Prometheus.path()?, args, &state.logs());
        Ok(Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            client: plain_client()?,
            state,
        })
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Scrapes these targets from now on, instead of those so far. Takes effect without a restart, within a second or
    /// so; [`Prometheus::scraped`] waits for it.
    pub fn set_targets(&self, targets: &[String]) -> anyhow::Result<()> {
        write_targets(&self.state, "targets", &without_labels(targets))
    }

    /// Scrapes these targets from now on, instead of those so far of the same group, a word. Other groups stay as they
    /// are.
    pub fn set_group(&self, group: &str, targets: &[Target]) -> anyhow::Result<()> {
        write_targets(&self.state, &format!("targets-{group}"), targets)
    }

    /// Waits until every target has been scraped at least once, and answered.
    pub async fn scraped(&self, targets: &[String]) -> anyhow::Result<()> {
        eventually(
            "the targets to be scraped",
            Duration::from_secs(30),
            async || {
                let answer = self.query("up == 1").await?;
                let up: Vec<_> = answer
                    .iter()
                    .filter_map(|series| series["metric"]["instance"].as_str())
                    .collect();
                ensure!(
                    targets.iter().all(|target| up.contains(&target.as_str())),
                    "up: {up:?}, wanted: {targets:?}"
                );
                Ok(())
            },
        )
        .await
    }

    /// The result of an instant query, as the API gives it: one element for each series.
    pub async fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let url = format!("{}/api/v1/query", self.url);
        let request = self.client.post(url).form(&[("query", query)]);
        let answer: Value = request.send().await?.json().await?;
        ensure!(answer["status"] == "success", "{answer}");
        answer["data"]["result"]
            .as_array()
            .cloned()
            .with_context(|| format!("not a vector: {answer}"))
    }

    /// Reads its configuration and rules anew.
    pub async fn reload(&self) -> anyhow::Result<()> {
        self.client
            .post(format!("{}/-/reload", self.url))
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    /// Stops it. Its data stay.
    pub fn stop(&self) {
        self.process.stop();
    }

    /// Starts it again on the same port, and waits until it answers.
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.process.stop();
        self.process.start()?;
        self.ready().await
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let url = format!("{}/-/ready", self.url);
        http::ready(&self.process, "Prometheus", &self.client, &url).await
    }
}

fn configuration(options: &PrometheusOptions, rules: &[PathBuf]) -> anyhow::Result<String> {
    let interval = format!("{}ms", options.scrape_interval.as_millis());
    Ok(serde_yaml_ng::to_string(&json!({
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": rules,
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": options.alertmanagers}]}]},
        "storage": {"tsdb": {"out_of_order_time_window": "15d"}},
        "scrape_configs": [{
            "job_name": "testenv",
            "honor_labels": true,
            "file_sd_configs": [{"files": [TARGETS], "refresh_interval": "1s"}],
        }],
    }))?)
}

fn without_labels(targets: &[String]) -> Vec<Target> {
    let targets = targets.iter().map(|address| Target {
        address: address.clone(),
        labels: BTreeMap::new(),
    });
    targets.collect()
}

/// Replaces the file as a whole, so that Prometheus never reads half of it.
fn write_targets(state: &StateDir, name: &str, targets: &[Target]) -> anyhow::Result<()> {
    let text = serde_json::to_string(targets)?;
    let written = state.write(&format!("{name}.json.new"), text)?;
    std::fs::rename(written, state.path().join(format!("{name}.json")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_written_as_prometheus_reads_it() {
        let target = Target {
            address: "198.18.0.2:8080".to_owned(),
            labels: BTreeMap::from([("pod".to_owned(), "web-0".to_owned())]),
        };
        assert_eq!(
            serde_json::to_value(target).unwrap(),
            json!({"targets": ["198.18.0.2:8080"], "labels": {"pod": "web-0"}})
        );
    }
}
