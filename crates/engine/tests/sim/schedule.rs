//! A whole run: a policy, releases, what happens when, and what goes wrong.

use backstop_api::RollbackPolicyStatus;
use proptest::prelude::*;

use super::{
    chance::Chance,
    executor,
    metrics::GOOD,
    monitor::Monitor,
    people::{self, Deed},
    policy::{self, PolicyPlan},
    shell::{Caches, Operator},
    world::{Kind, World},
};

/// A whole run.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub plan: PolicyPlan,
    pub kinds: Vec<Kind>,
    /// How many seconds the Deployment controller needs to see a change.
    pub lag: i64,
    /// Whether release 0 is a point already.
    pub proved: bool,
    /// What happens, and how many ticks pass afterwards.
    pub deeds: Vec<(Deed, usize)>,
    pub chance: Vec<u8>,
    /// A second operator that thinks it leads.
    pub twin: bool,
}

/// How many releases a schedule has.
const RELEASES: usize = 5;

/// Any run at all.
pub fn any() -> impl Strategy<Value = Schedule> {
    let kind = prop_oneof![
        3 => Just(Kind::Good),
        4 => Just(Kind::Bad),
        1 => prop_oneof![Just(10i64), Just(45), Just(100)].prop_map(Kind::BadAfter),
        1 => prop_oneof![Just(10i64), Just(30)].prop_map(Kind::BadFor),
        2 => Just(Kind::CannotStart),
        1 => Just(Kind::StartsOnce),
        1 => prop_oneof![Just(20i64), Just(90)].prop_map(Kind::Slow),
    ];
    let first = prop_oneof![
        8 => Just(Kind::Good),
        1 => Just(Kind::StartsOnce),
        1 => Just(Kind::Slow(90)),
    ];
    (
        policy::any(),
        proptest::collection::vec(kind, RELEASES - 1),
        prop_oneof![2 => Just(0i64), 1 => Just(10)],
        proptest::bool::weighted(0.85),
        proptest::collection::vec((people::any(RELEASES), 1usize..24), 2..14),
        prop_oneof![1 => Just(Vec::new()), 3 => proptest::collection::vec(any_byte(), 17..61)],
        (proptest::bool::weighted(0.2), first),
    )
        .prop_map(
            |(plan, mut kinds, lag, proved, deeds, chance, (twin, first))| {
                kinds.insert(0, first);
                Schedule {
                    plan,
                    kinds,
                    lag,
                    proved,
                    deeds,
                    chance,
                    twin,
                }
            },
        )
}

fn any_byte() -> impl Strategy<Value = u8> {
    proptest::num::u8::ANY
}

/// A world that is being run.
pub struct Run {
    pub world: World,
    pub monitor: Monitor,
    pub stored: RollbackPolicyStatus,
    policy: backstop_engine::policy::ValidPolicy,
    operators: Vec<Operator>,
    caches: Caches,
    chance: Chance,
    refuse_write: bool,
}

impl Run {
    /// Release 0 is live for a while already when the operator starts.
    pub fn new(schedule: &Schedule) -> Self {
        let mut world = World::new(schedule.kinds.clone(), schedule.lag, schedule.plan.mode);
        world.admission = schedule.plan.admission;
        world.rest(150);
        if schedule.proved {
            let baselines = ["errors", "slow"].map(|name| (name.to_owned(), GOOD));
            world.capture("r0", baselines.into());
        }
        Self {
            world,
            monitor: Monitor::default(),
            stored: RollbackPolicyStatus::default(),
            policy: schedule.plan.valid(),
            operators: vec![Operator::default(); 1 + usize::from(schedule.twin)],
            caches: Caches::default(),
            chance: Chance::new(schedule.chance.clone()),
            refuse_write: false,
        }
    }

    /// Lets one tick pass.
    pub fn tick(&mut self) {
        self.world.tick();
        self.policy.mode = self.world.mode;
        self.caches.refresh(&self.world);
        for operator in &mut self.operators {
            operator.reconcile(
                &self.policy,
                &mut self.world,
                &self.caches,
                &mut self.stored,
                &mut self.chance,
                &mut self.monitor,
            );
        }
        executor::run(
            &mut self.world,
            &mut self.chance,
            &mut self.monitor,
            &mut self.refuse_write,
        );
    }

    /// Lets so many ticks pass.
    pub fn ticks(&mut self, number: usize) {
        for _ in 0..number {
            self.tick();
        }
    }

    /// Lets something happen.
    pub fn happen(&mut self, deed: &Deed) {
        self.world.happen(deed);
        match deed {
            Deed::Kill(ticks) => {
                for operator in &mut self.operators {
                    operator.down_for = ticks + 1;
                }
            }
            Deed::RefuseWrite => self.refuse_write = true,
            _ => {}
        }
    }
}

/// Runs it all, and tells what was seen.
pub fn run(schedule: &Schedule) -> Monitor {
    let mut run = Run::new(schedule);
    run.ticks(8);
    for (deed, ticks) in &schedule.deeds {
        run.happen(deed);
        run.ticks(*ticks);
    }
    run.monitor
}
