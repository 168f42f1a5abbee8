//! A control plane with fake nodes.

mod audit;
mod options;
mod parts;
mod start;

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Once;

use anyhow::Context as _;
use kube::Client;
use tokio::sync::OnceCell;

pub use audit::AUDIT_LOGS;
pub use options::ClusterOptions;
pub use parts::Part;
pub(crate) use parts::ServiceRange;

use crate::access::Access;
use crate::kubeconfig;
use crate::pki::Authority;
use crate::process::Signal;
use parts::Parts;

/// One for each test process, started by whoever asks first.
static SHARED: OnceCell<Cluster> = OnceCell::const_new();
/// Guards the panic hook: one is enough.
static REPORT: Once = Once::new();

/// etcd, API server, controller manager, scheduler and kwok on loopback, with an authority of their own.
///
/// Dropping it ends its processes, and so does the end of this process, however it comes. It is bound to no runtime:
/// one test may start it and another, with a runtime of its own, may use it.
#[derive(Debug)]
pub struct Cluster {
    parts: Parts,
    authority: Authority,
    audit: Option<PathBuf>,
    // The last field, so that its files stay until the processes have gone.
    access: Access,
}

impl Cluster {
    /// The cluster that all tests of this process share. A test keeps to a namespace of its own
    /// ([`Cluster::namespace`]).
    pub async fn shared() -> anyhow::Result<&'static Self> {
        let shared = SHARED
            .get_or_try_init(|| Self::start(ClusterOptions::default()))
            .await?;
        REPORT.call_once(show_logs_on_panic);
        Ok(shared)
    }

    /// The last lines of every log, each under its name.
    pub fn log_tail(&self, lines: usize) -> String {
        self.parts.log_tail(lines)
    }

    /// Stops one part. The rest keeps running.
    pub fn stop_part(&self, part: Part) {
        self.parts.get(part).stop();
    }

    /// Starts a part that was stopped, on the same port. Does not wait until it is ready.
    pub fn start_part(&self, part: Part) -> anyhow::Result<()> {
        self.parts.get(part).start()
    }

    /// Kills or pauses a part, or lets it go on.
    pub fn signal_part(&self, part: Part, signal: Signal) -> anyhow::Result<()> {
        self.parts.get(part).signal(signal)
    }

    /// Waits until the API server says that it is ready.
    pub async fn ready(&self) -> anyhow::Result<()> {
        start::await_api_server(self.admin_kubeconfig(), &self.parts).await
    }

    /// What the API server wrote about requests, oldest first. Of everybody if
    /// [`ClusterOptions::audit`] is set.
    pub fn audit_log(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let Some(path) = self.audit.as_ref().filter(|path| path.exists()) else {
            return Ok(Vec::new());
        };
        // The last line may still be in the writing.
        let text = std::fs::read_to_string(path)?;
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// A client for `user`, in at most one of `groups`, by client certificate.
    pub async fn client_for(&self, user: &str, groups: &[&str]) -> anyhow::Result<Client> {
        kubeconfig::client(&self.kubeconfig_text(user, groups)?).await
    }

    /// A kubeconfig file for `user`, in at most one of `groups`, by client certificate.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> anyhow::Result<PathBuf> {
        self.write_kubeconfig(user, &self.kubeconfig_text(user, groups)?)
    }

    /// A kubeconfig for `user` that reaches the API server at another address, through something that passes
    /// connections on.
    pub(crate) fn kubeconfig_at(
        &self,
        address: SocketAddr,
        user: &str,
        groups: &[&str],
    ) -> anyhow::Result<String> {
        kubeconfig::at(&self.kubeconfig_text(user, groups)?, address)
    }

    /// The certificate of the cluster's authority.
    pub(crate) fn authority_certificate(&self) -> String {
        self.authority.certificate()
    }

    /// The port of the API server on loopback.
    pub(crate) fn api_server_port(&self) -> anyhow::Result<u16> {
        let port = self.server().rsplit(':').next().unwrap_or_default();
        port.parse()
            .with_context(|| format!("{} names no port", self.server()))
    }

    fn kubeconfig_text(&self, user: &str, groups: &[&str]) -> anyhow::Result<String> {
        let pair = self.authority.client(user, groups)?;
        kubeconfig::render(self.server(), &self.authority.certificate(), &pair)
    }
}

/// Whoever wants a way into a cluster can be given this one.
impl Deref for Cluster {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

/// When a test fails, the cluster's side of the story belongs below its message.
fn show_logs_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        if let Some(cluster) = SHARED.get() {
            let logs = cluster.logs_dir();
            eprintln!(
                "logs of the test cluster, in {}:\n{}",
                logs.display(),
                cluster.log_tail(5)
            );
        }
    }));
}
