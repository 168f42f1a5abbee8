//! How far a rollback has come: its status, written after every step.

use backstop_api::{
    RollbackEvent, RollbackEventStatus,
    event::{EventPhase, Found, Outcome, StepKind, StepState},
};
use backstop_engine::{
    lifecycle,
    snapshot::{Event, Workload},
    subject,
};
use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt};

use super::steps::Written;
use crate::{calls::CallError, context::Context};

/// A watch tells of a change within this time, or is broken.
const SEEN_WITHIN: SignedDuration = SignedDuration::from_secs(5);

/// A rollback's status, and where it is written.
pub(super) struct Progress<'a> {
    context: &'a Context,
    namespace: &'a str,
    /// The rollback as it was read.
    pub(super) event: &'a RollbackEvent,
    /// Its status as it is now.
    pub(super) status: RollbackEventStatus,
    version: Option<String>,
    /// The status as it was last read or written.
    saved: RollbackEventStatus,
}

impl<'a> Progress<'a> {
    pub(super) fn of(context: &'a Context, event: &'a RollbackEvent, namespace: &'a str) -> Self {
        Self {
            context,
            namespace,
            event,
            status: event.status.clone().unwrap_or_default(),
            version: event.resource_version(),
            saved: event.status.clone().unwrap_or_default(),
        }
    }

    /// The first step that is neither done nor left out.
    pub(super) fn next_step(&self) -> Option<usize> {
        self.status
            .steps
            .iter()
            .position(|s| matches!(s.state, StepState::Waiting | StepState::Running))
    }

    /// Whether the template of a Deployment has been written.
    pub(super) fn has_written(&self, workload: &str) -> bool {
        self.status.steps.iter().any(|s| {
            s.step.kind == StepKind::WriteTemplate
                && s.step.workload == workload
                && s.state == StepState::Done
        })
    }

    /// Whether requests go elsewhere by now.
    pub(super) fn has_moved_traffic(&self) -> bool {
        self.status.steps.iter().any(|s| {
            matches!(s.step.kind, StepKind::SwapSelector | StepKind::ShiftWeight)
                && s.state == StepState::Done
        })
    }

    /// Whether anything has been changed.
    pub(super) fn has_changed_anything(&self) -> bool {
        self.status.times.first_write.is_some()
    }

    /// The rollback as the engine sees it, with its status as it is now.
    pub(super) fn event_now(&self) -> Event {
        let mut event = Event::from(self.event);
        event.status = self.status.clone();
        event
    }

    /// What was there is recorded before a step changes it.
    pub(super) fn found(&mut self, index: usize, found: Found, now: Timestamp) {
        let step = &mut self.status.steps[index];
        step.state = StepState::Running;
        step.started_at.get_or_insert(now);
        step.found = Some(found);
    }

    /// A step holds.
    pub(super) fn done(
        &mut self,
        index: usize,
        message: String,
        written: Option<Written>,
        began: Timestamp,
        now: Timestamp,
    ) {
        let step = &mut self.status.steps[index];
        step.state = StepState::Done;
        step.started_at.get_or_insert(began);
        step.finished_at = Some(now);
        step.message = Some(message);
        if step.step.kind == StepKind::AwaitRollout {
            self.status.times.rolled_out = Some(now);
        }
        if let Some(written) = written {
            step.restored = written.restored;
            self.status.times.first_write.get_or_insert(written.at);
            if let Some(release) = self.restored() {
                self.status.restored_hash = Some(release);
            }
        }
    }

    /// What of the configuration a step leaves as it is.
    pub(super) fn leaves(&mut self, index: usize, left: Vec<String>) {
        self.status.steps[index].left = left;
    }

    /// Identity of what is live by what has been written so far.
    fn restored(&self) -> Option<String> {
        if self.config_restored_at().is_some() {
            // What is cached of it may be from before: it is told when it has been read again.
            return None;
        }
        let policy = &self.event.spec.policy;
        let event = self.event_now();
        if let Some(observer) = self.context.observers.get(self.namespace, policy) {
            return subject::restored(&observer.policy, observer.workload().as_ref(), &event);
        }
        // Without its policy only a rollback of one Deployment can be told the end of.
        match event.spec.workloads.as_slice() {
            [one] => event.written(&one.name).map(|w| w.hash.clone()),
            _ => None,
        }
    }

    /// A step takes time. Returns whether there is anything new to say.
    pub(super) fn waiting(&mut self, index: usize, message: String, now: Timestamp) -> bool {
        let step = &mut self.status.steps[index];
        let begun = step.started_at.is_some();
        step.started_at.get_or_insert(now);
        step.state = StepState::Running;
        let same = step.message.as_ref() == Some(&message);
        step.message = Some(message);
        !(begun && same)
    }

    /// The rollback ends with a step that could not be done.
    pub(super) fn end(
        &mut self,
        index: usize,
        phase: EventPhase,
        outcome: Outcome,
        message: String,
        now: Timestamp,
    ) {
        for (i, step) in self.status.steps.iter_mut().enumerate().skip(index) {
            step.state = if i == index {
                StepState::Failed
            } else {
                StepState::Skipped
            };
        }
        let step = &mut self.status.steps[index];
        step.finished_at = Some(now);
        step.message = Some(message.clone());
        self.status = lifecycle::ended(self.status.clone(), phase, outcome, message, now);
    }

    /// Whether what is watched shows the end of it: verifying is decided on that. What does not show
    /// it for seconds never will, and is judged as it is.
    pub(super) fn is_seen(&mut self, now: Timestamp) -> bool {
        let policy = &self.event.spec.policy;
        let Some(observer) = self.context.observers.get(self.namespace, policy) else {
            return true;
        };
        if let Some(since) = self.config_restored_at() {
            if !observer.has_read_config_since(since) {
                observer.look_at_config();
            }
            let live = observer
                .workload()
                .filter(|w| observer.has_read_config_since(since) && self.templates_are_back(w));
            if let Some(live) = live {
                // What was left as it is makes this another release than that of the point, and it
                // is the one that was meant.
                self.status.restored_hash = Some(live.release);
            }
        }
        let last = self.status.steps.iter().filter_map(|s| s.finished_at).max();
        let waited = last.map(|last| now.duration_since(last));
        observer
            .workload()
            .is_some_and(|w| self.event_now().restored(&w.release))
            || waited.is_none_or(|waited| waited > SEEN_WITHIN)
    }

    /// When configuration was put back, if it was.
    fn config_restored_at(&self) -> Option<Timestamp> {
        let mut steps = self.status.steps.iter();
        steps
            .find(|s| s.step.kind == StepKind::RestoreConfig)
            .and_then(|s| s.finished_at)
    }

    /// Whether every Deployment has the template that the plan gives it.
    fn templates_are_back(&self, live: &Workload) -> bool {
        let event = self.event_now();
        self.status.steps.iter().all(|s| {
            let there = live
                .deployment(&s.step.workload)
                .map(|w| w.release.as_str());
            let written = event.written(&s.step.workload).map(|w| w.hash.as_str());
            s.step.kind != StepKind::WriteTemplate || there == written
        })
    }

    /// Every step holds; what is left is to verify.
    pub(super) fn executed(&mut self, now: Timestamp) {
        self.status.phase = Some(EventPhase::Verifying);
        self.status.times.rolled_out.get_or_insert(now);
        let target = self.status.to.as_ref().and_then(|t| t.hash.clone());
        let to = self.status.restored_hash.clone().or(target);
        let to = to.unwrap_or_default();
        self.status.message = Some(format!(
            "release {to} is live again; verifying that it does well and stays"
        ));
    }

    /// Whether this is the version that the progress is based on.
    pub(super) fn is_based_on(&self, version: Option<&str>) -> bool {
        self.version.as_deref() == version
    }

    /// Writes the status, if nobody has written it since it was read. That people were told of it
    /// does not count: it must not hold the rollback up.
    pub(super) async fn save(&mut self) -> Result<(), CallError> {
        match self.write().await {
            Err(conflict @ CallError::Conflict { .. }) => {
                if self.was_only_told_of().await? {
                    self.write().await
                } else {
                    Err(conflict)
                }
            }
            written => written,
        }
    }

    /// Whether what changed is only who was told, or whom the release reached. Then the progress is based on that from now on.
    async fn was_only_told_of(&mut self) -> Result<bool, CallError> {
        let (api, name) = (self.api(), self.event.name_any());
        let calls = &self.context.calls;
        let read = calls.read("get rollbackevent", api.get_opt(&name)).await?;
        let Some(now) = read.filter(|now| now.uid() == self.event.uid()) else {
            return Ok(false);
        };
        let RollbackEventStatus {
            notifications: told,
            affected_users: affected,
            ..
        } = now.status.clone().unwrap_or_default();
        let untold = |status: &RollbackEventStatus| RollbackEventStatus {
            notifications: Vec::new(),
            affected_users: None,
            ..status.clone()
        };
        let same = untold(&now.status.clone().unwrap_or_default()) == untold(&self.saved)
            && now.annotations() == self.event.annotations()
            && now.metadata.deletion_timestamp == self.event.metadata.deletion_timestamp;
        if same {
            self.version = now.resource_version();
            self.status.notifications = told;
            self.status.affected_users = affected;
        }
        Ok(same)
    }

    fn api(&self) -> Api<RollbackEvent> {
        Api::namespaced(self.context.client.clone(), self.namespace)
    }

    async fn write(&mut self) -> Result<(), CallError> {
        let api = self.api();
        let patch = serde_json::json!({
            "metadata": {"uid": self.event.uid(), "resourceVersion": self.version},
            "status": self.status,
        });
        let name = self.event.name_any();
        let written = self
            .context
            .calls
            .merge_status("patch rollbackevent status", &api, &name, patch)
            .await?;
        self.version = written.resource_version();
        self.saved = written.status.unwrap_or_default();
        Ok(())
    }
}
