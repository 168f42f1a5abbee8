//! A real Kubernetes control plane on loopback, for tests, benches and the demo.
//!
//! Nothing is imitated where Backstop could tell the difference: etcd, the API server, the controller manager and
//! the scheduler are the upstream programs, built once from pinned Go modules and cached ([`tools`]). Its nodes are
//! fake: kwok plays the kubelet, and a pod says in an annotation what becomes of it ([`fate`]), so a test can ask for a
//! crash loop and have it within a second. Where real pods and real traffic matter, a real [`Node`] joins.
//!
//! ```no_run
//! use backstop_testenv::{Cluster, eventually};
//! use k8s_openapi::api::core::v1::ServiceAccount;
//! use std::time::Duration;
//!
//! # async fn example() -> anyhow::Result<()> {
//! let cluster = Cluster::shared().await?;
//! let namespace = cluster.namespace("demo").await?;
//! let accounts: kube::Api<ServiceAccount> = kube::Api::namespaced(cluster.client().await?, &namespace);
//! eventually("the default account", Duration::from_secs(5), async || accounts.get("default").await).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Every process ends with the one that started it, however that one ends ([`Process`]).

pub mod access;
pub mod alertmanager;
pub mod cargo;
pub mod cluster;
pub mod exporter;
pub mod fate;
pub mod flux;
mod http;
pub mod image;
mod kubeconfig;
pub mod load;
pub mod mail;
pub mod metrics_server;
pub mod node;
mod pki;
pub mod process;
pub mod prometheus;
mod relay;
mod state;
pub mod tools;
pub mod traefik;
pub mod traffic;
pub mod wait;

pub use access::Access;
pub use alertmanager::Alertmanager;
pub use cluster::{Cluster, ClusterOptions, Part};
pub use exporter::Exporter;
pub use flux::{FluxController, OciRegistry};
pub use load::{LoadGenerator, LoadOptions, Responses};
pub use mail::MailServer;
pub use metrics_server::MetricsServer;
pub use node::{Node, NodeOptions};
pub use process::{Process, Signal};
pub use prometheus::{Prometheus, PrometheusOptions};
pub use tools::Tool;
pub use traefik::Traefik;
pub use traffic::{AppTraffic, Load, Source};
pub use wait::eventually;
