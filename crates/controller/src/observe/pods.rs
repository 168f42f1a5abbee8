//! What is seen of pods.

use std::sync::Arc;

use backstop_engine::snapshot::Pods;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use kube::ResourceExt;

/// Reasons for which a container waits because its image cannot be had. The first failure of a pull
/// (ErrImagePull) may be a hiccup of the registry and is not among them.
const IMAGE_PULL: [&str; 3] = ["ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"];
/// So many restarts are more than a hiccup: from the second crash on the kubelet waits as well.
const CRASHES: i32 = 2;
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
        let unready = status
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == "Ready" && c.status != "True");
        let crashes = waits(&["CrashLoopBackOff"]).or_else(|| {
            let since = unready?.last_transition_time.as_ref()?.0;
            let container = containers().find(|c| runs_between_crashes(c, since))?;
            Some(format!(
                "pod {name}, container {}: runs again, and has not been ready since it crashed ({} \
                 restarts{})",
                container.name,
                container.restart_count,
                last_exit(container)
            ))
        });
        seen.crash_looping.extend(crashes);
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

/// Whether a container has crashed again and again, and runs at the moment without having been ready:
/// that is the moment between two crashes, and no recovery. `unready_since` is when its pod was last
/// seen to stop being ready.
fn runs_between_crashes(container: &ContainerStatus, unready_since: Timestamp) -> bool {
    let running = container.state.as_ref().and_then(|s| s.running.as_ref());
    let crashed = container
        .last_state
        .as_ref()
        .is_some_and(|s| s.terminated.is_some());
    // Had it been ready since it was started, its pod would have stopped being so later than that.
    let never_ready = running
        .and_then(|r| r.started_at.as_ref())
        .is_some_and(|started| unready_since <= started.0);
    !container.ready && container.restart_count >= CRASHES && crashed && never_ready
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn seen(container: &Value, unready_since: &str) -> Vec<String> {
        let pod = json!({
            "metadata": {"name": "web-1"},
            "status": {
                "conditions": [
                    {"type": "Ready", "status": "False", "lastTransitionTime": unready_since},
                ],
                "containerStatuses": [container],
            },
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        look([Arc::new(pod)].iter()).crash_looping
    }

    /// Runs again since 12:00:20, after crashes.
    fn running(ready: bool, restarts: i32) -> Value {
        json!({
            "name": "app", "image": "", "imageID": "", "ready": ready, "restartCount": restarts,
            "state": {"running": {"startedAt": "2026-11-25T12:00:20Z"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
        })
    }

    #[test]
    fn a_container_that_runs_between_two_crashes_still_crashes() {
        let words = seen(&running(false, 2), "2026-11-25T12:00:05Z");
        assert_eq!(
            words,
            [
                "pod web-1, container app: runs again, and has not been ready since it crashed (2 \
                 restarts; last exit code 1, Error)"
            ]
        );
    }

    #[test]
    fn a_container_that_has_been_ready_since_its_crash_does_not() {
        let none = Vec::<String>::new();
        assert_eq!(seen(&running(true, 5), "2026-11-25T12:00:05Z"), none);
        assert_eq!(seen(&running(false, 5), "2026-11-25T12:30:00Z"), none);
    }

    #[test]
    fn one_crash_is_none_yet() {
        assert!(seen(&running(false, 1), "2026-11-25T12:00:05Z").is_empty());
    }
}
