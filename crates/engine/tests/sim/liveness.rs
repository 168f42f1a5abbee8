//! What must happen, and not only what must not.

use std::collections::BTreeMap;

use backstop_api::{
    condition::{ACTION_REQUIRED, ConditionStatus},
    event::{Cause, EventPhase, Outcome},
    policy::Mode,
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};

use super::{
    campaign::{scaled, seed},
    hash,
    metrics::Answers,
    people::Deed,
    policy::{self, PolicyPlan},
    schedule::{Run, Schedule},
    world::Kind,
};

/// So many cases, more of them when the campaign is larger.
pub(super) fn cases(number: u32) -> Config {
    Config {
        cases: scaled(number),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed().into()),
        ..Config::default()
    }
}

/// A run whose release 0 is a good point.
pub(super) fn start(plan: &PolicyPlan, kinds: &[Kind], lag: i64, chance: &[u8]) -> Run {
    let mut run = Run::new(&Schedule {
        plan: plan.clone(),
        kinds: kinds.to_vec(),
        lag,
        proved: true,
        deeds: Vec::new(),
        chance: chance.to_vec(),
        twin: false,
    });
    run.ticks(8);
    run
}

impl Run {
    pub(super) fn live(&self) -> Option<String> {
        self.world.workload().map(|w| w.release)
    }

    /// Each rollback: from, to, and how it ended.
    pub(super) fn story(&self) -> Vec<(Option<String>, Option<String>, Option<Outcome>)> {
        let events = self.world.events.iter();
        events
            .map(|e| {
                (
                    e.from_hash().map(str::to_owned),
                    e.target_hash().map(str::to_owned),
                    e.status.outcome,
                )
            })
            .collect()
    }

    pub(super) fn outcomes(&self) -> Vec<Option<Outcome>> {
        self.story().into_iter().map(|(_, _, o)| o).collect()
    }

    pub(super) fn written(&self) -> usize {
        let reach: &BTreeMap<_, _> = &self.monitor.reach;
        reach.get("template written").copied().unwrap_or(0)
    }

    pub(super) fn action_required(&self) -> Option<&str> {
        self.stored
            .conditions
            .iter()
            .find(|c| c.type_ == ACTION_REQUIRED && c.status == ConditionStatus::True)
            .map(|c| c.reason.as_str())
    }

    /// What there is to see, for a test that fails.
    pub(super) fn told(&self) -> String {
        let events = self.world.events.iter();
        let events: Vec<_> = events
            .map(|e| format!("{}: {:?} {:?}", e.name, e.status.phase, e.status.message))
            .collect();
        let conditions = self.stored.conditions.iter();
        let conditions: Vec<_> = conditions
            .map(|c| format!("{}={:?} {}: {}", c.type_, c.status, c.reason, c.message))
            .collect();
        format!(
            "live {:?}\n{}\n{}\n{:?}",
            self.live(),
            events.join("\n"),
            conditions.join("\n"),
            self.stored.triggers
        )
    }
}

/// Policies that nothing keeps from acting.
pub(super) fn unobstructed() -> impl Strategy<Value = PolicyPlan> {
    policy::any().prop_map(|plan| PolicyPlan {
        mode: Mode::Enforce,
        ..plan
    })
}

pub(super) fn chance() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        2 => proptest::collection::vec(proptest::num::u8::ANY, 17..61),
    ]
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn a_bad_fresh_release_is_taken_back_and_the_rollback_succeeds(
        plan in unobstructed(),
        kind in prop_oneof![Just(Kind::Bad), Just(Kind::BadAfter(10)), Just(Kind::BadAfter(40))],
        lag in prop_oneof![Just(0i64), Just(10)],
        chance in chance(),
    ) {
        let mut run = start(&plan, &[Kind::Good, kind], lag, &chance);
        run.happen(&Deed::Deploy(1));
        run.ticks(150);
        prop_assert_eq!(run.live(), Some(hash(0)), "{}", run.told());
        prop_assert!(run.world.is_quarantined("r1"), "{}", run.told());
        let last = run.world.events.last().expect("there was a rollback");
        prop_assert_eq!(last.status.phase, Some(EventPhase::Succeeded), "{}", run.told());
        prop_assert_eq!(run.written(), 1, "{}", run.told());
    }

    /// A GitOps tool puts the failed release back at every tick, and nothing refuses it.
    #[test]
    fn a_release_that_is_put_back_again_and_again_is_taken_back_five_times_and_then_left(
        plan in unobstructed(),
        chance in chance(),
    ) {
        // A block would be the last of the events, and takes nothing back.
        let warning = plan.warning.filter(|action| *action != "BlockDeployment");
        let plan = PolicyPlan { gitops: ("Quarantine", 3600), admission: false, warning, ..plan };
        let mut run = start(&plan, &[Kind::Good, Kind::Bad], 0, &chance);
        run.happen(&Deed::Deploy(1));
        let acted = |run: &Run| run.world.events.iter().any(|e| e.status.times.first_write.is_some());
        while !acted(&run) && run.world.now < 2000 {
            run.tick();
        }
        run.happen(&Deed::Git(Some(1)));
        run.ticks(200);
        prop_assert_eq!(run.live(), Some(hash(1)), "{}", run.told());
        // What a Warning asked for and a Critical trigger took over changed nothing.
        let mut all = run.world.events.iter();
        let last = all.rfind(|e| e.status.outcome != Some(Outcome::TakenOver)).expect("there was a rollback");
        prop_assert_eq!(last.status.outcome, Some(Outcome::Reverted), "{}", run.told());
        let reverts = &last.status.reverts;
        let again: Vec<bool> = reverts.iter().map(|r| r.written_back).collect();
        prop_assert_eq!(again, [true, true, true, true, true, false], "{}", run.told());
    }

    /// The same, and the API server refuses it.
    #[test]
    fn a_release_that_is_refused_stays_out_until_its_time_is_over(
        plan in unobstructed(),
        chance in chance(),
    ) {
        let plan = PolicyPlan { gitops: ("Quarantine", 3600), admission: true, ..plan };
        let mut run = start(&plan, &[Kind::Good, Kind::Bad], 0, &chance);
        run.happen(&Deed::Deploy(1));
        run.ticks(150);
        prop_assert_eq!(run.live(), Some(hash(0)), "{}", run.told());
        run.happen(&Deed::Git(Some(1)));
        for _ in 0..100 {
            run.tick();
            prop_assert_eq!(run.live(), Some(hash(0)), "{}", run.told());
        }
    }

    /// Rule 12: another release than the failed one is somebody's fix, and so is one that a person has
    /// taken over for.
    #[test]
    fn what_is_not_the_failed_release_is_never_taken_back_again(
        plan in unobstructed(),
        overridden in proptest::bool::ANY,
    ) {
        let plan = PolicyPlan { gitops: ("Quarantine", 3600), ..plan };
        let mut run = start(&plan, &[Kind::Good, Kind::Bad, Kind::Good], 0, &[]);
        run.happen(&Deed::Deploy(1));
        run.ticks(150);
        prop_assert_eq!(run.live(), Some(hash(0)), "{}", run.told());
        let next = if overridden { 1 } else { 2 };
        run.happen(&Deed::Override(overridden));
        run.happen(&Deed::Deploy(next));
        run.ticks(100);
        prop_assert_eq!(run.live(), Some(hash(next)), "{}", run.told());
        let mut events = run.world.events.iter();
        prop_assert!(events.all(|e| e.status.reverts.is_empty()), "{}", run.told());
    }

    /// Rule 3: it proved itself, and its record as one that failed outranks that.
    #[test]
    fn a_release_that_failed_after_it_proved_itself_is_never_gone_back_to(plan in unobstructed()) {
        let plan = PolicyPlan { soak: 15, cooldown: 0, no_data: "Hold", warning: None, ..plan };
        let mut run = start(&plan, &[Kind::Good, Kind::BadAfter(45), Kind::Bad], 0, &[]);
        run.happen(&Deed::Deploy(1));
        while run.world.events.last().is_none_or(|e| !e.is_over()) && run.world.now < 1000 {
            run.tick();
        }
        let proved = run.world.points.iter().filter(|p| p.release.as_deref() == Some("r1"));
        prop_assert_eq!(proved.count(), 2, "a good point and the record that it failed");
        run.happen(&Deed::Deploy(2));
        run.ticks(60);
        prop_assert_eq!(run.live(), Some(hash(0)), "{}", run.told());
        let again = run.world.events.iter().any(|e| e.target_hash() == Some("r1"));
        prop_assert!(!again, "{}", run.told());
    }

    /// Rule 3: what cannot start is not quarantined when it proved itself once, and is not tried
    /// twice all the same.
    #[test]
    fn going_further_back_tries_each_point_once(plan in unobstructed()) {
        let plan = PolicyPlan { max_attempts: 3, no_data: "Hold", warning: None, ..plan };
        let kinds = [Kind::Good, Kind::StartsOnce, Kind::StartsOnce, Kind::Bad];
        let mut run = start(&plan, &kinds, 0, &[]);
        for release in 1..=2 {
            run.happen(&Deed::Deploy(release));
            run.ticks(40);
        }
        run.happen(&Deed::Deploy(3));
        run.ticks(150);
        let targets = run.world.events.iter().filter_map(|e| e.target_hash());
        prop_assert_eq!(targets.collect::<Vec<_>>(), ["r2", "r1", "r0"], "{}", run.told());
        prop_assert_eq!(run.live(), Some(hash(0)));
    }

    /// Rule 13: the point keeps its floor when a person takes the annotation away.
    #[test]
    fn a_point_that_is_a_floor_stays_one(plan in unobstructed()) {
        let plan = PolicyPlan { window: None, no_data: "Hold", ..plan };
        let mut run = start(&plan, &[Kind::Good, Kind::BadAfter(120)], 0, &[]);
        run.happen(&Deed::Deploy(1));
        run.happen(&Deed::Floor(true));
        run.ticks(20);
        run.happen(&Deed::Floor(false));
        run.ticks(100);
        prop_assert_eq!(run.live(), Some(hash(1)), "{}", run.told());
        prop_assert_eq!(run.action_required(), Some("NoGoodPoint"), "{}", run.told());
    }

    /// Rule 4: the range of a query still reaches back to the release before.
    #[test]
    fn a_fix_is_not_blamed_for_what_it_mends(plan in unobstructed(), when in 3usize..12) {
        let plan = PolicyPlan { for_: 0, delay: 3600, warning: None, no_data: "Hold", ..plan };
        // Slow, so that what was asked for before is called off when its first pod is ready.
        let mut run = start(&plan, &[Kind::Good, Kind::Bad, Kind::Slow(20)], 0, &[]);
        run.happen(&Deed::Deploy(1));
        run.ticks(when);
        run.happen(&Deed::Deploy(2));
        run.ticks(60);
        prop_assert_eq!(run.live(), Some(hash(2)), "{}", run.told());
        let blamed = run.world.events.iter().any(|e| e.from_hash() == Some("r2"));
        prop_assert!(!blamed, "{}", run.told());
    }

    /// Rule 4, on both sides of the window's end.
    #[test]
    fn a_release_is_taken_back_for_what_began_in_its_window_and_not_after(
        plan in unobstructed(),
        window in prop_oneof![Just(60i64), Just(150)],
        off in prop_oneof![-20i64..=-5, 15i64..=60],
    ) {
        let plan = PolicyPlan { window: Some(window), no_data: "Hold", ..plan };
        // Its rollout completes a tick after its first pod is ready.
        let mut run = start(&plan, &[Kind::Good, Kind::BadAfter(window + off)], 0, &[]);
        run.happen(&Deed::Deploy(1));
        run.ticks(120);
        let expected = if off < 0 { hash(0) } else { hash(1) };
        prop_assert_eq!(run.live(), Some(expected), "{}", run.told());
    }

    #[test]
    fn a_release_that_cannot_start_is_taken_back(
        plan in unobstructed(),
        lag in prop_oneof![Just(0i64), Just(10)],
        chance in chance(),
    ) {
        let plan = PolicyPlan { workload_trigger: true, ..plan };
        let mut run = start(&plan, &[Kind::Good, Kind::CannotStart], lag, &chance);
        run.happen(&Deed::Deploy(1));
        run.ticks(150);
        prop_assert_eq!(run.live(), Some(hash(0)), "{}", run.told());
        let last = run.world.events.last().expect("there was a rollback");
        prop_assert_eq!(last.status.phase, Some(EventPhase::Succeeded), "{}", run.told());
    }

    #[test]
    fn a_release_that_recovers_within_the_delay_is_left_alone(
        plan in unobstructed(),
        chance in chance(),
    ) {
        let plan = PolicyPlan { for_: 0, delay: 120, no_data: "Hold", warning: None, ..plan };
        let mut run = start(&plan, &[Kind::Good, Kind::BadFor(30)], 0, &chance);
        run.happen(&Deed::Deploy(1));
        run.ticks(100);
        prop_assert_eq!(run.live(), Some(hash(1)), "{}", run.told());
        prop_assert_eq!(run.written(), 0);
        prop_assert!(!run.world.is_quarantined("r1"));
        // On an old picture an older release seems to be live; that calls off what is decided again.
        let last = run.outcomes().pop();
        prop_assert_eq!(last, Some(Some(Outcome::RecoveredBeforeActing)), "{}", run.told());
    }

    #[test]
    fn a_good_release_becomes_a_point_although_writes_are_lost(
        plan in unobstructed(),
        chance in chance(),
    ) {
        let mut run = start(&plan, &[Kind::Good, Kind::Good], 0, &chance);
        run.happen(&Deed::Deploy(1));
        run.ticks(80);
        // Where silence is bad, the release is taken back before its first pod is there.
        prop_assume!(run.world.events.is_empty());
        let recorded = run.world.points.iter().any(|p| p.release.as_deref() == Some("r1"));
        prop_assert!(recorded, "{}", run.told());
    }

    #[test]
    fn a_failing_dependency_costs_one_rollback_and_calls_a_person(
        plan in unobstructed(),
        chance in chance(),
    ) {
        let plan = PolicyPlan { no_data: "Hold", warning: None, soak: 40, peers: false, ..plan };
        let mut run = start(&plan, &[Kind::Good, Kind::Good], 0, &chance);
        run.happen(&Deed::Deploy(1));
        run.ticks(4);
        run.happen(&Deed::DependencyDown(true));
        run.ticks(120);
        prop_assert_eq!(run.written(), 1, "{}", run.told());
        prop_assert_eq!(run.outcomes(), vec![Some(Outcome::NotCausedByRelease)], "{}", run.told());
        prop_assert!(!run.world.is_quarantined("r1"), "{}", run.told());
        prop_assert_eq!(run.action_required(), Some("NotCausedByRelease"), "{}", run.told());
    }

    #[test]
    fn a_failing_dependency_costs_no_rollback_where_the_peers_are_asked(
        plan in unobstructed(),
        chance in chance(),
    ) {
        let plan = PolicyPlan { no_data: "Hold", warning: None, soak: 40, window: None, peers: true, ..plan };
        let mut run = start(&plan, &[Kind::Good, Kind::Good], 0, &chance);
        run.happen(&Deed::Deploy(1));
        run.ticks(4);
        run.happen(&Deed::DependencyDown(true));
        run.ticks(120);
        prop_assert_eq!(run.written(), 0, "{}", run.told());
        prop_assert_eq!(run.action_required(), Some("PeersAreBadToo"), "{}", run.told());
        run.happen(&Deed::DependencyDown(false));
        run.ticks(60);
        prop_assert_eq!(run.written(), 0, "{}", run.told());
        prop_assert_eq!(run.live(), Some(hash(1)));
    }

    #[test]
    fn a_target_that_cannot_start_is_left_for_the_point_before_it(
        plan in unobstructed(),
        chance in chance(),
    ) {
        let plan = PolicyPlan { no_data: "Hold", max_attempts: 3, ..plan };
        let mut run = start(&plan, &[Kind::Good, Kind::StartsOnce, Kind::Bad], 0, &chance);
        run.happen(&Deed::Deploy(1));
        run.ticks(60);
        run.happen(&Deed::Deploy(2));
        run.ticks(150);
        prop_assert_eq!(run.live(), Some(hash(0)), "{}", run.told());
        let outcomes = run.outcomes();
        prop_assert!(outcomes.contains(&Some(Outcome::TargetCannotStart)), "{}", run.told());
        let last = run.world.events.last().expect("there was a rollback");
        prop_assert_eq!(last.status.phase, Some(EventPhase::Succeeded), "{}", run.told());
    }

    #[test]
    fn a_release_that_is_put_back_again_and_again_is_taken_back_so_often_and_not_more(
        plan in unobstructed(),
    ) {
        let plan = PolicyPlan {
            soak: 4000, cooldown: 60, window: None, warning: None, gitops: ("Notify", 3600), ..plan
        };
        let mut run = start(&plan, &[Kind::Good, Kind::Bad], 0, &[]);
        for _ in 0..=plan.max_attempts {
            run.happen(&Deed::Deploy(1));
            run.ticks(60);
        }
        prop_assert_eq!(run.written(), plan.max_attempts as usize, "{}", run.told());
        prop_assert_eq!(run.action_required(), Some("Exhausted"), "{}", run.told());
    }

    /// Rule 12.
    #[test]
    fn what_a_person_asks_for_does_not_wait_for_a_delay(
        plan in unobstructed(),
        chance in chance(),
    ) {
        let plan = PolicyPlan { delay: 3600, workload_trigger: false, warning: None, ..plan };
        let mut run = start(&plan, &[Kind::Good, Kind::Bad], 0, &chance);
        run.happen(&Deed::Deploy(1));
        run.ticks(12);
        run.happen(&Deed::Manual { point: None, quarantine: true });
        run.ticks(60);
        let asked = run.world.events.iter().find(|e| e.spec.cause == Cause::Manual).unwrap();
        prop_assert_eq!(asked.status.phase, Some(EventPhase::Succeeded), "{}", run.told());
        prop_assert_eq!(run.live(), Some(hash(0)));
        prop_assert_eq!(run.written(), 1);
    }

    /// Rules 2 and 12: whenever a person asks for what is going on already, it is done once.
    #[test]
    fn asking_for_a_rollback_that_goes_on_does_not_double_it(
        plan in unobstructed(),
        when in 1usize..12,
        chance in chance(),
    ) {
        let kinds = [Kind::Good, Kind::Good, Kind::Bad];
        let plan = PolicyPlan { no_data: "Hold", for_: 0, delay: 0, soak: 20, ..plan };
        let mut run = start(&plan, &kinds, 0, &chance);
        run.happen(&Deed::Deploy(1));
        run.ticks(50);
        prop_assume!(run.world.points.iter().any(|p| p.release.as_deref() == Some("r1")));
        run.happen(&Deed::Deploy(2));
        run.ticks(when);
        prop_assume!(run.world.events.iter().any(|e| !e.is_over()));
        run.happen(&Deed::Manual { point: None, quarantine: false });
        run.ticks(60);
        prop_assert_eq!(run.live(), Some(hash(1)), "{}", run.told());
        prop_assert_eq!(run.written(), 1, "{}", run.told());
    }

    /// An autoscaler changes the spec all the time; that must not hide a bad release.
    #[test]
    fn a_bad_release_is_taken_back_while_the_workload_is_scaled(
        plan in unobstructed(),
        every in 2usize..5,
    ) {
        let mut run = start(&plan, &[Kind::Good, Kind::Bad], 5, &[]);
        run.happen(&Deed::Deploy(1));
        for _ in 0..60 {
            run.happen(&Deed::Scale);
            run.ticks(every);
        }
        prop_assert_eq!(run.live(), Some(hash(0)), "{}", run.told());
    }

    /// Rule 5.
    #[test]
    fn a_bad_release_is_left_alone_while_nothing_can_be_measured(
        plan in unobstructed(),
        answers in prop_oneof![
            Just(Answers::NoData), Just(Answers::NotANumber), Just(Answers::Unreachable),
            Just(Answers::Ambiguous), Just(Answers::Stale), Just(Answers::AboutAnother),
            Just(Answers::Silent),
        ],
        chance in chance(),
    ) {
        let plan = PolicyPlan { no_data: "Hold", workload_trigger: false, ..plan };
        let mut run = start(&plan, &[Kind::Good, Kind::Bad], 0, &chance);
        run.happen(&Deed::Answers(answers));
        run.happen(&Deed::Deploy(1));
        run.ticks(100);
        prop_assert_eq!(run.live(), Some(hash(1)), "{}", run.told());
        prop_assert!(run.world.events.is_empty(), "{}", run.told());
        run.happen(&Deed::Answers(Answers::Honest));
        run.ticks(100);
        // Its window may be over by then: counted from the first number, it is never reopened.
        let taken_back = run.live() == Some(hash(0));
        prop_assert_eq!(taken_back, plan.window.is_none(), "{}", run.told());
    }

    #[test]
    fn a_restart_at_any_moment_leads_to_the_same_end(
        plan in unobstructed(),
        kind in prop_oneof![
            Just(Kind::Bad), Just(Kind::BadAfter(40)), Just(Kind::CannotStart), Just(Kind::Good)
        ],
        when in 0usize..60,
        down in 0usize..3,
    ) {
        let end = |kill: bool| {
            let mut run = start(&plan, &[Kind::Good, kind], 0, &[]);
            run.happen(&Deed::Deploy(1));
            run.ticks(when);
            if kill {
                run.happen(&Deed::Kill(down));
            }
            run.ticks(120);
            run
        };
        let (undisturbed, restarted) = (end(false), end(true));
        // Whether a Warning was seen alone for a moment, before the Critical trigger that took over from it, depends on
        // when somebody looked; what was taken over changed nothing.
        let story = |run: &Run| {
            let all = run.story().into_iter();
            all.filter(|(_, _, outcome)| *outcome != Some(Outcome::TakenOver)).collect::<Vec<_>>()
        };
        prop_assert_eq!(
            (undisturbed.live(), story(&undisturbed)),
            (restarted.live(), story(&restarted)),
            "{}\n\n{}", undisturbed.told(), restarted.told()
        );
    }
}
