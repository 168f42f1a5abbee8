//! Traffic for the pods that there are: they get theirs when they become ready, and lose it when they go.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::oneshot;

use super::{AppTraffic, Load, Source};
use crate::Access;

/// Keeps the traffic in step with the pods of a namespace until it is dropped. The counters then stay as they are.
#[derive(Debug)]
pub struct Follower {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AppTraffic {
    /// Gives each ready pod of `namespace` the load that `load` says, by its labels or image for example. `None`
    /// means: not this one.
    ///
    /// The series carry the pod's name, and its label `version` if it has one.
    pub fn follow(
        &self,
        cluster: &Access,
        namespace: &str,
        load: impl Fn(&Pod) -> Option<Load> + Send + 'static,
    ) -> anyhow::Result<Follower> {
        let (traffic, namespace) = (self.clone(), namespace.to_owned());
        let kubeconfig = cluster.admin_kubeconfig().to_owned();
        // A runtime of its own, so that it goes on while the test's is busy.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("traffic".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let watch = async {
                        match crate::kubeconfig::client(&kubeconfig).await {
                            Ok(client) => watch(client, &namespace, &traffic, load).await,
                            Err(error) => {
                                eprintln!("[testenv] no traffic for {namespace}: {error:#}");
                            }
                        }
                    };
                    tokio::select! {
                        () = watch => {}
                        // Sent, or the sender is gone: over either way.
                        _ = stopped => {}
                    }
                });
            })
            .context("no thread for the traffic")?;
        Ok(Follower {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

async fn watch(
    client: Client,
    namespace: &str,
    traffic: &AppTraffic,
    load: impl Fn(&Pod) -> Option<Load>,
) {
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let mut events = watcher::watcher(pods, watcher::Config::default()).boxed();
    // By uid: a pod may come back under its old name.
    let mut known = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                let (Some(uid), source) = (pod.uid(), source_of(namespace, &pod)) else {
                    continue;
                };
                match load(&pod).filter(|_| takes_traffic(&pod)) {
                    Some(load) => {
                        traffic.set(source.clone(), load);
                        known.insert(uid, source);
                    }
                    // A pod that is no longer ready keeps its series and gets no more requests.
                    None => {
                        if known.contains_key(&uid) {
                            traffic.set(source, Load::healthy(0.0));
                        }
                    }
                }
            }
            Ok(Event::Delete(pod)) => {
                if let Some(source) = pod.uid().and_then(|uid| known.remove(&uid)) {
                    traffic.remove(&source);
                }
            }
            Ok(Event::Init | Event::InitDone) => {}
            // The watcher begins anew by itself; a pause keeps it from doing that without rest.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
        }
    }
}

fn source_of(namespace: &str, pod: &Pod) -> Source {
    let version = pod.labels().get("version").cloned().unwrap_or_default();
    Source {
        version,
        ..Source::pod(namespace, &pod.name_any())
    }
}

fn takes_traffic(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
