//! What was seen: plain values, made by the controller from its caches and sources.

mod objects;

use std::collections::BTreeMap;

pub use objects::measured;

use backstop_api::{
    RollbackEventSpec, RollbackEventStatus,
    config::ConfigRef,
    event::{EventPhase, Outcome, Restored, StepKind, StepState},
    point::{Distribution, Image, Origin, Stack, Verdict},
};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    alert::Heard, condition::WorkloadNumbers, policy::FieldError, reading::Reading,
    vulnerability::Reports,
};

/// What was seen of one policy's world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// What is live; `None` when a Deployment is missing, or when it cannot be told what is live.
    pub workload: Option<Workload>,
    /// Deployments that the policy names and that are not there.
    pub missing: Vec<String>,
    /// Why the policy's strategy cannot work on what is there.
    pub misfit: Option<FieldError>,
    /// For BlueGreen: the Service.
    pub service: Option<Service>,
    /// For Canary: the route.
    pub route: Option<Route>,
    /// The newest answer for each trigger that asks a source, by the trigger's name.
    pub readings: BTreeMap<String, Observed>,
    /// The alerts that the policy may hear, where it listens for any.
    pub heard: Option<Heard>,
    /// The newest answer about what was not released, by the trigger's name.
    pub peers: BTreeMap<String, Observed>,
    /// The workload's points.
    pub points: Vec<Point>,
    /// The policy's rollbacks.
    pub events: Vec<Event>,
    /// An older policy that looks after the same workload.
    pub conflict: Option<String>,
    /// What is known of vulnerabilities.
    pub reports: Reports,
    /// Why Backstop is paused for the whole cluster, if it is.
    pub paused: Option<String>,
}

/// An answer of a source, and which question it answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The release whose pods were asked about. An answer about another release is no evidence.
    pub release: String,
    /// The query as it was asked.
    pub query: String,
    /// The answer; of a ratio, about the bad ones.
    pub reading: Reading,
    /// What was asked beside it.
    pub beside: Beside,
    /// When it was asked, by our clock.
    pub asked_at: Timestamp,
    /// For a person: what is bad about which pod; empty where the answer is one number by itself.
    pub details: Vec<String>,
}

/// The answers to what a trigger asks beside its own question, where it does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    /// For a ratio: about all.
    pub total: Option<Reading>,
    /// About an earlier time.
    pub earlier: Option<Reading>,
    /// About the side that is not released to; `None` where there is no such side.
    pub stable: Option<Reading>,
    /// The same for the other half of a ratio.
    pub stable_total: Option<Reading>,
}

/// A Service, as far as it decides what is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// What it selects.
    pub selector: BTreeMap<String, String>,
    /// The field manager that last wrote it.
    pub last_writer: Option<String>,
}

/// A route, as far as it decides what is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The canary's share of the requests, in percent.
    pub share: u8,
    /// The field manager that last wrote it.
    pub last_writer: Option<String>,
}

/// A Deployment; or several that are live together, taken as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Its name; of several, all their names.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The generation of its spec.
    pub generation: i64,
    /// The generation that its controller has seen.
    pub observed_generation: i64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Identity of the release that its template is.
    pub release: String,
    /// Its revision, for people.
    pub revision: Option<String>,
    /// The images of the template.
    pub images: Vec<Image>,
    /// Whether a person has paused its rollout.
    pub paused: bool,
    /// Why a person has taken over, if one has.
    pub overridden: Option<String>,
    /// Who that is, as the API server knows the user.
    pub overridden_by: Option<String>,
    /// Why this release must not be gone behind, if so.
    pub floor: Option<String>,
    /// Replicas wanted.
    pub desired: i32,
    /// All replicas there are, of any release.
    pub replicas: i32,
    /// Replicas of the live template.
    pub updated: i32,
    /// Replicas that are ready.
    pub ready: i32,
    /// Replicas that are available.
    pub available: i32,
    /// When the Deployment controller says that the last rollout completed.
    pub rollout_completed_at: Option<Timestamp>,
    /// What the Deployment controller says when the rollout makes no progress.
    pub progress_deadline_exceeded: Option<String>,
    /// What is seen of the live release's pods.
    pub pods: Pods,
    /// `/spec/strategy`.
    pub strategy: Value,
    /// Who owns the fields of `/spec/strategy`: managedFields entries, cut to it.
    pub strategy_owners: Vec<Value>,
    /// The field manager that last wrote the template, and when.
    pub last_writer: Option<String>,
    /// The labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// The Deployments that are live, where that is not this one alone.
    pub members: Vec<Workload>,
    /// The configuration that the templates reference, where it belongs to the release.
    pub config: Vec<ConfigRef>,
    /// Whether it is a canary that is being tried: it may do well, and is no place to go back to.
    pub tried: bool,
    /// Deployments of the policy that are not live: the idle stack, or the stable side while a
    /// canary is tried. They are no evidence about the release.
    pub beside: Vec<Workload>,
}

impl Workload {
    /// Whether what the Deployment says of itself is about its newest spec.
    #[must_use]
    pub fn is_current(&self) -> bool {
        if self.members.is_empty() {
            return self.observed_generation >= self.generation;
        }
        self.members.iter().all(Self::is_current)
    }

    /// The Deployments that are live.
    #[must_use]
    pub fn live(&self) -> &[Self] {
        if self.members.is_empty() {
            std::slice::from_ref(self)
        } else {
            &self.members
        }
    }

    /// A Deployment of the policy, whether live or not.
    #[must_use]
    pub fn deployment(&self, name: &str) -> Option<&Self> {
        self.live()
            .iter()
            .chain(&self.beside)
            .find(|w| w.name == name)
    }

    /// Whether the live release is fully rolled out: every wanted replica is of it and available,
    /// and none of another is left.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        if !self.members.is_empty() {
            return self.members.iter().all(Self::is_complete);
        }
        self.is_current()
            && self.updated == self.desired
            && self.replicas == self.desired
            && self.available == self.desired
    }

    /// Whether the release can be judged good: complete, with at least one replica, not paused.
    #[must_use]
    pub fn can_prove_itself(&self) -> bool {
        let wanted = self.live().iter().all(|w| w.desired > 0);
        self.is_complete() && wanted && !self.paused && !self.deleting && !self.tried
    }

    /// The numbers that conditions may use.
    #[must_use]
    pub fn numbers(&self) -> WorkloadNumbers {
        WorkloadNumbers {
            desired: self.desired,
            updated: self.updated,
            ready: self.ready,
            available: self.available,
            restarts: self.pods.restarts,
            unready_share: self.unready_share(),
        }
    }

    /// The share of the wanted replicas that is not ready, 0 to 1; 0 when none is wanted.
    #[must_use]
    pub fn unready_share(&self) -> f64 {
        if self.desired <= 0 {
            return 0.0;
        }
        f64::from((self.desired - self.pods.ready).max(0)) / f64::from(self.desired)
    }
}

/// What is seen of the pods of the live release, and of it alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pods {
    /// How many are ready.
    pub ready: i32,
    /// When the first of them was ready.
    pub first_ready_at: Option<Timestamp>,
    /// Pods whose containers crash again and again: in words, one for each pod.
    pub crash_looping: Vec<String>,
    /// Pods whose image cannot be pulled.
    pub image_pull: Vec<String>,
    /// Pods whose containers cannot be made.
    pub config_error: Vec<String>,
    /// Pods of which a container was killed for its memory.
    pub oom_killed: Vec<String>,
    /// The highest number of restarts of a container.
    pub restarts: i32,
}

impl Pods {
    /// In words, why pods of this release cannot start; empty when they can.
    pub fn cannot_start(&self) -> impl Iterator<Item = &String> {
        self.crash_looping
            .iter()
            .chain(&self.image_pull)
            .chain(&self.config_error)
    }
}

/// A recorded point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its name.
    pub name: String,
    /// Identity of its release; `None` while it is not captured yet.
    pub release: Option<String>,
    /// Whether it may be gone back to.
    pub verdict: Verdict,
    /// Where it comes from.
    pub origin: Origin,
    /// Why its release must not be gone behind, if so.
    pub floor: Option<String>,
    /// When its release last proved itself.
    pub proved_at: Timestamp,
    /// What each trigger measured then.
    pub baselines: BTreeMap<String, Measured>,
    /// The Deployments of its release.
    pub workloads: Vec<PointWorkload>,
    /// For BlueGreen: the stack that was live, and what the Service selected.
    pub stack: Option<Stack>,
    /// Its configuration.
    pub config: Vec<ConfigRef>,
}

impl Point {
    /// What it holds of a Deployment.
    #[must_use]
    pub fn workload(&self, name: &str) -> Option<&PointWorkload> {
        self.workloads.iter().find(|w| w.name == name)
    }
}

/// What a trigger measured while a release proved itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The value that conditions compare with.
    pub value: f64,
    /// What it comes from; `None` where only the number is known.
    pub distribution: Option<Distribution>,
}

impl From<f64> for Measured {
    fn from(value: f64) -> Self {
        Self {
            value,
            distribution: None,
        }
    }
}

/// A Deployment as a point holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointWorkload {
    /// Its name.
    pub name: String,
    /// Identity of its template.
    pub release: String,
    /// How many replicas were wanted.
    pub replicas: i32,
}

/// A rollback.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// When it was created.
    pub created: Timestamp,
    /// What it is about.
    pub spec: RollbackEventSpec,
    /// How far it has come.
    pub status: RollbackEventStatus,
    /// The version of the object that this was read from.
    pub version: String,
    /// Why a person calls it off, if one does.
    pub cancel: Option<String>,
}

impl Event {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.status.phase.is_some_and(EventPhase::is_terminal)
    }

    /// Whether it changed, or may have changed, the workload. One that met another release before
    /// its first write did not: it was decided on an old picture, and is no part of any incident.
    #[must_use]
    pub fn has_acted(&self) -> bool {
        let times = &self.status.times;
        let met_another = self.status.outcome == Some(Outcome::NewerRelease);
        times.decided.is_some() && !(met_another && times.first_write.is_none())
    }

    /// Whether its restored release is the one with this identity.
    #[must_use]
    pub fn restored(&self, release: &str) -> bool {
        self.status.restored_hash.as_deref() == Some(release) || self.target_hash() == Some(release)
    }

    /// What the server made of the template that was written to a Deployment.
    #[must_use]
    pub fn written(&self, workload: &str) -> Option<&Restored> {
        let steps = self.status.steps.iter();
        steps
            .filter(|s| s.step.workload == workload)
            .find_map(|s| s.restored.as_ref())
    }

    /// Whether it changed what is live: a template, who gets the requests, or configuration.
    #[must_use]
    pub fn has_changed_what_is_live(&self) -> bool {
        self.status.steps.iter().any(|s| {
            s.state == StepState::Done
                && matches!(
                    s.step.kind,
                    StepKind::WriteTemplate
                        | StepKind::SwapSelector
                        | StepKind::ShiftWeight
                        | StepKind::RestoreConfig
                )
        })
    }

    /// Whether it ended with some of the Deployments restored and others not.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        let templates = self
            .status
            .steps
            .iter()
            .filter(|s| s.step.kind == StepKind::WriteTemplate);
        let (done, left): (Vec<_>, Vec<_>) = templates.partition(|s| s.state == StepState::Done);
        let by_a_person = matches!(
            self.status.outcome,
            Some(Outcome::CancelledByPerson | Outcome::PolicyNotInForce)
        );
        self.status.phase == Some(EventPhase::Failed)
            && !by_a_person
            && !done.is_empty()
            && !left.is_empty()
    }

    /// Identity of the release that it takes back.
    #[must_use]
    pub fn from_hash(&self) -> Option<&str> {
        self.status
            .from
            .as_ref()
            .or(self.spec.from.as_ref())
            .map(|r| r.hash.as_str())
    }

    /// Identity of the release that it goes back to.
    #[must_use]
    pub fn target_hash(&self) -> Option<&str> {
        self.status
            .to
            .as_ref()
            .or(self.spec.to.as_ref())?
            .hash
            .as_deref()
    }
}
