//! The plan checker refuses each way in which a plan can break a rule.

mod common;
mod stage;

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
use stage::{Stage, service, size};

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

/// The steps that write what a point holds.
const WRITES: [StepKind; 2] = [StepKind::WriteTemplate, StepKind::HandBackOwnership];

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
    for kind in WRITES {
        let mut plan = plan(&seen);
        let step = position(&plan, kind);
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
    for kind in WRITES {
        let mut unknown = plan.clone();
        unknown[position(&plan, kind)].step.to = "unknown".into();
        refused(&seen, &unknown, "no good point");
    }
    for step in 0..plan.len() {
        let mut misnamed = plan.clone();
        misnamed[step].step.point = "another".into();
        refused(&seen, &misnamed, "no good point");
    }
    seen.points[0].release = None;
    refused(&seen, &plan, "holds no release");
    seen.points.clear();
    refused(&seen, &plan, "no good point");
}

/// Rule 3: what is waited for is what was written. A wait that takes the failed release for the good
/// one would let it stand.
#[test]
fn a_wait_for_what_no_good_point_holds_is_refused() {
    let seen = seen();
    for kind in [StepKind::AwaitRollout, StepKind::RestoreStrategy] {
        for to in [LIVE, "unknown"] {
            let mut plan = plan(&seen);
            let step = position(&plan, kind);
            plan[step].step.to = to.into();
            assert_ne!(violations(&seen, &plan), Vec::<String>::new(), "{kind:?}");
        }
    }
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

/// A mutated plan of a strategy, which is let pass as the planner made it.
fn mutated(
    stage: &Stage,
    action: Action,
    expected: &str,
    mutate: impl FnOnce(&mut Vec<StepStatus>),
) {
    let seen = stage.seen();
    let mut plan = stage.plan(action, true).unwrap();
    assert_eq!(violations(&seen, &plan), Vec::<String>::new());
    mutate(&mut plan);
    refused(&seen, &plan, expected);
}

fn take(plan: &mut Vec<StepStatus>, kind: StepKind) -> StepStatus {
    plan.remove(position(plan, kind))
}

fn small_blue() -> Stage {
    let mut stage = Stage::stacks();
    size(stage.there("blue"), 0);
    stage
}

#[test]
fn a_swap_before_the_capacity_is_there_is_refused() {
    let refuse = |mutate: fn(&mut Vec<StepStatus>)| {
        mutated(
            &small_blue(),
            Action::Rollback,
            "before it has the 3",
            mutate,
        );
    };
    refuse(|plan| drop(take(plan, StepKind::AwaitCapacity)));
    refuse(|plan| {
        let swap = take(plan, StepKind::SwapSelector);
        plan.insert(1, swap);
    });
    refuse(|plan| {
        let wait = position(plan, StepKind::AwaitCapacity);
        plan[wait].step.replicas = Some(2);
    });
    refuse(|plan| {
        let wait = position(plan, StepKind::AwaitCapacity);
        plan[wait].step.optional = true;
    });
    refuse(|plan| {
        let wait = position(plan, StepKind::AwaitCapacity);
        plan[wait].step.workload = "green".into();
        plan[wait].step.workload_uid = "uid-green".into();
        plan[wait].step.from = "bad-green".into();
    });
}

#[test]
fn a_swap_of_another_selector_is_refused() {
    let refuse = |mutate: fn(&mut StepStatus)| {
        mutated(
            &Stage::stacks(),
            Action::Rollback,
            "SwapSelector is not",
            |p| {
                let swap = position(p, StepKind::SwapSelector);
                mutate(&mut p[swap]);
            },
        );
    };
    refuse(|swap| swap.step.selector.as_mut().unwrap().from.clear());
    refuse(|swap| swap.step.selector.as_mut().unwrap().service_uid = "another".into());
    refuse(|swap| swap.step.selector.as_mut().unwrap().to = service("green").selector);
    refuse(|swap| swap.step.selector = None);
}

#[test]
fn a_shift_before_the_capacity_is_there_is_refused() {
    mutated(
        &Stage::canary(20),
        Action::Rollback,
        "before it has the 4",
        |p| {
            drop(take(p, StepKind::AwaitCapacity));
        },
    );
}

#[test]
fn a_share_that_does_not_fall_is_refused() {
    let refuse = |mutate: fn(&mut Vec<StepStatus>)| {
        mutated(
            &Stage::canary(80),
            Action::GradualRollback,
            "must take away",
            mutate,
        );
    };
    refuse(|p| {
        let shift = position(p, StepKind::ShiftWeight);
        p[shift].step.weight.as_mut().unwrap().to = 90;
    });
    refuse(|p| {
        let shift = position(p, StepKind::ShiftWeight);
        p[shift].step.weight.as_mut().unwrap().from = 70;
    });
    refuse(|p| drop(take(p, StepKind::ShiftWeight)));
    refuse(|p| {
        let shift = position(p, StepKind::ShiftWeight);
        p[shift].step.weight = None;
    });
}

#[test]
fn a_share_that_is_left_is_refused() {
    mutated(
        &Stage::canary(80),
        Action::GradualRollback,
        "left with a share",
        |p| {
            let last = p.iter().rposition(|s| s.step.kind == StepKind::ShiftWeight);
            p.remove(last.unwrap());
        },
    );
}

#[test]
fn a_record_after_the_last_of_the_traffic_is_refused() {
    for (stage, write) in [
        (Stage::canary(80), StepKind::ShiftWeight),
        (Stage::stacks(), StepKind::SwapSelector),
        (
            Stage::several("Recreate", &["web"]).changed("web"),
            StepKind::WriteTemplate,
        ),
    ] {
        mutated(
            &stage,
            Action::GradualRollback,
            "QuarantineRelease stands",
            |p| {
                let record = take(p, StepKind::QuarantineRelease);
                let last = p.iter().rposition(|s| s.step.kind == write);
                p.insert(last.unwrap() + 1, record);
            },
        );
    }
}

#[test]
fn suspects_that_would_be_replaced_or_forgotten_are_refused() {
    for isolation in ["WhenReady", "Immediate"] {
        let isolate = json!({"isolation": isolation});
        let stage = Stage::several("Rolling", &["web", "worker"]).set("", "isolate", isolate);
        let stage = stage.changed("worker");
        let refuse = |expected, mutate: fn(&mut Vec<StepStatus>)| {
            mutated(&stage, Action::IsolateAndRollback, expected, mutate);
        };
        refuse("detached 0 times and isolated 1 times", |p| {
            drop(take(p, StepKind::DetachSuspects));
        });
        refuse("detached 1 times and isolated 0 times", |p| {
            drop(take(p, StepKind::IsolateSuspects));
        });
        refuse("must be detached after WriteTemplate", |p| {
            let detach = take(p, StepKind::DetachSuspects);
            p.insert(1, detach);
        });
        refuse("isolated after that", |p| {
            let detach = take(p, StepKind::DetachSuspects);
            let isolate = p
                .iter()
                .position(|s| s.step.kind == StepKind::IsolateSuspects);
            p.insert(isolate.unwrap() + 1, detach);
        });
        refuse("DetachSuspects without a timeout", |p| {
            let mut detach = take(p, StepKind::DetachSuspects);
            detach.step.timeout = None;
            let write = p
                .iter()
                .position(|s| s.step.kind == StepKind::WriteTemplate);
            p.insert(write.unwrap() + 1, detach);
        });
    }
}

#[test]
fn replicas_that_are_not_put_back_are_refused() {
    for (strategy, action) in [
        ("Recreate", Action::Rollback),
        ("Rolling", Action::ScaleAndRollback),
    ] {
        let stage = Stage::several(strategy, &["web", "worker"]).changed("worker");
        let refuse = |expected, mutate: fn(&mut Vec<StepStatus>)| {
            mutated(&stage, action, expected, mutate);
        };
        refuse("must be put back", |p| drop(take(p, StepKind::ScaleBack)));
        refuse("must be put back", |p| drop(take(p, StepKind::Scale)));
        refuse("must be put back", |p| {
            let back = take(p, StepKind::ScaleBack);
            p.insert(1, back);
        });
        refuse("nothing waits for the replicas", |p| {
            p.retain(|s| {
                !matches!(
                    s.step.kind,
                    StepKind::AwaitCapacity | StepKind::AwaitStopped
                )
            });
        });
    }
}

#[test]
fn each_wait_needs_an_end() {
    let recreate = Stage::several("Recreate", &["web"]).changed("web");
    let mut waits = 0;
    for stage in [Stage::canary(80), Stage::stacks(), recreate] {
        let plan = stage.plan(Action::GradualRollback, true).unwrap();
        for (index, status) in plan.iter().enumerate() {
            if status.step.timeout.is_some() {
                waits += 1;
                mutated(&stage, Action::GradualRollback, "without a timeout", |p| {
                    p[index].step.timeout = None;
                });
            }
        }
    }
    // AwaitCapacity twice, HoldWeight three times, AwaitEndpoints, AwaitStopped, AwaitRollout.
    assert_eq!(waits, 8);
}

#[test]
fn a_step_about_a_deployment_that_is_not_the_policys_is_refused() {
    for stage in [
        Stage::canary(80),
        Stage::stacks(),
        Stage::several("Recreate", &["web"]).changed("web"),
    ] {
        let steps = stage.plan(Action::Rollback, true).unwrap().len();
        for index in 0..steps {
            mutated(&stage, Action::Rollback, "about another workload", |p| {
                p[index].step.workload = "bystander".into();
            });
            mutated(&stage, Action::Rollback, "about another workload", |p| {
                p[index].step.workload_uid = "namesake".into();
            });
        }
    }
}

/// The stable side is not live while a canary is tried: writing its template takes nothing back.
#[test]
fn a_plan_that_changes_only_what_is_not_live_is_refused() {
    mutated(
        &Stage::stacks(),
        Action::Rollback,
        "nothing that is live",
        |p| {
            drop(take(p, StepKind::SwapSelector));
        },
    );
}
