//! What persons do, and what happens around them.

use backstop_api::{
    RollbackEventSpec, RollbackEventStatus,
    event::{Cause, Target},
    policy::{Mode, WorkloadRef},
};
use backstop_engine::snapshot::Event;
use proptest::prelude::*;

use super::{POLICY, WORKLOAD, metrics::Answers, world::World};

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Deed {
    Nothing,
    Deploy(usize),
    Restart,
    Scale,
    PauseRollout(bool),
    Override(bool),
    Floor(bool),
    CallOff,
    Mode(Mode),
    Manual {
        point: Option<usize>,
        quarantine: bool,
    },
    /// A person tries a rollback out.
    Drill,
    Delete,
    Recreate(usize),
    DependencyDown(bool),
    Answers(Answers),
    Conflict(bool),
    /// The operator is killed, and started again after so many ticks.
    Kill(usize),
    /// The next write of a template is refused.
    RefuseWrite,
    ForgetPoint(usize),
    /// A GitOps tool puts this release back at every tick from now on, or does so no more.
    Git(Option<usize>),
}

/// Anything that can happen in a world with so many releases.
pub fn any(releases: usize) -> impl Strategy<Value = Deed> {
    prop_oneof![
        10 => (0..releases).prop_map(Deed::Deploy),
        4 => Just(Deed::Nothing),
        1 => Just(Deed::Restart),
        1 => Just(Deed::Scale),
        1 => proptest::bool::ANY.prop_map(Deed::PauseRollout),
        1 => proptest::bool::ANY.prop_map(Deed::Override),
        1 => proptest::bool::weighted(0.3).prop_map(Deed::Floor),
        6 => Just(Deed::CallOff),
        1 => prop_oneof![3 => Just(Mode::Enforce), 1 => Just(Mode::Paused), 1 => Just(Mode::Observe)]
            .prop_map(Deed::Mode),
        2 => (proptest::option::weighted(0.3, 0..4usize), proptest::bool::ANY)
            .prop_map(|(point, quarantine)| Deed::Manual { point, quarantine }),
        2 => Just(Deed::Drill),
        1 => Just(Deed::Delete),
        1 => (0..releases).prop_map(Deed::Recreate),
        2 => proptest::bool::weighted(0.4).prop_map(Deed::DependencyDown),
        4 => prop_oneof![
            8 => Just(Answers::Honest),
            1 => Just(Answers::NoData),
            1 => Just(Answers::NotANumber),
            1 => Just(Answers::Unreachable),
            1 => Just(Answers::Ambiguous),
            1 => Just(Answers::Stale),
            1 => Just(Answers::AboutAnother),
            1 => Just(Answers::Silent),
        ].prop_map(Deed::Answers),
        1 => proptest::bool::weighted(0.3).prop_map(Deed::Conflict),
        3 => (0..6usize).prop_map(Deed::Kill),
        1 => Just(Deed::RefuseWrite),
        1 => (0..4usize).prop_map(Deed::ForgetPoint),
        2 => proptest::option::weighted(0.6, 0..releases).prop_map(Deed::Git),
    ]
}

impl World {
    /// Does it. What concerns the operator itself is done by whoever runs it.
    pub fn happen(&mut self, deed: &Deed) {
        let now = self.now;
        match deed {
            Deed::Deploy(release) => self.apply(*release),
            Deed::Git(release) => self.git = *release,
            Deed::Recreate(release) => {
                if self.deployment.is_none() {
                    self.make_deployment(*release);
                }
            }
            Deed::Delete => {
                self.deployment = None;
                self.serving = None;
            }
            Deed::Manual { point, quarantine } => {
                self.ask_for_a_rollback(Cause::Manual, *point, *quarantine);
            }
            Deed::Drill => self.ask_for_a_rollback(Cause::Drill, None, false),
            Deed::CallOff => {
                let version = self.version();
                if let Some(event) = self.events.iter_mut().find(|e| !e.is_over()) {
                    event.cancel = Some("I know better".into());
                    event.version = version;
                }
            }
            Deed::Mode(mode) => self.mode = *mode,
            Deed::DependencyDown(down) => self.dependency_down = *down,
            Deed::Answers(answers) => self.answers = *answers,
            Deed::Conflict(conflict) => self.conflict = *conflict,
            Deed::ForgetPoint(index) => {
                if *index < self.points.len() {
                    self.points.remove(*index);
                }
            }
            Deed::Nothing | Deed::Kill(_) | Deed::RefuseWrite => {}
            Deed::Restart
            | Deed::Scale
            | Deed::PauseRollout(_)
            | Deed::Override(_)
            | Deed::Floor(_) => {
                let Some(it) = &mut self.deployment else {
                    return;
                };
                match deed {
                    Deed::Restart => {
                        it.touch(now);
                        it.progress = 0;
                    }
                    Deed::Scale => it.touch(now),
                    Deed::PauseRollout(paused) => {
                        it.paused = *paused;
                        it.touch(now);
                    }
                    Deed::Override(overridden) => it.overridden = *overridden,
                    Deed::Floor(floor) => it.floor = *floor,
                    _ => {}
                }
            }
        }
    }

    /// A person creates a RollbackEvent.
    fn ask_for_a_rollback(&mut self, cause: Cause, point: Option<usize>, quarantine: bool) {
        let to = match point {
            None => None,
            Some(index) => match self.points.get(index) {
                None => return,
                Some(point) => Some(Target {
                    point: point.name.clone(),
                    hash: None,
                }),
            },
        };
        let name = format!("by-hand-{}", self.events.len());
        let spec = RollbackEventSpec {
            policy: POLICY.into(),
            workloads: vec![WorkloadRef {
                name: WORKLOAD.into(),
            }],
            cause,
            requested_by: "anna".into(),
            reason: Some("the shop is down".into()),
            quarantine,
            action: None,
            strategy: None,
            attempt: 1,
            from: None,
            to,
            evidence: None,
            fired_at: None,
            not_before: None,
            ends_drill: None,
        };
        self.create(name, spec);
    }

    /// Stores a new RollbackEvent.
    pub fn create(&mut self, name: String, spec: RollbackEventSpec) {
        let version = self.version();
        let created = self.now();
        self.events.push(Event {
            uid: format!("event-{version}"),
            name,
            created,
            spec,
            status: RollbackEventStatus::default(),
            version,
            cancel: None,
        });
    }
}
