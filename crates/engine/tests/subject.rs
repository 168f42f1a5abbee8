//! What is live, of all that a policy speaks of.

mod common;
mod stage;

use backstop_engine::subject::{Absent, Parts, live, restored, selects};
use common::{at, event};
use serde_json::json;
use stage::{Stage, deployment, service, size};

fn two() -> Stage {
    Stage::several("Rolling", &["web", "worker"])
}

/// Says that the operator wrote this template to this Deployment.
fn wrote(event: &mut backstop_engine::snapshot::Event, workload: &str, release: &str) {
    let mut status = backstop_api::RollbackEventStatus::default();
    common::wrote(&mut status, release, 8);
    let mut step = status.steps.remove(0);
    step.step.workload = workload.into();
    event.status.steps.push(step);
}

#[test]
fn one_deployment_is_live_as_it_is() {
    let stage = Stage::several("Rolling", &["web"]);
    assert_eq!(stage.live().unwrap(), stage.now.deployments[0]);
}

#[test]
fn several_are_complete_when_each_is() {
    let mut stage = two();
    assert!(stage.live().unwrap().is_complete());
    assert!(stage.live().unwrap().can_prove_itself());
    for name in ["web", "worker"] {
        let mut one = stage.clone();
        one.there(name).available = 2;
        assert!(!one.live().unwrap().is_complete(), "{name}");
        let mut one = stage.clone();
        one.there(name).generation += 1;
        assert!(!one.live().unwrap().is_current(), "{name}");
        let mut one = stage.clone();
        size(one.there(name), 0);
        assert!(!one.live().unwrap().can_prove_itself(), "{name}");
    }
    // The numbers of one must not make up for the other's.
    stage.there("web").available = 4;
    stage.there("worker").available = 2;
    assert!(!stage.live().unwrap().is_complete());
}

#[test]
fn several_have_been_ready_since_the_last_of_them_was() {
    let mut stage = two();
    stage.there("web").pods.first_ready_at = Some(at(10));
    stage.there("worker").pods.first_ready_at = Some(at(50));
    stage.there("web").rollout_completed_at = Some(at(70));
    let it = stage.live().unwrap();
    assert_eq!(it.pods.first_ready_at, Some(at(50)));
    assert_eq!(it.rollout_completed_at, Some(at(70)));
    stage.there("web").pods.first_ready_at = None;
    stage.there("worker").rollout_completed_at = None;
    let it = stage.live().unwrap();
    assert_eq!(it.pods.first_ready_at, None);
    assert_eq!(it.rollout_completed_at, None);
}

#[test]
fn several_say_all_that_each_says() {
    let mut stage = two();
    stage.there("web").pods.crash_looping = vec!["pod web-1".into()];
    stage.there("worker").pods.crash_looping = vec!["pod worker-1".into()];
    stage.there("worker").pods.restarts = 4;
    stage.there("worker").paused = true;
    stage.there("worker").overridden = Some("Anna".into());
    stage.there("worker").floor = Some("schema".into());
    stage.there("worker").deleting = true;
    let it = stage.live().unwrap();
    assert_eq!(it.name, "web, worker");
    assert_eq!(it.pods.crash_looping, ["pod web-1", "pod worker-1"]);
    assert_eq!(it.pods.restarts, 4);
    assert_eq!((it.desired, it.pods.ready), (6, 6));
    assert!(it.paused && it.deleting);
    assert_eq!(it.overridden.as_deref(), Some("Anna"));
    assert_eq!(it.floor.as_deref(), Some("schema"));
}

#[test]
fn several_are_another_release_when_any_is() {
    let stage = two();
    let before = stage.live().unwrap();
    let mut all = std::collections::BTreeSet::from([before.release.clone()]);
    assert!(all.insert(stage.clone().changed("web").live().unwrap().release));
    assert!(all.insert(stage.clone().changed("worker").live().unwrap().release));
    assert!(
        all.insert(
            stage
                .clone()
                .changed("web")
                .changed("worker")
                .live()
                .unwrap()
                .release
        )
    );
    let mut scaled = stage.clone();
    size(scaled.there("web"), 9);
    scaled.now.deployments.reverse();
    let scaled = scaled.live().unwrap();
    assert_eq!(scaled.release, before.release);
    assert_eq!(scaled.uid, before.uid);
}

#[test]
fn what_is_missing_is_named() {
    let mut stage = Stage::several("Rolling", &["web", "worker", "mail"]);
    stage.now.deployments.retain(|w| w.name == "worker");
    let missing = Absent::Missing(vec!["web".into(), "mail".into()]);
    assert_eq!(stage.live(), Err(missing));
    let mut stage = Stage::stacks();
    stage.now.deployments.clear();
    let missing = Absent::Missing(vec!["blue".into(), "green".into()]);
    assert_eq!(stage.live(), Err(missing));
    let mut stage = Stage::canary(20);
    stage.now.deployments.retain(|w| w.name == "stable");
    assert_eq!(stage.live(), Err(Absent::Missing(vec!["canary".into()])));
}

fn misfit(stage: &Stage, field: &str, words: &str) {
    match stage.live() {
        Err(Absent::Misfit(wrong)) => {
            assert_eq!(wrong.field, field);
            assert!(wrong.problem.contains(words), "{}", wrong.problem);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_stack_that_the_service_selects_is_live() {
    let stage = Stage::stacks();
    let it = stage.live().unwrap();
    assert_eq!(it.name, "green");
    assert_eq!(it.uid, "uid-service");
    assert_eq!(it.live()[0].release, "bad-green");
    assert_eq!(it.beside[0].name, "blue");
    assert!(it.can_prove_itself());

    // What stands idle is no part of the release.
    let idle = stage.clone().changed("blue").live().unwrap();
    assert_eq!(idle.release, it.release);
    let mut swapped = stage;
    swapped.now.service = Some(service("blue"));
    assert_ne!(swapped.live().unwrap().release, it.release);
    assert_eq!(swapped.live().unwrap().name, "blue");
}

/// The same template on the other stack is another release: a swap is one.
#[test]
fn a_swap_to_the_same_template_is_another_release() {
    let mut stage = Stage::stacks();
    stage.there("blue").release = "bad-green".into();
    let before = stage.live().unwrap().release;
    stage.now.service = Some(service("blue"));
    assert_ne!(stage.live().unwrap().release, before);
}

#[test]
fn a_service_that_selects_both_stacks_or_neither_is_a_misfit() {
    let field = "spec.strategy.blueGreen.service";
    let mut stage = Stage::stacks();
    let selector = |stage: &mut Stage| stage.now.service.as_mut().unwrap().selector.clone();
    let mut both = selector(&mut stage);
    both.remove("side");
    stage.now.service.as_mut().unwrap().selector = both;
    misfit(
        &stage,
        field,
        "both stacks (Service shop selects 'app=shop')",
    );
    stage.now.service = Some(service("red"));
    misfit(&stage, field, "neither stack");
    stage.now.service.as_mut().unwrap().selector.clear();
    misfit(&stage, field, "neither stack");
    stage.now.service = None;
    misfit(&stage, field, "is not there");
}

#[test]
fn a_service_selects_what_has_all_its_labels() {
    let blue = deployment("blue", "a", 1);
    assert!(selects(&service("blue"), &blue));
    assert!(!selects(&service("green"), &blue));
    let mut nothing = service("blue");
    nothing.selector.clear();
    assert!(!selects(&nothing, &blue));
    let mut more = service("blue");
    more.selector.insert("version".into(), "2".into());
    assert!(!selects(&more, &blue));
}

#[test]
fn a_canary_is_live_while_it_has_a_share() {
    let none = Stage::canary(0).live().unwrap();
    assert_eq!((none.name.as_str(), none.tried), ("stable", false));
    assert_eq!(none.release, "good-stable");
    assert!(none.can_prove_itself());
    assert_eq!(none.beside[0].name, "canary");
    let mut tried = Vec::new();
    for share in [1, 100] {
        let it = Stage::canary(share).live().unwrap();
        assert_eq!((it.name.as_str(), it.tried), ("canary", true));
        assert_eq!(it.live()[0].release, "bad-canary");
        assert_eq!(it.beside[0].name, "stable");
        // It may do well, and is no place to go back to.
        assert!(it.is_complete() && !it.can_prove_itself());
        assert_eq!(it.uid, "uid-stable");
        tried.push(it.release);
    }
    // Each later step is the same release, and the first is another one.
    assert_eq!(tried[0], tried[1]);
    assert_ne!(tried[0], none.release);
    // A canary that nobody is sent to is no part of the release, and need not be there.
    let mut stage = Stage::canary(0).changed("canary");
    assert_eq!(stage.live().unwrap().release, none.release);
    stage.now.deployments.truncate(1);
    assert_eq!(stage.live().unwrap().release, none.release);
}

#[test]
fn a_route_that_is_not_there_is_a_misfit() {
    let mut stage = Stage::canary(20);
    stage.now.route = None;
    misfit(&stage, "spec.strategy.canary.route.name", "is not there");
    let wrong = backstop_engine::policy::FieldError {
        field: "spec.strategy.canary.route".into(),
        value: "shop".into(),
        problem: "has three backends".into(),
    };
    stage.now.route = Some(Err(wrong));
    misfit(&stage, "spec.strategy.canary.route", "three backends");
}

/// Admission may make another template of what was written: what is live then is the restored one.
#[test]
fn what_a_rollback_restored_is_what_is_live_then() {
    let cases = [
        (Stage::several("Rolling", &["web"]).changed("web"), "web"),
        (
            Stage::several("Recreate", &["web", "worker"]).changed("worker"),
            "worker",
        ),
        (Stage::canary(0).changed("stable"), "stable"),
        (Stage::stacks(), "green"),
    ];
    for (stage, name) in cases {
        let policy = stage.policy();
        let mut event = event(backstop_api::event::EventPhase::Verifying);
        event.status.steps.clear();
        let before = stage.live().unwrap();
        assert_eq!(restored(&policy, Some(&before), &event), None, "{name}");
        wrote(&mut event, name, "as-admitted");
        let mut after = stage.clone();
        after.there(name).release = "as-admitted".into();
        let after = after.live().unwrap().release;
        let says = restored(&policy, Some(&before), &event);
        assert_eq!(says.as_ref(), Some(&after), "{name}");
        assert_ne!(after, before.release, "{name}");
    }
}

/// The canary's own template is not live once it has no share any more.
#[test]
fn a_canary_that_was_taken_back_is_not_what_was_restored() {
    let stage = Stage::canary(20);
    let mut event = event(backstop_api::event::EventPhase::Verifying);
    event.status.steps.clear();
    wrote(&mut event, "canary", "as-admitted");
    let live = stage.live().unwrap();
    assert_eq!(restored(&stage.policy(), Some(&live), &event), None);
}

#[test]
fn nothing_of_others_is_live() {
    let stage = Stage::several("Rolling", &["web"]);
    let mut parts: Parts = stage.now.clone();
    parts.deployments.insert(0, deployment("other", "x", 9));
    assert_eq!(live(&stage.policy(), &parts), stage.live());
    let mut stage = Stage::stacks();
    let before = stage.live();
    let mut other = deployment("other", "x", 9);
    other
        .labels
        .insert("side".into(), json!("green").as_str().unwrap().into());
    stage.now.deployments.push(other);
    assert_eq!(stage.live(), before);
}
