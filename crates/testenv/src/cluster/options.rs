//! What can be chosen about a cluster.

/// What can be chosen about a [`Cluster`](super::Cluster).
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Fake nodes, each with room for ten thousand pods. They are called `fake-0` and so on.
    pub nodes: usize,
    /// Whether to write down who asked the API server for what, bodies left out
    /// ([`Cluster::audit_log`](super::Cluster::audit_log)).
    pub audit: bool,
    /// Further flags for the API server, such as `--feature-gates=...`.
    pub api_server_flags: Vec<String>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            nodes: 1,
            audit: false,
            api_server_flags: Vec::new(),
        }
    }
}
