//! What an administrator sets: flags and environment.

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Backstop takes a bad release back by itself, and proves that it did right.
#[derive(Clone, Debug, Parser)]
#[command(name = "backstop", version)]
pub struct Cli {
    /// What an administrator sets.
    #[command(flatten)]
    pub settings: Settings,
    /// What to do; to look after policies unless said otherwise.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What an administrator sets.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// The namespace of the Lease by which replicas agree on a leader.
    #[arg(long, env = "POD_NAMESPACE", default_value = "backstop-system")]
    pub leader_election_namespace: String,
    /// The name of that Lease.
    #[arg(long, env = "BACKSTOP_LEASE_NAME", default_value = "backstop")]
    pub lease_name: String,
    /// How this replica is called; the pod's name in a cluster.
    #[arg(long, env = "POD_NAME", default_value = "backstop")]
    pub identity: String,
    /// How long a leader that went away is waited for, in seconds.
    #[arg(long, env = "BACKSTOP_LEASE_DURATION", default_value_t = 15, value_parser = clap::value_parser!(u64).range(4..=300))]
    pub lease_duration_seconds: u64,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "BACKSTOP_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: std::net::SocketAddr,
    /// The Prometheus that triggers without an address ask.
    #[arg(long, env = "BACKSTOP_PROMETHEUS_URL")]
    pub prometheus_url: Option<String>,
    /// Addresses that policies may name, such as https://prometheus.monitoring.svc:9090.
    #[arg(long, env = "BACKSTOP_PROMETHEUS_ALLOW", value_delimiter = ',')]
    pub prometheus_allow: Vec<String>,
    /// Addresses of web services that policies may ask, such as https://status.example.com/api.
    #[arg(long, env = "BACKSTOP_WEB_ALLOW", value_delimiter = ',')]
    pub web_allow: Vec<String>,
    /// Where Alertmanager posts alerts, such as 0.0.0.0:8081; nothing is heard without it.
    #[arg(long, env = "BACKSTOP_ALERTS_LISTEN")]
    pub alerts_listen: Option<std::net::SocketAddr>,
    /// A folder with `token`, or `username` and `password`: who signs in with them may post alerts
    /// about every namespace.
    #[arg(long, env = "BACKSTOP_ALERTS_CREDENTIALS", requires = "alerts_listen")]
    pub alerts_credentials: Option<std::path::PathBuf>,
    /// A folder with `tls.crt` and `tls.key`: alerts are posted by HTTPS.
    #[arg(long, env = "BACKSTOP_ALERTS_TLS", requires = "alerts_listen")]
    pub alerts_tls: Option<std::path::PathBuf>,
    /// Where notifications may be sent: https://hooks.slack.com, or a mail server as smtp://mail.example.com:587.
    #[arg(long, env = "BACKSTOP_NOTIFICATIONS_ALLOW", value_delimiter = ',')]
    pub notifications_allow: Vec<String>,
    /// A YAML file with the operator's own channels, which are told of every policy.
    #[arg(long, env = "BACKSTOP_NOTIFICATIONS_FILE")]
    pub notifications_file: Option<std::path::PathBuf>,
    /// A YAML file with kinds of routes beside those that Backstop knows by itself.
    #[arg(long, env = "BACKSTOP_ROUTES_FILE")]
    pub routes_file: Option<std::path::PathBuf>,
    /// Watch these namespaces alone; every namespace without it.
    #[arg(long, env = "BACKSTOP_WATCH_NAMESPACE", value_delimiter = ',')]
    pub watch_namespace: Vec<String>,
    /// The ConfigMap, in the namespace of the Lease, that pauses Backstop for the whole cluster.
    #[arg(long, env = "BACKSTOP_CONFIG_MAP", default_value = "backstop")]
    pub config_map: String,
    /// Namespaces in which GitOps tools keep their objects, such as argocd, beside the policies' own: these may be
    /// suspended too.
    #[arg(long, env = "BACKSTOP_GITOPS_NAMESPACES", value_delimiter = ',')]
    pub gitops_namespaces: Vec<String>,
    /// Where every rollback that has ended is written as a line of JSON: a file, or `-` for standard output.
    #[arg(long, env = "BACKSTOP_AUDIT_FILE")]
    pub audit_file: Option<crate::audit::Log>,
    /// A new key for configuration is made after so many days.
    #[arg(long, env = "BACKSTOP_KEY_ROTATION_DAYS", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub key_rotation_days: u16,
    /// Records of rollbacks that ended are kept for so many days, and the newest of each workload for good.
    #[arg(long, env = "BACKSTOP_EVENT_RETENTION_DAYS", default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub event_retention_days: u16,
    /// Of a policy's records that are in the audit file, so many stay for that time; those beyond go a day after their end.
    #[arg(long, env = "BACKSTOP_EVENT_LIMIT", requires = "audit_file", value_parser = clap::value_parser!(u32).range(1..))]
    pub event_limit: Option<u32>,
    /// How logs are written.
    #[arg(long, env = "BACKSTOP_LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto)]
    pub log_format: LogFormat,
    /// Where spans are exported by OTLP over HTTP, such as http://otel-collector:4318; they are not without it.
    #[arg(long, env = "BACKSTOP_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<url::Url>,
    /// How many objects of a kind are worked on at once.
    #[arg(long, env = "BACKSTOP_CONCURRENCY", default_value_t = 32)]
    pub concurrency: u16,
}

/// What to do instead of looking after policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Look whether Backstop works in this cluster, and end. Flags stand before it.
    Check,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
