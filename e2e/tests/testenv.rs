//! What the other tests take for granted about the cluster that they run on.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_testenv::{Cluster, ClusterOptions, Part, eventually, fate};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

const SOON: Duration = Duration::from_mins(1);

/// A Deployment of two pods with two containers each.
fn deployment(name: &str, fate: Option<&str>) -> anyhow::Result<Deployment> {
    let annotations = fate.map_or(json!({}), |fate| json!({ fate::FATE: fate }));
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": {"containers": [
                    {"name": "web", "image": "example.test/web:1"},
                    {"name": "sidecar", "image": "example.test/sidecar:1"},
                ]},
            },
        },
    }))?)
}

async fn create(client: &Client, namespace: &str, deployment: &Deployment) -> anyhow::Result<()> {
    Api::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), deployment)
        .await?;
    Ok(())
}

async fn available(client: &Client, namespace: &str, name: &str) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    eventually("two available replicas", SOON, async || {
        let status = deployments
            .get(name)
            .await?
            .status
            .context("no status yet")?;
        ensure!(status.available_replicas == Some(2), "{status:?}");
        Ok(())
    })
    .await
}

/// Waits until every container of both pods shows what `shows` looks for.
async fn containers(
    client: &Client,
    namespace: &str,
    name: &str,
    what: &str,
    shows: fn(&ContainerStatus) -> bool,
) -> anyhow::Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let of_app = ListParams::default().labels(&format!("app={name}"));
    eventually(what, SOON, async || {
        let found = pods.list(&of_app).await?.items;
        let statuses: Vec<_> = found
            .iter()
            .filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref())
            .flatten()
            .collect();
        let names: Vec<_> = statuses.iter().map(|status| status.name.as_str()).collect();
        ensure!(
            names == ["web", "sidecar", "web", "sidecar"],
            "containers {names:?}"
        );
        ensure!(statuses.iter().all(|status| shows(status)), "{statuses:?}");
        Ok(found)
    })
    .await
}

fn waits_for(status: &ContainerStatus, reason: &str) -> bool {
    let waiting = status
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref());
    !status.ready && waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some(reason))
}

fn ended_with(status: &ContainerStatus, reason: &str, code: i32) -> bool {
    let ended = status
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    ended.is_some_and(|ended| ended.exit_code == code && ended.reason.as_deref() == Some(reason))
}

#[tokio::test]
async fn a_deployment_of_two_replicas_becomes_available() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let (client, namespace) = (
        cluster.client().await?,
        cluster.namespace("available").await?,
    );
    create(&client, &namespace, &deployment("web", None)?).await?;
    available(&client, &namespace, "web").await
}

#[tokio::test]
async fn a_crash_loop_shows_back_off_after_three_restarts() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let (client, namespace) = (cluster.client().await?, cluster.namespace("crash").await?);
    create(
        &client,
        &namespace,
        &deployment("web", Some(fate::CRASH_LOOP))?,
    )
    .await?;
    containers(&client, &namespace, "web", "a crash loop", |status| {
        waits_for(status, "CrashLoopBackOff")
            && ended_with(status, "Error", 1)
            && status.restart_count == 3
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_ready_can_be_made_to_crash() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let (client, namespace) = (cluster.client().await?, cluster.namespace("later").await?);
    create(&client, &namespace, &deployment("web", None)?).await?;
    available(&client, &namespace, "web").await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let crash = json!({"metadata": {"annotations": {fate::FATE: fate::OOM}}});
    for pod in pods.list(&ListParams::default()).await? {
        let name = pod.metadata.name.context("a pod without a name")?;
        pods.patch(&name, &PatchParams::default(), &Patch::Merge(&crash))
            .await?;
    }
    containers(&client, &namespace, "web", "memory kills", |status| {
        waits_for(status, "CrashLoopBackOff") && ended_with(status, "OOMKilled", 137)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn containers_that_cannot_start_say_why() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let (client, namespace) = (cluster.client().await?, cluster.namespace("stuck").await?);
    create(
        &client,
        &namespace,
        &deployment("image", Some(fate::IMAGE_PULL))?,
    )
    .await?;
    create(
        &client,
        &namespace,
        &deployment("config", Some(fate::CONFIG_ERROR))?,
    )
    .await?;
    containers(&client, &namespace, "image", "image back-off", |status| {
        waits_for(status, "ImagePullBackOff")
    })
    .await?;
    containers(
        &client,
        &namespace,
        "config",
        "a configuration error",
        |status| waits_for(status, "CreateContainerConfigError"),
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_slow_pod_becomes_ready_and_a_stuck_one_does_not() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let (client, namespace) = (cluster.client().await?, cluster.namespace("slow").await?);
    let mut slow = deployment("slow", Some(fate::SLOW_READY))?;
    let template = slow
        .spec
        .as_mut()
        .and_then(|spec| spec.template.metadata.as_mut())
        .context("no template")?;
    template
        .annotations
        .get_or_insert_default()
        .insert(fate::READY_AFTER.to_owned(), "1s".to_owned());
    create(&client, &namespace, &slow).await?;
    create(
        &client,
        &namespace,
        &deployment("never", Some(fate::NEVER_READY))?,
    )
    .await?;
    available(&client, &namespace, "slow").await?;
    containers(
        &client,
        &namespace,
        "never",
        "running but not ready",
        |status| {
            !status.ready
                && status
                    .state
                    .as_ref()
                    .is_some_and(|state| state.running.is_some())
        },
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn the_pods_of_a_deleted_deployment_go() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let (client, namespace) = (cluster.client().await?, cluster.namespace("gone").await?);
    create(&client, &namespace, &deployment("web", None)?).await?;
    available(&client, &namespace, "web").await?;
    Api::<Deployment>::namespaced(client.clone(), &namespace)
        .delete("web", &DeleteParams::default())
        .await?;
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    eventually("no pods", SOON, async || {
        let left = pods.list(&ListParams::default()).await?.items.len();
        ensure!(left == 0, "{left} pods");
        Ok(())
    })
    .await
}

async fn who_am_i(client: Client) -> anyhow::Result<(String, Vec<String>)> {
    let answer = Api::all(client)
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await?;
    let info = answer
        .status
        .and_then(|status| status.user_info)
        .context("no user in the answer")?;
    Ok((
        info.username.unwrap_or_default(),
        info.groups.unwrap_or_default(),
    ))
}

#[tokio::test]
async fn the_api_server_sees_the_user_that_a_client_was_made_for() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("users").await?;

    let (user, groups) = who_am_i(cluster.client_for("alice", &["team-a"]).await?).await?;
    assert_eq!(user, "alice");
    assert!(groups.contains(&"team-a".to_owned()), "{groups:?}");

    let (account, _) = who_am_i(
        cluster
            .client_for_service_account(&namespace, "default")
            .await?,
    )
    .await?;
    assert_eq!(
        account,
        format!("system:serviceaccount:{namespace}:default")
    );

    let kubeconfig = cluster.kubeconfig_for("bob", &[])?;
    let said = cluster
        .kubectl_with(&kubeconfig, &["auth", "whoami", "-o", "name"], "")
        .await?;
    let refused = cluster
        .kubectl_with(&kubeconfig, &["get", "pods", "-n", &namespace], "")
        .await?;
    assert!(said.status.success(), "{said:?}");
    assert!(refused.stderr.contains("bob"), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn the_api_server_comes_back_with_what_it_knew_and_says_who_asked() -> anyhow::Result<()> {
    let options = ClusterOptions {
        audit: true,
        nodes: 3,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(options).await?;
    let (client, namespace) = (cluster.client().await?, cluster.namespace("restart").await?);
    create(&client, &namespace, &deployment("web", None)?).await?;
    available(&client, &namespace, "web").await?;

    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    cluster.stop_part(Part::ApiServer);
    assert!(deployments.get("web").await.is_err());
    cluster.start_part(Part::ApiServer)?;
    cluster.ready().await?;
    available(&client, &namespace, "web").await?;

    let refused =
        Api::<Deployment>::namespaced(cluster.client_for("mallory", &[]).await?, &namespace)
            .delete("web", &DeleteParams::default())
            .await;
    assert!(refused.is_err());
    let entries = cluster.audit_log()?;
    let seen = entries.iter().any(|entry| {
        entry["user"]["username"] == "mallory"
            && entry["verb"] == "delete"
            && entry["responseStatus"]["code"] == 403
    });
    assert!(seen, "{} entries, none of mallory's", entries.len());
    Ok(())
}

#[tokio::test]
async fn clients_read_the_versions_that_are_pinned() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let kubectl = cluster.kubectl(&["version"]).await?.success()?;
    assert!(kubectl.contains("Server Version: v1.36.3"), "{kubectl}");
    let helm = cluster.helm(&["version", "--short"]).await?.success()?;
    assert!(helm.starts_with("v4.3.1"), "{helm}");
    let releases = cluster
        .helm(&["list", "--all-namespaces"])
        .await?
        .success()?;
    assert!(releases.contains("NAMESPACE"), "{releases}");
    Ok(())
}
