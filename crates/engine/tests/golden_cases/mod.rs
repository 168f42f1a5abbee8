//! The situations whose decisions are written down.

mod firing;
mod pending;
mod quiet;
mod verifying;

pub use firing::{firing, firing_among_others};
pub use pending::{pending_among_others, pending_cases as pending};
pub use quiet::quiet;
pub use verifying::verifying;

use backstop_api::event::{EventPhase, Outcome, Target};
use backstop_engine::{
    decide::{Decision, decide},
    snapshot::{Event, Snapshot, Workload},
    state::{Release, State},
};
use serde_json::{Value, json};

use crate::common::{self, GOOD, LIVE, at, errors, policy, value, with};

/// One situation: a release that was rolled out at the beginning, and whose errors are too many.
pub struct Case {
    pub triggers: Vec<Value>,
    pub fields: Value,
    pub state: State,
    pub seen: Snapshot,
    pub now: i64,
}

impl Case {
    /// The trigger fires at once, on a bad value.
    pub fn new() -> Self {
        let mut case = Self {
            triggers: vec![with(errors(), json!({"for": "0s"}))],
            fields: json!({}),
            state: common::state(),
            seen: common::seen(),
            now: 100,
        };
        case.measure(0.25);
        case
    }

    /// The newest value.
    pub fn measure(&mut self, measured: f64) {
        let answer = value(measured, self.now);
        self.seen.readings.insert("errors".into(), answer);
    }

    pub fn workload(&mut self) -> &mut Workload {
        self.seen.workload.as_mut().unwrap()
    }

    pub fn release(&mut self) -> &mut Release {
        self.state.release.as_mut().unwrap()
    }

    /// The trigger with these fields instead.
    pub fn trigger(&mut self, fields: Value) {
        let trigger = self.triggers.remove(0);
        self.triggers.insert(0, with(trigger, fields));
    }

    pub fn decide(&self) -> Decision {
        let policy = policy(&self.triggers, self.fields.clone());
        decide(&policy, &self.state, &self.seen, at(self.now)).1
    }
}

/// A case, made from the plain one.
pub fn case(name: &'static str, make: impl FnOnce(&mut Case)) -> (&'static str, Case) {
    let mut case = Case::new();
    make(&mut case);
    (name, case)
}

/// A rollback that ended at 90 s, from the live release.
pub fn ended(phase: EventPhase, outcome: Outcome) -> Event {
    let mut event = common::event(phase);
    event.status.outcome = Some(outcome);
    event.status.times.ended = Some(at(90));
    event
}

/// The rollback of another release that put the live one there.
pub fn restorer(phase: EventPhase, outcome: Option<Outcome>) -> Event {
    let mut event = common::event(phase);
    let target = Target {
        point: format!("web-{LIVE}"),
        hash: Some(LIVE.into()),
    };
    for from in [&mut event.spec.from, &mut event.status.from] {
        from.as_mut().unwrap().hash = "0bad0bad0bad0bad".into();
    }
    event.spec.to = Some(target.clone());
    event.status.to = Some(target);
    common::wrote(&mut event.status, LIVE, 7);
    event.status.outcome = outcome;
    event.status.times.ended = outcome.map(|_| at(90));
    event
}

/// The release to go back to.
pub const TARGET: &str = GOOD;
