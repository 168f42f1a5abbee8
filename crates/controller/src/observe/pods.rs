//! What is seen of pods.

use std::sync::Arc;

use backstop_engine::snapshot::Pods;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use kube::ResourceExt;

/// Reasons for which a container waits because its image cannot be had. The first failure of a pull
/// (ErrImagePull) may be a hiccup of the registry and is not among them.
const IMAGE_PULL: [&str; 3] = ["ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"];
/// Reasons for which a container cannot be made.
const CONFIG_ERROR: [&str; 2] = ["CreateContainerConfigError", "CreateContainerError"];

/// What is seen of the pods of one release.
pub(super) fn look<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> Pods {
    let mut seen = Pods::default();
    for pod in pods {
        let Some(status) = &pod.status else { continue };
        let ready = status
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == "Ready" && c.status == "True");
        if let Some(PodCondition {
            last_transition_time,
            ..
        }) = ready
        {
            seen.ready += 1;
            let at = last_transition_time.as_ref().map(|t| t.0);
            seen.first_ready_at = match (seen.first_ready_at, at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        let containers = || {
            status
                .init_container_statuses
                .iter()
                .flatten()
                .chain(status.container_statuses.iter().flatten())
        };
        let name = pod.name_any();
        let waits = |reasons: &[&str]| {
            containers().find_map(|c| {
                let waiting = c.state.as_ref()?.waiting.as_ref()?;
                let reason = waiting.reason.as_deref()?;
                reasons.contains(&reason).then(|| {
                    let message = waiting.message.as_deref().unwrap_or("no further message");
                    format!(
                        "pod {name}, container {}: {reason} ({message}{})",
                        c.name,
                        last_exit(c)
                    )
                })
            })
        };
        seen.crash_looping.extend(waits(&["CrashLoopBackOff"]));
        seen.image_pull.extend(waits(&IMAGE_PULL));
        seen.config_error.extend(waits(&CONFIG_ERROR));
        seen.oom_killed.extend(containers().find_map(|c| {
            let killed = [&c.state, &c.last_state].into_iter().flatten().any(|s| {
                s.terminated.as_ref().and_then(|t| t.reason.as_deref()) == Some("OOMKilled")
            });
            killed.then(|| {
                format!(
                    "pod {name}, container {}: OOMKilled, {} restarts",
                    c.name, c.restart_count
                )
            })
        }));
        seen.restarts = containers()
            .map(|c| c.restart_count)
            .max()
            .unwrap_or(0)
            .max(seen.restarts);
    }
    seen
}

fn last_exit(container: &ContainerStatus) -> String {
    let ended = container
        .last_state
        .as_ref()
        .and_then(|s| s.terminated.as_ref());
    ended.map_or(String::new(), |t| {
        let reason = t.reason.as_deref().unwrap_or("no reason given");
        format!("; last exit code {}, {reason}", t.exit_code)
    })
}
