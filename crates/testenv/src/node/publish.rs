//! What runs on the machine, under a name by which pods know it.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use serde_json::json;

use super::Node;
use crate::cluster::Cluster;
use crate::relay::Relay;

/// A Service that stands for something on the machine. It answers until this is dropped.
#[derive(Debug)]
pub struct Published {
    _relay: Relay,
}

impl Node {
    /// Gives what listens at `target`, on loopback, a Service in the cluster, with `port`. The namespace has to exist.
    pub async fn publish(
        &self,
        cluster: &Cluster,
        (namespace, name): (&str, &str),
        port: u16,
        target: SocketAddr,
    ) -> anyhow::Result<Published> {
        let any_port = SocketAddr::new(IpAddr::V4(self.network.machine()), 0);
        let relay = Relay::start(any_port, target)?;
        let address = relay.address();
        let objects = [
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                // Without a selector, so that nobody else says where it leads.
                "spec": {"ports": [{"name": "http", "port": port}]},
            }),
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": address.port()}],
                "endpoints": [{"addresses": [address.ip()], "conditions": {"ready": true}}],
            }),
        ];
        let texts = objects.iter().map(serde_yaml_ng::to_string);
        let manifests = texts.collect::<Result<Vec<_>, _>>()?.join("---\n");
        cluster
            .apply(namespace, &manifests)
            .await
            .with_context(|| format!("could not publish {target} as {name}.{namespace}"))?;
        Ok(Published { _relay: relay })
    }
}
