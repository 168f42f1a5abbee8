//! What must come of a drill.

use backstop_api::{
    event::{Cause, EventPhase, Outcome},
    point::Verdict,
    policy::Mode,
};
use proptest::prelude::*;

use super::{
    hash,
    liveness::{cases, chance, start, unobstructed},
    people::Deed,
    policy::PolicyPlan,
    schedule::Run,
    world::Kind,
};

/// A drill is asked for while release 1, the second, has proved itself; the third is bad.
fn drilled(plan: &PolicyPlan, kinds: [Kind; 2], chance: &[u8]) -> Run {
    let [before, live] = kinds;
    let mut run = start(plan, &[before, live, Kind::Bad], 0, chance);
    run.happen(&Deed::Deploy(1));
    run.ticks(80);
    run.happen(&Deed::Drill);
    run
}

/// Whatever the policy is like, it lets a drill be held.
fn calm(plan: &PolicyPlan) -> PolicyPlan {
    PolicyPlan {
        no_data: "Hold",
        warning: None,
        soak: 20,
        ..plan.clone()
    }
}

/// Goes on until release 0 is live by the drill.
fn until_taken_away(run: &mut Run) -> bool {
    for _ in 0..60 {
        if run.live() == Some(hash(0)) {
            return true;
        }
        run.ticks(1);
    }
    false
}

proptest! {
    #![proptest_config(cases(128))]

    /// There and back, whenever the operator is killed.
    #[test]
    fn a_drill_brings_back_what_it_took_away_and_blames_nobody(
        plan in unobstructed(),
        when in 0usize..60,
        down in 0usize..3,
        chance in chance(),
    ) {
        let plan = PolicyPlan { no_data: "Hold", warning: None, soak: 20, ..plan };
        let mut run = drilled(&plan, [Kind::Good, Kind::Good], &chance);
        prop_assume!(run.world.events.len() == 1);
        run.ticks(when);
        run.happen(&Deed::Kill(down));
        run.ticks(120);
        prop_assume!(run.world.events[0].status.times.decided.is_some());
        let there_and_back = [
            (Some("r1".into()), Some("r0".into()), Some(Outcome::Recovered)),
            (Some("r0".into()), Some("r1".into()), Some(Outcome::Recovered)),
        ];
        let unproved = run.outcomes().contains(&Some(Outcome::Held));
        prop_assert!(unproved || run.story() == there_and_back, "{}", run.told());
        prop_assert_eq!(run.live(), Some(hash(1)), "{}", run.told());
        prop_assert_eq!(run.written(), 2, "{}", run.told());
        let failed = run.world.points.iter().any(|p| p.verdict == Verdict::Quarantined);
        prop_assert!(!failed, "{}", run.told());
        prop_assert_eq!(run.action_required(), None, "{}", run.told());
        // The next bad release is taken back at once: a drill is no attempt, and nothing cools down.
        run.happen(&Deed::Deploy(2));
        run.ticks(60);
        prop_assert_eq!(run.live(), Some(hash(1)), "{}", run.told());
    }

    #[test]
    fn a_drill_whose_release_cannot_start_is_brought_back(plan in unobstructed(), chance in chance()) {
        let plan = PolicyPlan { no_data: "Hold", warning: None, soak: 20, ..plan };
        let mut run = drilled(&plan, [Kind::StartsOnce, Kind::Good], &chance);
        prop_assume!(run.world.events.len() == 1);
        run.ticks(150);
        prop_assume!(run.world.events[0].status.times.decided.is_some());
        prop_assert_eq!(run.world.events[0].status.phase, Some(EventPhase::Failed), "{}", run.told());
        prop_assert_eq!(run.live(), Some(hash(1)), "{}", run.told());
        prop_assert!(!run.world.is_quarantined("r1"), "{}", run.told());
    }

    /// What cannot be brought back is not left: the release that the drill had restored is good.
    #[test]
    fn a_release_that_cannot_be_brought_back_from_a_drill_is_taken_back_like_any_other(
        plan in unobstructed(),
        chance in chance(),
    ) {
        let plan = PolicyPlan { no_data: "Hold", warning: None, soak: 20, ..plan };
        let mut run = drilled(&plan, [Kind::Good, Kind::StartsOnce], &chance);
        prop_assume!(run.world.events.len() == 1);
        run.ticks(200);
        prop_assume!(run.world.events[0].status.times.decided.is_some());
        prop_assert_eq!(run.live(), Some(hash(0)), "{}", run.told());
        let last = run.world.events.last().expect("there was a drill");
        prop_assert_eq!(last.spec.cause, Cause::Trigger, "{}", run.told());
        prop_assert_eq!(last.status.phase, Some(EventPhase::Succeeded), "{}", run.told());
    }

    /// The way back goes forward: that the release in between must not be gone behind is no matter.
    #[test]
    fn a_drill_to_a_floor_comes_back(plan in unobstructed(), chance in chance()) {
        let mut run = drilled(&calm(&plan), [Kind::Good, Kind::Good], &chance);
        prop_assume!(until_taken_away(&mut run));
        run.happen(&Deed::Floor(true));
        run.ticks(120);
        prop_assert_eq!(run.live(), Some(hash(1)), "{}", run.told());
    }

    /// Rule 12: what a person deploys after a drill that came to nothing is no end of that drill.
    #[test]
    fn a_drill_that_changed_nothing_is_not_gone_back_from(plan in unobstructed(), chance in chance()) {
        let mut run = drilled(&calm(&plan), [Kind::Good, Kind::Good], &chance);
        prop_assume!(run.world.events.len() == 1);
        run.happen(&Deed::RefuseWrite);
        run.ticks(60);
        prop_assume!(run.outcomes() == [Some(Outcome::WriteRefused)]);
        run.happen(&Deed::Deploy(0));
        run.ticks(60);
        prop_assert_eq!(run.live(), Some(hash(0)), "{}", run.told());
        prop_assert_eq!(run.world.events.len(), 1, "{}", run.told());
    }

    /// Rule 12: nor is what a person deploys after a drill whose way back was held up.
    #[test]
    fn what_a_person_has_deployed_since_a_drill_stays(plan in unobstructed(), chance in chance()) {
        let mut run = drilled(&calm(&plan), [Kind::Good, Kind::Good], &chance);
        prop_assume!(until_taken_away(&mut run));
        run.happen(&Deed::Override(true));
        run.ticks(60);
        prop_assume!(run.world.events.len() == 1 && run.world.events[0].is_over());
        run.happen(&Deed::Deploy(2));
        run.ticks(20);
        run.happen(&Deed::Deploy(0));
        run.ticks(20);
        run.happen(&Deed::Override(false));
        run.ticks(60);
        prop_assert_eq!(run.live(), Some(hash(0)), "{}", run.told());
    }

    /// A pause stops the way back, and it is gone when the pause is over.
    #[test]
    fn the_way_back_from_a_drill_waits_for_the_end_of_a_pause(
        plan in unobstructed(),
        when in 0usize..40,
        chance in chance(),
    ) {
        let mut run = drilled(&calm(&plan), [Kind::Good, Kind::Good], &chance);
        prop_assume!(until_taken_away(&mut run));
        run.ticks(when);
        run.happen(&Deed::Mode(Mode::Paused));
        run.ticks(20);
        run.happen(&Deed::Mode(Mode::Enforce));
        run.ticks(120);
        let by_the_pause = |e: &backstop_engine::snapshot::Event| {
            e.status.outcome == Some(Outcome::PolicyNotInForce) && e.has_changed_what_is_live()
        };
        // A drill that was stopped in its midst is a person's to end.
        prop_assume!(!run.world.events.iter().any(by_the_pause));
        prop_assert_eq!(run.live(), Some(hash(1)), "{}", run.told());
    }

    /// A release that has come back from a drill is as it was before: where it may always be blamed, it still may.
    #[test]
    fn what_a_drill_has_brought_back_is_not_beyond_blame(plan in unobstructed(), chance in chance()) {
        let plan = PolicyPlan { window: None, peers: false, ..calm(&plan) };
        let mut run = drilled(&plan, [Kind::Good, Kind::Good], &chance);
        prop_assume!(run.world.events.len() == 1);
        run.ticks(120);
        prop_assume!(run.outcomes() == [Some(Outcome::Recovered); 2]);
        run.world.kinds[1] = Kind::Bad;
        run.ticks(120);
        prop_assert_eq!(run.live(), Some(hash(0)), "{}", run.told());
    }
}
