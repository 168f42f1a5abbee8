//! The operator as a process, with the rights that the chart gives it.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_testenv::process::{Process, Signal};
use backstop_testenv::{Access, eventually};

use crate::chart::NAMESPACE;
use crate::install;

/// How many lines of its log a failing test shows.
const LOG_LINES: usize = 60;

/// The operator, looking after one namespace. Ends with the test.
pub struct Running {
    process: Process,
    namespace: String,
}

impl Running {
    /// Starts an operator for `namespace`, which is called `name`, with further flags.
    pub async fn start(
        cluster: &Access,
        namespace: &str,
        name: &str,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        Self::start_binary(&binary()?, cluster, namespace, name, flags).await
    }

    /// The same with a binary of one's choice.
    pub async fn start_binary(
        binary: &Path,
        cluster: &Access,
        namespace: &str,
        name: &str,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        let account = install(cluster).await?;
        let kubeconfig = cluster
            .service_account_kubeconfig(&account.namespace, &account.service_account)
            .await?;
        Self::spawn(binary, &kubeconfig, cluster, namespace, name, flags)
    }

    /// The same with a kubeconfig of one's choice: a way to the API server that is not the straight one.
    pub async fn start_by(
        kubeconfig: &Path,
        cluster: &Access,
        namespace: &str,
        name: &str,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        install(cluster).await?;
        Self::spawn(&binary()?, kubeconfig, cluster, namespace, name, flags)
    }

    fn spawn(
        binary: &Path,
        kubeconfig: &Path,
        cluster: &Access,
        namespace: &str,
        name: &str,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        let mut args: Vec<String> = [
            "--leader-election-namespace",
            NAMESPACE,
            "--lease-name",
            &format!("backstop-{namespace}"),
            "--identity",
            name,
            // A busy machine lets a process stand still for a second or two; that must not cost it its lease.
            "--lease-duration-seconds",
            "10",
            "--listen",
            "127.0.0.1:0",
            "--watch-namespace",
            namespace,
            "--log-format",
            "text",
        ]
        .map(str::to_owned)
        .to_vec();
        args.extend_from_slice(flags);
        let process = Process::new(
            &format!("{namespace}-{name}"),
            binary,
            args,
            &cluster.logs_dir(),
        )
        .env("KUBECONFIG", &kubeconfig.display().to_string())
        .env(
            "RUST_LOG",
            "info,backstop_controller=debug,kube_runtime=warn",
        )
        .env("NO_COLOR", "1")
        // What is under way when it is told to end may take it longer than the programs around it.
        .grace(Duration::from_secs(20));
        let running = Self {
            process,
            namespace: namespace.to_owned(),
        };
        running.process.start()?;
        Ok(running)
    }

    /// Waits until it looks after policies.
    pub async fn leads(&self) -> anyhow::Result<()> {
        eventually(
            "the operator to lead",
            Duration::from_secs(30),
            async || {
                let log = self.process.log_tail(5);
                ensure!(
                    self.process.exited().is_none(),
                    "the operator has ended:\n{log}"
                );
                ensure!(self.log().contains("leading:"), "{log}");
                anyhow::Ok(())
            },
        )
        .await
    }

    /// What a path of its own server answers: status, type and text.
    pub async fn answer(&self, path: &str) -> anyhow::Result<(u16, String, String)> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let url = format!("http://{}{path}", self.address()?);
        let answer = client.get(url).send().await?;
        let status = answer.status().as_u16();
        let kind = answer.headers().get("content-type").cloned();
        let kind = kind.map(|k| k.to_str().map(str::to_owned)).transpose()?;
        Ok((status, kind.unwrap_or_default(), answer.text().await?))
    }

    /// The namespace that it looks after, if its flags name no others.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Kills it, as a node that goes away would.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::Kill)
    }

    /// Lets it stand still, as on a node that stalls.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::Pause)
    }

    /// Lets it go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::Resume)
    }

    /// Starts it again.
    pub fn restart(&self) -> anyhow::Result<()> {
        self.process.start()
    }

    /// Stops it in order.
    pub fn stop(&self) {
        self.process.stop();
    }

    /// Where it serves health and metrics: `host:port`.
    pub fn address(&self) -> anyhow::Result<String> {
        let log = self.log();
        let mut lines = log.lines().filter(|it| it.contains("serving /healthz"));
        let line = lines.next_back().context("it serves nothing yet")?;
        let (_, address) = line.split_once("address=").context("no address")?;
        Ok(address.trim().to_owned())
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// What a failing test shows.
    pub fn log_tail(&self) -> String {
        self.process.log_tail(LOG_LINES)
    }
}

/// The operator's binary: what `BACKSTOP_BIN` names, else the one that lies beside this test's.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os("BACKSTOP_BIN") {
        return Ok(path.into());
    }
    let beside = env::current_exe()?
        .ancestors()
        .map(|dir| dir.join("backstop"))
        .find(|path| path.is_file());
    beside.context(
        "the operator's binary is not built; `cargo build -p backstop-controller` builds it, and \
         `cargo xtask test` does so by itself",
    )
}
