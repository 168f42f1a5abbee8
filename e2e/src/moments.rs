//! Moments of a rollback that a test waits for, and what happens around it meanwhile.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, StepKind, StepState};
use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy, RollbackPolicyStatus};
use backstop_testenv::fate;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::world::{APP, World};

/// Long enough for every trigger to be judged several times.
pub const A_WHILE: Duration = Duration::from_secs(2);

/// What is done to pods as long as this lives.
pub struct Kept(JoinHandle<()>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl World {
    /// Waits until the rollback has written the good template and waits for its rollout.
    pub async fn rolling_out(&self, name: &str) -> anyhow::Result<RollbackEvent> {
        self.eventually(&format!("{name} to wait for its rollout"), async || {
            let event = self.api::<RollbackEvent>().get(name).await?;
            let status = event.status.clone().unwrap_or_default();
            let waits = status
                .steps
                .iter()
                .any(|s| s.step.kind == StepKind::AwaitRollout && s.state == StepState::Running);
            ensure!(
                waits && status.phase == Some(EventPhase::Executing),
                "{:?}: {:?}",
                status.phase,
                status.message
            );
            Ok(event)
        })
        .await
    }

    /// Waits until the version is live and fully rolled out.
    pub async fn rolled_out(&self, version: &str) -> anyhow::Result<()> {
        self.rolled_out_of(APP, version).await
    }

    /// The same of another Deployment than the usual one.
    pub async fn rolled_out_of(&self, name: &str, version: &str) -> anyhow::Result<()> {
        self.eventually(&format!("{version} to be rolled out"), async || {
            let live = self.version_of(name).await?;
            let deployment = self.api::<Deployment>().get(name).await?;
            let wanted = deployment.spec.and_then(|s| s.replicas);
            let status = deployment.status.unwrap_or_default();
            let current = status.observed_generation >= deployment.metadata.generation;
            let complete = status.updated_replicas == wanted
                && status.available_replicas == wanted
                && status.replicas == wanted;
            ensure!(
                live == version && current && complete,
                "{live}, {wanted:?} wanted: {status:?}"
            );
            Ok(())
        })
        .await
    }

    /// Waits until the version, which is live, has proved itself and is the newest point. Returns
    /// the point's name.
    pub async fn proved(&self, version: &str) -> anyhow::Result<String> {
        self.eventually(&format!("{version} to be the newest point"), async || {
            let status = self.status().await?;
            let release = status.release.context("no release")?;
            let live = self.live().await?;
            let newest = status.last_point.unwrap_or_default();
            let point = self.api::<RollbackPoint>().get(&newest).await?;
            let image = point
                .spec
                .release
                .and_then(|r| Some(r.workloads.first()?.images.first()?.image.clone()));
            ensure!(
                live == version
                    && release.proved_at.is_some()
                    && image.is_some_and(|i| i.ends_with(&format!(":{version}"))),
                "{live} is live, and {newest} the newest point"
            );
            Ok(newest)
        })
        .await
    }

    /// Makes the running pods of a version crash, as when what they depend on breaks. Returns how
    /// many.
    pub async fn crash(&self, version: &str) -> anyhow::Result<usize> {
        crash(&self.api(), version).await
    }

    /// Makes every pod of a version crash from now on, whenever it is made.
    pub fn keep_crashing(&self, version: &str) -> Kept {
        let (pods, version) = (self.api::<Pod>(), version.to_owned());
        Kept(tokio::spawn(async move {
            loop {
                // A pod that goes away between is made anew, and crashes then.
                let _ = crash(&pods, &version).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }))
    }

    /// Makes the crashing containers of a version run again, or, where `runs` is false, crash again,
    /// as the node does between two crashes.
    pub async fn containers_run(&self, version: &str, runs: bool) -> anyhow::Result<()> {
        let pods = self.api::<Pod>();
        for pod in pods.list(&ListParams::default()).await? {
            if !is_of(&pod, version) {
                continue;
            }
            let mut status = serde_json::to_value(&pod.status)?;
            for container in status["containerStatuses"].as_array_mut().context("none")? {
                container["ready"] = json!(runs);
                container["state"] = if runs {
                    json!({"running": {"startedAt": pod.metadata.creation_timestamp}, "waiting": null})
                } else {
                    json!({"waiting": {"reason": "CrashLoopBackOff"}, "running": null})
                };
            }
            for condition in status["conditions"].as_array_mut().context("none")? {
                if condition["type"] != "PodScheduled" && condition["type"] != "Initialized" {
                    condition["status"] = json!(if runs { "True" } else { "False" });
                }
            }
            let patch = Patch::Merge(json!({"status": status}));
            pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch)
                .await?;
        }
        Ok(())
    }

    /// Makes the node say that the pods of a version run this image.
    pub async fn images_are(&self, version: &str, image: &str) -> anyhow::Result<()> {
        run_image(&self.api(), version, image).await
    }

    /// The same of every pod of a version from now on, whenever it is made.
    pub fn keep_images(&self, version: &str, image: &str) -> Kept {
        let (pods, version, image) = (self.api::<Pod>(), version.to_owned(), image.to_owned());
        Kept(tokio::spawn(async move {
            loop {
                // A pod that goes away between is made anew, and is told of then.
                let _ = run_image(&pods, &version, &image).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }))
    }

    /// Waits until the containers of a version have crashed so often that they do so no more by
    /// themselves.
    pub async fn crashed_out(&self, version: &str) -> anyhow::Result<()> {
        let pods = self.api::<Pod>();
        self.eventually("the containers to have crashed", async || {
            let all = pods.list(&ListParams::default()).await?;
            let crashed = all.iter().filter(|p| {
                let containers = p
                    .status
                    .as_ref()
                    .and_then(|s| s.container_statuses.as_ref());
                is_of(p, version) && containers.is_some_and(|c| c[0].restart_count == 3)
            });
            ensure!(crashed.count() > 0, "not yet");
            Ok(())
        })
        .await
    }

    /// Runs kubectl in the namespace, as the administrator, and returns what it said.
    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut all = vec!["--namespace", &self.namespace];
        all.extend(args);
        self.cluster.kubectl(&all).await?.success()
    }

    /// Deletes the Deployment, and waits until it is gone.
    pub async fn delete_deployment(&self) -> anyhow::Result<()> {
        let api = self.api::<Deployment>();
        api.delete(APP, &DeleteParams::background()).await?;
        self.eventually("the Deployment to be gone", async || {
            ensure!(api.get_opt(APP).await?.is_none(), "it is there");
            Ok(())
        })
        .await
    }

    /// Deletes a policy.
    pub async fn delete_policy(&self, name: &str) -> anyhow::Result<()> {
        let api = self.api::<RollbackPolicy>();
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Names the live release good, as the administrator.
    pub async fn manual_point(&self, name: &str) -> anyhow::Result<RollbackPoint> {
        let point: RollbackPoint = serde_json::from_value(json!({
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackPoint",
            "metadata": {"name": name}, "spec": {"workload": {"name": APP}},
        }))?;
        Ok(self.api().create(&PostParams::default(), &point).await?)
    }

    /// Waits until a point's condition `Captured` has this reason, and returns the point and the
    /// condition's words.
    pub async fn captured(
        &self,
        name: &str,
        reason: &str,
    ) -> anyhow::Result<(RollbackPoint, String)> {
        self.eventually(&format!("{name} to say {reason}"), async || {
            let point = self.api::<RollbackPoint>().get(name).await?;
            let conditions = point.status.clone().unwrap_or_default().conditions;
            let said = conditions.iter().find(|c| c.type_ == "Captured");
            ensure!(said.is_some_and(|c| c.reason == reason), "{conditions:?}");
            let words = said.map(|c| c.message.clone());
            Ok((point, words.unwrap_or_default()))
        })
        .await
    }

    /// Waits until a policy's status satisfies `holds`.
    pub async fn named_policy_says(
        &self,
        policy: &str,
        what: &str,
        holds: impl Fn(&RollbackPolicyStatus) -> bool,
    ) -> anyhow::Result<RollbackPolicyStatus> {
        self.eventually(&format!("{policy}: {what}"), async || {
            let found = self.api::<RollbackPolicy>().get(policy).await?;
            let status = found.status.context("no status yet")?;
            ensure!(holds(&status), "{status:#?}");
            Ok(status)
        })
        .await
    }

    /// Checks that for a while nobody but Kubernetes itself writes the Deployment, that Backstop
    /// owns nothing of it, and that there are no more rollbacks than before.
    pub async fn is_left_alone(&self) -> anyhow::Result<()> {
        let events = self.events().await?.len();
        let before = self.written().await?;
        let until = tokio::time::Instant::now() + A_WHILE;
        while tokio::time::Instant::now() < until {
            let now = self.written().await?;
            ensure!(
                before == now,
                "the Deployment was written:\n{before:#}\n{now:#}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        ensure!(
            !before.to_string().contains("\"manager\":\"backstop\""),
            "Backstop owns a part of the Deployment: {before:#}"
        );
        let more = self.events().await?;
        ensure!(more.len() == events, "another rollback: {more:#?}");
        Ok(())
    }

    /// What people and Backstop write of the Deployment: its generation and who owns what.
    async fn written(&self) -> anyhow::Result<Value> {
        let metadata = self.api::<Deployment>().get(APP).await?.metadata;
        let mut owners = metadata.managed_fields.unwrap_or_default();
        owners.retain(|o| o.manager.as_deref() != Some("kube-controller-manager"));
        Ok(json!({"generation": metadata.generation, "owners": owners}))
    }
}

/// Whether a pod is of this version.
fn is_of(pod: &Pod, version: &str) -> bool {
    let image = pod
        .spec
        .as_ref()
        .and_then(|s| s.containers[0].image.as_ref());
    image.is_some_and(|i| i.ends_with(&format!(":{version}")))
}

async fn run_image(pods: &Api<Pod>, version: &str, image: &str) -> anyhow::Result<()> {
    for pod in pods.list(&ListParams::default()).await? {
        let mut status = serde_json::to_value(&pod.status)?;
        let Some(containers) = status["containerStatuses"].as_array_mut() else {
            continue;
        };
        if !is_of(&pod, version) || containers.iter().all(|c| c["imageID"] == image) {
            continue;
        }
        for container in containers {
            container["imageID"] = json!(image);
        }
        let patch = Patch::Merge(json!({"status": status}));
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch)
            .await?;
    }
    Ok(())
}

async fn crash(pods: &Api<Pod>, version: &str) -> anyhow::Result<usize> {
    let mut count = 0;
    for pod in pods.list(&ListParams::default()).await? {
        let crashes = pod.annotations().get(fate::FATE).map(String::as_str);
        if !is_of(&pod, version)
            || crashes == Some(fate::CRASH_LOOP)
            || pod.metadata.deletion_timestamp.is_some()
        {
            continue;
        }
        let patch = json!({"metadata": {"annotations": {fate::FATE: fate::CRASH_LOOP}}});
        let (name, params) = (pod.name_any(), PatchParams::default());
        match pods.patch(&name, &params, &Patch::Merge(patch)).await {
            Ok(_) => count += 1,
            // It went away since it was listed.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => Err(error)?,
        }
    }
    Ok(count)
}
