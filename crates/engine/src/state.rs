//! What the engine remembers of a policy between two decisions.
//!
//! All that matters is in the policy's status too, so that an operator that is started again goes
//! on where the one before stopped.

use std::collections::{BTreeMap, VecDeque};

use backstop_api::{
    RollbackPolicyStatus,
    event::Sample,
    policy::{ReleaseStatus, TriggerState, TriggerStatus},
};
use jiff::Timestamp;

use crate::policy::ValidPolicy;

/// How many samples are kept for the evidence.
pub const SAMPLES_KEPT: usize = 60;

/// What the engine remembers of a policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The live release.
    pub release: Option<Release>,
    /// Each trigger's state, by name.
    pub triggers: BTreeMap<String, TriggerMemory>,
    /// The reason of the last notice about what is held back, so that it is said once.
    pub held: Option<String>,
}

/// The live release, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The UID of the Deployment.
    pub workload_uid: String,
    /// Identity.
    pub hash: String,
    /// When it became live, or was first seen so.
    pub since: Timestamp,
    /// When its first pod was ready.
    pub first_ready_at: Option<Timestamp>,
    /// When its rollout completed.
    pub completed_at: Option<Timestamp>,
    /// Since when it has been healthy without a break.
    pub healthy_since: Option<Timestamp>,
    /// When it last proved itself.
    pub proved_at: Option<Timestamp>,
    /// The rollback that restored it.
    pub restored_by: Option<String>,
    /// The release that was live before it, as far as that was seen.
    pub previous: Option<String>,
}

/// A trigger's state.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerMemory {
    /// The state.
    pub state: TriggerState,
    /// Since when.
    pub since: Timestamp,
    /// Since when the condition has held without a break.
    pub active_since: Option<Timestamp>,
    /// Whether the newest reading is evidence: about this release, and clear of what was before.
    pub settled: bool,
    /// When the newest reading was taken, by our clock.
    pub asked_at: Option<Timestamp>,
    /// The newest values, oldest first.
    pub samples: VecDeque<Sample>,
    /// What the newest value was compared with.
    pub baseline: Option<f64>,
    /// Whether the newest reading is a value that there is nothing to compare with yet.
    pub lacks_baseline: bool,
    /// What it means, for a person.
    pub message: String,
    /// The query as it was asked.
    pub query: Option<String>,
    /// What the cluster said, in its words.
    pub details: Vec<String>,
}

impl TriggerMemory {
    /// A trigger of which nothing is known yet.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            state: TriggerState::Inactive,
            since: now,
            active_since: None,
            settled: false,
            asked_at: None,
            samples: VecDeque::new(),
            baseline: None,
            lacks_baseline: false,
            message: "nothing measured yet".into(),
            query: None,
            details: Vec::new(),
        }
    }

    /// Whether the condition was seen not to hold, on evidence.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.settled && self.state == TriggerState::Inactive
    }
}

impl State {
    /// The state as a status tells it.
    #[must_use]
    pub fn from_status(status: &RollbackPolicyStatus) -> Self {
        let held = status
            .conditions
            .iter()
            .find(|c| {
                c.type_ == backstop_api::condition::ACTION_REQUIRED
                    && c.status == backstop_api::condition::ConditionStatus::True
            })
            .map(|c| c.reason.clone());
        Self {
            release: status.release.as_ref().map(|r| Release {
                workload_uid: r.workload_uid.clone(),
                hash: r.hash.clone(),
                since: r.since,
                first_ready_at: r.first_ready_at,
                completed_at: r.completed_at,
                healthy_since: r.healthy_since,
                proved_at: r.proved_at,
                restored_by: r.restored_by.clone(),
                previous: r.previous.clone(),
            }),
            triggers: status
                .triggers
                .iter()
                .map(|t| {
                    let memory = TriggerMemory {
                        state: t.state,
                        since: t.since,
                        active_since: t.active_since,
                        samples: t
                            .value
                            .zip(t.at)
                            .map(|(value, at)| Sample { at, value })
                            .into_iter()
                            .collect(),
                        message: t.message.clone().unwrap_or_default(),
                        query: t.query.clone(),
                        ..TriggerMemory::new(t.since)
                    };
                    (t.name.clone(), memory)
                })
                .collect(),
            held,
        }
    }

    /// The release as the status shows it.
    #[must_use]
    pub fn release_status(&self, policy: &ValidPolicy) -> Option<ReleaseStatus> {
        self.release.as_ref().map(|r| ReleaseStatus {
            workload_uid: r.workload_uid.clone(),
            hash: r.hash.clone(),
            since: r.since,
            first_ready_at: r.first_ready_at,
            completed_at: r.completed_at,
            healthy_since: r.healthy_since,
            proved_at: r.proved_at,
            window_ends: r
                .completed_at
                .zip(policy.window)
                .and_then(|(c, w)| c.checked_add(w).ok()),
            restored_by: r.restored_by.clone(),
            previous: r.previous.clone(),
        })
    }

    /// The triggers as the status shows them, in the policy's order.
    #[must_use]
    pub fn trigger_statuses(&self, policy: &ValidPolicy) -> Vec<TriggerStatus> {
        policy
            .triggers
            .iter()
            .filter_map(|trigger| {
                let memory = self.triggers.get(&trigger.name)?;
                let last = memory.samples.back();
                Some(TriggerStatus {
                    name: trigger.name.clone(),
                    severity: trigger.severity,
                    state: memory.state,
                    since: memory.since,
                    active_since: memory.active_since,
                    value: last.map(|s| s.value),
                    at: last.map(|s| s.at),
                    message: Some(memory.message.clone()),
                    query: memory.query.clone(),
                })
            })
            .collect()
    }
}
