//! The plan checker refuses each way in which a plan can break a rule.

mod common;

use backstop_api::{
    event::{StepKind, StepStatus},
    point::Verdict,
    policy::Action,
};
use backstop_engine::{
    plan::{self, Order, check::violations},
    snapshot::{Point, Snapshot},
};
use common::{GOOD, LIVE, at, errors, point, policy, seen};
use serde_json::json;

/// A plan with every kind of step.
fn plan(seen: &Snapshot) -> Vec<StepStatus> {
    let policy = policy(&[errors()], json!({}));
    let order = Order {
        policy: &policy,
        seen,
        workload: seen.workload.as_ref().unwrap(),
        point: &seen.points[0],
        action: Action::GradualRollback,
        quarantine: true,
    };
    plan::plan(&order).unwrap()
}

fn refused(seen: &Snapshot, plan: &[StepStatus], expected: &str) {
    let wrong = violations(seen, plan);
    assert!(
        wrong.iter().any(|w| w.contains(expected)),
        "expected '{expected}', and the checker says {wrong:?}"
    );
}

fn position(plan: &[StepStatus], kind: StepKind) -> usize {
    plan.iter().position(|s| s.step.kind == kind).unwrap()
}

#[test]
fn a_plan_of_the_planner_is_let_pass() {
    let seen = seen();
    let plan = plan(&seen);
    assert_eq!(plan.len(), 5, "{plan:?}");
    assert_eq!(violations(&seen, &plan), Vec::<String>::new());
}

#[test]
fn a_plan_without_a_workload_is_refused() {
    let mut seen = seen();
    let plan = plan(&seen);
    seen.workload = None;
    refused(&seen, &plan, "no workload");
}

#[test]
fn an_empty_plan_is_refused() {
    refused(&seen(), &[], "without steps");
}

#[test]
fn a_plan_that_writes_no_template_or_two_is_refused() {
    let seen = seen();
    let whole = plan(&seen);
    let write = position(&whole, StepKind::WriteTemplate);
    let mut none = whole.clone();
    none.remove(write);
    refused(&seen, &none, "written 0 times");
    let mut twice = whole.clone();
    twice.insert(write, whole[write].clone());
    refused(&seen, &twice, "written 2 times");
}

#[test]
fn a_step_about_another_workload_or_its_namesake_is_refused() {
    let seen = seen();
    for step in 0..plan(&seen).len() {
        let mut other = plan(&seen);
        other[step].step.workload = "worker".into();
        refused(&seen, &other, "another workload");
        let mut namesake = plan(&seen);
        namesake[step].step.workload_uid = "uid-2".into();
        refused(&seen, &namesake, "another workload");
    }
}

/// Rule 3.
#[test]
fn a_step_to_the_release_that_failed_is_refused() {
    let seen = seen();
    for step in 0..plan(&seen).len() {
        let mut plan = plan(&seen);
        plan[step].step.to = LIVE.into();
        refused(&seen, &plan, "goes back to the release that failed");
    }
}

#[test]
fn a_step_that_takes_back_what_is_not_live_is_refused() {
    let seen = seen();
    for step in 0..plan(&seen).len() {
        let mut plan = plan(&seen);
        plan[step].step.from = "0ther".into();
        refused(&seen, &plan, "which is not live");
    }
}

/// Rule 3.
#[test]
fn a_step_to_what_no_good_point_holds_is_refused() {
    let mut seen = seen();
    let plan = plan(&seen);
    for step in 0..plan.len() {
        let mut unknown = plan.clone();
        unknown[step].step.to = "unknown".into();
        refused(&seen, &unknown, "no good point");
        let mut misnamed = plan.clone();
        misnamed[step].step.point = "another".into();
        refused(&seen, &misnamed, "no good point");
    }
    seen.points[0].release = None;
    refused(&seen, &plan, "no good point");
    seen.points.clear();
    refused(&seen, &plan, "no good point");
}

/// Rule 3.
#[test]
fn a_plan_to_a_quarantined_release_is_refused() {
    let mut seen = seen();
    let plan = plan(&seen);
    seen.points.push(point(GOOD, Verdict::Quarantined));
    refused(&seen, &plan, "quarantined");
}

/// Rule 13.
#[test]
fn a_plan_behind_a_floor_is_refused() {
    let fresh = seen();
    let plan = plan(&fresh);
    let mut live = fresh.clone();
    live.workload.as_mut().unwrap().floor = Some("schema 42".into());
    refused(&live, &plan, "behind a floor");
    let mut between = fresh.clone();
    between.points.push(Point {
        floor: Some("schema 42".into()),
        proved_at: at(-60),
        ..point("f100f100f100f100", Verdict::Good)
    });
    refused(&between, &plan, "behind the floor");
    let mut target = fresh;
    target.points[0].floor = Some("schema 42".into());
    assert_eq!(violations(&target, &plan), Vec::<String>::new());
}

#[test]
fn steps_on_the_wrong_side_of_the_write_are_refused() {
    let seen = seen();
    let whole = plan(&seen);
    for kind in [
        StepKind::QuarantineRelease,
        StepKind::HandBackOwnership,
        StepKind::AwaitRollout,
        StepKind::RestoreStrategy,
    ] {
        let mut plan = whole.clone();
        let step = plan.remove(position(&whole, kind));
        let place = if kind == StepKind::QuarantineRelease {
            plan.len()
        } else {
            0
        };
        plan.insert(place, step);
        refused(&seen, &plan, &format!("{kind:?} stands on the wrong side"));
    }
}

#[test]
fn a_plan_that_does_not_hand_back_or_does_not_wait_is_refused() {
    let seen = seen();
    for kind in [StepKind::HandBackOwnership, StepKind::AwaitRollout] {
        let whole = plan(&seen);
        let mut without = whole.clone();
        let step = without.remove(position(&whole, kind));
        refused(&seen, &without, &format!("{kind:?} must be there once"));
        let mut twice = whole.clone();
        twice.push(step);
        refused(&seen, &twice, &format!("{kind:?} must be there once"));
    }
}

#[test]
fn a_changed_strategy_that_is_not_put_back_is_refused() {
    let seen = seen();
    let whole = plan(&seen);
    let mut left = whole.clone();
    left.remove(position(&whole, StepKind::RestoreStrategy));
    refused(&seen, &left, "put back");
    let mut unchanged = whole;
    for status in &mut unchanged {
        status.step.rolling = None;
    }
    refused(&seen, &unchanged, "put back");
}

#[test]
fn a_strategy_that_is_put_back_before_the_rollout_is_over_is_refused() {
    let seen = seen();
    let mut plan = plan(&seen);
    let (wait, restore) = (
        position(&plan, StepKind::AwaitRollout),
        position(&plan, StepKind::RestoreStrategy),
    );
    plan.swap(wait, restore);
    refused(&seen, &plan, "before AwaitRollout");
}

#[test]
fn a_strategy_that_is_put_back_without_what_it_was_is_refused() {
    let seen = seen();
    let mut plan = plan(&seen);
    for status in &mut plan {
        status.step.strategy_before = None;
    }
    refused(&seen, &plan, "what it was");
}

#[test]
fn a_wait_without_an_end_is_refused() {
    let seen = seen();
    let mut plan = plan(&seen);
    for status in &mut plan {
        status.step.timeout = None;
    }
    refused(&seen, &plan, "without a timeout");
}

#[test]
fn steps_that_disagree_are_refused() {
    let mut seen = seen();
    seen.points.push(Point {
        proved_at: at(-1800),
        ..point("0001000100010001", Verdict::Good)
    });
    let mut plan = plan(&seen);
    let last = plan.len() - 1;
    plan[last].step.to = "0001000100010001".into();
    plan[last].step.point = "web-0001000100010001".into();
    refused(&seen, &plan, "one target");
}

#[test]
fn a_plan_that_is_begun_already_is_refused() {
    let seen = seen();
    let mut plan = plan(&seen);
    plan[1].state = backstop_api::event::StepState::Done;
    refused(&seen, &plan, "begun already");
}
