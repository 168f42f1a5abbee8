//! What becomes of a pod on a fake node.
//!
//! A pod template says so in an annotation; kwok plays it out. No annotation means: ready at once.
//!
//! | value | what the pod's status shows |
//! |---|---|
//! | [`CRASH_LOOP`] | exit code 1, `CrashLoopBackOff`, restarts rising to 3 |
//! | [`OOM`] | the same with `OOMKilled`, exit code 137 |
//! | [`IMAGE_PULL`] | Pending, `ImagePullBackOff` |
//! | [`CONFIG_ERROR`] | Pending, `CreateContainerConfigError` |
//! | [`NEVER_READY`] | Running, not ready |
//! | [`SLOW_READY`] | Running, ready after five seconds, or after what [`READY_AFTER`] says |
//!
//! Patching the annotation of a running pod to [`CRASH_LOOP`] or [`OOM`] makes it start to crash.

/// The annotation that scripts a pod.
pub const FATE: &str = "testenv.backstop.dev/fate";
/// How long a [`SLOW_READY`] pod takes, as a Go duration such as `2s`.
pub const READY_AFTER: &str = "testenv.backstop.dev/ready-after";

/// Starts, exits with 1, and is started again ever more rarely.
pub const CRASH_LOOP: &str = "crash-loop";
/// Its image cannot be pulled.
pub const IMAGE_PULL: &str = "image-pull";
/// A ConfigMap or Secret that it needs is not there.
pub const CONFIG_ERROR: &str = "config-error";
/// Killed for its memory, again and again.
pub const OOM: &str = "oom";
/// Runs, and never passes its readiness probe.
pub const NEVER_READY: &str = "never-ready";
/// Runs, and passes its readiness probe late.
pub const SLOW_READY: &str = "slow-ready";

/// The stages that kwok plays, as one file of several documents.
pub(crate) const STAGES: &str = concat!(
    include_str!("stages/node.yaml"),
    "---\n",
    include_str!("stages/pod-start.yaml"),
    "---\n",
    include_str!("stages/pod-ready.yaml"),
    "---\n",
    include_str!("stages/pod-crash.yaml"),
    "---\n",
    include_str!("stages/pod-end.yaml"),
);

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize as _;

    #[test]
    fn every_stage_is_a_document_of_its_own() {
        let names: Vec<String> = serde_yaml_ng::Deserializer::from_str(STAGES)
            .map(|document| serde_yaml_ng::Value::deserialize(document).unwrap())
            .map(|stage| stage["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            names,
            [
                "node-start",
                "node-heartbeat",
                "pod-start",
                "pod-ready",
                "pod-crash",
                "pod-complete",
                "pod-delete"
            ]
        );
    }

    #[test]
    fn every_fate_is_played_by_a_stage() {
        for fate in [
            CRASH_LOOP,
            IMAGE_PULL,
            CONFIG_ERROR,
            OOM,
            NEVER_READY,
            SLOW_READY,
        ] {
            assert!(STAGES.contains(&format!("\"{fate}\"")), "{fate}");
        }
    }
}
