//! Worlds that hear alerts by way of a real Alertmanager.

use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::RollbackPolicy;
use backstop_api::point::WorkloadRelease;
use backstop_testenv::Alertmanager;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::metrics::policy_with;
use crate::world::{App, World};

/// By which Alertmanager signs in.
pub const TOKEN: &str = "t0ken-of-alertmanager";

/// Where an operator hears alerts, and with what to sign in there.
pub struct Door {
    port: u16,
    // The operator reads it with each post.
    credentials: tempfile::TempDir,
}

impl Door {
    /// One that is free.
    pub fn new() -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?
            .local_addr()?
            .port();
        let credentials = tempfile::tempdir()?;
        std::fs::write(credentials.path().join("token"), TOKEN)?;
        Ok(Self { port, credentials })
    }

    /// What the operator is started with.
    pub fn flags(&self) -> Vec<String> {
        vec![
            format!("--alerts-listen=127.0.0.1:{}", self.port),
            format!("--alerts-credentials={}", self.credentials.path().display()),
        ]
    }

    /// Where alerts about every namespace are posted.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/alerts", self.port)
    }

    /// An Alertmanager that posts there, at once and again every second.
    pub async fn alertmanager(&self) -> anyhow::Result<Alertmanager> {
        Alertmanager::start(&json!({
            "route": {
                "receiver": "backstop", "group_by": ["..."],
                "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1s",
            },
            "receivers": [{"name": "backstop", "webhook_configs": [{
                "url": self.url(), "send_resolved": true,
                "http_config": {"authorization": {"credentials": TOKEN}},
            }]}],
        }))
        .await
    }
}

/// A world whose operator hears alerts.
pub struct Alerted {
    world: World,
    /// Where it hears them.
    pub door: Door,
    /// Whom alerts are posted to.
    pub alertmanager: Alertmanager,
}

/// Fires on alerts called Errors, and trusts silence while Watchdog is heard.
pub fn errors() -> Value {
    json!({"name": "alerts", "interval": "1s", "alert": {
        "matchLabels": {"alertname": "Errors"}, "range": "0s", "expireAfter": "8s",
        "heartbeat": {"matchLabels": {"alertname": "Watchdog"}},
    }})
}

/// What Falcosidekick's output for Alertmanager posts of an event: its fields become labels, and it ends when it
/// expires.
pub fn falco(namespace: &str, pod: &str, number: u32) -> Value {
    falco_for(namespace, pod, number, Duration::from_mins(10))
}

/// The same, with Falcosidekick's `expiresafter`.
pub fn falco_for(namespace: &str, pod: &str, number: u32, expires_after: Duration) -> Value {
    let ends = jiff::Timestamp::now() + expires_after;
    let output = format!(
        "20:41:07.{number:09}: Warning Sensitive file opened for reading by non-trusted program \
         (file=/etc/shadow process=cat user=root k8s_pod_name={pod} k8s_ns_name={namespace})"
    );
    json!({
        "labels": {
            "container_id": "3f2c1a9b7d5e", "container_name": "app",
            "evt_time": format!("17641032670{number:08}"), "fd_name": "/etc/shadow",
            "k8s_ns_name": namespace, "k8s_pod_name": pod, "proc_cmdline": "cat /etc/shadow",
            "proc_name": "cat", "user_name": "root", "source": "falco", "eventsource": "syscall",
            "rule": "Read sensitive file untrusted", "hostname": "node-1",
            "tags": "T1555,container,filesystem,host,maturity_stable,mitre_credential_access",
            "priority": "Warning", "severity": "warning",
        },
        "annotations": {
            "info": output, "description": output, "summary": "Read sensitive file untrusted",
        },
        "endsAt": ends.to_string(),
    })
}

impl Alerted {
    /// A world in which Watchdog fires, and `v1` is live and has proved itself.
    pub async fn with_good_release(name: &str, trigger: &Value) -> anyhow::Result<Self> {
        let world = Self::new(name).await?;
        world.fires(&json!({"alertname": "Watchdog"})).await?;
        world.deploy(&App::version("v1")).await?;
        world.policy(policy_with(trigger)).await?;
        world.good_point(1).await?;
        Ok(world)
    }

    /// A world without anything in it yet.
    pub async fn new(name: &str) -> anyhow::Result<Self> {
        let door = Door::new()?;
        let world = World::with(name, &door.flags()).await?;
        let alertmanager = door.alertmanager().await?;
        Ok(Self {
            world,
            door,
            alertmanager,
        })
    }

    /// An alert with these labels fires from now on.
    pub async fn fires(&self, labels: &Value) -> anyhow::Result<()> {
        let now = jiff::Timestamp::now();
        let later = now + jiff::SignedDuration::from_hours(1);
        let alert = json!({
            "labels": labels, "startsAt": now.to_string(), "endsAt": later.to_string(),
            "annotations": {"summary": "half of the requests fail"},
        });
        self.alertmanager.post(&json!([alert])).await
    }

    /// And does not any more.
    pub async fn is_resolved(&self, labels: &Value) -> anyhow::Result<()> {
        let now = jiff::Timestamp::now().to_string();
        self.alertmanager
            .post(&json!([{"labels": labels, "endsAt": now}]))
            .await
    }

    /// The alert Errors with further labels.
    pub fn about(&self, labels: Value) -> Value {
        let mut all = json!({"alertname": "Errors", "namespace": self.namespace});
        if let (Some(all), Value::Object(labels)) = (all.as_object_mut(), labels) {
            all.extend(labels);
        }
        all
    }

    /// The name of a pod of this version.
    pub async fn pod_of(&self, version: &str) -> anyhow::Result<String> {
        self.eventually(&format!("a pod of {version}"), async || {
            let pods = self.api::<Pod>().list(&ListParams::default()).await?;
            let mut pods = pods.into_iter().filter(|pod| {
                let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
                let images = containers.filter_map(|it| it.image.as_deref());
                images
                    .into_iter()
                    .any(|it| it.ends_with(&format!(":{version}")))
            });
            Ok(pods.next().context("there is none")?.name_any())
        })
        .await
    }

    /// The same of a release that has not proved itself, when the operator knows of it: what fires since before that is
    /// not about it.
    pub async fn pod_of_new(&self, version: &str) -> anyhow::Result<String> {
        let pod = self.pod_of(version).await?;
        let proved = self.points("Good").await?;
        let tag = format!(":{version}");
        // On a slow machine it has proved itself by now.
        let is_it =
            |workload: &WorkloadRelease| workload.images.iter().any(|i| i.image.ends_with(&tag));
        let good: Vec<_> = proved
            .into_iter()
            .filter_map(|p| p.spec.release)
            .filter(|release| !release.workloads.iter().any(is_it))
            .map(|release| release.hash)
            .collect();
        self.eventually("the new release to be known", async || {
            let policies = self.api::<RollbackPolicy>();
            let all = policies.list(&ListParams::default()).await?;
            let mut live = all.into_iter().filter_map(|p| p.status?.release);
            ensure!(live.any(|r| !good.contains(&r.hash)), "not yet");
            Ok(())
        })
        .await?;
        Ok(pod)
    }
}

impl Deref for Alerted {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}
