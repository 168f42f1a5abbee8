//! Turns what the cluster says into words: each change once, and nothing that was not seen.

use std::collections::{BTreeMap, BTreeSet};

use backstop_api::condition::{self, ConditionStatus};
use backstop_api::event::{EventPhase, StepKind, StepState};
use backstop_api::point::Verdict;
use backstop_api::policy::TriggerState;
use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::app::VERSION;
use super::screen::Tone;
use super::screen::Voice::{self, Backstop, Cluster};
use crate::hear::What;

/// Without these, nothing can be told about a release.
const MUST_HOLD: [&str; 3] = [
    condition::ACCEPTED,
    condition::READY,
    condition::DATA_AVAILABLE,
];

/// One thing to say.
pub(crate) type Line = (Voice, Tone, String);

/// What has been heard so far.
#[derive(Default)]
pub(crate) struct Narrator {
    pub(crate) points: BTreeMap<String, RollbackPoint>,
    pub(crate) rollbacks: BTreeMap<String, RollbackEvent>,
    /// What the policy says of itself, and what keeps it from judging.
    pub(crate) policy_says: String,
    triggers: BTreeMap<String, TriggerState>,
    version: Option<String>,
    rolls_out: bool,
    whole: bool,
    crashes: BTreeSet<String>,
    /// By the identity of a release, the version that it is.
    versions: BTreeMap<String, String>,
}

impl Narrator {
    /// Takes in what was said, and gives what is new about it.
    pub(crate) fn hear(&mut self, what: What) -> Vec<Line> {
        match what {
            What::Deployment(deployment) => self.deployment(&deployment),
            What::Policy(policy) => self.policy(&policy),
            What::Point(point) => self.point(*point),
            What::Rollback(event) => self.rollback(*event),
            What::Pod(pod) => self.pod(&pod),
        }
    }

    /// Whether a version is the one that the Deployment names, and all its pods are ready.
    pub(crate) fn is_live(&self, version: &str) -> bool {
        self.whole && self.version.as_deref() == Some(version)
    }

    /// Whether a version is on record as good.
    pub(crate) fn is_good(&self, version: &str) -> bool {
        self.points
            .values()
            .any(|p| p.spec.verdict == Verdict::Good && version_of(p) == Some(version))
    }

    fn deployment(&mut self, deployment: &Deployment) -> Vec<Line> {
        let Some(spec) = &deployment.spec else {
            return Vec::new();
        };
        let version = spec
            .template
            .metadata
            .as_ref()
            .and_then(|m| m.labels.as_ref()?.get(VERSION))
            .cloned()
            .unwrap_or_default();
        let mut lines = Vec::new();
        if self.version.as_ref() != Some(&version) {
            let text = match &self.version {
                None => format!("Deployment web is there, with {version}"),
                Some(before) => {
                    format!("Deployment web now names {version}; it was {before}")
                }
            };
            lines.push((Cluster, Tone::Plain, text));
            self.version = Some(version.clone());
            self.rolls_out = false;
            self.whole = false;
        }
        let Some(status) = &deployment.status else {
            return lines;
        };
        if status.observed_generation < deployment.metadata.generation {
            return lines;
        }
        let wanted = spec.replicas.unwrap_or(1);
        let updated = status.updated_replicas.unwrap_or(0);
        let ready = status.ready_replicas.unwrap_or(0);
        let all = status.replicas.unwrap_or(0);
        let was_whole = self.whole;
        self.whole = updated == wanted && all == wanted && ready == wanted;
        // The beginning and the end of a rollout: what lies between is of no interest.
        if self.whole && !was_whole {
            let text = format!("all {wanted} pods are {version} and ready");
            lines.push((Cluster, Tone::Plain, text));
        } else if !self.whole && !self.rolls_out && updated > 0 {
            let text = format!("{version} rolls out: {updated} of {wanted} pods so far");
            lines.push((Cluster, Tone::Plain, text));
        }
        self.rolls_out |= updated > 0;
        lines
    }

    fn policy(&mut self, policy: &RollbackPolicy) -> Vec<Line> {
        let Some(status) = &policy.status else {
            return Vec::new();
        };
        let wrong = status
            .conditions
            .iter()
            .filter(|c| c.status == ConditionStatus::False && MUST_HOLD.contains(&c.type_.as_str()))
            .map(|c| c.message.as_str());
        let says: Vec<_> = status.message.as_deref().into_iter().chain(wrong).collect();
        self.policy_says = says.join("; ");
        let mut lines = Vec::new();
        if self.triggers.is_empty() && !status.triggers.is_empty() {
            let text = format!(
                "RollbackPolicy web is in force; health: {}",
                status
                    .health
                    .map_or_else(|| "not known yet".to_owned(), |h| format!("{h:?}"))
            );
            lines.push((Backstop, Tone::Plain, text));
        }
        for trigger in &status.triggers {
            let before = self.triggers.insert(trigger.name.clone(), trigger.state);
            let why = trigger.message.as_deref().unwrap_or("no further words");
            if before == Some(trigger.state) || self.is_told(before, trigger.state, why) {
                continue;
            }
            let tone = match trigger.state {
                TriggerState::Firing => Tone::Bad,
                _ => Tone::Plain,
            };
            let text = format!("trigger {}: {:?} ({why})", trigger.name, trigger.state);
            lines.push((Backstop, tone, text));
        }
        lines
    }

    /// Whether a trigger's new state says nothing beside what its rollback says: that is recorded first.
    fn is_told(&self, before: Option<TriggerState>, now: TriggerState, why: &str) -> bool {
        match now {
            TriggerState::Firing => self
                .rollbacks
                .values()
                .any(|e| e.spec.reason.as_ref().is_some_and(|r| r.ends_with(why))),
            // The release that it fired on is gone.
            TriggerState::Inactive => before == Some(TriggerState::Firing),
            _ => false,
        }
    }

    fn point(&mut self, point: RollbackPoint) -> Vec<Line> {
        let name = point.name_any();
        if self.points.contains_key(&name) {
            return Vec::new();
        }
        let version = version_of(&point).unwrap_or("a release").to_owned();
        if let Some(release) = &point.spec.release {
            self.versions.insert(release.hash.clone(), version.clone());
        }
        let line = match point.spec.verdict {
            Verdict::Good => (
                Backstop,
                Tone::Good,
                format!("{version} has proved itself: RollbackPoint {name} holds it"),
            ),
            Verdict::Quarantined => (
                Backstop,
                Tone::Plain,
                format!("{version} is on record as failed: RollbackPoint {name}"),
            ),
        };
        self.points.insert(name, point);
        vec![line]
    }

    fn rollback(&mut self, event: RollbackEvent) -> Vec<Line> {
        let name = event.name_any();
        let mut lines = Vec::new();
        let before = self.rollbacks.get(&name);
        if before.is_none() {
            let why = event.spec.reason.as_deref().unwrap_or("a rollback");
            let text = format!("RollbackEvent {name} is recorded: {why}");
            lines.push((Backstop, Tone::Bad, text));
            if let (Some(from), Some(version)) = (&event.spec.from, &self.version) {
                self.versions
                    .entry(from.hash.clone())
                    .or_insert_with(|| version.clone());
            }
        }
        let old = before.and_then(|e| e.status.clone()).unwrap_or_default();
        let new = event.status.clone().unwrap_or_default();
        if new.phase != old.phase
            && let Some(phase) = new.phase
        {
            let tone = match phase {
                EventPhase::Succeeded => Tone::Good,
                EventPhase::Failed => Tone::Bad,
                _ => Tone::Plain,
            };
            let message = self.in_versions(new.message.as_deref().unwrap_or_default());
            lines.push((Backstop, tone, format!("{name}: {phase:?} - {message}")));
        }
        for step in &new.steps {
            let done = |steps: &[backstop_api::event::StepStatus]| {
                steps
                    .iter()
                    .any(|s| s.step.kind == step.step.kind && s.state == StepState::Done)
            };
            if done(&new.steps)
                && !done(&old.steps)
                && let Some(words) = words(step.step.kind)
            {
                lines.push((Backstop, Tone::Plain, format!("{name}: {words}")));
            }
        }
        self.rollbacks.insert(name, event);
        lines
    }

    fn pod(&mut self, pod: &Pod) -> Vec<Line> {
        let version = pod.labels().get(VERSION).cloned().unwrap_or_default();
        let statuses = pod
            .status
            .iter()
            .flat_map(|s| s.container_statuses.iter().flatten());
        let mut waiting =
            statuses.filter_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
        let crashes = waiting.any(|reason| reason == "CrashLoopBackOff");
        if crashes && self.crashes.insert(version.clone()) {
            let text = format!("pod {} ({version}) is in CrashLoopBackOff", pod.name_any());
            return vec![(Cluster, Tone::Bad, text)];
        }
        Vec::new()
    }

    /// The same text with the versions beside the identities of releases.
    fn in_versions(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (hash, version) in &self.versions {
            let identity = format!("release {hash}");
            text = text.replace(&identity, &format!("{identity} ({version})"));
            let identity = format!(" back to {hash}");
            text = text.replace(&identity, &format!("{identity} ({version})"));
        }
        text
    }
}

/// The version that a point holds.
pub(crate) fn version_of(point: &RollbackPoint) -> Option<&str> {
    let release = point.spec.release.as_ref()?;
    release.workloads.first()?.template["metadata"]["labels"][VERSION].as_str()
}

/// What a step that is done means. None where the cluster says it better itself.
fn words(step: StepKind) -> Option<&'static str> {
    match step {
        StepKind::WriteTemplate => Some("the good template is written"),
        StepKind::HandBackOwnership => {
            Some("field ownership is handed back, so the next kubectl apply meets no conflict")
        }
        StepKind::AwaitRollout => Some("the restored release is rolled out"),
        StepKind::RestoreStrategy => Some("the rollout strategy is as it was"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstop_api::RollbackEvent;
    use serde_json::{Value, json};

    fn deployment(version: &str, updated: i32, ready: i32, all: i32) -> What {
        let value = json!({
            "metadata": {"name": "web", "generation": 2},
            "spec": {
                "replicas": 3, "selector": {},
                "template": {"metadata": {"labels": {VERSION: version}}},
            },
            "status": {
                "observedGeneration": 2, "updatedReplicas": updated, "readyReplicas": ready, "replicas": all,
            },
        });
        What::Deployment(serde_json::from_value(value).unwrap())
    }

    fn rollback(status: &Value) -> What {
        let event: RollbackEvent = serde_json::from_value(json!({
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackEvent",
            "metadata": {"name": "web-1"},
            "spec": {
                "policy": "web", "workloads": [{"name": "web"}], "cause": "Trigger",
                "requestedBy": "backstop", "reason": "trigger errors fires",
                "from": {"hash": "bbb", "images": []},
            },
            "status": status,
        }))
        .unwrap();
        What::Rollback(Box::new(event))
    }

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.into_iter().map(|(_, _, text)| text).collect()
    }

    #[test]
    fn a_rollout_is_told_when_it_begins_and_when_it_ends() {
        let mut narrator = Narrator::default();
        narrator.hear(deployment("v1", 3, 3, 3));
        assert!(narrator.is_live("v1"));
        assert_eq!(
            texts(narrator.hear(deployment("v2", 1, 3, 4))),
            [
                "Deployment web now names v2; it was v1",
                "v2 rolls out: 1 of 3 pods so far"
            ]
        );
        assert!(!narrator.is_live("v2"));
        assert_eq!(texts(narrator.hear(deployment("v2", 2, 3, 4))), [""; 0]);
        assert_eq!(
            texts(narrator.hear(deployment("v2", 3, 3, 3))),
            ["all 3 pods are v2 and ready"]
        );
        assert!(narrator.is_live("v2"));
    }

    #[test]
    fn the_same_words_are_not_said_twice() {
        let mut narrator = Narrator::default();
        narrator.hear(deployment("v2", 3, 3, 3));
        let executing = json!({
            "phase": "Executing", "message": "taking web from release bbb back to aaa (point web-aaa)",
        });
        assert_eq!(
            texts(narrator.hear(rollback(&executing))),
            [
                "RollbackEvent web-1 is recorded: trigger errors fires",
                "web-1: Executing - taking web from release bbb (v2) back to aaa (point web-aaa)",
            ]
        );
        assert_eq!(texts(narrator.hear(rollback(&executing))), [""; 0]);
    }
}
