//! The safety rules, each as a property of thousands of runs in which caches are old, operators
//! and executors crash, Prometheus fails and persons do what they like.
//!
//! `PROPTEST_CASES` sets how many schedules are run, `BACKSTOP_SIM_SEED` which ones.

mod sim;

use sim::{campaign::campaign, monitor::Rule};

/// Fails with the smallest schedule that was found to break the rule.
fn assert_held(rule: Rule) {
    let campaign = campaign();
    if let Some((times, how, schedule)) = campaign.broken.get(&rule) {
        panic!(
            "{rule:?} was broken {times} times in {} schedules\n{how}\nsmallest: {schedule:?}",
            campaign.schedules
        );
    }
}

/// Rule 1.
#[test]
fn nothing_is_changed_without_a_recorded_event() {
    assert_held(Rule::Recorded);
}

/// Rule 2.
#[test]
fn a_failed_release_is_taken_back_at_most_once_per_attempt() {
    assert_held(Rule::Once);
}

/// Rule 2.
#[test]
fn no_incident_has_more_attempts_than_the_policy_allows() {
    assert_held(Rule::Attempts);
}

/// Rule 3.
#[test]
fn a_rollback_goes_only_to_a_good_point_that_is_not_quarantined_and_not_live() {
    assert_held(Rule::OnlyGood);
}

/// Rule 12: only what failed is taken back again, and not for ever.
#[test]
fn a_release_is_taken_back_again_only_while_it_is_kept_out_and_five_times_at_most() {
    assert_held(Rule::Reverts);
}

/// Rules 9 and 12.
#[test]
fn a_tool_is_suspended_only_while_it_would_undo_a_rollback_and_nobody_wants_otherwise() {
    assert_held(Rule::Suspends);
}

/// Rule 4.
#[test]
fn a_release_is_not_blamed_for_what_began_after_its_window() {
    assert_held(Rule::Window);
}

/// Rule 4.
#[test]
fn a_release_is_blamed_only_for_what_it_did_itself() {
    assert_held(Rule::OwnEvidence);
}

/// Rule 4.
#[test]
fn no_release_is_blamed_for_what_happens_to_its_peers_as_well() {
    assert_held(Rule::BadDay);
}

/// Rule 5.
#[test]
fn no_trigger_fires_without_a_number_about_the_live_release() {
    assert_held(Rule::NoData);
}

/// Rule 5.
#[test]
fn a_trigger_that_cannot_be_judged_is_always_said() {
    assert_held(Rule::Visible);
}

/// Rule 7.
#[test]
fn no_plan_speaks_of_replicas() {
    assert_held(Rule::Replicas);
}

/// Rule 9.
#[test]
fn paused_and_observe_begin_nothing() {
    assert_held(Rule::Mode);
}

/// Rule 10.
#[test]
fn the_second_policy_on_a_workload_does_nothing_and_says_so() {
    assert_held(Rule::Conflict);
}

/// Rule 12.
#[test]
fn a_pause_an_override_and_a_cancel_are_heeded() {
    assert_held(Rule::Person);
}

/// Rule 13.
#[test]
fn no_rollback_goes_behind_a_floor() {
    assert_held(Rule::Floor);
}

#[test]
fn a_drill_takes_away_what_can_be_brought_back_and_blames_nobody() {
    assert_held(Rule::Drill);
}

#[test]
fn every_plan_passes_the_independent_checker() {
    assert_held(Rule::Checker);
}

#[test]
fn the_same_input_gives_the_same_decision() {
    assert_held(Rule::Deterministic);
}

#[test]
fn deciding_or_applying_twice_changes_nothing_more() {
    assert_held(Rule::Idempotence);
}

/// What the schedules must come by, or the properties above say little.
const REACHED: [&str; 62] = [
    "begun: Drill",
    "begun: Manual",
    "begun: Trigger",
    "begun: to a point that a person named",
    "captured",
    "change refused: decided on an old picture",
    "decided without a number",
    "decision dropped",
    "decision repeated",
    "executor crashed between a change and its record",
    "held CalledOff",
    "held CoolingDown",
    "held Exhausted",
    "held Floor",
    "held NoGoodPoint",
    "held NotCausedByRelease",
    "held NothingReleased",
    "held NotifyOnly",
    "held Observed",
    "held Overridden",
    "held PeersAreBadToo",
    "held PolicyPaused",
    "held Recovering",
    "held RestoredRelease",
    "held Reverted",
    "held WorkloadPaused",
    "old picture",
    "operator killed between two writes",
    "operator started again",
    "outcome CancelledByPerson",
    "outcome DrillNotPossible",
    "outcome Held",
    "outcome NewerRelease",
    "outcome NoTarget",
    "outcome NotCausedByRelease",
    "outcome ObserveOnly",
    "outcome PolicyNotInForce",
    "outcome Recovered",
    "outcome RecoveredBeforeActing",
    "outcome TakenOver",
    "outcome Reverted",
    "outcome TargetCannotStart",
    "outcome TargetUnhealthy",
    "outcome TimedOut",
    "outcome WorkloadDeleted",
    "outcome WriteRefused",
    "phase Held",
    "phase Idle",
    "phase Invalid",
    "phase Monitoring",
    "phase Paused",
    "phase Pending",
    "phase RollingBack",
    "phase Waiting",
    "quarantine lifted",
    "start refused: decided on an old picture",
    "started another attempt",
    "suspended",
    "the end of a drill started",
    "template written",
    "the failed release was put back",
    "the failed release was taken back again",
];

#[test]
fn the_schedules_reach_every_interesting_state() {
    let campaign = campaign();
    for (what, times) in &campaign.reach {
        println!("{times:>8} {what}");
    }
    let missed: Vec<_> = REACHED
        .iter()
        .filter(|what| !campaign.reach.contains_key(**what))
        .collect();
    assert!(
        missed.is_empty(),
        "never in {} schedules: {missed:?}",
        campaign.schedules
    );
}
