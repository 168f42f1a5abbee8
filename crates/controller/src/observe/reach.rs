//! Which pods of a policy's workload may be asked, and where.
//!
//! A pod's own address needs no allow-list: it is of the policy's namespace, and the cluster gave it
//! to the pod. It is not taken where it is not the pod's alone: whoever writes a Deployment could
//! otherwise have the operator ask the node.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use backstop_api::policy::Port;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use kube::ResourceExt;

/// So many pods are asked at most: the first by name, whose ends are drawn at random.
const PODS_ASKED: usize = 64;

/// A pod that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// Its name.
    pub(super) name: String,
    /// Where it is asked.
    pub(super) address: SocketAddr,
    /// When the youngest of its containers started.
    pub(super) started_at: Option<Timestamp>,
    /// Whether its kubelet says that all of its containers are ready. The pod's own condition may say
    /// otherwise for a node that is gone, which is no fault of the pod's.
    pub(super) ready: bool,
}

/// What the rest of the operator needs of a pod's spec: the cache is spared the rest.
pub(super) fn trimmed(spec: PodSpec) -> PodSpec {
    let container = |container: Container| Container {
        name: container.name,
        ports: container.ports,
        resources: container.resources,
        ..Container::default()
    };
    PodSpec {
        containers: spec.containers.into_iter().map(container).collect(),
        host_network: spec.host_network,
        ..PodSpec::default()
    }
}

/// Where these pods are asked; those that do not run yet are left out.
pub(super) fn reached(pods: &[Arc<Pod>], port: Option<&Port>) -> Result<Vec<Reached>, String> {
    let mut running: Vec<&Arc<Pod>> = pods.iter().filter(|pod| runs(pod)).collect();
    running.sort_by_key(|pod| pod.name_any());
    let declared = |pod: &&&Arc<Pod>| declares(pod, port).is_some();
    let asked: Vec<(&&Arc<Pod>, u16)> = match port {
        // A port need not be declared to be open. Where some declare it, the others have none.
        Some(Port::Number(number)) if !running.iter().any(|pod| declared(&pod)) => {
            running.iter().map(|pod| (pod, *number)).collect()
        }
        _ => running
            .iter()
            .filter_map(|pod| Some((pod, declares(pod, port)?)))
            .collect(),
    };
    if asked.is_empty() && !running.is_empty() {
        return Err(match port {
            Some(port) => format!("no container of the release declares a port called {port}"),
            None => "the release's containers do not declare exactly one port; name one with port"
                .into(),
        });
    }
    let mut reached = Vec::new();
    let mut refused = None;
    for (pod, port) in asked.into_iter().take(PODS_ASKED) {
        match address(pod) {
            Ok(ip) => reached.push(Reached {
                name: pod.name_any(),
                address: SocketAddr::new(ip, port),
                started_at: started_at(pod),
                ready: is_ready(pod),
            }),
            Err(why) => refused = refused.or(Some(format!("pod {}: {why}", pod.name_any()))),
        }
    }
    match refused {
        Some(why) if reached.is_empty() => Err(why),
        _ => Ok(reached),
    }
}

fn status(pod: &Pod) -> Option<&PodStatus> {
    pod.status.as_ref()
}

/// Whether a container of it runs, and it has an address.
fn runs(pod: &Pod) -> bool {
    let running = |status: &PodStatus| {
        let mut containers = status.container_statuses.iter().flatten();
        containers.any(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()))
    };
    status(pod).is_some_and(|status| status.pod_ip.is_some() && running(status))
}

/// The number of the port that is meant, if the pod declares it.
fn declares(pod: &Pod, port: Option<&Port>) -> Option<u16> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let tcp = |protocol: Option<&str>| protocol.is_none_or(|protocol| protocol == "TCP");
    let mut ports = containers
        .flat_map(|container| container.ports.iter().flatten())
        .filter(|declared| tcp(declared.protocol.as_deref()))
        .filter(|declared| match port {
            None => true,
            Some(Port::Number(number)) => declared.container_port == i32::from(*number),
            Some(Port::Name(name)) => declared.name.as_deref() == Some(name),
        })
        .map(|declared| declared.container_port);
    match (ports.next(), ports.next()) {
        (Some(one), None) => u16::try_from(one).ok(),
        // Of those that are named, the first is as good.
        (Some(one), Some(_)) if port.is_some() => u16::try_from(one).ok(),
        _ => None,
    }
}

/// The pod's address, if it is its own and one that pods have.
fn address(pod: &Pod) -> Result<IpAddr, String> {
    let status = status(pod).ok_or("it has no status")?;
    let text = status.pod_ip.as_deref().unwrap_or_default();
    let ip: IpAddr = text
        .parse()
        .map_err(|_| format!("`{text}` is no address"))?;
    let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network);
    if host_network == Some(true) || status.host_ip.as_deref() == Some(text) {
        return Err(
            "it has the address of its node (hostNetwork), which is not asked; use url with an \
             address that the operator allows"
                .into(),
        );
    }
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some(),
    };
    if local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
        return Err(format!("{ip} is no address of a pod"));
    }
    Ok(ip)
}

fn started_at(pod: &Pod) -> Option<Timestamp> {
    let containers = status(pod)?.container_statuses.iter().flatten();
    let running =
        containers.filter_map(|c| c.state.as_ref()?.running.as_ref()?.started_at.as_ref());
    running.map(|time| time.0).max()
}

fn is_ready(pod: &Pod) -> bool {
    let Some(status) = status(pod) else {
        return false;
    };
    status.container_statuses.iter().flatten().all(|c| c.ready)
}

#[cfg(test)]
mod tests;
