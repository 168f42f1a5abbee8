//! A real Alertmanager on loopback.

use anyhow::ensure;
use serde_json::Value;

use crate::http::{self, plain_client};
use crate::process::{Process, free_ports};
use crate::state::StateDir;
use crate::tools::{self, Tool};

/// How often to look for another port when someone else took it.
const ATTEMPTS: usize = 3;

/// An Alertmanager that ends with this process. It can be stopped and started again on the same port, with what it knew.
#[derive(Debug)]
pub struct Alertmanager {
    process: Process,
    url: String,
    client: reqwest::Client,
    // The last field, so that its lock is held until the process has gone.
    _state: StateDir,
}

impl Alertmanager {
    /// Starts one with this configuration, in Alertmanager's own format, and waits until it answers. Builds it first if
    /// need be.
    pub async fn start(configuration: &Value) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(|| tools::ensure(&[Tool::Alertmanager], &tools::Stderr))
            .await??;
        let mut attempt = 1;
        loop {
            let alertmanager = Self::prepare(configuration)?;
            alertmanager.process.start()?;
            match alertmanager.ready().await {
                Ok(()) => return Ok(alertmanager),
                Err(_) if attempt < ATTEMPTS && alertmanager.process.lost_its_port() => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn prepare(configuration: &Value) -> anyhow::Result<Self> {
        let state = StateDir::new("alertmanager")?;
        let [port] = free_ports()?;
        let text = serde_yaml_ng::to_string(configuration)?;
        let config = state.write("alertmanager.yaml", text)?;
        let args = [
            format!("--config.file={}", config.display()),
            format!("--storage.path={}", state.path().join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            // One alone: it would look for others otherwise.
            "--cluster.listen-address=".to_owned(),
        ];
        let process = Process::new(
            "alertmanager",
            Tool::Alertmanager.path()?,
            args,
            &state.logs(),
        );
        Ok(Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            client: plain_client()?,
            _state: state,
        })
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its address as Prometheus' configuration has it: `host:port`.
    pub fn target(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Posts alerts, as Prometheus and others do.
    pub async fn post(&self, alerts: &Value) -> anyhow::Result<()> {
        let url = format!("{}/api/v2/alerts", self.url);
        let answer = self.client.post(url).json(alerts).send().await?;
        let status = answer.status();
        ensure!(
            status.is_success(),
            "Alertmanager says {status}: {}",
            answer.text().await?
        );
        Ok(())
    }

    /// Stops it. What it knew stays.
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
        http::ready(&self.process, "Alertmanager", &self.client, &url).await
    }
}
