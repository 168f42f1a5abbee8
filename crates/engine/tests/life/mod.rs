//! A release, looked at again and again: each look decides on what is measured then.

#![allow(dead_code, reason = "no test needs all of it")]

use backstop_api::{
    RollbackEventSpec, RollbackPolicyStatus,
    policy::{DailyCounts, TriggerState},
};
use backstop_engine::{
    decide::{Act, Decision, decide},
    policy::ValidPolicy,
    reading::Reading,
    snapshot::{Observed, Snapshot},
    state::{State, TriggerMemory},
};
use serde_json::Value;

use crate::common::{answer, at, policy, seen, state, value};

/// A policy, what it remembers, and what it sees.
pub struct Life {
    pub policy: ValidPolicy,
    pub state: State,
    pub seen: Snapshot,
}

impl Life {
    /// The live release was rolled out at the beginning.
    pub fn new(triggers: &[Value], fields: Value) -> Self {
        Self {
            policy: policy(triggers, fields),
            state: state(),
            seen: seen(),
        }
    }

    /// This was measured by a trigger, then.
    pub fn measure(&mut self, trigger: &str, measured: f64, asked: i64) {
        self.read(trigger, value(measured, asked));
    }

    /// This was answered to a trigger.
    pub fn read(&mut self, trigger: &str, answer: Observed) {
        self.seen.readings.insert(trigger.to_owned(), answer);
    }

    /// This was measured of a trigger's peers, then.
    pub fn peers(&mut self, trigger: &str, measured: f64, asked: i64) {
        let answer = value(measured, asked);
        self.seen.peers.insert(trigger.to_owned(), answer);
    }

    /// Nothing was answered about a trigger's peers, then.
    pub fn no_peers(&mut self, trigger: &str, asked: i64) {
        let nothing = Reading::NoData {
            why: "the query selects no series".into(),
        };
        let answer = answer(nothing, asked);
        self.seen.peers.insert(trigger.to_owned(), answer);
    }

    /// Decides, and remembers.
    pub fn look(&mut self, now: i64) -> Decision {
        let (state, decision) = decide(&self.policy, &self.state, &self.seen, at(now));
        let again = decide(&self.policy, &state, &self.seen, at(now));
        assert_eq!(
            again.1.acts, decision.acts,
            "deciding again changes what is done"
        );
        assert_eq!(again.0.daily, state.daily, "deciding again counts again");
        assert_eq!(again.0.scores, state.scores, "deciding again scores again");
        self.state = state;
        decision
    }

    pub fn memory(&self, trigger: &str) -> &TriggerMemory {
        &self.state.triggers[trigger]
    }

    pub fn is(&self, trigger: &str) -> TriggerState {
        self.memory(trigger).state
    }

    /// The operator is started again and knows what the status tells.
    pub fn restart(&mut self) {
        self.state = State::from_status(&RollbackPolicyStatus {
            release: self.state.release_status(&self.policy),
            triggers: self.state.trigger_statuses(&self.policy),
            health_history: self.state.scores.iter().copied().collect(),
            daily: self.state.daily.clone(),
            counted_until: Some(self.state.counted),
            ..RollbackPolicyStatus::default()
        });
    }

    pub fn today(&self) -> DailyCounts {
        self.state.daily.last().cloned().unwrap_or_default()
    }
}

/// The rollback that a decision begins, if it does.
pub fn started(decision: &Decision) -> Option<&RollbackEventSpec> {
    decision.acts.iter().find_map(|act| match act {
        Act::Start { spec, .. } => Some(&**spec),
        _ => None,
    })
}
