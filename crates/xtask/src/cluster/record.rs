//! What one command tells the next about a cluster.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::Context as _;
use backstop_testenv::{Cluster, Node, Traefik, image, node, traefik};
use serde::{Deserialize, Serialize};

/// What the supervisor tells the others.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) kubeconfig: PathBuf,
    pub(super) logs: PathBuf,
    supervisor: u32,
    pub(super) node: Option<NodeRecord>,
    pub(super) traefik: Option<TraefikRecord>,
}

/// What of the real node is to be seen on the machine.
#[derive(Serialize, Deserialize)]
pub(super) struct NodeRecord {
    address: String,
    interface: String,
    control_group: String,
    process_namespace: String,
    logs: PathBuf,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TraefikRecord {
    url: String,
    port: u16,
}

impl NodeRecord {
    fn of(node: &Node) -> anyhow::Result<Self> {
        Ok(Self {
            address: node.address().to_string(),
            interface: node.interface(),
            control_group: node.control_group(),
            process_namespace: node.process_namespace()?,
            logs: node.logs_dir(),
        })
    }
}

/// Where a cluster's record is.
pub(super) struct Place(pub(super) PathBuf);

impl Record {
    pub(super) fn of(
        cluster: &Cluster,
        node: Option<&Node>,
        traefik: Option<&Traefik>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            kubeconfig: cluster.kubeconfig_path().to_owned(),
            logs: cluster.logs_dir(),
            supervisor: std::process::id(),
            node: node.map(NodeRecord::of).transpose()?,
            traefik: traefik.map(|traefik| TraefikRecord {
                url: traefik.url(),
                port: traefik.port(),
            }),
        })
    }

    /// What there is besides a control plane, and how it is reached.
    pub(super) fn explain(&self) {
        if let Some(real) = &self.node {
            println!("A real node, {}, takes pods whose spec has:\n", node::NAME);
            println!("  {}\n", node::placement());
            println!(
                "It knows the image {} (`imagePullPolicy: Never`). Pods and Services answer this machine by their own",
                image::APP
            );
            println!(
                "addresses: `curl http://$(kubectl get service NAME -o jsonpath={{.spec.clusterIP}}):PORT`"
            );
            println!("Its logs are in {}", real.logs.display());
        }
        if let Some(proxy) = &self.traefik {
            println!(
                "Traefik takes requests at {}, for IngressRoutes and for Gateways of the class `{}` whose listener has \
                 the port {}.",
                proxy.url,
                traefik::GATEWAY_CLASS,
                proxy.port
            );
        }
    }
}

impl Place {
    pub(super) fn is_down(&self) -> anyhow::Result<bool> {
        Ok(File::create(self.lock())?.try_lock().is_ok())
    }

    pub(super) fn read(&self) -> anyhow::Result<Record> {
        let text = fs::read(self.record())
            .context("a cluster is starting or ending just now; try again")?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Whole or not at all: its being there says that the cluster is ready.
    pub(super) fn write(&self, record: &Record) -> anyhow::Result<()> {
        let scratch = self.0.join("record.json.new");
        fs::write(&scratch, serde_json::to_vec_pretty(record)?)?;
        fs::rename(scratch, self.record())?;
        Ok(())
    }

    pub(super) fn record(&self) -> PathBuf {
        self.0.join("record.json")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
}
