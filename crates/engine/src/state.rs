//! What the engine remembers of a policy between two decisions.
//!
//! All that matters is in the policy's status too, so that an operator that is started again goes
//! on where the one before stopped.

use std::collections::{BTreeMap, VecDeque};

use backstop_api::{
    RollbackPolicyStatus,
    event::Sample,
    policy::{
        Classification, CountedUntil, DailyCounts, Figures, Override, PeersStatus, ReleaseStatus,
        ReleaseVerdict, ScoreAt, Tally, TriggerState, TriggerStatus,
    },
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
    /// The changes of the health score, oldest first.
    pub scores: VecDeque<ScoreAt>,
    /// What happened on each day.
    pub daily: Vec<DailyCounts>,
    /// Up to when rollbacks are in `daily`.
    pub counted: CountedUntil,
    /// Who has taken over, newest first.
    pub overrides: Vec<Override>,
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
    /// What came of watching it for its window.
    pub verdict: Option<ReleaseVerdict>,
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
    /// Since when the condition of a trigger that stays as it is has not held any more.
    pub recovering_since: Option<Timestamp>,
    /// Since when such a trigger has been well, by its recovery where it has one.
    pub well_since: Option<Timestamp>,
    /// Whether the newest reading is evidence: about this release, and clear of what was before.
    pub settled: bool,
    /// When the newest reading was taken, by our clock.
    pub asked_at: Option<Timestamp>,
    /// The newest values, oldest first.
    pub samples: VecDeque<Sample>,
    /// What the newest value was compared with.
    pub baseline: Option<f64>,
    /// The same reading of the side that is not released to.
    pub stable: Option<f64>,
    /// The newest values of what is measured beside, to be compared with: of an earlier time, or of
    /// the stable side; oldest first.
    pub beside: VecDeque<Sample>,
    /// What the comparison of samples says.
    pub classification: Option<Classification>,
    /// What was counted, for a ratio.
    pub tally: Option<Tally>,
    /// Whether the newest reading is a value that there is nothing to compare with yet.
    pub lacks_baseline: bool,
    /// What it means, for a person.
    pub message: String,
    /// The query as it was asked.
    pub query: Option<String>,
    /// What the cluster said, in its words.
    pub details: Vec<String>,
    /// What is known of what was not released.
    pub peers: PeersMemory,
    /// What it measured of the live release.
    pub figures: Figures,
}

/// What is known of a trigger's peers: of what was not released.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeersMemory {
    /// The newest values, oldest first.
    pub samples: VecDeque<Sample>,
    /// What they were when a release last proved itself.
    pub baseline: Option<f64>,
    /// Since when they have been as bad as the release.
    pub alike_since: Option<Timestamp>,
    /// When they last were.
    pub alike_at: Option<Timestamp>,
    /// How both compare, for a person; `None` while there is nothing to compare.
    pub message: Option<String>,
    /// Whether they could not be asked, so that the release is judged alone.
    pub unknown: bool,
}

impl PeersMemory {
    /// Takes in what was measured.
    pub fn remember(&mut self, sample: Sample) {
        if self.samples.back().is_some_and(|last| last.at == sample.at) {
            return;
        }
        self.samples.push_back(sample);
        while self.samples.len() > SAMPLES_KEPT {
            self.samples.pop_front();
        }
    }

    fn from_status(status: Option<&PeersStatus>) -> Self {
        let Some(status) = status else {
            return Self::default();
        };
        Self {
            alike_since: status.alike_since,
            alike_at: status.alike_at,
            ..Self::default()
        }
    }

    fn to_status(&self) -> Option<PeersStatus> {
        let status = PeersStatus {
            value: self.samples.back().map(|s| s.value),
            baseline: self.baseline,
            alike_since: self.alike_since,
            alike_at: self.alike_at,
            message: self.message.clone(),
        };
        (status != PeersStatus::default()).then_some(status)
    }
}

impl TriggerMemory {
    /// A trigger of which nothing is known yet.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            state: TriggerState::Inactive,
            since: now,
            active_since: None,
            recovering_since: None,
            well_since: None,
            settled: false,
            asked_at: None,
            samples: VecDeque::new(),
            baseline: None,
            stable: None,
            beside: VecDeque::new(),
            classification: None,
            tally: None,
            lacks_baseline: false,
            message: "nothing measured yet".into(),
            query: None,
            details: Vec::new(),
            peers: PeersMemory::default(),
            figures: Figures::default(),
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
                verdict: r.verdict.clone(),
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
                        recovering_since: t.recovering_since,
                        well_since: t.well_since,
                        samples: t
                            .value
                            .zip(t.at)
                            .map(|(value, at)| Sample { at, value })
                            .into_iter()
                            .collect(),
                        message: t.message.clone().unwrap_or_default(),
                        classification: t.classification,
                        tally: t.tally.clone(),
                        query: t.query.clone(),
                        peers: PeersMemory::from_status(t.peers.as_ref()),
                        figures: t.figures.unwrap_or_default(),
                        ..TriggerMemory::new(t.since)
                    };
                    (t.name.clone(), memory)
                })
                .collect(),
            held,
            scores: status.health_history.iter().copied().collect(),
            daily: status.daily.clone(),
            counted: status.counted_until.unwrap_or_default(),
            overrides: status.overrides.clone(),
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
            verdict: r.verdict.clone(),
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
                    recovering_since: memory.recovering_since,
                    well_since: memory.well_since,
                    value: last.map(|s| s.value),
                    at: last.map(|s| s.at),
                    baseline: memory.baseline.filter(|_| trigger.uses_baseline()),
                    classification: memory.classification,
                    tally: memory.tally.clone(),
                    message: Some(memory.message.clone()),
                    query: memory.query.clone(),
                    figures: (memory.figures != Figures::default()).then_some(memory.figures),
                    peers: memory.peers.to_status(),
                })
            })
            .collect()
    }
}
